"""Deliveries that begin while earlier ones are still being settled."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from iii_trio._util import open_background_nursery
from iii_trio.adapters import Message, NewMessage, QueueCounts, Settlement
from iii_trio.adapters.memory._queue import MemoryQueue
from iii_trio.adapters.sqlite import open_sqlite, run_inline
from iii_trio.builtins.queue import NamedQueue
from iii_trio.builtins.queue._consumer import Consumer
from iii_trio.builtins.queue._consumers import Consumers
from iii_trio.builtins.queue._delivery import Policy
from iii_trio.testing import Clock


@attrs.define
class Noting:
    """A target that notes what it got."""

    policy: Policy
    got: list[str] = attrs.field(factory=list)
    ready: bool = True

    def exists(self, _message: Message) -> bool:
        return True

    async def attempt(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        self.got.append(message.payload.decode())


@attrs.define
class HeldStore:
    """A store in which each settlement waits until it may go on."""

    memory: MemoryQueue = attrs.field(factory=MemoryQueue)
    may_settle: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(0))

    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        if message_id is not None:
            await self.may_settle.acquire()
        await self.memory.settle(queue, message_id, settlement)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.memory, name)


def message(payload: str, group: str | None = None) -> NewMessage:
    return NewMessage(
        queue="q",
        function_id="f",
        namespace="n",
        payload=payload.encode(),
        group=group,
    )


@asynccontextmanager
async def open_consumer(
    store: Any, concurrency: int
) -> AsyncIterator[tuple[Consumer, Noting]]:
    target = Noting(Policy.of_queue(NamedQueue(concurrency=concurrency)))
    async with open_background_nursery("test over") as nursery:
        consumers = Consumers(nursery=nursery, store=store, now=Clock())
        yield consumers.start("q", target), target


async def test_the_next_message_is_delivered_while_the_last_one_is_settled(
    autojump_clock: MockClock,
) -> None:
    store = HeldStore()
    await store.memory.put([message(name) for name in "abcd"])
    async with open_consumer(store, 1) as (_, target):
        await trio.testing.wait_all_tasks_blocked()
        assert target.got == ["a", "b"], "one settlement may wait beside a delivery"
        for count in (3, 4):
            store.may_settle.release()
            await trio.testing.wait_all_tasks_blocked()
            assert target.got == list("abcd")[:count]
        store.may_settle.release()
        store.may_settle.release()
        await trio.testing.wait_all_tasks_blocked()
        assert await store.memory.counts(0) == {}


async def test_a_group_waits_until_its_head_is_settled(
    autojump_clock: MockClock,
) -> None:
    store = HeldStore()
    await store.memory.put([message("a1", "a"), message("a2", "a"), message("b", "b")])
    async with open_consumer(store, 2) as (_, target):
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(target.got) == ["a1", "b"]
        store.may_settle.release()
        store.may_settle.release()
        await trio.testing.wait_all_tasks_blocked()
        assert target.got[2:] == ["a2"]


async def test_retiring_waits_for_settlements(autojump_clock: MockClock) -> None:
    store = HeldStore()
    await store.memory.put([message("a"), message("b")])
    async with open_consumer(store, 1) as (consumer, target):
        await trio.testing.wait_all_tasks_blocked()
        retired = trio.Event()

        async def retire() -> None:
            await consumer.retire()
            retired.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(retire)
            store.may_settle.release()
            await trio.testing.wait_all_tasks_blocked()
            assert not retired.is_set()
            store.may_settle.release()
        assert target.got == ["a", "b"]
        assert await store.memory.counts(0) == {}


async def test_a_consumer_that_is_stopped_settles_what_was_delivered(
    autojump_clock: MockClock,
) -> None:
    store = HeldStore()
    await store.memory.put([message("a")])
    async with open_consumer(store, 1) as (consumer, target):
        await trio.testing.wait_all_tasks_blocked()
        assert target.got == ["a"]
        consumer.stop()
        await trio.testing.wait_all_tasks_blocked()
        assert not consumer.done.is_set()
        store.may_settle.release()
        await consumer.done.wait()
        assert await store.memory.counts(0) == {}


async def test_a_consumer_that_is_stopped_does_not_settle_for_ever(
    autojump_clock: MockClock,
) -> None:
    store = HeldStore()
    await store.memory.put([message("a")])
    async with open_consumer(store, 1) as (consumer, _):
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        consumer.stop()
        await consumer.done.wait()
        assert trio.current_time() - began == pytest.approx(5)
        assert await store.memory.counts(0) == {"q": QueueCounts(active=1)}


@pytest.mark.slow
async def test_what_is_settled_and_what_is_taken_next_share_a_commit(
    tmp_path: Path,
) -> None:
    commits = 0

    def count() -> bool:
        nonlocal commits
        commits += 1
        return False

    async with open_sqlite(tmp_path / "engine.db", run=run_inline) as stores:
        store = stores.queue()
        await store.put([message(str(number)) for number in range(100)])
        await stores.writer.submit(lambda connection: connection.set_commit_hook(count))
        commits = 0
        async with open_consumer(store, 10) as (consumer, target):
            await trio.testing.wait_all_tasks_blocked()
            assert consumer.delivered == len(target.got) == 100
        assert await store.counts(0) == {}
    assert commits <= 15, "ten rounds, not twice as many"
