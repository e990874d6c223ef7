"""A day of cron ticks, timeouts and lost connections, twice, with the same result.

Nothing sleeps for real: virtual time jumps to whatever is due next. What is random, the
jitter of back-off and the order of events on several links, comes from seeds. What Trio
alone decides is the order of tasks that are due at the same instant: a diary is
compared instant by instant.
"""

from typing import Any

import attrs
import pytest
import trio

from iii_trio.errors import InvocationError
from iii_trio.protocol import Event, InvocationSettled, WorkerAttached, WorkerDetached
from iii_trio.testing import run
from iii_trio.transport import MemoryConnection
from iii_trio.worker import Worker
from tests.component.builtin_rig import BuiltinRig, open_cron_rig

pytestmark = pytest.mark.cancellation

HOUR = 3600.0
DAY = 24 * HOUR
OUTAGE = 90.0
"""Seconds, from half past every sixth hour on, in which connections do not live."""


@attrs.define(eq=False)
class Diary:
    """What happened on the day, with the second of the day."""

    began: float = attrs.field(factory=trio.current_time)
    lines: list[tuple[float, str]] = attrs.field(factory=list)
    connection: MemoryConnection | None = None

    def now(self) -> float:
        return trio.current_time() - self.began

    def note(self, line: str) -> None:
        self.lines.append((self.now(), line))

    def on_event(self, event: Event) -> None:
        if isinstance(event, InvocationSettled):
            self.note(f"settled {event.function_id} {event.code}")
        elif isinstance(event, WorkerAttached | WorkerDetached):
            self.note(f"{type(event).__name__} {event.worker_id}")

    def is_outage(self) -> bool:
        return (self.now() - HOUR / 2) % (6 * HOUR) < OUTAGE

    def on_connect(self, connection: MemoryConnection) -> None:
        self.note("dialled")
        self.connection = connection
        if self.is_outage():
            connection.cut("outage")

    async def cut_in_outages(self) -> None:
        await trio.sleep(HOUR / 2)
        while True:
            assert self.connection is not None
            self.connection.cut("outage")
            await trio.sleep(6 * HOUR)

    def by_instant(self) -> list[tuple[float, str]]:
        return sorted((round(when, 6), what) for when, what in self.lines)

    def times(self, line: str) -> list[float]:
        return [when for when, what in self.lines if what == line]


def serve(worker: Worker, diary: Diary) -> None:
    @worker.function("far::hourly")
    async def hourly(tick: Any) -> None:
        await trio.lowlevel.checkpoint()
        diary.note(f"tick {tick['scheduled_time']}")
        try:
            await worker.invoke("far::slow", deadline=5)
        except InvocationError as exc:
            diary.note(f"slow: {exc.code}")

    @worker.function("far::slow")
    async def slow() -> None:
        try:
            await trio.sleep(HOUR)
        except trio.Cancelled:
            diary.note("slow cancelled")
            raise


async def live_through_a_day() -> Diary:
    diary = Diary()
    async with open_cron_rig() as rig:
        rig.under_test.engine.subscribe(diary.on_event)
        await _serve_far_away(rig, diary)
    return diary


async def _serve_far_away(rig: BuiltinRig, diary: Diary) -> None:
    async with (
        rig.under_test.open_link_worker("far", on_connect=diary.on_connect) as far,
        trio.open_nursery() as nursery,
    ):
        serve(far, diary)
        await far.bind("cron", "far::hourly", {"expression": "0 * * * *"})
        nursery.start_soon(diary.cut_in_outages)
        await trio.sleep(DAY + 60)
        assert rig.under_test.engine.statistics().invocations == 0
        nursery.cancel_scope.cancel(reason="the day is over")


def test_a_day_passes_at_once_and_twice_the_same() -> None:
    first, second = run(live_through_a_day), run(live_through_a_day)
    assert first.by_instant() == second.by_instant()

    ticks = [line for _, line in first.lines if line.startswith("tick ")]
    assert len(ticks) == len(set(ticks)) == 24
    # Each tick's own call runs into its deadline, which cancels the handler behind it.
    timeouts = first.times("slow: TIMEOUT")
    assert [round(when) for when in timeouts] == [n * HOUR + 5 for n in range(1, 25)]
    assert first.times("slow cancelled") == timeouts


def test_each_outage_is_met_with_growing_pauses_and_survived() -> None:
    diary = run(live_through_a_day)
    dials = diary.times("dialled")[1:]
    for outage in range(4):
        since = outage * 6 * HOUR + HOUR / 2
        tries = [when - since for when in dials if 0 <= when - since < HOUR]
        pauses = [b - a for a, b in zip([0.0, *tries], tries, strict=False)]
        # 1, 2, 4... seconds, 30 at most, each moved by up to 30 %.
        for n, pause in enumerate(pauses):
            assert 0.7 <= pause / min(2.0**n, 30.0) <= 1.3
        assert tries[-2] < OUTAGE <= tries[-1]
    assert len(diary.lines) > 24 * 4
