"""The one task that reads what was told, keeps it, and passes it on."""

import logging
import re
from typing import Any, Final, NoReturn, final

import msgspec
import trio

from iii_trio.builtins.observability._config import Settings
from iii_trio.builtins.observability._export import Exporter
from iii_trio.builtins.observability._logs import LogRecord
from iii_trio.builtins.observability._metrics import Metric
from iii_trio.builtins.observability._otlp import (
    BadTelemetryError,
    Message,
    Signal,
    read_message,
)
from iii_trio.builtins.observability._otlp_out import (
    logs_request,
    metrics_request,
    spans_request,
)
from iii_trio.builtins.observability._spans import Span
from iii_trio.builtins.observability._telemetry import WORKER_LINES, Item, Telemetry
from iii_trio.builtins.observability._triggers import LogTriggers, TraceTriggers

JSON = Any

logger = logging.getLogger("iii_trio.builtins.observability")
worker_lines = logging.getLogger(WORKER_LINES)

SMALL_MESSAGE: Final = 128 * 1024
"""Bytes up to which a message is read at once; a larger one is read in a thread."""

SWEEP_EVERY: Final = 60.0
"""Seconds between sweeps, as in the reference; also between points of engine metrics."""

SPAN_PAUSE: Final = 0.05
"""Seconds that spans of the engine's own may wait: a wake-up for each costs more than
the span."""

_END_OF_TRACE_ID: Final = re.compile("[0-9a-f]{8}$")

_CONSOLE_LEVELS: Final = {
    "trace": 5,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}


@final
class Intake:
    """Reads the inbox of a `Telemetry`.

    Args:
        telemetry: where everything comes from and is kept.
        settings: what is kept and sent; replaced when they change.
        exporter: sends to a collector.
        log_triggers: told of records.
        trace_triggers: told of spans.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        settings: Settings,
        exporter: Exporter,
        log_triggers: LogTriggers,
        trace_triggers: TraceTriggers,
    ) -> None:
        self.settings = settings
        self._telemetry = telemetry
        self._exporter = exporter
        self._log_triggers = log_triggers
        self._trace_triggers = trace_triggers
        self._busy = False
        self._idle = trio.lowlevel.ParkingLot()

    async def wait_read(self) -> None:
        """Wait until all that was told so far is read."""
        await trio.lowlevel.checkpoint()
        self.take_spans()
        while self._busy or len(self._telemetry.inbox):
            await self._idle.park()

    async def run(self) -> NoReturn:
        """Read what comes, in order, until cancelled."""
        while True:
            items = await self._telemetry.inbox.take()
            self._busy = True
            await self._read(items)
            self._busy = False
            if not len(self._telemetry.inbox):
                self._idle.unpark_all()

    async def run_spans(self) -> NoReturn:
        """Take the engine's own spans, those of a moment together."""
        while True:
            await self._telemetry.ended.wait()
            await trio.sleep(SPAN_PAUSE)
            self.take_spans()

    def take_spans(self) -> None:
        """Take the engine's own spans that ended so far. Sync."""
        spans = self._telemetry.ended.take()
        for span in spans:
            self._keep_span(span)
        if spans and self.settings.traces_sent:
            request = spans_request(spans, self.settings.resource)
            self._exporter.offer("traces", request)

    async def run_clock(self) -> NoReturn:
        """Drop what is too old, and note the engine's own metrics, every minute."""
        while True:
            await trio.sleep(SWEEP_EVERY)
            self._telemetry.sweep()
            if self.settings.metrics:
                self.note_engine_metrics()

    def note_engine_metrics(self) -> None:
        """Keep and send the engine's own counters as they are now."""
        now = self._telemetry.now()
        metrics = self._telemetry.calls.as_metrics(int(now * 1e9))
        self._keep_metrics(metrics)
        if self.settings.metrics_sent:
            request = metrics_request(metrics, self.settings.resource)
            self._exporter.offer("metrics", request)

    def log(self, record: LogRecord, worker_id: str | None) -> None:
        """Take a record that a function was given."""
        if self._takes_log(record):
            self._keep_log(record, worker_id)
            self._send_logs([record])

    async def _read(self, items: list[Item]) -> None:
        await trio.lowlevel.checkpoint()
        lines: list[LogRecord] = []
        for item in items:
            if isinstance(item, bytes):
                message = await self._message(item)
                if message is not None:
                    self._take_message(message)
            else:
                lines.append(item)
        for line in lines:
            if self.settings.logs_kept:
                self._add_log(line)
        if lines:
            self._send_logs(lines)

    async def _message(self, data: bytes) -> Message | None:
        await trio.lowlevel.checkpoint()
        telemetry = self._telemetry
        now = int(telemetry.now() * 1e9)
        try:
            if len(data) <= SMALL_MESSAGE:
                return read_message(data, now=now)
            return await trio.to_thread.run_sync(lambda: read_message(data, now=now))
        except BadTelemetryError as exc:
            telemetry.refused += 1
            if telemetry.refused == 1:
                logger.warning("telemetry that cannot be read was dropped: %s", exc)
            return None

    def _take_message(self, message: Message) -> None:
        self._telemetry.left_out += message.left_out
        settings = self.settings
        if message.signal == "traces" and settings.traces:
            for span in message.spans:
                self._keep_span(span)
            self._pass_on("traces", message.request, wanted=settings.traces_sent)
        elif message.signal == "metrics" and settings.metrics:
            self._keep_metrics(message.metrics)
            self._pass_on("metrics", message.request, wanted=settings.metrics_sent)
        elif message.signal == "logs" and settings.logs:
            for record in message.logs:
                if self._takes_log(record):
                    self._keep_log(record, None)
                    if settings.logs_console_output:
                        _show(record)
            self._pass_on("logs", message.request, wanted=settings.logs_sent)

    def _pass_on(self, signal: Signal, request: JSON, *, wanted: bool) -> None:
        if wanted:
            self._exporter.offer(signal, request)

    def _keep_span(self, span: Span) -> None:
        if self.settings.traces_kept:
            self._telemetry.spans.add(span)
        self._trace_triggers.tell(span)

    def _keep_metrics(self, metrics: list[Metric]) -> None:
        now = self._telemetry.now()
        for metric in metrics:
            self._telemetry.gauges.take(metric, now)
            if self.settings.metrics_kept:
                self._telemetry.metrics.add(metric, size=metric.size, now=now)

    def _takes_log(self, record: LogRecord) -> bool:
        """Whether a record is taken at all; all records of a trace, or none of them."""
        ratio = self.settings.logs_sampling_ratio
        if not self.settings.logs or ratio >= 1.0:
            return self.settings.logs
        # What ``engine::log::*`` is given need not be the id of a trace.
        end = _END_OF_TRACE_ID.search(record.trace_id or "")
        bits = int(end[0], 16) if end else self._telemetry.new_bits(32)
        return bits < ratio * 2**32

    def _keep_log(self, record: LogRecord, worker_id: str | None) -> None:
        if self.settings.logs_kept:
            self._add_log(record)
        self._log_triggers.tell(record, worker_id)

    def _add_log(self, record: LogRecord) -> None:
        now = self._telemetry.now()
        self._telemetry.logs.add(record, size=record.size, now=now)

    def _send_logs(self, records: list[LogRecord]) -> None:
        if self.settings.logs_sent:
            request = logs_request(records, self.settings.resource)
            self._exporter.offer("logs", request)


def _show(record: LogRecord) -> None:
    """Show a worker's record where the engine's own lines go."""
    details = {
        key: value for key, value in record.attributes.items() if key != "service.name"
    }
    shown = f" {msgspec.json.encode(details).decode()}" if details else ""
    worker_lines.log(
        _CONSOLE_LEVELS[record.level],
        "%s: %s%s",
        record.service_name,
        record.body,
        shown,
    )
