"""`serve_cron`: waits for what is due next, and calls the functions.

One task waits for all triggers; a call is a task of the worker, so that triggers do not
wait for each other.
"""

import logging
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import time
from typing import Any, Final, NoReturn, final

import attrs
import msgspec
import trio

from iii_trio.builtins._deliveries import log_failure
from iii_trio.builtins._payloads import structure_input
from iii_trio.builtins.cron._config import CronConfig, ListInput, NextInput
from iii_trio.builtins.cron._jobs import CronStatistics, Job, Jobs, moment_of
from iii_trio.errors import FunctionFailedError, InvocationError, RegistrationError
from iii_trio.worker import Trigger, Worker

JSON = Any

logger = logging.getLogger("iii_trio.builtins.cron")

TRIGGER_TYPE: Final = "cron"

MAX_NAP: Final = 60.0
"""Seconds: how late a stepped wall clock, or a machine that slept, is noticed."""

SHOWN_TIMES: Final = 3
MAX_TIMES: Final = 1000
"""The most times that one ``cron::next`` works out."""

TRIGGER_CONFIG_FORMAT: Final[Mapping[str, Any]] = {
    "title": "CronTriggerConfig",
    "type": "object",
    "properties": {
        "expression": {"type": "string"},
        "timezone": {"type": "string", "default": "UTC"},
        "condition_function_id": {"type": "string"},
    },
    "required": ["expression"],
}
CALL_FORMAT: Final[Mapping[str, Any]] = {
    "title": "CronCall",
    "type": "object",
    "properties": {
        "trigger": {"const": "cron"},
        "job_id": {"type": "string"},
        "scheduled_time": {"type": "string", "format": "date-time"},
        "actual_time": {"type": "string", "format": "date-time"},
    },
    "required": ["trigger", "job_id", "scheduled_time", "actual_time"],
}


@final
@attrs.define(eq=False)
class CronHandle:
    """What a running cron worker offers to whoever serves it."""

    _cron: "_Cron"

    def reconfigure(self, config: CronConfig) -> None:
        """Take other settings; none of this version has an effect."""
        self._cron.config = config

    async def drain(self, grace: float) -> None:
        """Fire no more; wait at most ``grace`` seconds for the functions that run."""
        with trio.move_on_after(grace):
            await self._cron.drain()

    def statistics(self) -> CronStatistics:
        """Counts, as of now."""
        return self._cron.statistics()


async def serve_cron(
    worker: Worker,
    config: CronConfig,
    *,
    now: Callable[[], float] = time,
    task_status: trio.TaskStatus[CronHandle] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Offer the trigger type ``cron``, ``cron::next`` and ``cron::list``, until cancelled.

    Args:
        worker: what offers them.
        config: settings; changed later through the handle.
        now: wall time, seconds since 1970.
        task_status: gets a `CronHandle` once everything is registered.

    Raises:
        RegistrationError: another worker offers one of the functions.

    Cancellation: the functions and the trigger type are withdrawn.
    """
    cron = _Cron(worker=worker, config=config, now=now)
    registered: list[str] = []
    worker.register_trigger_type(
        TRIGGER_TYPE,
        bind=cron.bind,
        unbind=cron.unbind,
        description="Cron-based scheduled triggers",
        config_format=TRIGGER_CONFIG_FORMAT,
        call_format=CALL_FORMAT,
        details=cron.details,
    )
    try:
        for function_id, handler, takes, description in (
            ("cron::next", cron.next, NextInput, "Shows when an expression fires."),
            (
                "cron::list",
                cron.list_jobs,
                ListInput,
                "Lists cron triggers and next times.",
            ),
        ):
            worker.register_function(
                function_id,
                handler,
                description=description,
                request_format=msgspec.json.schema(takes),
            )
            registered.append(function_id)
        task_status.started(CronHandle(cron))
        await cron.run()
    finally:
        for function_id in registered:
            worker.unregister_function(function_id)
        worker.unregister_trigger_type(TRIGGER_TYPE)


@attrs.define(eq=False, kw_only=True)
class _Cron:
    """The functions, the bindings, and the one waiting task."""

    config: CronConfig
    _worker: Worker
    _now: Callable[[], float]
    _jobs: Jobs = attrs.field(init=False)
    # Replaced whenever an earlier time may have come first.
    _changed: trio.Event = attrs.field(init=False, factory=trio.Event)
    _draining: bool = attrs.field(init=False, default=False)
    # Calls under way; also of triggers that are gone by now.
    _running: int = attrs.field(init=False, default=0)
    _all_ended: trio.lowlevel.ParkingLot = attrs.field(
        init=False, factory=trio.lowlevel.ParkingLot
    )

    def __attrs_post_init__(self) -> None:
        self._jobs = Jobs(self._now)

    def bind(self, trigger: Trigger) -> None:
        """Schedule a trigger, and say when it fires.

        Raises:
            RegistrationError: no expression, or one that says nothing.
        """
        job = self._jobs.add(trigger)
        if job.schedule.note:
            logger.info("cron trigger %s: %s", trigger.trigger_id, job.schedule.note)
        times = self._next_times(job, SHOWN_TIMES)
        if times:
            logger.info(
                "cron trigger %s (%s): next at %s",
                trigger.trigger_id,
                job.schedule.expression,
                ", ".join(times),
            )
        else:
            logger.warning(
                "cron trigger %s (%s) never fires",
                trigger.trigger_id,
                job.schedule.expression,
            )
        self._changed.set()

    def unbind(self, trigger: Trigger) -> None:
        """Forget a trigger; its function runs on."""
        self._jobs.remove(trigger.trigger_id)

    async def run(self) -> NoReturn:
        """Fire what is due until drained. Wall time is asked again after every nap."""
        while not self._draining:
            for job, tick in self._jobs.take_due():
                self._running += 1
                self._worker.start_soon(
                    self._fire, job, tick, name=f"cron {job.trigger.trigger_id}"
                )
            self._changed = trio.Event()
            due = self._jobs.next_due()
            nap = math.inf
            if due is not None:
                nap = min(max(due.timestamp() - self._now(), 0.0), MAX_NAP)
            with trio.move_on_after(nap):
                await self._changed.wait()
        await trio.sleep_forever()

    async def drain(self) -> None:
        """Fire no more, and wait until nothing runs."""
        self._draining = True
        self._changed.set()
        await trio.lowlevel.checkpoint()
        while self._running:
            await self._all_ended.park()

    def statistics(self) -> CronStatistics:
        return CronStatistics(
            jobs=len(self._jobs),
            running=self._running,
            fired=self._jobs.fired,
            missed=self._jobs.missed,
        )

    async def next(self, payload: JSON) -> JSON:
        """``cron::next``: when an expression fires."""
        await trio.lowlevel.checkpoint()
        given = structure_input("cron::next", payload, NextInput)
        if not 1 <= given.count <= MAX_TIMES:
            raise FunctionFailedError(
                f"count must be 1 to {MAX_TIMES}, not {given.count}",
                code="invalid_count",
            )
        try:
            schedule = self._jobs.schedule(given.expression, given.timezone)
        except RegistrationError as exc:
            raise FunctionFailedError(str(exc), code="invalid_expression") from exc
        after = self._moment_after(given.after)
        try:
            times = schedule.times_after(after, given.count)
        except OverflowError as exc:  # at the ends of the calendar
            raise FunctionFailedError(f"after: {exc}", code="invalid_time") from exc
        return [time.isoformat() for time in times]

    async def list_jobs(self, payload: JSON) -> JSON:
        """``cron::list``: the triggers, and when each fires."""
        await trio.lowlevel.checkpoint()
        structure_input("cron::list", payload, ListInput)
        return [
            {
                "job_id": job.trigger.trigger_id,
                "function_id": job.trigger.function_id,
                "namespace": job.trigger.namespace,
                "expression": job.schedule.expression,
                **self._state_of(job),
            }
            for job in self._jobs
        ]

    def details(self, trigger_id: str) -> JSON:
        """What discovery says of a trigger."""
        job = self._jobs.get(trigger_id)
        return None if job is None else self._state_of(job)

    def _state_of(self, job: Job) -> JSON:
        return {
            "timezone": job.schedule.timezone,
            "running": job.running,
            "missed_ticks": job.missed,
            "next_fire_times": self._next_times(job, SHOWN_TIMES),
        }

    def _moment_after(self, text: str | None) -> datetime:
        if text is None:
            return moment_of(self._now())
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as exc:
            raise FunctionFailedError(f"after: {exc}", code="invalid_time") from exc
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _next_times(self, job: Job, count: int) -> list[str]:
        times = job.schedule.times_after(moment_of(self._now()), count)
        return [time.isoformat() for time in times]

    async def _fire(self, job: Job, tick: datetime) -> None:
        try:
            await self._call(job, tick)
        finally:
            self._jobs.done(job)
            self._running -= 1
            if not self._running:
                self._all_ended.unpark_all()

    async def _call(self, job: Job, tick: datetime) -> None:
        await trio.lowlevel.checkpoint()
        if not self._jobs.is_live(job):
            return  # it was unbound as it was due
        payload = {
            "trigger": TRIGGER_TYPE,
            "job_id": job.trigger.trigger_id,
            "scheduled_time": tick.isoformat(),
            "actual_time": moment_of(self._now()).isoformat(timespec="microseconds"),
        }
        try:
            await self._worker.emit(job.trigger, payload)
        except InvocationError as exc:
            log_failure(logger, job.trigger, exc)
