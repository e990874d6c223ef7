"""The functions of the observability worker."""

from functools import partial
from typing import Any, Final, TypeVar, final

import attrs
import trio

from iii_trio._version import __version__
from iii_trio.builtins.observability import _inputs as inputs
from iii_trio.builtins.observability._calls import read_traceparent
from iii_trio.builtins.observability._export import Exporter
from iii_trio.builtins.observability._intake import Intake
from iii_trio.builtins.observability._logs import (
    SEVERITIES,
    LogQuery,
    LogRecord,
    row_of,
    without_terminal_codes,
)
from iii_trio.builtins.observability._metrics import (
    Metric,
    aggregated,
    aggregated_histograms,
    row_of_metric,
)
from iii_trio.builtins.observability._sampling import Sampler
from iii_trio.builtins.observability._telemetry import Telemetry
from iii_trio.builtins.observability._trace_functions import Table, page, read_input
from iii_trio.errors import FunctionFailedError
from iii_trio.worker import current_invocation

JSON = Any

Kept = TypeVar("Kept")

ROLLUP_LEVELS: Final = (60, 300, 3600)
"""Seconds of a window, by level."""

LATEST_TIME: Final = (2**63 - 1) // 1_000_000
"""Milliseconds whose nanoseconds still fit 64 bits."""

MAX_BAGGAGE: Final = 64
"""Entries that ``engine::baggage::set`` keeps of a caller; the oldest are dropped."""

MAX_BAGGAGE_CALLERS: Final = 64
"""Callers whose entries are kept: those that set one last."""

MAX_BAGGAGE_TEXT: Final = 4096

ALERTS_MESSAGE: Final = (
    "iii-trio evaluates no alerts: scrape its Prometheus endpoint and use Alertmanager"
)


@final
class ObservabilityFunctions:
    """Answers what is known, and takes log records.

    Args:
        telemetry: what is known.
        intake: takes records; has the settings.
        exporter: for the health check.
    """

    def __init__(
        self, telemetry: Telemetry, intake: Intake, exporter: Exporter
    ) -> None:
        self._telemetry = telemetry
        self._intake = intake
        self._exporter = exporter
        # By caller: what one session leaves is nobody else's to read.
        self._baggage: dict[str, dict[str, str]] = {}

    def by_id(self) -> Table:
        """Handler, input class and description of every function."""
        logs: Table = {
            f"engine::log::{level}": (
                partial(self._log, level),
                inputs.LogInput,
                f"Logs a message at level {level}.",
            )
            for level in ("trace", "debug", "info", "warn", "error")
        }
        return logs | self._records() | self._settings()

    def _records(self) -> Table:
        """What was recorded."""
        return {
            "engine::logs::list": (
                self._logs_list,
                inputs.LogsListInput,
                "Lists log records of the engine and of all workers, newest first.",
            ),
            "engine::logs::clear": (self._logs_clear, None, "Drops all log records."),
            "engine::metrics::list": (
                self._metrics_list,
                inputs.MetricsListInput,
                "Shows counts of the engine and metrics of workers.",
            ),
            "engine::rollups::list": (
                self._rollups_list,
                inputs.RollupsListInput,
                "Shows metrics by windows of time.",
            ),
            "engine::health::check": (
                self._health_check,
                None,
                "Tells whether telemetry works.",
            ),
        }

    def _settings(self) -> Table:
        """What was set."""
        return {
            "engine::sampling::rules": (
                self._sampling_rules,
                None,
                "Shows which traces and logs are taken.",
            ),
            "engine::alerts::list": (self._alerts_list, None, "Lists no alerts."),
            "engine::alerts::evaluate": (
                self._alerts_evaluate,
                None,
                "Evaluates no alerts.",
            ),
            "engine::baggage::get": (
                self._baggage_get,
                inputs.BaggageKeyInput,
                "Gives an entry of the caller's baggage that the engine keeps.",
            ),
            "engine::baggage::set": (
                self._baggage_set,
                inputs.BaggageSetInput,
                "Sets an entry of the caller's baggage that the engine keeps.",
            ),
            "engine::baggage::get_all": (
                self._baggage_get_all,
                None,
                "Gives the caller's baggage that the engine keeps.",
            ),
        }

    # Logs

    async def _log(self, level: str, payload: JSON) -> None:
        await trio.lowlevel.checkpoint()
        given = read_input(f"engine::log::{level}", payload, inputs.LogInput)
        call = current_invocation()
        trace = read_traceparent(call.traceparent)
        now = int(self._telemetry.now() * 1e9)
        data = given.data if isinstance(given.data, dict) else {}
        self._intake.log(
            LogRecord(
                timestamp_unix_nano=now,
                observed_timestamp_unix_nano=now,
                severity_number=SEVERITIES[level],
                severity_text=level.upper(),
                body=without_terminal_codes(given.message),
                attributes=without_terminal_codes(data),
                trace_id=given.trace_id or (trace.trace_id if trace else None),
                span_id=given.span_id or (trace.span_id if trace else None),
                resource={"service.name": given.service_name},
                service_name=given.service_name,
                scope_name="iii",
                source="function",
            ),
            call.caller_worker_id,
        )

    async def _logs_list(self, payload: JSON) -> JSON:
        await trio.lowlevel.checkpoint()
        given = read_input("engine::logs::list", payload, inputs.LogsListInput)
        query = LogQuery(
            start_time=given.start_time,
            end_time=given.end_time,
            trace_id=given.trace_id,
            span_id=given.span_id,
            severity_min=given.severity_min,
            severity_text=given.severity_text,
        )
        self._telemetry.sweep()
        found = [one for one in reversed(self._telemetry.logs) if query.wants(one)]
        answer = {
            "logs": list(map(row_of, page(found, given.offset, given.limit))),
            "total": len(found),
            "timestamp": self._now_ms(),
        }
        return answer | ({"query": payload} if payload else {})

    async def _logs_clear(self, _payload: JSON) -> JSON:
        await trio.lowlevel.checkpoint()
        self._telemetry.logs.clear()
        return {"success": True}

    # Metrics

    async def _metrics_list(self, payload: JSON) -> JSON:
        await trio.lowlevel.checkpoint()
        given = read_input("engine::metrics::list", payload, inputs.MetricsListInput)
        found = self._metrics(given.start_time, given.end_time, given.metric_name)
        answer: dict[str, JSON] = {
            "engine_metrics": self._telemetry.calls.row(),
            "sdk_metrics": [
                row_of_metric(metric) for metric in found if metric.scope_name != "iii"
            ],
            "timestamp": self._now_ms(),
        }
        if given.aggregate_interval:
            answer["aggregated_metrics"] = aggregated(
                found, given.aggregate_interval * 1_000_000_000
            )
        return answer | ({"query": payload} if payload else {})

    async def _rollups_list(self, payload: JSON) -> JSON:
        await trio.lowlevel.checkpoint()
        given = read_input("engine::rollups::list", payload, inputs.RollupsListInput)
        level = min(given.level, len(ROLLUP_LEVELS) - 1)
        window = ROLLUP_LEVELS[level] * 1_000_000_000
        found = self._metrics(given.start_time, given.end_time, given.metric_name)
        return {
            "rollups": aggregated(found, window),
            "histogram_rollups": aggregated_histograms(found, window),
            "level": level,
            "timestamp": self._now_ms(),
        }

    def _metrics(
        self, start: int | None, end: int | None, name: str | None
    ) -> list[Metric]:
        for field, value in (("start_time", start), ("end_time", end)):
            if value is not None and value > LATEST_TIME:
                raise FunctionFailedError(
                    f"{field} {value} is too large: milliseconds since 1970, at most "
                    f"{LATEST_TIME}",
                    code="time_value_overflow",
                )
        self._telemetry.sweep()
        return [
            metric
            for metric in self._telemetry.metrics
            if name in {None, metric.name}
            and (start is None or metric.timestamp_unix_nano >= start * 1_000_000)
            and (end is None or metric.timestamp_unix_nano < (end + 1) * 1_000_000)
        ]

    # Health, sampling, alerts, baggage

    async def _health_check(self, _payload: JSON) -> JSON:
        await trio.lowlevel.checkpoint()
        settings, telemetry = self._intake.settings, self._telemetry
        export = self._exporter.statistics()
        sends = attrs.asdict(export) if settings.sends else None
        lost = {
            "waiting": len(telemetry.inbox) + len(telemetry.ended),
            "dropped": telemetry.inbox.dropped + telemetry.ended.dropped,
            "refused": telemetry.refused,
            "left_out": telemetry.left_out,
        }
        metrics = {"stored": len(telemetry.metrics), "bytes": telemetry.metrics.bytes}
        logs = {"stored": len(telemetry.logs), "bytes": telemetry.logs.bytes}
        spans = {"stored": len(telemetry.spans), "bytes": telemetry.spans.bytes}
        degraded = settings.sends and export.last_error is not None
        return {
            "status": "degraded" if degraded else "healthy",
            "components": {
                "otel": _component(
                    settings.traces, lost | ({"export": sends} if sends else {})
                ),
                "metrics": _component(settings.metrics, metrics),
                "logs": _component(settings.logs, logs),
                "spans": _component(settings.traces_kept, spans),
            },
            "timestamp": self._now_ms(),
            "version": __version__,
        }

    async def _sampling_rules(self, _payload: JSON) -> JSON:
        await trio.lowlevel.checkpoint()
        settings = self._intake.settings
        return {
            "traces": Sampler(settings).row(),
            "logs": {"sampling_ratio": settings.logs_sampling_ratio},
            "timestamp": self._now_ms(),
        }

    async def _alerts_list(self, _payload: JSON) -> JSON:
        await trio.lowlevel.checkpoint()
        return {
            "alerts": [],
            "firing_count": 0,
            "message": ALERTS_MESSAGE,
            "timestamp": self._now_ms(),
        }

    async def _alerts_evaluate(self, _payload: JSON) -> JSON:
        await trio.lowlevel.checkpoint()
        return {
            "evaluated": False,
            "message": ALERTS_MESSAGE,
            "timestamp": self._now_ms(),
        }

    async def _baggage_get(self, payload: JSON) -> JSON:
        await trio.lowlevel.checkpoint()
        given = read_input("engine::baggage::get", payload, inputs.BaggageKeyInput)
        return {"value": self._baggage.get(_caller(), {}).get(given.key)}

    async def _baggage_set(self, payload: JSON) -> JSON:
        await trio.lowlevel.checkpoint()
        given = read_input("engine::baggage::set", payload, inputs.BaggageSetInput)
        if len(given.key) + len(given.value) > MAX_BAGGAGE_TEXT:
            raise FunctionFailedError(
                f"key and value may have {MAX_BAGGAGE_TEXT} characters together",
                code="baggage_too_large",
            )
        caller = _caller()
        own = self._baggage.get(caller, {})
        _set_last(self._baggage, caller, own, MAX_BAGGAGE_CALLERS)
        _set_last(own, given.key, given.value, MAX_BAGGAGE)
        return {"success": True}

    async def _baggage_get_all(self, _payload: JSON) -> JSON:
        await trio.lowlevel.checkpoint()
        return {"baggage": self._baggage.get(_caller(), {})}

    def _now_ms(self) -> int:
        return int(self._telemetry.now() * 1000)


def _set_last(kept: dict[str, Kept], key: str, value: Kept, most: int) -> None:
    """Put a value at the end; the first one makes room if they are too many."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]


def _caller() -> str:
    """The worker that calls, as a key."""
    return current_invocation().caller_worker_id or ""


def _component(enabled: bool, details: JSON) -> JSON:
    return {
        "status": "healthy" if enabled else "disabled",
        "details": details if enabled else None,
    }
