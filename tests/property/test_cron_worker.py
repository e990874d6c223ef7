"""Random triggers that come, go and run long fire when plain CronSim says, in any zone.

Expressions are those in which grammars agree; time is virtual and begins near a change of
clocks. Functions take half seconds, so that no tick falls on the end of a call.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import hypothesis
import trio
from cronsim import CronSim
from hypothesis import strategies as st

from iii_trio.testing import run
from tests.component.builtin_rig import BuiltinRig, open_cron_rig
from tests.property.test_cron_schedule import ZONES

Step = tuple[str, Any]

EXPRESSIONS = (
    *("* * * * *", "*/7 * * * *", "30 * * * *", "0 2 * * *", "30 2 * * *"),
    *("15,45 1-3 * * *", "0 */2 * * *", "0 0 * * 0", "5 0 1 * *"),
)
TAKES = (0.5, 90.5, 3600.5, 10_000.5)
"""How long functions run, in seconds."""

LIVE = ("one", "two", "three")
"""Trigger ids; bound again, one has a new schedule, and waits for its last call."""

JUMPS = (
    datetime(2026, 3, 29, tzinfo=UTC),  # Europe
    datetime(2026, 10, 25, tzinfo=UTC),
    datetime(2026, 3, 8, 5, tzinfo=UTC),  # America
    datetime(2026, 11, 1, 4, tzinfo=UTC),
    datetime(2026, 4, 4, 12, tzinfo=UTC),  # New Zealand
    datetime(2026, 2, 15, tzinfo=UTC),  # Morocco
    datetime(2018, 11, 4, tzinfo=UTC),  # Brazil, at midnight
)
bound = st.tuples(
    st.sampled_from(LIVE),
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(ZONES),
    st.sampled_from(TAKES),
)
steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("bind"), bound),
    st.tuples(st.just("unbind"), st.sampled_from(LIVE)),
    st.tuples(st.just("wait"), st.sampled_from([61.25, 3600.25, 10_000.25])),
)


@attrs.define
class Binding:
    """A trigger of the model: it fires at ``ticks`` unless its function still runs."""

    function_id: str
    ticks: CronSim
    takes: float
    due: datetime
    busy_until: datetime

    def advance(self, until: datetime) -> tuple[list[datetime], int]:
        """The ticks that fire until then, and how many are dropped."""
        fired, dropped = [], 0
        while self.due <= until:
            if self.due < self.busy_until:
                dropped += 1
            else:
                fired.append(self.due)
                self.busy_until = self.due + timedelta(seconds=self.takes)
            self.move_on()
        return fired, dropped

    def move_on(self) -> None:
        last = self.due
        while self.due <= last:  # a time that comes twice, or lies in a gap
            self.due = next(self.ticks).astimezone(UTC)


@attrs.define
class Model:
    """What must have fired, by function, and how many ticks were dropped."""

    now: datetime
    live: dict[str, Binding] = attrs.field(factory=dict)
    busy_until: dict[str, datetime] = attrs.field(factory=dict)
    expected: dict[str, list[str]] = attrs.field(factory=lambda: defaultdict(list))
    got: dict[str, list[str]] = attrs.field(factory=lambda: defaultdict(list))
    dropped: int = 0

    async def do(self, rig: BuiltinRig, number: int, step: Step) -> None:
        await trio.lowlevel.checkpoint()
        what, about = step
        if what == "bind":
            await self.bind(rig, number, about)
        elif what == "unbind":
            if self._end(about):
                rig.client.unbind(about)
        else:
            await self.wait(rig, about)

    async def bind(
        self, rig: BuiltinRig, number: int, about: tuple[str, str, str, float]
    ) -> None:
        trigger_id, expression, zone_name, takes = about
        self._end(trigger_id)
        function_id = f"job::{number}"
        self._register(rig, function_id, takes)
        config = {"expression": expression, "timezone": zone_name}
        await rig.client.bind("cron", function_id, config, trigger_id=trigger_id)
        binding = Binding(
            function_id,
            CronSim(expression, self.now.astimezone(ZoneInfo(zone_name))),
            takes,
            due=self.now,
            busy_until=self.busy_until.get(trigger_id, self.now),
        )
        binding.move_on()
        self.live[trigger_id] = binding

    def _end(self, trigger_id: str) -> bool:
        binding = self.live.pop(trigger_id, None)
        if binding is not None:
            self.busy_until[trigger_id] = binding.busy_until
        return binding is not None

    def _register(self, rig: BuiltinRig, function_id: str, takes: float) -> None:
        async def job(payload: Any) -> None:
            self.got[function_id].append(payload["scheduled_time"])
            assert payload["actual_time"][:19] == payload["scheduled_time"][:19]
            await trio.sleep(takes)

        rig.client.register_function(function_id, job)

    async def wait(self, rig: BuiltinRig, seconds: float) -> None:
        await trio.sleep(seconds)
        self.now += timedelta(seconds=seconds)
        for binding in self.live.values():
            fired, dropped = binding.advance(self.now)
            self.dropped += dropped
            self.expected[binding.function_id] += [one.isoformat() for one in fired]
        assert {name: times for name, times in self.got.items() if times} == {
            name: times for name, times in self.expected.items() if times
        }
        statistics = rig.handle.statistics()
        assert statistics.fired == sum(map(len, self.expected.values()))
        assert statistics.missed == self.dropped


@hypothesis.given(st.sampled_from(JUMPS), st.lists(steps, max_size=12))
def test_triggers_fire_when_plain_cronsim_says(
    start: datetime, program: list[Step]
) -> None:
    async def main() -> None:
        async with open_cron_rig(start.timestamp()) as rig:
            model = Model(start)
            for number, step in enumerate([*program, ("wait", 10_000.25)]):
                await model.do(rig, number, step)

    run(main)
