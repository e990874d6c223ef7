"""The endpoint that Prometheus scrapes: ``GET /metrics`` on a front door.

One private registry per engine. prometheus_client writes the text; what it writes is
collected when it is asked for, and nothing is kept twice.
"""

import importlib
from collections.abc import Callable, Iterable
from typing import Any, Final, final

from iii_trio.builtins.observability._metrics import (
    DESCRIPTIONS,
    DURATION_BOUNDS,
)
from iii_trio.builtins.observability._telemetry import Telemetry
from iii_trio.errors import ConfigError
from iii_trio.net import HTTPExchange

JSON = Any

WORKER_GAUGES: Final = {
    "memory_heap_used": ("iii_worker_memory_heap_bytes", "Heap in use."),
    "memory_rss": ("iii_worker_memory_rss_bytes", "Resident memory."),
    "cpu_percent": ("iii_worker_cpu_percent", "Processor time in percent."),
    "event_loop_lag_ms": ("iii_worker_event_loop_lag_ms", "Lag of its event loop."),
    "uptime_seconds": ("iii_worker_uptime_seconds", "Seconds since it started."),
}
"""What workers tell of themselves: field to name and help."""


def metrics_text(telemetry: Telemetry) -> Callable[[], tuple[bytes, str]]:
    """Make what writes the metrics: the text and its content type.

    Raises:
        ConfigError: the extra ``metrics`` is missing.
    """
    try:
        client = importlib.import_module("prometheus_client")
        families = importlib.import_module("prometheus_client.core")
    except ImportError as exc:
        raise ConfigError(
            "the Prometheus endpoint needs the extra `metrics`: pip install "
            "'iii-trio[metrics]'"
        ) from exc
    registry = client.CollectorRegistry()
    registry.register(_Collector(telemetry, families))

    def write() -> tuple[bytes, str]:
        return client.generate_latest(registry), client.CONTENT_TYPE_LATEST

    return write


@final
class _Collector:
    """Gives what is counted, in Prometheus' words, each time it is asked.

    Args:
        telemetry: where it is counted.
        families: the module ``prometheus_client.core``.
    """

    def __init__(self, telemetry: Telemetry, families: Any) -> None:  # noqa: ANN401
        self._telemetry = telemetry
        self._families = families

    def describe(self) -> Iterable[Any]:
        """Say nothing beforehand: names do not clash in a private registry."""
        return ()

    def collect(self) -> Iterable[Any]:
        """Every metric, as of now."""
        yield from self._calls()
        yield from self._workers()
        yield from self._telemetry_itself()

    def _calls(self) -> Iterable[Any]:
        calls = self._telemetry.calls
        total = self._families.CounterMetricFamily(
            "iii_invocations",
            DESCRIPTIONS["iii.invocations.total"],
            labels=["function_id"],
        )
        errors = self._families.CounterMetricFamily(
            "iii_invocation_errors",
            DESCRIPTIONS["iii.invocation.errors.total"],
            labels=["function_id"],
        )
        for function_id, (count, failed) in calls.by_function.items():
            total.add_metric([function_id], count)
            errors.add_metric([function_id], failed)
        yield total
        yield errors
        bounds = [*map(repr, DURATION_BOUNDS), "+Inf"]
        reached, buckets = 0, []
        for bound, count in zip(bounds, calls.buckets, strict=True):
            reached += count
            buckets.append((bound, reached))
        yield self._families.HistogramMetricFamily(
            "iii_invocation_duration_seconds",
            DESCRIPTIONS["iii.invocation.duration"],
            buckets=buckets,
            sum_value=calls.duration_sum,
        )

    def _workers(self) -> Iterable[Any]:
        calls = self._telemetry.calls
        yield self._families.GaugeMetricFamily(
            "iii_workers_active",
            DESCRIPTIONS["iii.workers.active"],
            value=len(calls.workers),
        )
        yield self._families.CounterMetricFamily(
            "iii_workers_spawns",
            DESCRIPTIONS["iii.workers.spawns.total"],
            value=calls.spawns,
        )
        yield self._families.CounterMetricFamily(
            "iii_workers_deaths",
            DESCRIPTIONS["iii.workers.deaths.total"],
            value=calls.deaths,
        )
        latest = self._telemetry.gauges.all(self._telemetry.now())
        for field, (name, help_text) in WORKER_GAUGES.items():
            gauge = self._families.GaugeMetricFamily(
                name, help_text, labels=["worker_id"]
            )
            for worker_id, values in latest.items():
                if field in values:
                    gauge.add_metric([worker_id], values[field])
            yield gauge

    def _telemetry_itself(self) -> Iterable[Any]:
        telemetry = self._telemetry
        lost = self._families.CounterMetricFamily(
            "iii_telemetry_dropped",
            "Telemetry that was lost to a bound, or could not be read.",
            labels=["what"],
        )
        for what, count in (
            ("inbox", telemetry.inbox.dropped + telemetry.ended.dropped),
            ("unreadable", telemetry.refused + telemetry.left_out),
            ("logs", telemetry.logs.dropped),
            ("spans", telemetry.spans.dropped),
            ("metrics", telemetry.metrics.dropped),
        ):
            lost.add_metric([what], count)
        yield lost


@final
class MetricsPage:
    """Answers ``GET /metrics``."""

    def __init__(self, write: Callable[[], tuple[bytes, str]]) -> None:
        self._write = write

    def on_request(self, exchange: HTTPExchange) -> None:
        """Answer one request."""
        request = exchange.request
        if request.path != "/metrics":
            _answer(exchange, 404, b"Not Found\n")
        elif request.method not in {"GET", "HEAD"}:
            _answer(exchange, 405, b"Method Not Allowed\n", ("allow", "GET, HEAD"))
        else:
            text, content_type = self._write()
            exchange.respond(200, [("content-type", content_type)], text)


def _answer(
    exchange: HTTPExchange, status: int, text: bytes, *headers: tuple[str, str]
) -> None:
    content_type = ("content-type", "text/plain; charset=utf-8")
    exchange.respond(status, [content_type, *headers], text)
