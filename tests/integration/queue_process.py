"""A process with a queue on SQLite that tells what it does: for tests that kill it.

Arguments: the file, how many messages to send, the name of a point at which the process
kills itself (or ``-``), and how often it passes that point first.
"""

import functools
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import attrs
import trio

import iii_trio
from iii_trio.adapters import Done, NewMessage, QueueStore, Settlement, Taken
from iii_trio.adapters.sqlite import open_sqlite
from iii_trio.builtins.queue import NamedQueue, QueueConfig, serve_queue

GROUPS = 3
CONFIG = QueueConfig(
    queue_configs={
        "q": NamedQueue(
            type="fifo", message_group_field="group", backoff_ms=1, max_retries=9
        )
    }
)


def tell(what: str, number: object) -> None:
    """Say it at once; the pipe outlives the process."""
    os.write(1, f"{what} {number}\n".encode())


@attrs.define
class Points:
    """Kills the process when it passes a named point for the n-th time."""

    name: str
    passes: int

    def here(self, name: str) -> None:
        if name != self.name:
            return
        self.passes -= 1
        if self.passes < 0:
            os.kill(os.getpid(), signal.SIGKILL)


@attrs.define(eq=False)
class ToldStore:
    """A queue store that tells when an acknowledgement is committed."""

    store: QueueStore
    points: Points
    numbers: dict[str, int] = attrs.field(factory=dict)
    news: trio.Event = attrs.field(factory=trio.Event)

    async def put(self, messages: Sequence[NewMessage]) -> None:
        self.points.here("before put")
        await self.store.put(messages)
        self.points.here("after put")

    async def take(self, queue: str, limit: int, now: float) -> Taken:
        self.points.here("before take")
        taken = await self.store.take(queue, limit, now)
        self.points.here("after take")
        for message in taken.messages:
            number = number_in(message.payload)
            self.numbers[message.message_id] = number
        return taken

    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        self.points.here("before settle")
        await self.store.settle(queue, message_id, settlement)
        if message_id is not None and settlement == Done():
            tell("settled", self.numbers[message_id])
        self.points.here("after settle")
        self.news.set()
        self.news = trio.Event()

    async def move(self, *args: Any, **options: Any) -> int:
        return await self.store.move(*args, **options)

    async def dead(self, *args: Any) -> Any:
        return await self.store.dead(*args)

    async def counts(self, now: float) -> Any:
        return await self.store.counts(now)


def number_in(payload: bytes) -> int:
    """The number of a message."""
    return int(payload.partition(b'"number":')[2].partition(b"}")[0])


async def main(path: str, count: int, points: Points) -> None:
    """Send messages, deliver them, leave when none is left."""
    async with (
        iii_trio.open_engine() as engine,
        open_sqlite(path) as stores,
        iii_trio.open_worker(engine, name="iii-queue") as server,
        iii_trio.open_worker(engine) as worker,
        trio.open_nursery() as nursery,
    ):
        store = ToldStore(stores.queue(), points)
        failed: set[int] = set()

        @worker.function("job::run")
        async def run(data: dict[str, int]) -> None:
            number = data["number"]
            tell("begun", number)
            points.here("in delivery")
            await trio.lowlevel.checkpoint()
            if number % 7 == 0 and number not in failed:
                failed.add(number)
                raise ValueError(number)

        records = stores.key_value("queue")
        await nursery.start(
            functools.partial(serve_queue, server, CONFIG, store=store, records=records)
        )

        async def send(group: int) -> None:
            await trio.lowlevel.checkpoint()
            for number in range(group, count, GROUPS):
                data = {"group": group, "number": number}
                await worker.enqueue("job::run", data, queue="q")
                tell("acknowledged", number)

        async with trio.open_nursery() as senders:
            for group in range(GROUPS):
                senders.start_soon(send, group)
        tell("sent", count)
        news = store.news
        while await store.counts(0):
            await news.wait()
            news = store.news
        tell("empty", 0)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    _, given_path, given_count, point, passed = sys.argv
    trio.run(main, given_path, int(given_count), Points(point, int(passed)))
