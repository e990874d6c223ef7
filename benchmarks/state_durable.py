"""Durable writes: ``state::set`` by 100 in-process callers, and plain apsw beside it.

Arguments: rounds, seconds per measurement, directory. Prints one JSON line with medians.
Both floors write the same rows into a file of the same shape and settings. "Grouped" is
the plainest group commit there is: 100 Trio tasks hand rows to a writer, which takes all
that wait, hops into a thread for one transaction, and wakes them; no calls, no old
values, no savepoints. "Bare" is a loop of 100 rows and a commit, without any caller.
"""

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import trio

from iii_trio.adapters.sqlite import open_sqlite
from iii_trio.builtins.state import StateConfig, serve_state
from iii_trio.engine import open_engine
from iii_trio.worker import Worker, open_worker

CALLERS = 100
KEYS = 1000
VALUE = {"name": "a value of a common size", "tags": ["x", "y", "z"], "n": 1}

TABLE = """
CREATE TABLE key_value (
    place INTEGER PRIMARY KEY, collection TEXT NOT NULL, space TEXT NOT NULL,
    key TEXT NOT NULL, value BLOB NOT NULL, UNIQUE (collection, space, key)
) STRICT
"""
UPSERT = """
INSERT INTO key_value (collection, space, key, value) VALUES ('state', ?, ?, ?)
ON CONFLICT (collection, space, key) DO UPDATE SET value = excluded.value
"""


Rows = Iterator[tuple[str, str, dict[str, Any]]]


def rows() -> Rows:
    """Endless rows: scope, key, value."""
    for number in itertools.count():
        yield "bench", f"key-{number % KEYS}", VALUE | {"n": number}


def open_plain(path: Path) -> apsw.Connection:
    """A database file with the settings of the product."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = full")
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute(TABLE)
    return connection


Row = tuple[str, str, bytes]


def commit(connection: apsw.Connection, batch: list[Row]) -> None:
    """Write rows in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(UPSERT, batch)
    connection.execute("COMMIT")


def encoded(source: Rows) -> Row:
    """The next row, as it is stored."""
    scope, key, value = next(source)
    return scope, key, json.dumps(value).encode()


def bare(connection: apsw.Connection, seconds: float) -> float:
    """Rows per second, `CALLERS` to a commit, nobody asking for them."""
    source, count = rows(), 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        commit(connection, [encoded(source) for _ in range(CALLERS)])
        count += CALLERS
    return count / (time.perf_counter() - start)


async def grouped(connection: apsw.Connection, seconds: float) -> float:
    """Rows per second written for `CALLERS` tasks, each told after the commit."""
    source, count = rows(), 0
    waiting: list[tuple[Row, trio.lowlevel.Task]] = []
    lot = trio.lowlevel.ParkingLot()
    start = time.perf_counter()

    async def call() -> None:
        nonlocal count
        while time.perf_counter() - start < seconds:
            waiting.append((encoded(source), trio.lowlevel.current_task()))
            lot.unpark()
            await trio.lowlevel.wait_task_rescheduled(
                lambda _: trio.lowlevel.Abort.FAILED
            )
            count += 1

    async def write() -> None:
        while True:
            if not waiting:
                await lot.park()
            batch = waiting.copy()
            waiting.clear()
            batched = [row for row, _ in batch]
            await trio.to_thread.run_sync(commit, connection, batched)
            for _, task in batch:
                trio.lowlevel.reschedule(task)

    async with trio.open_nursery() as writer:
        writer.start_soon(write)
        async with trio.open_nursery() as callers:
            for _ in range(CALLERS):
                callers.start_soon(call)
        writer.cancel_scope.cancel(reason="measured")
    return count / (time.perf_counter() - start)


async def product(worker: Worker, seconds: float) -> float:
    """Answered ``state::set`` per second, by `CALLERS` tasks at once."""
    source, count = rows(), 0
    start = time.perf_counter()

    async def call() -> None:
        nonlocal count
        while time.perf_counter() - start < seconds:
            scope, key, value = next(source)
            await worker.invoke(
                "state::set", {"scope": scope, "key": key, "value": value}
            )
            count += 1

    async with trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(call)
    return count / (time.perf_counter() - start)


async def main() -> None:
    """Measure all in turn."""
    rounds, seconds = int(sys.argv[1]), float(sys.argv[2])
    directory = Path(sys.argv[3])
    connection = open_plain(directory / "plain.sqlite")
    median: Callable[[list[float]], float] = statistics.median
    floors: list[float] = []
    bares: list[float] = []
    rates: list[float] = []
    async with (
        open_sqlite(directory / "product.sqlite") as stores,
        open_engine() as engine,
        open_worker(engine, name="state") as keeper,
        open_worker(engine, name="caller") as caller,
        trio.open_nursery() as nursery,
    ):
        store = stores.key_value("state")
        await nursery.start(partial(serve_state, keeper, StateConfig(), store=store))
        for _ in range(rounds):
            bares.append(bare(connection, seconds))
            floors.append(await grouped(connection, seconds))
            rates.append(await product(caller, seconds))
        nursery.cancel_scope.cancel(reason="measured")
    ratios = [rate / floor for rate, floor in zip(rates, floors, strict=True)]
    found = {"rate": rates, "floor": floors, "bare": bares}
    medians = {name: median(values) for name, values in found.items()}
    print(json.dumps(medians | {"ratio": median(ratios)}))


if __name__ == "__main__":
    trio.run(main)
