"""Queues and topics of another engine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.builtins.queue import (
    NamedQueue,
    QueueConfig,
)
from iii_trio.errors import FunctionFailedError, FunctionNotFoundError
from tests.component.bridge_rig import (
    BridgeRig,
    Side,
    open_queue_rigs_with_handle,
)

ONCE = {"topic": "t", "queue_config": {"maxRetries": 0}}


@asynccontextmanager
async def open_queue_rigs(
    config: QueueConfig | None = None,
) -> AsyncIterator[BridgeRig]:
    async with open_queue_rigs_with_handle(config) as (rig, _):
        yield rig


async def publish(side: Side, data: Any) -> None:
    await side.worker.invoke("iii::durable::publish", {"topic": "t", "data": data})
    await wait_all_tasks_blocked()


def begin_slowly(side: Side) -> tuple[list[Any], list[Any]]:
    """Offer ``on::t``, which takes 20 s; what has begun there, and what has ended."""
    begun: list[Any] = []
    ended: list[Any] = []

    @side.worker.function("on::t")
    async def run(data: Any) -> None:
        begun.append(data)
        await trio.sleep(20)
        ended.append(data)

    return begun, ended


async def counts_over_there(rig: BridgeRig) -> tuple[int, int]:
    """Messages that wait or are being delivered, and dead ones."""
    asked = {"topic": "t"}
    stats = await rig.there.worker.invoke("engine::queue::topic_stats", asked)
    return stats["depth"], stats["dlq_depth"]


async def test_calls_are_enqueued_and_delivered_over_there(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rigs() as rig:
        got = rig.there.offer("mail::send", None)
        receipt = await rig.here.worker.enqueue("mail::send", {"n": 1}, queue="mail")
        await wait_all_tasks_blocked()
        assert receipt
        assert got == [{"n": 1}]
        with pytest.raises(FunctionFailedError, match="queue_not_defined") as caught:
            await rig.here.worker.enqueue("mail::send", 1, queue="none")
        assert caught.value.code == "enqueue_error"


async def test_topics_reach_the_subscribers_of_both_engines(
    autojump_clock: MockClock,
) -> None:
    kind = "durable:subscriber"
    async with open_queue_rigs() as rig:
        here = await rig.here.record(kind, "on::here", {"topic": "t"})
        there = await rig.there.record(kind, "on::there", {"queue": "t"})
        await publish(rig.here, 1)
        await publish(rig.there, {"n": None})
        assert here == there == [1, {"n": None}]


async def test_a_failed_delivery_is_retried_and_buried_over_there(
    autojump_clock: MockClock,
) -> None:
    attempts: list[float] = []
    async with open_queue_rigs() as rig:

        @rig.here.worker.function("on::fail")
        async def fail() -> None:
            await trio.lowlevel.checkpoint()
            attempts.append(trio.current_time())
            raise FunctionFailedError("no luck", code="bad_day")

        settings = {"maxRetries": 2, "backoffDelayMs": 100}
        config = {"topic": "t", "queue_config": settings}
        await rig.here.worker.bind("durable:subscriber", "on::fail", config)
        await publish(rig.here, 1)
        await trio.sleep(5)
        asked = {"topic": "t"}
        dead = await rig.here.worker.invoke("engine::queue::dlq_messages", asked)
        assert [one["error"] for one in dead] == ["bad_day: no luck"]
        moved = await rig.here.worker.invoke("iii::queue::redrive", {"queue": "t"})
        assert moved["redriven"] == 1
        await trio.sleep(5)
    assert len(attempts) == 6
    assert attempts[2] - attempts[1] == pytest.approx(0.2, abs=0.05)


async def test_conditions_are_asked_here_and_metadata_is_kept(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rigs() as rig:

        @rig.here.worker.function("is::large")
        async def is_large(data: int) -> bool:
            await trio.lowlevel.checkpoint()
            return data > 10

        kind, config = "durable:subscriber", {"topic": "t"}
        got = await rig.here.record(kind, "on::t", config, condition="is::large")
        await publish(rig.there, 5)
        await publish(rig.there, 50)
        stats = await rig.here.worker.invoke(
            "engine::queue::topic_stats", {"topic": "t"}
        )
    assert got == [50]
    assert (stats["depth"], stats["dlq_depth"]) == (0, 0)


async def test_messages_collect_while_the_subscriber_is_away(
    autojump_clock: MockClock,
) -> None:
    kind, config = "durable:subscriber", {"topic": "t"}
    got: list[Any] = []

    async def collect(payload: Any) -> None:
        await trio.lowlevel.checkpoint()
        got.append(payload)

    async with open_queue_rigs() as rig:
        async with rig.here.under_test.open_worker("away") as worker:
            worker.register_function("on::t", collect)
            await worker.bind(kind, "on::t", config)
            await publish(rig.there, 1)
        await publish(rig.there, 2)
        await trio.sleep(60)
        assert got == [1]
        rig.here.wire.cut()
        await publish(rig.there, 3)
        await trio.sleep(60)
        async with rig.here.under_test.open_worker("away") as worker:
            worker.register_function("on::t", collect)
            await worker.bind(kind, "on::t", config)
            await trio.sleep(60)
            assert sorted(got) == [1, 2, 3]  # ten at a time, in no order


async def test_messages_wait_while_the_function_is_absent(
    autojump_clock: MockClock,
) -> None:
    kind, config = "durable:subscriber", {"topic": "t"}
    async with open_queue_rigs() as rig:
        await rig.here.worker.bind(kind, "on::t", config)
        await publish(rig.there, 1)
        await trio.sleep(60)
        got = rig.here.offer("on::t", None)
        await trio.sleep(1)
        assert got == [1]
        rig.here.worker.unregister_function("on::t")
        await trio.sleep(1)
        await publish(rig.there, 2)
        await trio.sleep(60)
        got = rig.here.offer("on::t", None)
        await trio.sleep(1)
        assert got == [2]


@pytest.mark.parametrize("away", [0.05, 5.0])
async def test_a_function_that_goes_unnoticed_costs_no_delivery(
    autojump_clock: MockClock, away: float
) -> None:
    async with open_queue_rigs() as rig:
        got = await rig.here.record("durable:subscriber", "on::t", ONCE)
        await trio.sleep(1)
        rig.here.worker.unregister_function("on::t")
        await publish(rig.there, 1)
        await trio.sleep(away)
        again = rig.here.offer("on::t", None)
        await trio.sleep(2)
        assert (got, again) == ([], [1])


async def test_a_function_that_was_away_as_its_trigger_came_is_found(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rigs() as rig:
        rig.here.offer("on::t", None)
        await trio.sleep(1)
        rig.here.worker.unregister_function("on::t")
        await rig.here.worker.bind("durable:subscriber", "on::t", {"topic": "t"})
        got = rig.here.offer("on::t", None)  # before the engine tells that it was away
        await trio.sleep(2)
        await publish(rig.there, 1)
        assert got == [1]


async def test_what_a_function_does_not_find_has_failed(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rigs() as rig:

        @rig.here.worker.function("on::t")
        async def ask() -> None:
            await trio.lowlevel.checkpoint()
            raise FunctionNotFoundError("no such", function_id="other")

        await rig.here.worker.bind("durable:subscriber", "on::t", ONCE)
        await publish(rig.there, 1)
        await trio.sleep(60)
        assert await counts_over_there(rig) == (0, 1)


async def test_draining_ends_deliveries_and_lets_messages_wait_over_there(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rigs_with_handle() as (rig, handle):
        begun, ended = begin_slowly(rig.here)
        await rig.here.worker.bind("durable:subscriber", "on::t", ONCE)
        await publish(rig.there, 1)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle.drain, 60)
            await trio.sleep(5)
            await publish(rig.there, 2)
            rig.here.offer("an::other", None)  # which is noticed
        assert trio.current_time() - began == pytest.approx(20)
        await trio.sleep(60)
        assert (begun, ended) == ([1], [1])
        assert await counts_over_there(rig) == (1, 0)


async def test_draining_takes_no_longer_than_it_may(autojump_clock: MockClock) -> None:
    async with open_queue_rigs_with_handle() as (rig, handle):
        begun, ended = begin_slowly(rig.here)
        await rig.here.worker.bind("durable:subscriber", "on::t", ONCE)
        await publish(rig.there, 1)
        began = trio.current_time()
        await handle.drain(5)
        assert trio.current_time() - began == pytest.approx(5)
        assert (begun, ended) == ([1], [])


async def test_an_engine_that_drains_buries_no_message_over_there(
    autojump_clock: MockClock,
) -> None:
    """Also when it does so by itself: one delivery is cut off, two come meanwhile."""
    async with open_queue_rigs() as rig:
        begun, ended = begin_slowly(rig.here)
        await rig.here.worker.bind("durable:subscriber", "on::t", ONCE)
        await publish(rig.there, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.here.under_test.engine.drain, 10)
            await trio.sleep(1)
            await publish(rig.there, 2)
            await publish(rig.there, 3)
        await trio.sleep(60)
        assert (begun, ended) == ([1], [])
        assert await counts_over_there(rig) == (3, 0)


async def test_several_triggers_of_a_function_are_one_subscriber(
    autojump_clock: MockClock,
) -> None:
    kind, config = "durable:subscriber", {"topic": "t"}
    async with open_queue_rigs() as rig:
        got = rig.here.offer("on::t", None)
        for trigger_id in ("one", "two"):
            await rig.here.worker.bind(kind, "on::t", config, trigger_id=trigger_id)
        await wait_all_tasks_blocked()
        await publish(rig.here, 1)
        rig.here.worker.unbind("one")
        await wait_all_tasks_blocked()
        await publish(rig.here, 2)
        assert got == [1, 2]
        rig.here.worker.unbind("two")
        rig.here.worker.unbind("two")
        await wait_all_tasks_blocked()
        assert rig.there.under_test.engine.statistics().triggers == 1  # its own
        await publish(rig.here, 3)
        await trio.sleep(60)
        assert got == [1, 2]


async def test_of_several_triggers_the_last_one_decides(
    autojump_clock: MockClock,
) -> None:
    kind, config = "durable:subscriber", {"topic": "t"}
    async with open_queue_rigs() as rig:
        rig.here.offer("is::wanted", False)
        got = rig.here.offer("on::t", None)
        bind = rig.here.worker.bind
        await bind(kind, "on::t", config, trigger_id="one", condition="is::wanted")
        await bind(kind, "on::t", config, trigger_id="two")
        await wait_all_tasks_blocked()
        await publish(rig.there, 1)
        assert got == [1]


async def test_what_does_not_fit_is_refused(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    config = QueueConfig(queue_configs={"mine": NamedQueue()})
    async with open_queue_rigs(config) as rig:
        with pytest.raises(Exception, match="Failed to parse trigger config"):
            await rig.here.worker.bind("durable:subscriber", "f", {"topic": 5})
        failure = await rig.here.failure("iii::durable::publish", {"topic": ""})
        assert failure.code in ("deserialization_error", "topic_not_set")
        rig.here.wire.cut(stay_down=True)
        failure = await rig.here.failure("iii::durable::publish", {"topic": "t"})
        assert failure.code == "TIMEOUT"
        assert "not connected" in failure.message
    assert "queue_configs is ignored" in caplog.text
