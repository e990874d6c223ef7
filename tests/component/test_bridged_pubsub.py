"""Topics that another engine carries."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.builtins.pubsub import PubSubAdapterConfig, PubSubConfig, serve_pubsub
from iii_trio.testing import open_test_engine
from tests.component.bridge_rig import BridgeRig, Side, open_bridge_rig

BRIDGED = PubSubConfig(
    adapter=PubSubAdapterConfig(
        name="bridge", config={"bridge_url": "ws://other.example:49134"}
    )
)


@asynccontextmanager
async def open_pubsub_rigs() -> AsyncIterator[BridgeRig]:
    async with open_bridge_rig() as rig:
        await rig.serve(rig.there, serve_pubsub, config=PubSubConfig())
        connect = rig.here.wire.connect
        await rig.serve(rig.here, serve_pubsub, config=BRIDGED, connect=connect)
        yield rig


async def publish(side: Side, topic: str, data: Any) -> None:
    assert await side.worker.invoke("publish", {"topic": topic, "data": data}) is None
    await wait_all_tasks_blocked()


async def test_messages_reach_the_subscribers_of_both_engines_once(
    autojump_clock: MockClock,
) -> None:
    async with open_pubsub_rigs() as rig:
        here = [
            await rig.here.record("subscribe", f"on::{n}", {"topic": "t"})
            for n in range(2)
        ]
        there = await rig.there.record("subscribe", "on::there", {"topic": "t"})
        other = await rig.here.record("subscribe", "on::other", {"topic": "other"})
        await publish(rig.here, "t", {"from": "here"})
        await publish(rig.there, "t", None)
        await publish(rig.here, "nobody", 1)
        assert [*here, there] == [[{"from": "here"}, None]] * 3
        assert other == []


async def test_the_order_of_the_other_engine_is_kept(autojump_clock: MockClock) -> None:
    async with open_pubsub_rigs() as rig:
        here = await rig.here.record("subscribe", "on::here", {"topic": "t"})
        there = await rig.there.record("subscribe", "on::there", {"topic": "t"})
        for number in range(50):
            rig.here.worker.fire("publish", {"topic": "t", "data": number})
            rig.there.worker.fire("publish", {"topic": "t", "data": -number})
        await wait_all_tasks_blocked()
        assert len(here) == 100
        assert here == there


async def test_a_topic_is_heard_only_while_it_has_subscribers(
    autojump_clock: MockClock,
) -> None:
    async with open_pubsub_rigs() as rig:
        triggers = rig.there.under_test.engine.statistics
        await rig.here.record("subscribe", "on::a", {"topic": "t"}, trigger_id="a")
        await rig.here.record("subscribe", "on::b", {"topic": "t"}, trigger_id="b")
        assert triggers().triggers == 1
        rig.here.worker.unbind("a")
        await wait_all_tasks_blocked()
        assert triggers().triggers == 1
        rig.here.worker.unbind("b")
        rig.here.worker.unbind("b")
        await wait_all_tasks_blocked()
        assert triggers().triggers == 0
        listed = await rig.there.worker.invoke("engine::functions::list", {})
        assert "iii-pubsub-bridge" not in str(listed)
        again = await rig.here.record("subscribe", "on::c", {"topic": "t"})
        await publish(rig.there, "t", 1)
        assert again == [1]


async def test_a_trigger_that_goes_at_once_leaves_nothing_over_there(
    autojump_clock: MockClock,
) -> None:
    async with open_pubsub_rigs() as rig:
        peer = rig.here.under_test.connect_raw_peer()
        peer.announce("hasty")
        trigger = {"id": "x", "trigger_type": "subscribe", "function_id": "f"}
        peer.send({"type": "registertrigger", **trigger, "config": {"topic": "t"}})
        peer.send({"type": "unregistertrigger", "id": "x"})
        await wait_all_tasks_blocked()
        assert rig.there.under_test.engine.statistics().triggers == 0


async def test_conditions_are_asked_here(autojump_clock: MockClock) -> None:
    async with open_pubsub_rigs() as rig:

        @rig.here.worker.function("is::large")
        async def is_large(data: int) -> bool:
            await trio.lowlevel.checkpoint()
            return data > 10

        got = await rig.here.record(
            "subscribe", "on::t", {"topic": "t"}, condition="is::large"
        )
        await publish(rig.there, "t", 5)
        await publish(rig.there, "t", 50)
        assert got == [50]


async def test_a_lost_engine_refuses_messages_and_comes_back_with_the_subscribers(
    autojump_clock: MockClock,
) -> None:
    async with open_pubsub_rigs() as rig:
        got = await rig.here.record("subscribe", "on::t", {"topic": "t"})
        rig.here.wire.cut(stay_down=True)
        failure = await rig.here.failure("publish", {"topic": "t", "data": 1})
        assert failure.code == "publish_failed"
        assert "not connected" in failure.message
        later = await rig.here.record("subscribe", "on::later", {"topic": "later"})
        await rig.here.wire.come_back()
        await publish(rig.here, "t", 2)
        await publish(rig.here, "later", 3)
        assert (got, later) == ([2], [3])


async def test_bad_input_is_refused_here(autojump_clock: MockClock) -> None:
    async with open_pubsub_rigs() as rig:
        rig.here.wire.cut(stay_down=True)
        failure = await rig.here.failure("publish", {"topic": "", "data": 1})
        assert failure.code == "topic_not_set"
        failure = await rig.here.failure("publish", {"topic": "t"})
        assert failure.code == "deserialization_error"
        got = await rig.here.record("subscribe", "on::t", {})
        assert got == []


@pytest.mark.parametrize(
    "config", [{"bridge_url": "http://x"}, {"url": "ws://x"}, {"bridge_url": 5}]
)
def test_settings_of_the_bridge_are_checked(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"url"):
        PubSubAdapterConfig(name="bridge", config=config)


async def test_three_engines_share_the_topics_of_one(autojump_clock: MockClock) -> None:
    async with (
        open_pubsub_rigs() as rig,
        open_test_engine(seed=3) as third,
        third.open_worker("iii-pubsub") as server,
        third.open_worker("caller") as caller,
        trio.open_nursery() as nursery,
    ):
        connect = rig.here.wire.connect

        await nursery.start(partial(serve_pubsub, server, BRIDGED, connect=connect))
        got = await rig.here.record("subscribe", "on::t", {"topic": "t"})
        await caller.invoke("publish", {"topic": "t", "data": "from the third"})
        await wait_all_tasks_blocked()
        assert got == ["from the third"]
        nursery.cancel_scope.cancel(reason="shown")


async def test_subscribers_that_come_and_go_while_it_connects_are_told_right(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:
        await rig.serve(rig.there, serve_pubsub, config=PubSubConfig())
        rig.here.wire.up = False
        connect = rig.here.wire.connect
        await rig.serve(rig.here, serve_pubsub, config=BRIDGED, connect=connect)
        for number in range(10):
            topic, trigger = {"topic": f"t{number}"}, f"{number}"
            await rig.here.record(
                "subscribe", f"on::{number}", topic, trigger_id=trigger
            )
        await rig.here.wire.come_back()
        while not rig.there.under_test.engine.statistics().triggers:  # noqa: ASYNC110
            await trio.sleep(0.001)
        for number in range(0, 10, 2):
            rig.here.worker.unbind(f"{number}")
        got = await rig.here.record("subscribe", "on::late", {"topic": "late"})
        await wait_all_tasks_blocked()
        assert rig.there.under_test.engine.statistics().triggers == 6
        await publish(rig.there, "late", 1)
        assert got == [1]
