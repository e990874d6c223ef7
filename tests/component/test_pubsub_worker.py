"""The pub/sub worker: who gets what, in which order, and what is dropped."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from iii_trio.errors import InvocationError
from iii_trio.protocol import InvokeFunction
from iii_trio.testing import cancel_at_every_step
from tests.component.builtin_rig import BuiltinRig, open_pubsub_rig


async def publish(rig: BuiltinRig, topic: str, data: Any) -> Any:
    return await rig.client.invoke("publish", {"topic": topic, "data": data})


@pytest.mark.parametrize("data", [None, 0, False, "", [], {}, [1, None], {"a": {}}])
async def test_every_subscriber_of_the_topic_gets_the_data_as_it_is(
    autojump_clock: MockClock, data: Any
) -> None:
    async with open_pubsub_rig() as rig:
        one = await rig.record("subscribe", "on::one", {"topic": "a"})
        two = await rig.record("subscribe", "on::two", {"topic": "a"})
        other = await rig.record("subscribe", "on::other", {"topic": "a.b"})
        assert await publish(rig, "a", data) is None
        await rig.settle()
    assert (one, two, other) == ([data], [data], [])


async def test_topics_are_exact_and_nobody_is_an_audience_too(
    autojump_clock: MockClock,
) -> None:
    async with open_pubsub_rig() as rig:
        star = await rig.record("subscribe", "on::star", {"topic": "a.*"})
        for topic in ("a.b", "a", "A.*", "a.* "):
            assert await publish(rig, topic, 1) is None
        await rig.settle()
        assert star == []
        await publish(rig, "a.*", 1)
        await rig.settle()
    assert star == [1]


@pytest.mark.parametrize(
    ("payload", "code", "message"),
    [
        ({"topic": "", "data": 1}, "topic_not_set", "Topic is not set"),
        ({"topic": "t"}, "deserialization_error", "missing field `data`"),
        ({"data": 1}, "deserialization_error", "missing field `topic`"),
        ({"topic": 5, "data": 1}, "deserialization_error", "expected a string"),
        (None, "deserialization_error", "expected an object"),
    ],
)
async def test_what_names_no_message_is_refused(
    autojump_clock: MockClock, payload: Any, code: str, message: str
) -> None:
    async with open_pubsub_rig() as rig:
        failure = await rig.failure("publish", payload)
    assert failure.code == code
    assert message in str(failure)
    if code == "deserialization_error":
        assert "Failed to deserialize input for publish: " in str(failure)


@pytest.mark.parametrize("config", [None, 5, [], {}, {"topic": ""}, {"topic": 5}])
async def test_a_trigger_without_a_topic_is_taken_and_never_fires(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, config: Any
) -> None:
    async with open_pubsub_rig() as rig:
        got = await rig.record("subscribe", "on::any", config)
        await publish(rig, "t", 1)
        await rig.settle()
    assert got == []
    assert "names no topic and never fires" in caplog.text


async def test_the_answer_does_not_wait_for_handlers(autojump_clock: MockClock) -> None:
    ended: list[Any] = []
    async with open_pubsub_rig() as rig:

        @rig.client.function("on::slow")
        async def slow(data: Any) -> None:
            await trio.sleep(10)
            ended.append(data)

        await rig.client.bind("subscribe", "on::slow", {"topic": "t"})
        began = trio.current_time()
        await publish(rig, "t", 1)
        await publish(rig, "t", 2)
        assert (trio.current_time() - began, ended) == (0, [])
        await rig.handle.drain(60)
        assert trio.current_time() - began == 10
    assert sorted(ended) == [1, 2]


async def test_messages_begin_in_the_order_of_publishing(
    autojump_clock: MockClock,
) -> None:
    async with open_pubsub_rig() as rig:

        @rig.client.function("mostly::yes")
        async def mostly(data: int) -> bool:
            await trio.sleep((7 * data) % 5)
            return data % 10 != 3

        plain = await rig.record("subscribe", "on::plain", {"topic": "t"})
        asked = await rig.record(
            "subscribe", "on::asked", {"topic": "t"}, condition="mostly::yes"
        )
        for number in range(100):
            rig.client.fire("publish", {"topic": "t", "data": number})
            await rig.client.invoke("publish", {"topic": "other", "data": None})
        await rig.handle.drain(1000)
    assert plain == list(range(100))
    assert asked == [number for number in range(100) if number % 10 != 3]


async def test_a_link_worker_gets_messages_in_order_without_waiting_for_answers(
    autojump_clock: MockClock,
) -> None:
    async with open_pubsub_rig() as rig:
        async with rig.under_test.open_raw_peer("silent", "on::message") as peer:
            await rig.settle()
            await rig.client.bind("subscribe", "on::message", {"topic": "t"})
            for number in range(50):
                await publish(rig, "t", number)
            await rig.settle()
            assert rig.handle.statistics().under_way == 50
            calls = [f for f in peer.received if isinstance(f, InvokeFunction)]
            assert [int(bytes(call.data)) for call in calls] == list(range(50))
        await rig.settle()
        assert rig.handle.statistics().under_way == 0


@pytest.mark.parametrize("burst", [2, 3, 20, 200])
async def test_a_burst_of_void_calls_keeps_its_order(
    autojump_clock: MockClock, burst: int
) -> None:
    async with open_pubsub_rig() as rig:
        got = await rig.record("subscribe", "on::it", {"topic": "t"})
        async with rig.under_test.open_link_worker("far") as far:
            for _ in range(8):  # Trio reverses half of its batches
                for number in range(burst):
                    far.fire("publish", {"topic": "t", "data": number})
                await rig.settle()
        for number in range(burst):
            rig.client.fire("publish", {"topic": "t", "data": number})
        await rig.settle()
    assert got == [*range(burst)] * 9


@pytest.mark.parametrize("publishers", [1, 64])
async def test_nothing_is_dropped_while_the_subscriber_keeps_up(
    autojump_clock: MockClock, publishers: int
) -> None:
    async with open_pubsub_rig() as rig:
        got = await rig.record("subscribe", "on::it", {"topic": "t"})

        async def publish_all() -> None:
            await trio.lowlevel.checkpoint()
            for number in range(6400 // publishers):
                await rig.client.invoke("publish", {"topic": "t", "data": number})

        async with trio.open_nursery() as nursery:
            for _ in range(publishers):
                nursery.start_soon(publish_all)
        await rig.settle()
        assert len(got) == 6400
        assert rig.handle.statistics().dropped == 0


@pytest.mark.parametrize("steps", range(1, 9))
@pytest.mark.parametrize("first", [1, 2, 20])
async def test_a_burst_over_several_steps_of_the_loop_keeps_its_order(
    autojump_clock: MockClock, steps: int, first: int
) -> None:
    """Its second part comes while the deliveries of the first are at any point."""
    async with open_pubsub_rig() as rig:

        @rig.client.function("always::yes")
        async def always(_data: int) -> bool:
            await trio.lowlevel.checkpoint()
            return True

        plain = await rig.record("subscribe", "on::plain", {"topic": "t"})
        asked = await rig.record(
            "subscribe", "on::asked", {"topic": "t"}, condition="always::yes"
        )
        async with rig.under_test.open_link_worker("far") as far:
            for publisher in (rig.client, far):
                for _ in range(8):  # Trio reverses half of its batches
                    for part in (range(first), range(first, 2 * first + 1)):
                        for number in part:
                            publisher.fire("publish", {"topic": "t", "data": number})
                        for _ in range(steps):
                            await trio.lowlevel.checkpoint()
                    await rig.settle()
    assert plain == asked == [*range(2 * first + 1)] * 16


async def test_a_condition_is_cancelled_with_its_subscription(
    autojump_clock: MockClock,
) -> None:
    async with open_pubsub_rig() as rig:
        rig.client.register_function("is::hung", trio.sleep_forever)
        got = await rig.record(
            "subscribe",
            "on::asked",
            {"topic": "t"},
            condition="is::hung",
            trigger_id="t",
        )
        await publish(rig, "t", 1)
        await rig.settle()
        assert rig.handle.statistics().under_way == 1
        rig.client.unbind("t")
        await rig.settle()
        assert rig.handle.statistics().under_way == 0
        assert rig.under_test.engine.statistics().invocations == 0
    assert got == []


async def test_a_failing_subscriber_harms_nobody(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_pubsub_rig() as rig:

        @rig.client.function("on::bad")
        async def bad(_data: Any) -> None:
            await trio.lowlevel.checkpoint()
            raise ValueError("no")

        for target in ("on::bad", "no::where"):
            await rig.client.bind("subscribe", target, {"topic": "t"})
        await rig.client.bind(
            "subscribe", "on::bad", {"topic": "t"}, condition="no::condition"
        )
        fine = await rig.record("subscribe", "on::fine", {"topic": "t"})
        await publish(rig, "t", 1)
        await publish(rig, "t", 2)
        await rig.settle()
        assert rig.handle.statistics().under_way == 0
    assert fine == [1, 2]
    assert "no::where failed" in caplog.text
    assert "no::condition failed" in caplog.text


async def test_one_trigger_leaves_alone_and_duplicates_count(
    autojump_clock: MockClock,
) -> None:
    async with open_pubsub_rig() as rig:
        got = await rig.record("subscribe", "on::it", {"topic": "t"})
        second = await rig.client.bind("subscribe", "on::it", {"topic": "t"})
        await publish(rig, "t", 1)
        await rig.settle()
        rig.client.unbind(second)
        await rig.settle()
        await publish(rig, "t", 2)
        await rig.settle()
    assert got == [1, 1, 2]


async def test_messages_that_wait_for_a_condition_end_with_the_trigger(
    autojump_clock: MockClock,
) -> None:
    async with open_pubsub_rig() as rig:

        @rig.client.function("slowly::yes")
        async def slowly(_data: Any) -> bool:
            await trio.sleep(10)
            return True

        got = await rig.record(
            "subscribe",
            "on::it",
            {"topic": "t"},
            condition="slowly::yes",
            trigger_id="one",
        )
        for number in range(3):
            await publish(rig, "t", number)
        await trio.sleep(11)  # the second is being asked about
        rig.client.unbind("one")
        await rig.handle.drain(60)
        assert rig.handle.statistics().under_way == 0
    assert got == [0]


async def test_the_same_trigger_id_again_moves_to_its_new_topic(
    autojump_clock: MockClock,
) -> None:
    async with open_pubsub_rig() as rig:
        got = await rig.record("subscribe", "on::it", {"topic": "a"}, trigger_id="one")
        await rig.client.bind("subscribe", "on::it", {"topic": "b"}, trigger_id="one")
        await publish(rig, "a", "a")
        await publish(rig, "b", "b")
        await rig.settle()
        assert got == ["b"]
        await rig.client.bind("subscribe", "on::it", None, trigger_id="one")
        await publish(rig, "b", "b")
        await rig.settle()
        assert rig.handle.statistics().subscriptions == 0
    assert got == ["b"]


async def test_a_publisher_that_leaves_does_not_cancel_the_deliveries(
    autojump_clock: MockClock,
) -> None:
    ended: list[Any] = []
    async with open_pubsub_rig() as rig:

        @rig.client.function("on::slow")
        async def slow(data: Any) -> None:
            await trio.sleep(10)
            ended.append(data)

        await rig.client.bind("subscribe", "on::slow", {"topic": "t"})
        async with rig.under_test.open_link_worker("passer-by") as passer_by:
            await passer_by.invoke("publish", {"topic": "t", "data": 1}, deadline=1.0)
            passer_by.fire("publish", {"topic": "t", "data": 2})
        await trio.sleep(11)
    assert sorted(ended) == [1, 2]


async def test_messages_above_the_bound_are_dropped_for_that_subscriber_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "iii_trio.builtins.pubsub")
    async with open_pubsub_rig() as rig:
        go = trio.Event()
        begun: list[Any] = []

        @rig.client.function("on::stuck")
        async def stuck(data: Any) -> None:
            begun.append(data)
            await go.wait()

        await rig.client.bind("subscribe", "on::stuck", {"topic": "t"})
        fine = await rig.record("subscribe", "on::fine", {"topic": "t"})
        for number in range(1200):
            await publish(rig, "t", number)
        await rig.settle()
        assert rig.handle.statistics().under_way == 1000
        assert rig.handle.statistics().dropped == 200
        go.set()
        await rig.settle()
        assert rig.handle.statistics().under_way == 0
    assert begun == list(range(1000))
    assert fine == list(range(1200))
    assert "200 messages were dropped" in caplog.text


async def test_the_worker_takes_all_with_it_and_comes_back(
    autojump_clock: MockClock,
) -> None:
    async with open_pubsub_rig() as rig:
        await rig.record("subscribe", "on::it", {"topic": "t"})
        rig.serving.cancel()
        await rig.settle()
        with pytest.raises(InvocationError):
            await publish(rig, "t", 1)


def test_a_cancelled_publish_reached_all_subscribers_or_none() -> None:
    happened: set[int] = set()

    @asynccontextmanager
    async def setup() -> AsyncIterator[tuple[BuiltinRig, list[Any]]]:
        async with open_pubsub_rig() as rig:
            got = await rig.record("subscribe", "on::it", {"topic": "t"})
            await rig.client.bind("subscribe", "on::it", {"topic": "t"})
            yield rig, got

    async def scenario(context: tuple[BuiltinRig, list[Any]]) -> None:
        await publish(context[0], "t", 1)

    def invariant(context: tuple[BuiltinRig, list[Any]]) -> None:
        rig, got = context
        assert rig.handle.statistics().under_way == 0
        happened.add(len(got))

    cancel_at_every_step(scenario, invariant, setup=setup)
    assert happened == {0, 2}
