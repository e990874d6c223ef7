"""The engine's own log lines, on their way into the log store."""

import contextlib
import logging
import threading
import traceback
from typing import final

import trio

from iii_trio.builtins.observability._calls import read_traceparent
from iii_trio.builtins.observability._logs import SEVERITIES, LogRecord
from iii_trio.builtins.observability._telemetry import WORKER_LINES, Telemetry
from iii_trio.protocol import sayable
from iii_trio.worker import current_invocation


@final
class EngineLines(logging.Handler):
    """A handler of ``logging`` that gives what the engine says to a `Telemetry`.

    Make it inside the Trio run, and add it to the logger ``iii_trio`` for as long as the
    engine is open. Lines of other threads come too.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__()
        self._telemetry = telemetry
        self._home = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line, unless it only shows what a worker logged."""
        if record.levelno < self._telemetry.lines_level or record.name == WORKER_LINES:
            return
        try:
            line = log_record_of(record)
        except (TypeError, ValueError):  # its text does not fit its arguments
            self.handleError(record)
            return
        if threading.get_ident() == self._home:
            self._telemetry.inbox.put(line)
            return
        # Afterwards the engine is gone, and so is whoever would read it.
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._telemetry.inbox.put, line)


def log_record_of(record: logging.LogRecord) -> LogRecord:
    """A line of ``logging`` as a log record."""
    level = _level_of(record.levelno)
    at = int(record.created * 1e9)
    attributes = {"logger": record.name}
    if record.exc_info and record.exc_info[1] is not None:
        text = "".join(traceback.format_exception(record.exc_info[1]))
        attributes["exception.stacktrace"] = sayable(text)
    try:
        trace = read_traceparent(current_invocation().traceparent)
    except LookupError:
        trace = None
    return LogRecord(
        timestamp_unix_nano=at,
        observed_timestamp_unix_nano=at,
        severity_number=SEVERITIES[level],
        severity_text=level.upper(),
        body=sayable(record.getMessage()),
        attributes=attributes,
        trace_id=trace.trace_id if trace else None,
        span_id=trace.span_id if trace else None,
        resource={"service.name": "iii"},
        service_name="iii",
        scope_name=record.name,
        source="engine",
    )


def _level_of(number: int) -> str:
    for level, lowest in (("fatal", 50), ("error", 40), ("warn", 30), ("info", 20)):
        if number >= lowest:
            return level
    return "debug" if number >= logging.DEBUG else "trace"
