"""The trigger types ``log`` and ``trace``."""

import logging
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, final

import attrs
import msgspec
import trio

from iii_trio.builtins._deliveries import log_failure
from iii_trio.builtins.observability._inputs import (
    LogTriggerConfig,
    TraceTriggerConfig,
    log_trigger_config,
    trace_trigger_config,
)
from iii_trio.builtins.observability._logs import LogRecord, row_of
from iii_trio.builtins.observability._spans import Span
from iii_trio.builtins.observability._telemetry import Telemetry
from iii_trio.errors import InvocationError, RegistrationError
from iii_trio.worker import Trigger, Worker

JSON = Any

ConfigT = TypeVar("ConfigT")

logger = logging.getLogger("iii_trio.builtins.observability")

LOG: Final = "log"
TRACE: Final = "trace"

MAX_UNDER_WAY: Final = 64
"""Deliveries of one trigger at a time; what comes meanwhile is dropped and counted."""

GATHER: Final = 0.3
"""Seconds over which a ``trace`` trigger gathers traces, as in the reference."""

MAX_TRACE_IDS: Final = 1000
"""Traces that one firing tells of."""


@attrs.define(eq=False)
class _Bound(Generic[ConfigT]):
    trigger: Trigger
    config: ConfigT
    is_over: bool = False  # nothing more is delivered, not even what was started
    under_way: int = 0
    dropped: int = 0
    # Of a `trace` trigger: what it will tell of, in the order in which it came.
    traces: dict[str, None] = attrs.field(factory=dict)


@final
class Deliverer:
    """Calls the functions of triggers, each delivery in a trace of its own."""

    def __init__(self, worker: Worker, telemetry: Telemetry) -> None:
        self._worker = worker
        self._telemetry = telemetry
        self._under_way = 0
        self._all_done = trio.lowlevel.ParkingLot()

    async def wait_all_done(self) -> None:
        """Wait until no delivery is under way."""
        await trio.lowlevel.checkpoint()
        while self._under_way:
            await self._all_done.park()

    def start(self, bound: _Bound[Any], payload: JSON) -> None:
        """Start a delivery, unless too many are under way. Sync."""
        if bound.under_way >= MAX_UNDER_WAY:
            if not bound.dropped:
                logger.warning(
                    "%s trigger %s: %d deliveries to %s are under way, further events "
                    "are dropped",
                    bound.trigger.trigger_type,
                    bound.trigger.trigger_id,
                    bound.under_way,
                    bound.trigger.function_id,
                )
            bound.dropped += 1
            return
        self._worker.start_soon(
            self._deliver,
            bound,
            payload,
            name=f"{bound.trigger.trigger_type} trigger {bound.trigger.trigger_id}",
        )
        bound.under_way += 1
        self._under_way += 1

    async def _deliver(self, bound: _Bound[Any], payload: JSON) -> None:
        trigger, telemetry = bound.trigger, self._telemetry
        bits = telemetry.new_bits
        trace_id = f"{bits(128) or 1:032x}"
        traceparent = f"00-{trace_id}-{bits(64) or 1:016x}-01"
        owners = [
            telemetry.linked_owner_of(trigger.namespace, function_id)
            for function_id in (trigger.function_id, trigger.condition)
        ]
        workers = {owner for owner in owners if owner is not None}
        telemetry.guard.begin(trace_id, workers)
        try:
            await self._call(bound, payload, traceparent)
        finally:
            telemetry.guard.end(trace_id, workers, telemetry.now())
            bound.under_way -= 1
            self._under_way -= 1
            if not bound.under_way and bound.dropped:
                logger.warning(
                    "%s trigger %s: %d events were dropped",
                    trigger.trigger_type,
                    trigger.trigger_id,
                    bound.dropped,
                )
                bound.dropped = 0
            if not self._under_way:
                self._all_done.unpark_all()

    async def _call(self, bound: _Bound[Any], payload: JSON, traceparent: str) -> None:
        await trio.lowlevel.checkpoint()
        trigger = bound.trigger
        try:
            wanted = not bound.is_over and await self._worker.check_condition(
                trigger, payload, traceparent=traceparent, while_bound=True
            )
            if wanted and not bound.is_over:
                await self._worker.deliver_json(
                    trigger, msgspec.json.encode(payload), traceparent=traceparent
                )
        except InvocationError as exc:
            log_failure(logger, trigger, exc)


class _Triggers(Generic[ConfigT]):
    """The triggers that are bound to one type."""

    def __init__(self, read_config: Callable[[JSON], ConfigT]) -> None:
        self._read_config = read_config
        self._bound: dict[str, _Bound[ConfigT]] = {}

    def bind(self, trigger: Trigger) -> None:
        """Listen for a trigger.

        Raises:
            RegistrationError: its config cannot be used.
        """
        try:
            config = self._read_config(trigger.config)
        except ValueError as exc:
            msg = f"{trigger.trigger_type} trigger: {exc}"
            raise RegistrationError(msg) from exc
        self.unbind(trigger)
        self._bound[trigger.trigger_id] = _Bound(trigger, config)

    def unbind(self, trigger: Trigger) -> None:
        """Stop listening for a trigger."""
        bound = self._bound.pop(trigger.trigger_id, None)
        if bound is not None:
            bound.is_over = True


@final
class LogTriggers(_Triggers[LogTriggerConfig]):
    """The triggers bound to ``log``."""

    def __init__(self, deliverer: Deliverer, telemetry: Telemetry) -> None:
        super().__init__(log_trigger_config)
        self._deliverer = deliverer
        self._telemetry = telemetry

    def tell(self, record: LogRecord, worker_id: str | None) -> None:
        """Fire what a record fires: nothing, if it belongs to a delivery. Sync.

        Args:
            record: not one of the engine's own lines.
            worker_id: who sent it, if that is known.
        """
        telemetry = self._telemetry
        if not self._bound or telemetry.guard.covers(
            record.trace_id, worker_id, telemetry.now()
        ):
            return
        for bound in self._bound.values():
            if bound.config.wants(record):
                self._deliverer.start(bound, row_of(record, complete=True))


@final
class TraceTriggers(_Triggers[TraceTriggerConfig]):
    """The triggers bound to ``trace``."""

    def __init__(
        self, worker: Worker, deliverer: Deliverer, telemetry: Telemetry
    ) -> None:
        super().__init__(trace_trigger_config)
        self._worker = worker
        self._deliverer = deliverer
        self._telemetry = telemetry

    def tell(self, span: Span) -> None:
        """Let the triggers that a span fires gather its trace. Sync."""
        telemetry = self._telemetry
        if (
            not self._bound
            or (span.is_internal and span.parent_span_id is None)
            or telemetry.guard.covers(span.trace_id, None, telemetry.now())
        ):
            return
        for bound in self._bound.values():
            if bound.config.wants(span.service_name, span.status):
                self._gather(bound, span.trace_id)

    def _gather(self, bound: _Bound[TraceTriggerConfig], trace_id: str) -> None:
        if not bound.traces:
            self._worker.start_soon(
                self._fire, bound, name=f"trace trigger {bound.trigger.trigger_id}"
            )
        if len(bound.traces) < MAX_TRACE_IDS:
            bound.traces[trace_id] = None

    async def _fire(self, bound: _Bound[TraceTriggerConfig]) -> None:
        await trio.sleep(GATHER)
        trace_ids, bound.traces = list(bound.traces), {}
        if not bound.is_over:
            self._deliverer.start(bound, {"trace_ids": trace_ids})
