"""Consumers with targets that follow a script: what can come between two steps."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from iii_trio._util import open_background_nursery
from iii_trio.adapters import Message, NewMessage, QueueCounts, QueueStore, Taken
from iii_trio.adapters.memory import open_memory
from iii_trio.adapters.memory._queue import MemoryQueue
from iii_trio.builtins.queue import NamedQueue
from iii_trio.builtins.queue._consumer import NotNowError
from iii_trio.builtins.queue._consumers import Consumers
from iii_trio.builtins.queue._delivery import Policy
from iii_trio.errors import FunctionNotFoundError
from iii_trio.testing import Clock
from tests.component.queue_rig import QueueRig, open_queue_rig


@attrs.define
class ScriptedTarget:
    """Does in each attempt what the script says next, then succeeds."""

    script: list[Callable[[], None]] = attrs.field(factory=list)
    policy: Policy = attrs.field(factory=lambda: Policy.of_queue(NamedQueue()))
    ready: bool = True
    present: bool = True
    attempts: list[str] = attrs.field(factory=list)

    def exists(self, _message: Message) -> bool:
        return self.present

    async def attempt(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        self.attempts.append(message.payload.decode())
        if self.script:
            self.script.pop(0)()


@asynccontextmanager
async def open_consumers(store: QueueStore) -> AsyncIterator[Consumers]:
    async with open_background_nursery("test over") as nursery:
        yield Consumers(nursery=nursery, store=store, now=Clock())


def message(payload: bytes = b"1") -> NewMessage:
    return NewMessage(queue="q", function_id="f", namespace="n", payload=payload)


async def test_a_function_that_goes_before_it_is_called_costs_no_attempt(
    autojump_clock: MockClock,
) -> None:
    store, target = MemoryQueue(), ScriptedTarget()

    def vanish() -> None:
        target.present = False
        raise FunctionNotFoundError("gone", function_id="f")

    target.script.append(vanish)
    async with open_consumers(store) as consumers:
        await store.put([message()])
        consumer = consumers.start("q", target)
        await trio.sleep(60)
        assert await store.counts(0) == {"q": QueueCounts(active=1)}
        target.present = True
        consumers.functions_changed()
        await trio.sleep(1)
        assert target.attempts == ["1", "1"]
        assert (consumer.delivered, consumer.failed) == (1, 0)


async def test_a_nested_function_that_is_not_found_is_a_failure(
    autojump_clock: MockClock,
) -> None:
    store, target = MemoryQueue(), ScriptedTarget()

    def miss() -> None:
        raise FunctionNotFoundError("another one", function_id="g")

    target.script.append(miss)
    async with open_consumers(store) as consumers:
        await store.put([message()])
        consumer = consumers.start("q", target)
        await trio.sleep(60)
        assert (consumer.delivered, consumer.failed) == (1, 1)


async def test_what_cannot_be_delivered_now_waits_without_an_attempt(
    autojump_clock: MockClock,
) -> None:
    store, target = MemoryQueue(), ScriptedTarget()

    def refuse() -> None:
        target.ready = False
        raise NotNowError

    target.script.append(refuse)
    async with open_consumers(store) as consumers:
        await store.put([message()])
        consumer = consumers.start("q", target)
        await trio.sleep(1)
        assert await store.counts(0) == {"q": QueueCounts(waiting=1)}
        target.ready = True
        consumers.wake("q")
        await trio.sleep(1)
        assert (consumer.delivered, consumer.failed) == (1, 0)


async def test_a_consumer_that_ends_idle_ends_at_once() -> None:
    store, target = MemoryQueue(), ScriptedTarget()
    async with open_consumers(store) as consumers:
        consumer = consumers.start("q", target)
        await trio.testing.wait_all_tasks_blocked()
        consumers.finish("q")
        await consumer.done.wait()
        consumers.finish("q")
        consumers.stop("q")
        consumers.wake("q")
        assert consumers.get("q") is None
        again = consumers.start("q", target)
        await store.put([message()])
        again.wake()
        await trio.testing.wait_all_tasks_blocked()
        assert again.delivered == 1


@attrs.define
class MeanwhileStore:
    """A store in which something happens while a message is being stored."""

    store: QueueStore
    meanwhile: Callable[[], Any] | None = None

    async def put(self, messages: Sequence[NewMessage]) -> None:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        await self.store.put(messages)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@pytest.mark.parametrize("kind", ["standard", "fifo"])
async def test_a_subscriber_that_comes_while_a_message_is_stored_gets_it(
    kind: str,
) -> None:
    async with open_memory() as stores:
        store: Any = MeanwhileStore(stores.queue())
        async with open_queue_rig(store=store) as rig:
            got = rig.collect()
            config = {"topic": "t", "queue_config": {"type": kind}}

            async def subscribe() -> None:
                await rig.client.bind("durable:subscriber", "job::run", config)

            store.meanwhile = subscribe
            await rig.call("iii::durable::publish", topic="t", data=1)
            await rig.settle()
            assert got == [1]


async def test_two_triggers_of_one_subscription_end_one_by_one() -> None:
    async with open_queue_rig() as rig:
        got = rig.collect()
        await bind(rig, "1")
        await bind(rig, "2")
        for trigger_id, published in (("2", 1), ("1", 2)):
            await rig.call("iii::durable::publish", topic="t", data=published)
            await rig.settle()
            rig.client.unbind(trigger_id)
        await rig.settle()
        assert got == [1, 2]
        assert await rig.records.items("subscriptions") == []


async def bind(rig: QueueRig, trigger_id: str) -> None:
    config = {"topic": "t"}
    await rig.client.bind(
        "durable:subscriber", "job::run", config, trigger_id=trigger_id
    )


@attrs.define(eq=False)
class CountingStore:
    """A queue store that remembers when it was asked for messages."""

    memory: MemoryQueue = attrs.field(factory=MemoryQueue)
    takes: list[float] = attrs.field(factory=list)

    async def take(self, queue: str, limit: int, now: float) -> Taken:
        self.takes.append(now)
        return await self.memory.take(queue, limit, now)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.memory, name)


async def test_a_message_due_later_than_what_is_awaited_wakes_nobody(
    autojump_clock: MockClock,
) -> None:
    counting = CountingStore()
    store: Any = counting
    async with open_queue_rig(store=store) as rig:
        takes = counting.takes
        got = rig.collect()

        async def enqueue_in(seconds: float) -> None:
            await rig.client.enqueue(
                "job::run", seconds, queue="default", delay=seconds
            )
            await rig.settle()

        await rig.settle()
        await enqueue_in(60)
        before = len(takes)
        await enqueue_in(90)
        await enqueue_in(120)
        assert len(takes) == before
        await enqueue_in(30)
        assert len(takes) > before
        await trio.sleep(119)
        assert got == [30, 60, 90]
        await trio.sleep(2)
        assert got == [30, 60, 90, 120]


@pytest.mark.parametrize("found_absent", ["when it is taken", "when it is called"])
async def test_a_function_that_was_away_for_a_moment_gets_its_message(
    autojump_clock: MockClock, found_absent: str
) -> None:
    """Of which the engine tells nothing: what there is, is what there was."""
    store, target = MemoryQueue(), ScriptedTarget()

    def vanish() -> None:
        target.present = False
        raise FunctionNotFoundError("gone", function_id="f")

    if found_absent == "when it is called":
        target.script.append(vanish)
    else:
        target.present = False
    async with open_consumers(store) as consumers:
        await store.put([message()])
        consumer = consumers.start("q", target)
        await trio.sleep(0.09)
        target.present = True
        await trio.sleep(1)
        assert (consumer.delivered, consumer.failed) == (1, 0)


async def test_a_target_that_was_away_for_a_moment_gets_its_message(
    autojump_clock: MockClock,
) -> None:
    store, target = MemoryQueue(), ScriptedTarget()
    async with open_consumers(store) as consumers:
        consumer = consumers.start("q", target)
        for delivered in (1, 2):
            target.ready = False
            await store.put([message()])
            consumers.wake("q")
            await trio.sleep(0.09)
            target.ready = True
            await trio.sleep(1)
            assert (consumer.delivered, consumer.failed) == (delivered, 0)
