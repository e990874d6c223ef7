"""Telemetry: takes what an engine and its workers tell, at once, and keeps it bounded.

Telling must never slow the engine: what comes is put into a bounded inbox, and the
observability worker reads it there. What it read is kept here too, so that a worker that
crashed and was restarted finds everything as it was.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, final

import trio

from iii_trio.builtins.observability._calls import CallRecorder, NewBits
from iii_trio.builtins.observability._config import Settings, level_number
from iii_trio.builtins.observability._gauges import LatestGauges
from iii_trio.builtins.observability._guard import DeliveryGuard
from iii_trio.builtins.observability._logs import LogRecord
from iii_trio.builtins.observability._metrics import CallMetrics, Metric
from iii_trio.builtins.observability._ring import Ring
from iii_trio.builtins.observability._sampling import Sampler
from iii_trio.builtins.observability._spans import Span, SpanStore
from iii_trio.protocol import (
    CallObserver,
    Event,
    FunctionRegistered,
    FunctionUnregistered,
    WorkerAttached,
    WorkerDetached,
)

JSON = Any

Item = bytes | LogRecord
"""A message of a worker, or a line of the engine's log."""

INBOX_ITEMS: Final = 10_000
INBOX_BYTES: Final = 32 * 2**20
"""What may wait to be read; beyond that the oldest are dropped and counted."""

MAX_MESSAGE_BYTES: Final = 8 * 2**20
"""A larger telemetry message is dropped and counted; SDKs send a few kilobytes."""

PASS_ITEMS: Final = 64
PASS_BYTES: Final = 256 * 1024
"""What is read before other tasks get their turn."""

LOG_BYTES: Final = 16 * 2**20
SPAN_BYTES: Final = 64 * 2**20
METRIC_BYTES: Final = 16 * 2**20
"""What logs, spans and metrics may take, about, whatever their number."""

WORKER_LINES: Final = "iii_trio.workers"
"""The logger that shows the records of workers on the console."""


@final
class Inbox:
    """Bounded by count and bytes; the oldest items are dropped when it is full."""

    def __init__(self) -> None:
        self.dropped = 0
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._waiting = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add an item. Sync, never fails."""
        self._items.append(item)
        self._bytes += _size(item)
        while len(self._items) > INBOX_ITEMS or self._bytes > INBOX_BYTES:
            self._bytes -= _size(self._items.popleft())
            self.dropped += 1
        if self._waiting:
            self._waiting.unpark()

    async def take(self) -> list[Item]:
        """Wait for items, and take as many as one pass may read."""
        await trio.lowlevel.checkpoint()
        while not self._items:
            await self._waiting.park()
        taken: list[Item] = []
        size = 0
        while self._items and len(taken) < PASS_ITEMS and size < PASS_BYTES:
            item = self._items.popleft()
            taken.append(item)
            size += _size(item)
        self._bytes -= size
        return taken


@final
class EndedSpans:
    """Spans around calls of the engine; the oldest are dropped when there are too many.

    There is one for each firing, so adding one wakes whoever waits only if there was
    none before.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._spans: deque[Span] = deque()
        self._waiting = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._spans)

    def put(self, span: Span) -> None:
        """Add a span. Sync, never fails."""
        if len(self._spans) >= INBOX_ITEMS:
            self._spans.popleft()
            self.dropped += 1
        self._spans.append(span)
        if self._waiting:
            self._waiting.unpark()

    def take(self) -> list[Span]:
        """Take all."""
        spans = list(self._spans)
        self._spans.clear()
        return spans

    async def wait(self) -> None:
        """Wait until there is one."""
        await trio.lowlevel.checkpoint()
        while not self._spans:
            await self._waiting.park()


def _size(item: Item) -> int:
    return len(item) if isinstance(item, bytes) else 500


class ObservedEngine(Protocol):
    """What is needed of an engine; ``iii_trio.engine.Engine`` has it."""

    def subscribe(
        self, listener: Callable[[Event], None], *, calls: bool
    ) -> Callable[[], None]:
        """Tell a listener of what happens."""

    def observe(self, observer: CallObserver) -> Callable[[], None]:
        """Tell an observer of calls."""

    def tallies(self) -> Mapping[str, tuple[int, int]]:
        """Calls that no observer was told of, and failures, by function id."""


@final
class Telemetry:
    """What one engine and its workers told.

    Give `take` and `latest_metrics` to ``open_engine``, then `attach` the engine, then
    ``serve_observability`` with it.

    Args:
        now: wall time, seconds since 1970.
        new_bits: makes random numbers, for ids of traces and spans.

    Attributes:
        logs: what workers and the engine logged; so ``spans``, ``metrics``.
        gauges: what workers told of themselves last.
        calls: the engine's calls and workers, counted.
        guard: knows what belongs to deliveries of our own triggers.
        refused: messages that were too large, or no telemetry at all.
        left_out: records inside of messages that could not be used.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        new_bits: NewBits = random.getrandbits,
    ) -> None:
        self.now = now
        self.new_bits = new_bits
        self.inbox = Inbox()
        self.ended = EndedSpans()
        self.logs: Ring[LogRecord] = Ring(
            max_count=1000, max_bytes=LOG_BYTES, max_age=3600
        )
        self.metrics: Ring[Metric] = Ring(
            max_count=10_000, max_bytes=METRIC_BYTES, max_age=3600
        )
        self.spans = SpanStore(max_count=1000, max_bytes=SPAN_BYTES)
        self.gauges = LatestGauges()
        self.calls = CallMetrics()
        self.guard = DeliveryGuard()
        self.refused = 0
        self.left_out = 0
        self.lines_level = logging.INFO
        self._owners: dict[tuple[str, str], str] = {}
        self._engine: ObservedEngine | None = None
        self._end_observing: Callable[[], None] | None = None
        self.recorder = CallRecorder(
            self.calls, now=now, new_bits=new_bits, on_span=self.ended.put
        )

    # What the engine calls

    def take(self, data: bytes) -> None:
        """Take a telemetry message of a worker. Sync, never fails."""
        if len(data) > MAX_MESSAGE_BYTES:
            self.refused += 1
        else:
            self.inbox.put(data)

    def latest_metrics(self, worker_id: str) -> dict[str, JSON] | None:
        """What a worker told of itself last, ``None`` if nothing lately."""
        return self.gauges.of(worker_id, self.now())

    def take_event(self, event: Event) -> None:
        """Count workers, and note who owns which function."""
        match event:
            case WorkerAttached():
                self.calls.worker_came(event.worker_id, event.kind)
            case WorkerDetached():
                self.calls.worker_left(event.worker_id)
            case FunctionRegistered():
                self._owners[event.namespace, event.function_id] = event.worker_id
            case FunctionUnregistered():
                self._owners.pop((event.namespace, event.function_id), None)
            case _:
                pass

    # What the composition and the worker call

    def attach(self, engine: ObservedEngine) -> None:
        """Listen to an engine, for as long as it is open."""
        self._engine = engine
        engine.subscribe(self.take_event, calls=False)

    def linked_owner_of(self, namespace: str, function_id: str | None) -> str | None:
        """The worker on a link that offers a function.

        Workers of this process always pass the trace on; those on links may not.
        """
        worker_id = self._owners.get((namespace, function_id or ""), "")
        return worker_id if self.calls.workers.get(worker_id) == "link" else None

    def apply(self, settings: Settings) -> None:
        """Keep what the settings say; watch calls only if that is needed."""
        self.logs.max_count = settings.logs_max_count
        self.logs.max_age = settings.logs_retention
        self.logs.fit()
        self.metrics.max_count = settings.metrics_max_count
        self.metrics.max_age = settings.metrics_retention
        self.metrics.fit()
        self.spans.max_count = settings.max_spans
        self.spans.fit()
        self.lines_level = level_number(settings.level) if settings.logs else 1000
        recorder = self.recorder
        recorder.counting = settings.metrics
        recorder.sampler = Sampler(settings) if settings.traces else None
        recorder.service_name = settings.service_name
        recorder.trace_calls = settings.trace_calls
        if not (settings.metrics or settings.traces):
            self.stop_observing()
        elif self._end_observing is None and self._engine is not None:
            self._end_observing = self._engine.observe(recorder)
            self.calls.begin_tallies(self._engine.tallies)

    def stop_observing(self) -> None:
        """Watch calls no longer: they cost nothing more from now on."""
        if self._end_observing is not None:
            self._end_observing()
            self._end_observing = None
            self.calls.end_tallies()

    def sweep(self) -> None:
        """Drop what is too old."""
        now = self.now()
        self.logs.sweep(now)
        self.metrics.sweep(now)
        self.gauges.sweep(now)
        self.guard.sweep(now)
