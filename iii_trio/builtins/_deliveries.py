"""Deliveries in the order of their events.

A task that makes a call makes it a step after it was started, and Trio takes the tasks of
a step in any order. So the first call for an event is made when the event happens.
"""

import contextvars
import logging
from collections.abc import Callable, Sequence
from typing import Any, final

import msgspec
import trio

from iii_trio.errors import InvocationError
from iii_trio.protocol import ErrorBody, exception_from
from iii_trio.worker import Outcome, Trigger, Worker, current_invocation

JSON = Any


def log_failure(logger: logging.Logger, trigger: Trigger, failure: Exception) -> None:
    """Say that a trigger's function, or its condition, failed."""
    function_id = failure.function_id if isinstance(failure, InvocationError) else ""
    logger.warning(
        "%s trigger %s: %s failed: %s",
        trigger.trigger_type,
        trigger.trigger_id,
        function_id or trigger.function_id,
        failure,
    )


def start_delivery(
    worker: Worker,
    trigger: Trigger,
    payload: bytes,
    on_done: Callable[[InvocationError | None], None],
) -> bool:
    """Call a trigger's function now, within the trace of the handler that runs.

    Args:
        worker: who provides the trigger.
        trigger: whose function is called.
        payload: JSON text.
        on_done: told once how the call failed, if it did: perhaps at once.

    Returns:
        Whether that was done: not if its condition is to be asked first, or the engine is
        behind a URL.
    """
    if trigger.condition is not None:
        return False

    def on_outcome(outcome: Outcome) -> None:
        on_done(
            exception_from(outcome, function_id=trigger.function_id)
            if isinstance(outcome, ErrorBody)
            else None
        )

    traceparent = baggage = None
    try:
        event = current_invocation()
    except LookupError:
        pass  # nobody's call
    else:
        traceparent, baggage = event.traceparent, event.baggage
    call = worker.start_delivery(
        trigger, payload, on_outcome, traceparent=traceparent, baggage=baggage
    )
    return call is not None


@final
class Deliveries:
    """Tells the triggers of each event, one after another.

    The first of them hears of events in their order, unless it has a condition; nobody
    waits for what it does with one.
    """

    def __init__(
        self, worker: Worker, is_bound: Callable[[str], bool], logger: logging.Logger
    ) -> None:
        """None yet.

        Args:
            worker: who provides the triggers.
            is_bound: a trigger, by its id, that is unbound before its turn is not told.
            logger: hears of failures.
        """
        self._worker = worker
        self._is_bound = is_bound
        self._logger = logger
        self._under_way = 0
        self._all_done = trio.lowlevel.ParkingLot()

    def start(self, triggers: Sequence[Trigger], event: JSON, name: str) -> None:
        """Begin to tell triggers of an event; sync, never waits.

        Args:
            triggers: at least one.
            event: what they are told.
            name: of the task.
        """
        first, others = triggers[0], triggers[1:]
        context = contextvars.copy_context()

        def on_done(failure: InvocationError | None) -> None:
            if failure is not None:
                log_failure(self._logger, first, failure)
            if others:
                start_soon = self._worker.start_soon
                context.run(start_soon, self._tell, others, event, name=name)
            else:
                self._ended()

        payload = msgspec.json.encode(event)
        self._under_way += 1
        if not start_delivery(self._worker, first, payload, on_done):
            self._worker.start_soon(self._tell, triggers, event, name=name)

    async def wait_all_done(self) -> None:
        """Wait until no event has triggers left to tell."""
        await trio.lowlevel.checkpoint()
        while self._under_way:
            await self._all_done.park()

    async def _tell(self, triggers: Sequence[Trigger], event: JSON) -> None:
        try:
            await trio.lowlevel.checkpoint()
            for trigger in triggers:
                if not self._is_bound(trigger.trigger_id):
                    continue
                try:
                    await self._worker.emit(trigger, event)
                except InvocationError as exc:
                    log_failure(self._logger, trigger, exc)
        finally:
            self._ended()

    def _ended(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._all_done.unpark_all()
