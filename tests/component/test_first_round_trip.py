"""Calls by URL before the engine has told what it can: it greets, and tells that later."""

import math
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from iii_trio.errors import InvocationTimeoutError
from iii_trio.testing import cancel_at_every_step, open_test_engine
from iii_trio.transport import FaultPlan
from iii_trio.worker import Worker, current_invocation, open_worker
from iii_trio.worker._pending import FEATURES_PATIENCE, MAX_WITHHELD
from tests.component.scripted_engine import GREETING, ScriptedEngine
from tests.component.worker_kinds import Hanging

pytestmark = pytest.mark.cancellation

LAG = 0.1
FAR = FaultPlan(delay=LAG / 2)


def lagging_engine(lag: float = LAG) -> ScriptedEngine:
    """An engine that tells its features so much later than it greets."""
    engine = ScriptedEngine()
    engine.lag = lag
    return engine


async def give_up(worker: Worker, engine: ScriptedEngine) -> dict[str, Any]:
    """Make a call and give it up before the engine has told; gives its frame."""
    with trio.move_on_after(LAG / 2):
        await worker.invoke("f")
    return engine.link.said[-1]


async def test_a_call_given_up_at_once_is_cancelled_once_that_can_be(
    autojump_clock: MockClock,
) -> None:
    engine = lagging_engine()
    async with open_worker(engine.attachment()) as worker:
        call = await give_up(worker, engine)
        with trio.fail_after(LAG + 1):
            cancel = await engine.link.heard("cancelinvocation")
        assert trio.current_time() == pytest.approx(LAG)
        with trio.move_on_after(1):
            await worker.invoke("g")
    assert cancel["invocation_id"] == call["invocation_id"]
    assert cancel["reason"] == "the caller was cancelled"
    assert engine.link.kinds()[1:] == ["invokefunction", "cancelinvocation"] * 2


async def test_a_call_given_up_that_was_answered_meanwhile_is_not_cancelled(
    autojump_clock: MockClock,
) -> None:
    engine = lagging_engine()
    async with open_worker(engine.attachment()) as worker:
        call = await give_up(worker, engine)
        engine.link.say(
            "invocationresult", invocation_id=call["invocation_id"], result=1
        )
        await trio.sleep(LAG)
    assert "cancelinvocation" not in engine.link.kinds()


@pytest.mark.parametrize("lag", [LAG, FEATURES_PATIENCE + 1, math.inf])
async def test_an_engine_that_does_not_tell_the_feature_gets_nothing_new(
    autojump_clock: MockClock, lag: float
) -> None:
    engine = lagging_engine(lag)
    engine.features = None
    async with open_worker(engine.attachment()) as worker:
        await give_up(worker, engine)
        with pytest.raises(InvocationTimeoutError):
            await worker.invoke("f", deadline=10)
        frames = engine.link.said
    assert [frame["type"] for frame in frames] == ["invokefunction"] * 3
    assert not any("deadline_ms" in frame for frame in frames)


async def test_a_call_with_a_deadline_waits_until_it_may_be_told_others_do_not(
    autojump_clock: MockClock,
) -> None:
    engine = lagging_engine()
    sent: dict[str, float] = {}
    deadlines: list[float | None] = []
    async with (
        open_worker(engine.attachment()) as worker,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(worker.invoke, "plain")

        @nursery.start_soon
        async def _() -> None:
            with pytest.raises(InvocationTimeoutError):
                await worker.invoke("bounded", deadline=5)
            assert trio.current_time() == pytest.approx(5)
            nursery.cancel_scope.cancel()

        for name in ("plain", "bounded"):
            frame = await engine.link.heard("invokefunction", function_id=name)
            sent[name] = trio.current_time()
            deadlines.append(frame.get("deadline_ms"))
    assert sent == {"plain": 0, "bounded": pytest.approx(LAG)}
    assert deadlines == [None, pytest.approx((5 - LAG) * 1000)]


async def test_an_engine_that_tells_nothing_holds_calls_up_once_and_for_a_bound(
    autojump_clock: MockClock,
) -> None:
    engine = lagging_engine(math.inf)
    async with (
        open_worker(engine.attachment()) as worker,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def _() -> None:
            await trio.sleep(FEATURES_PATIENCE - 0.1)
            engine.link.say("workerregistered", **GREETING)

        for name in ("first", "second"):
            with trio.move_on_after(FEATURES_PATIENCE + 1):
                await worker.invoke(name, deadline=60)
            assert engine.link.said[-1]["function_id"] == name
            assert "deadline_ms" not in engine.link.said[-1]


async def test_a_deadline_that_passes_before_the_call_may_be_sent_is_a_timeout(
    autojump_clock: MockClock,
) -> None:
    engine = lagging_engine()
    async with open_worker(engine.attachment()) as worker:
        with pytest.raises(InvocationTimeoutError):
            await worker.invoke("f", deadline=LAG / 2)
        assert trio.current_time() == pytest.approx(LAG / 2)
        await trio.sleep(LAG)
    assert engine.link.kinds() == ["invokefunction"]  # the announcement


async def test_a_call_that_waits_with_its_deadline_outlives_the_connection(
    autojump_clock: MockClock,
) -> None:
    engine = lagging_engine()
    async with (
        open_worker(engine.attachment()) as worker,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def _() -> None:
            await trio.sleep(LAG / 2)
            engine.link.lose()
            link = await engine.connection(2)
            frame = await link.heard("invokefunction", function_id="f")
            assert frame["deadline_ms"] < 60_000
            link.say("invocationresult", invocation_id=frame["invocation_id"], result=1)

        assert await worker.invoke("f", deadline=60) == 1
    assert engine.links[0].kinds() == ["invokefunction"]


async def test_what_is_given_up_meanwhile_is_kept_up_to_a_bound(
    autojump_clock: MockClock,
) -> None:
    engine = lagging_engine()
    async with open_worker(engine.attachment()) as worker:
        with trio.move_on_after(LAG / 2):
            async with trio.open_nursery() as nursery:
                for _ in range(MAX_WITHHELD + 5):
                    nursery.start_soon(worker.invoke, "f")
        await trio.sleep(LAG)
    kinds = engine.link.kinds()
    assert kinds.count("invokefunction") == 1 + MAX_WITHHELD + 5
    assert kinds.count("cancelinvocation") == MAX_WITHHELD


async def test_a_handler_behind_an_engine_is_cancelled_though_it_was_early(
    autojump_clock: MockClock,
) -> None:
    hanging = Hanging()
    async with open_test_engine() as t, t.open_worker("callee") as callee:
        callee.register_function("x::work", hanging)
        async with t.open_link_worker("caller", to_engine=FAR, to_worker=FAR) as caller:
            with trio.move_on_after(LAG / 5):
                await caller.invoke("x::work")
            await trio.sleep(2 * LAG)
            assert hanging.reasons == ["the caller was cancelled"]
            assert t.engine.statistics().invocations == 0


async def test_a_deadline_shrinks_along_a_chain_from_the_first_call_on(
    autojump_clock: MockClock,
) -> None:
    deadlines: list[float] = []
    async with open_test_engine() as t, t.open_link_worker("callee") as callee:

        @callee.function("x::outer")
        async def outer() -> None:
            await callee.invoke("x::inner")

        @callee.function("x::inner")
        async def inner() -> None:
            call = current_invocation()
            assert call is not None
            deadlines.append(call.deadline)
            await trio.lowlevel.checkpoint()

        async with t.open_link_worker("caller", to_engine=FAR, to_worker=FAR) as caller:
            begun = trio.current_time()
            await caller.invoke("x::outer", deadline=5)
    [deadline] = deadlines
    assert begun < deadline <= begun + 5 + LAG


def test_a_call_of_the_first_round_trip_can_be_cancelled_at_every_step() -> None:
    async def scenario() -> None:
        engine = ScriptedEngine()
        engine.lag = LAG

        async def answer() -> None:
            link = await engine.connection(1)
            for name in ("plain", "bounded"):
                frame = await link.heard("invokefunction", function_id=name)
                await trio.sleep(LAG / 4)
                link.say(
                    "invocationresult", invocation_id=frame["invocation_id"], result=1
                )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            async with open_worker(engine.attachment()) as worker:
                assert await worker.invoke("plain") == 1
                assert await worker.invoke("bounded", deadline=1) == 1

    assert cancel_at_every_step(scenario) > 5
