"""Durable writes by 100 in-process callers, and plain apsw beside them.

Arguments: what (``state`` or ``queue``), rounds, seconds per measurement, directory.
Prints one JSON line with medians. Both floors write the same rows into a table of the
same shape and settings. "Grouped" is the plainest group commit there is: 100 Trio tasks
hand rows to a writer, which takes all that wait, hops into a thread for one transaction,
and wakes them; no calls, no old values, no consumer. "Bare" is a loop of 100 rows and a
commit, without any caller.

Messages are enqueued for an hour later, so that nobody delivers them meanwhile. The
delivery rate is that of a backlog: from the moment at which its queue is defined until
every message was handled and removed. What is left is counted by the writer, behind the
removals: readers that count all the time would keep its thread from the only core.
"""

import itertools
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import attrs
import trio

from iii_trio.adapters import NewMessage
from iii_trio.adapters.sqlite import SQLiteStores, open_sqlite
from iii_trio.builtins.queue import QueueConfig, serve_queue
from iii_trio.builtins.state import StateConfig, serve_state
from iii_trio.engine import open_engine
from iii_trio.worker import Worker, open_worker

CALLERS = 100
KEYS = 1000
BACKLOG = 2000
HOUR = 3600.0
VALUE = {"name": "a value of a common size", "tags": ["x", "y", "z"], "n": 1}

STATE_TABLE = """
CREATE TABLE key_value (
    place INTEGER PRIMARY KEY, collection TEXT NOT NULL, space TEXT NOT NULL,
    key TEXT NOT NULL, value BLOB NOT NULL, UNIQUE (collection, space, key)
) STRICT
"""
STATE_WRITE = """
INSERT INTO key_value (collection, space, key, value) VALUES ('state', ?, ?, ?)
ON CONFLICT (collection, space, key) DO UPDATE SET value = excluded.value
"""
QUEUE_TABLE = """
CREATE TABLE queue_message (
    place INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL,
    state INTEGER NOT NULL, grp TEXT, priority INTEGER NOT NULL, due REAL NOT NULL,
    attempts INTEGER NOT NULL, function_id TEXT NOT NULL, namespace TEXT NOT NULL,
    payload BLOB NOT NULL, traceparent TEXT, baggage TEXT, error TEXT, failed_at REAL
) STRICT;
CREATE INDEX queue_ready ON queue_message (queue, state, priority DESC, place);
CREATE INDEX queue_delayed ON queue_message (queue, due) WHERE state = 2;
CREATE INDEX queue_group ON queue_message (queue, grp, state, place)
    WHERE grp IS NOT NULL
"""
QUEUE_LEFT = "SELECT count(*) FROM queue_message WHERE queue = ?"
QUEUE_WRITE = """
INSERT INTO queue_message (queue, state, priority, due, attempts, function_id,
    namespace, payload) VALUES ('["queue","default"]', 2, 0, ?, 0, ?, 'default', ?)
"""

Row = tuple[Any, ...]
Call = Callable[[Worker, dict[str, Any]], Awaitable[object]]


def values() -> Iterator[dict[str, Any]]:
    """Endless values, each with its number."""
    for number in itertools.count():
        yield VALUE | {"n": number}


@attrs.frozen
class Case:
    """One kind of durable write.

    Attributes:
        table: SQL that makes the floor's table.
        write: SQL that writes one row of it.
        row: the row of a value, for the floors.
        call: the same through the product, answered after the commit.
    """

    table: str
    write: str
    row: Callable[[dict[str, Any]], Row]
    call: Call


def state_row(value: dict[str, Any]) -> Row:
    """Scope, key, value."""
    return "bench", f"key-{value['n'] % KEYS}", json.dumps(value).encode()


async def state_set(worker: Worker, value: dict[str, Any]) -> None:
    """``state::set`` of one of `KEYS` keys."""
    key = f"key-{value['n'] % KEYS}"
    await worker.invoke("state::set", {"scope": "bench", "key": key, "value": value})


def queue_row(value: dict[str, Any]) -> Row:
    """Due, function, payload."""
    return time.time() + HOUR, "bench::job", json.dumps(value).encode()


async def enqueue(worker: Worker, value: dict[str, Any]) -> None:
    """Enqueue for later."""
    await worker.enqueue("bench::job", value, queue="default", delay=HOUR)


CASES = {
    "state": Case(STATE_TABLE, STATE_WRITE, state_row, state_set),
    "queue": Case(QUEUE_TABLE, QUEUE_WRITE, queue_row, enqueue),
}


def open_plain(path: Path, table: str) -> apsw.Connection:
    """A database file with the settings of the product."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = full")
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute(table)
    return connection


def commit(connection: apsw.Connection, write: str, batch: list[Row]) -> None:
    """Write rows in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(write, batch)
    connection.execute("COMMIT")


def bare(connection: apsw.Connection, case: Case, seconds: float) -> float:
    """Rows per second, `CALLERS` to a commit, nobody asking for them."""
    source, count = values(), 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        batch = [case.row(next(source)) for _ in range(CALLERS)]
        commit(connection, case.write, batch)
        count += CALLERS
    return count / (time.perf_counter() - start)


async def grouped(connection: apsw.Connection, case: Case, seconds: float) -> float:
    """Rows per second written for `CALLERS` tasks, each told after the commit."""
    waiting: list[tuple[Row, trio.lowlevel.Task]] = []
    lot = trio.lowlevel.ParkingLot()

    async def call(value: dict[str, Any]) -> None:
        waiting.append((case.row(value), trio.lowlevel.current_task()))
        lot.unpark()
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    async def write() -> None:
        while True:
            if not waiting:
                await lot.park()
            batch = waiting.copy()
            waiting.clear()
            batched = [row for row, _ in batch]
            await trio.to_thread.run_sync(commit, connection, case.write, batched)
            for _, task in batch:
                trio.lowlevel.reschedule(task)

    async with trio.open_nursery() as writer:
        writer.start_soon(write)
        rate = await answered(call, seconds)
        writer.cancel_scope.cancel(reason="measured")
    return rate


async def answered(
    call: Callable[[dict[str, Any]], Awaitable[object]], seconds: float
) -> float:
    """Calls per second, made by `CALLERS` tasks at once."""
    source, count = values(), 0
    start = time.perf_counter()

    async def caller() -> None:
        nonlocal count
        while time.perf_counter() - start < seconds:
            await call(next(source))
            count += 1

    async with trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(caller)
    return count / (time.perf_counter() - start)


@asynccontextmanager
async def open_product(stores: SQLiteStores) -> AsyncIterator[Worker]:
    """State and queue in one engine, and a worker that calls them."""
    async with (
        open_engine() as engine,
        open_worker(engine, name="state") as state,
        open_worker(engine, name="queue") as queue,
        open_worker(engine, name="caller") as caller,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(
            partial(serve_state, state, StateConfig(), store=stores.key_value("state"))
        )
        await nursery.start(
            partial(
                serve_queue,
                queue,
                QueueConfig(),
                store=stores.queue(),
                records=stores.key_value("queue"),
            )
        )
        yield caller
        nursery.cancel_scope.cancel(reason="measured")


async def delivered(caller: Worker, stores: SQLiteStores, name: str) -> float:
    """Messages of a backlog that are handled and removed per second."""
    function_id, stored = f"bench::{name}", f'["queue","{name}"]'
    left, done = BACKLOG, trio.Event()

    async def handle(_value: object) -> None:
        nonlocal left
        await trio.lowlevel.checkpoint()
        left -= 1
        if not left:
            done.set()

    caller.register_function(function_id, handle)
    source = values()
    backlog = [
        NewMessage(
            queue=stored,
            function_id=function_id,
            namespace="default",
            payload=json.dumps(next(source)).encode(),
        )
        for _ in range(BACKLOG)
    ]
    await stores.queue().put(backlog)
    start = time.perf_counter()
    definition = {"queue": name, "config": {"concurrency": CALLERS}}
    await caller.invoke("queue::define", definition)
    await done.wait()
    while await stores.writer.submit(
        lambda connection: connection.execute(QUEUE_LEFT, (stored,)).get
    ):
        pass
    return BACKLOG / (time.perf_counter() - start)


async def main() -> None:
    """Measure all in turn."""
    what, rounds, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    directory = Path(sys.argv[4])
    case = CASES[what]
    connection = open_plain(directory / "plain.sqlite", case.table)
    found: dict[str, list[float]] = {"bare": [], "floor": [], "rate": []}
    if what == "queue":
        found["delivered"] = []
    async with (
        open_sqlite(directory / "product.sqlite") as stores,
        open_product(stores) as caller,
        # Not among the many messages that are due in an hour.
        open_sqlite(directory / "backlog.sqlite") as others,
        open_product(others) as other,
    ):
        for number in range(rounds):
            found["bare"].append(bare(connection, case, seconds))
            found["floor"].append(await grouped(connection, case, seconds))
            found["rate"].append(await answered(partial(case.call, caller), seconds))
            if what == "queue":
                name = f"backlog-{number}"
                rate = await delivered(other, others, name)
                found["delivered"].append(rate)
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    ratios = {
        f"{name}_ratio": statistics.median(
            rate / floor for rate, floor in zip(rates, found["floor"], strict=True)
        )
        for name, rates in found.items()
    }
    print(json.dumps(medians | ratios))


if __name__ == "__main__":
    trio.run(main)
