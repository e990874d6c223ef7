"""The triggers bound to `cron`: one heap of due times, one job each. No tasks here.

A job that still runs when it is due again, or that is noticed late, loses ticks: they
are counted and logged, never made up for.
"""

import heapq
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, final
from weakref import WeakValueDictionary

import attrs

from iii_trio.builtins.cron._grammar import CronError
from iii_trio.builtins.cron._schedule import Schedule
from iii_trio.errors import RegistrationError
from iii_trio.worker import Trigger

logger = logging.getLogger("iii_trio.builtins.cron")

MAX_COUNTED: Final = 10_000
"""Ticks counted after a pause; a week of an every-second job is not walked through."""

MAX_SETBACK: Final = timedelta(hours=3)
"""A wall clock that is set back further was wrong before: its times are no promises."""

MIN_STALE: Final = 64
"""Entries of ended jobs that the heap may hold besides as many as there are jobs."""


def moment_of(seconds: float) -> datetime:
    """Wall time in seconds since 1970 as an aware time."""
    return datetime.fromtimestamp(seconds, UTC)


@final
@attrs.define(eq=False, kw_only=True)
class Job:
    """One trigger and when it fires.

    Attributes:
        due: the next time to fire; ``None``: never again.
        running: whether its function is being called now, also for a job that it replaced.
        missed: ticks that were dropped in all.
        missed_running: those dropped by the call that runs.
    """

    trigger: Trigger
    schedule: Schedule
    due: datetime | None = None
    running: bool = False
    missed: int = 0
    missed_running: int = 0


@attrs.frozen(kw_only=True)
class CronStatistics:
    """Counts of a cron worker.

    Attributes:
        jobs: triggers bound now.
        running: functions being called now.
        fired: ticks that started a call.
        missed: ticks dropped, because the function still ran or the time had passed.
    """

    jobs: int
    running: int
    fired: int
    missed: int


@final
@attrs.define(eq=False)
class Jobs:
    """All jobs by trigger id, and the order in which they are due.

    Args:
        now: wall time, seconds since 1970.
    """

    _now: Callable[[], float]
    _by_id: dict[str, Job] = attrs.field(init=False, factory=dict)
    # (due, number, job): the number keeps the order of equal times, and jobs apart.
    _heap: list[tuple[datetime, int, Job]] = attrs.field(init=False, factory=list)
    _number: int = attrs.field(init=False, default=0)
    # Whose calls run, by id: a trigger that is bound anew waits for its last call.
    _called: set[str] = attrs.field(init=False, factory=set)
    # Triggers of one expression share its schedule, and so the answer it remembers.
    _schedules: WeakValueDictionary[tuple[str, str], Schedule] = attrs.field(
        init=False, factory=WeakValueDictionary
    )
    _looked_at: datetime | None = attrs.field(init=False, default=None)
    fired: int = attrs.field(init=False, default=0)
    missed: int = attrs.field(init=False, default=0)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._by_id.values())

    def get(self, trigger_id: str) -> Job | None:
        """The job of a trigger, ``None`` if there is none."""
        return self._by_id.get(trigger_id)

    def is_live(self, job: Job) -> bool:
        """Tell whether the trigger of a job is still bound, and this is its job."""
        return self._by_id.get(job.trigger.trigger_id) is job

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, trigger: Trigger) -> Job:
        """Take a trigger; a known id replaces it.

        Raises:
            RegistrationError: its config says no schedule.
        """
        config = trigger.config if isinstance(trigger.config, dict) else {}
        schedule = self.schedule(config.get("expression"), config.get("timezone"))
        running = trigger.trigger_id in self._called
        job = Job(trigger=trigger, schedule=schedule, running=running)
        self._by_id[trigger.trigger_id] = job
        self._schedule_next(job, moment_of(self._now()))
        return job

    def remove(self, trigger_id: str) -> None:
        """Drop a trigger; a call that runs is left alone."""
        self._by_id.pop(trigger_id, None)
        if len(self._heap) > 2 * len(self._by_id) + MIN_STALE:
            self._heap = [entry for entry in self._heap if self.is_live(entry[2])]
            heapq.heapify(self._heap)

    def schedule(self, expression: Any, timezone: Any = None) -> Schedule:  # noqa: ANN401
        """The schedule of an expression, shared by all who ask for the same.

        Raises:
            RegistrationError: there is none, or it does not parse.
        """
        if not isinstance(expression, str) or not expression.strip():
            raise RegistrationError("Cron expression is required")
        zone = "UTC" if timezone is None else timezone
        if not isinstance(zone, str):
            raise RegistrationError(f"Invalid timezone {zone!r}: expected a string")
        schedule = self._schedules.get((expression, zone))
        if schedule is None:
            try:
                schedule = Schedule(expression, zone)
            except CronError as exc:
                raise RegistrationError(str(exc)) from exc
            self._schedules[expression, zone] = schedule
        return schedule

    def next_due(self) -> datetime | None:
        """When the next job is due; ``None`` if none is."""
        while self._heap and not self.is_live(self._heap[0][2]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self) -> Iterator[tuple[Job, datetime]]:
        """Jobs to call now, with the time that each was due; they count as running.

        A job whose last call still runs misses the tick instead.
        """
        now = moment_of(self._now())
        self._notice_setback(now)
        passed: dict[tuple[Schedule, datetime], int] = {}
        while (due := self.next_due()) is not None and due <= now:
            job = heapq.heappop(self._heap)[2]
            late = passed.get((job.schedule, due))
            if late is None:
                late = passed[job.schedule, due] = _count_passed(job, due, now)
            self._schedule_next(job, now)
            if job.running:
                self._miss_running(job, 1 + late)
                continue
            if late:
                self._miss(job, late)
                logger.warning(
                    "cron trigger %s: noticed %.0f s late, %d ticks dropped",
                    job.trigger.trigger_id,
                    (now - due).total_seconds(),
                    late,
                )
            job.running = True
            self._called.add(job.trigger.trigger_id)
            self.fired += 1
            yield job, due

    def done(self, job: Job) -> None:
        """Note that a job's call has ended."""
        trigger_id = job.trigger.trigger_id
        self._called.remove(trigger_id)
        self._end_call(job)
        heir = self._by_id.get(trigger_id, job)
        if heir is not job:
            self._end_call(heir)

    def _end_call(self, job: Job) -> None:
        if job.missed_running:
            logger.warning(
                "cron trigger %s: %d ticks dropped while %s ran",
                job.trigger.trigger_id,
                job.missed_running,
                job.trigger.function_id,
            )
        job.running = False
        job.missed_running = 0

    def _schedule_next(self, job: Job, after: datetime) -> None:
        job.due = job.schedule.next_after(after)
        if job.due is not None:
            self._number += 1
            heapq.heappush(self._heap, (job.due, self._number, job))

    def _notice_setback(self, now: datetime) -> None:
        if self._looked_at is not None and self._looked_at - now > MAX_SETBACK:
            logger.warning(
                "the clock was set back by %s: cron triggers start over from %s",
                self._looked_at - now,
                now.isoformat(timespec="seconds"),
            )
            self._heap = []
            for job in self:
                self._schedule_next(job, now)
        self._looked_at = now

    def _miss_running(self, job: Job, ticks: int) -> None:
        if not job.missed_running:
            logger.warning(
                "cron trigger %s: %s still runs, tick dropped",
                job.trigger.trigger_id,
                job.trigger.function_id,
            )
        job.missed_running += ticks
        self._miss(job, ticks)

    def _miss(self, job: Job, ticks: int) -> None:
        job.missed += ticks
        self.missed += ticks


def _count_passed(job: Job, due: datetime, now: datetime) -> int:
    passed = 0
    tick = job.schedule.next_after(due)
    while tick is not None and tick <= now and passed < MAX_COUNTED:
        passed += 1
        tick = job.schedule.next_after(tick)
    return passed
