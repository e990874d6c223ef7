"""Links that are cut, stalled, dropped or half-closed at any byte, all at once.

Nothing comes to rest between the steps here, so no model can say what happens; the rules
hold all the same: a caller is told at most once, a healthy one exactly once, and when the
broken links are gone the engine holds nothing.
"""

from collections import Counter, defaultdict

import attrs
import trio
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.protocol import (
    InvocationOpened,
    InvocationResult,
    InvocationSettled,
    InvokeFunction,
)
from iii_trio.testing import EngineUnderTest, RawPeer, open_test_engine, run, strategies
from iii_trio.transport import FaultPlan

NO_FAULTS = FaultPlan()


@attrs.frozen
class Plan:
    """What one peer suffers, and whom it calls.

    Attributes:
        calls: which peers it calls, with a pause before each, in tenths of a second.
    """

    to_engine: FaultPlan
    to_peer: FaultPlan
    calls: list[tuple[int, int]]

    @property
    def is_healthy(self) -> bool:
        """Whether everything that it says and hears arrives, however late."""
        fatal = (
            (plan.cut_after, plan.end_after, plan.drop_after, plan.stall_after)
            for plan in (self.to_engine, self.to_peer)
        )
        return all(count == float("inf") for plan in fatal for count in plan)


def plans() -> st.SearchStrategy[list[Plan]]:
    faults = strategies.fault_plans(max_bytes=1500, pieces=(29, 65536))
    calls = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=8)
    broken = st.builds(Plan, faults, faults, calls)
    healthy = st.builds(Plan, st.just(NO_FAULTS), st.just(NO_FAULTS), calls)
    return st.tuples(healthy, broken, broken, broken | healthy).map(list)


class Life:
    """A peer that serves one function and makes its calls."""

    def __init__(self, harness: EngineUnderTest, number: int, plan: Plan) -> None:
        self.plan = plan
        self.number = number
        self.made: list[str] = []
        self.peer: RawPeer = harness.connect_raw_peer(
            to_engine=plan.to_engine, to_peer=plan.to_peer
        )
        self.peer.announce(f"peer-{number}")
        self.peer.register(f"f::{number}")

    async def serve(self) -> None:
        await trio.lowlevel.checkpoint()
        while self.peer.closed is None:
            try:
                self.peer.answer(await self.peer.expect(InvokeFunction))
            except trio.BrokenResourceError:
                return

    async def call(self) -> None:
        await trio.lowlevel.checkpoint()
        for callee, pause in self.plan.calls:
            await trio.sleep(pause / 10)
            self.made.append(self.peer.call(f"f::{callee}"))

    def check(self) -> None:
        told: dict[str, int] = defaultdict(int)
        for frame in self.peer.received:
            if isinstance(frame, InvocationResult):
                told[frame.invocation_id] += 1
        assert set(told) <= set(self.made)
        assert max(told.values(), default=1) == 1, "a caller was told twice"
        if self.plan.is_healthy:
            assert set(told) == set(self.made), "a healthy caller was not told"
            assert self.peer.closed is None, "a healthy peer was disturbed"


async def live(plans: list[Plan], seed: int) -> None:
    async with open_test_engine(seed=seed) as harness:
        lives = [Life(harness, number, plan) for number, plan in enumerate(plans)]
        async with trio.open_nursery() as nursery:
            for life in lives:
                nursery.start_soon(life.serve)
                nursery.start_soon(life.call)
            await trio.sleep(60)
            nursery.cancel_scope.cancel(reason="they lived long enough")
        for life in lives:
            if not life.plan.is_healthy:
                life.peer.cut()
        await trio.sleep(60)
        for life in lives:
            life.check()
            life.peer.cut()
        await trio.sleep(60)
        check_nothing_is_left(harness)


def check_nothing_is_left(harness: EngineUnderTest) -> None:
    left = harness.engine.statistics()
    assert left.workers == left.functions == left.invocations == left.timers == 0
    events = harness.events
    opened = Counter(e.invocation_id for e in events.of(InvocationOpened))
    settled = Counter(e.invocation_id for e in events.of(InvocationSettled))
    assert opened == settled
    assert set(settled.values()) <= {1}


@given(plans(), st.integers(0, 2**16))
def test_faults_at_any_byte_leave_nothing_and_disturb_no_healthy_worker(
    plans: list[Plan], seed: int
) -> None:
    run(live, plans, seed)
