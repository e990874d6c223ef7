"""Misbehaving workers: the others get their answers, and nothing is left of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.errors import (
    InvocationRefusedError,
    InvocationStoppedError,
    InvocationTimeoutError,
)
from iii_trio.protocol import WorkerDetached, decode_error
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.worker import Worker
from tests import peers

pytestmark = pytest.mark.cancellation

MAKE: dict[str, Callable[[EngineUnderTest], peers.Animal]] = {
    "crashing": peers.Crashing,
    "silent": peers.Silent,
    "slow": peers.Slow,
    "flooding": lambda harness: peers.Flooding(harness, "honest::echo"),
    "lying": peers.Lying,
    "half-closed": peers.HalfClosed,
    "reconnecting storm": peers.ReconnectingStorm,
}


@asynccontextmanager
async def open_honest_pair(
    harness: EngineUnderTest,
) -> AsyncIterator[tuple[Worker, Worker]]:
    """A worker that serves ``honest::echo`` and one over a link that calls it."""
    async with (
        harness.open_worker("server") as server,
        harness.open_link_worker("client") as client,
    ):

        @server.function("honest::echo")
        async def echo(data: object) -> object:
            await trio.sleep(0.1)
            return data

        yield server, client


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())
async def test_others_notice_nothing_of_a_misbehaving_worker(
    make: Callable[[EngineUnderTest], peers.Animal], autojump_clock: MockClock
) -> None:
    async with (
        open_test_engine() as harness,
        open_honest_pair(harness) as (_, client),
        trio.open_nursery() as nursery,
    ):
        animal = make(harness)
        nursery.start_soon(animal.run)
        await wait_all_tasks_blocked()
        client.fire(animal.function_id, "provoked")
        for n in range(20):
            assert await client.invoke("honest::echo", {"n": n}) == {"n": n}
        nursery.cancel_scope.cancel(reason="seen enough")
        animal.peer.cut()
    statistics = harness.engine.statistics()
    assert statistics.workers == statistics.invocations == statistics.functions == 0


async def test_callers_of_a_crashing_worker_are_told_at_once(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as harness,
        harness.open_worker() as caller,
        trio.open_nursery() as nursery,
    ):
        animal = peers.Crashing(harness)
        nursery.start_soon(animal.run)
        await wait_all_tasks_blocked()
        start = trio.current_time()
        with pytest.raises(InvocationStoppedError):
            await caller.invoke(animal.function_id)
        assert trio.current_time() == start


async def test_a_half_closed_worker_is_gone(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as harness,
        harness.open_worker() as caller,
        trio.open_nursery() as nursery,
    ):
        animal = peers.HalfClosed(harness)
        nursery.start_soon(animal.run)
        await wait_all_tasks_blocked()
        with pytest.raises(InvocationStoppedError):
            await caller.invoke(animal.function_id)
        await harness.events.wait_for(WorkerDetached, reason="the peer hung up")


async def test_a_silent_worker_is_given_up_at_the_deadline(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as harness, harness.open_worker() as caller:
        animal = peers.Silent(harness)
        await wait_all_tasks_blocked()
        with pytest.raises(InvocationTimeoutError):
            await caller.invoke(animal.function_id, deadline=3600)
        assert harness.engine.statistics().invocations == 0


async def test_calls_of_a_slow_worker_are_refused_above_the_soft_limit(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as harness,
        harness.open_worker() as caller,
        trio.open_nursery() as nursery,
    ):
        animal = peers.Slow(harness)
        nursery.start_soon(animal.run)
        await wait_all_tasks_blocked()
        large = "x" * (5 * 2**20)
        caller.fire(animal.function_id, large)
        caller.fire(animal.function_id, large)
        with pytest.raises(InvocationRefusedError, match="is behind"):
            await caller.invoke(animal.function_id, large)
        nursery.cancel_scope.cancel(reason="seen enough")


async def test_the_first_answer_of_a_lying_worker_counts(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as harness,
        harness.open_worker() as caller,
        harness.open_raw_peer("victim", "victim::work") as victim,
        trio.open_nursery() as nursery,
    ):
        animal = peers.Lying(harness)
        nursery.start_soon(animal.run)
        await wait_all_tasks_blocked()
        call_id = victim.call("victim::work")
        call = await victim.served("victim::work")
        assert call.invocation_id is not None
        animal.overheard.append(call.invocation_id)
        assert await caller.invoke(animal.function_id) == "first"
        await wait_all_tasks_blocked()
        victim.fail(call, "the_truth")
        outcome = await victim.outcome(call_id)
        assert decode_error(outcome.error).code == "the_truth"
        assert harness.engine.statistics().late_answers > 0
        nursery.cancel_scope.cancel(reason="seen enough")


async def test_after_a_storm_of_reconnects_one_worker_is_left(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as harness:
        animal = peers.ReconnectingStorm(harness)
        await animal.run()
        await wait_all_tasks_blocked()
        statistics = harness.engine.statistics()
        assert (statistics.workers, statistics.functions) == (1, 1)
        assert len(harness.events.of(WorkerDetached)) == animal.times
