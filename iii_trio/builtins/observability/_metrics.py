"""Metrics: those of the engine's calls, those that workers send, and sums of both. Pure."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, final

import attrs

from iii_trio.builtins.observability._logs import bytes_of_texts

JSON = Any

LATENCY_SAMPLES: Final = 4096
"""Durations of calls that are kept for percentiles."""

MAX_FUNCTIONS: Final = 10_000
"""Functions that are counted one by one; further ones are counted as `OTHERS`."""

MAX_ID_CHARACTERS: Final = 512
"""Functions whose ids are longer are counted as `OTHERS` too."""

OTHERS: Final = "(others)"

DURATION_BOUNDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""Upper bounds of the buckets of call durations, in seconds."""


@attrs.frozen(kw_only=True)
class Metric:
    """One metric with its data points, as a worker sent it.

    Attributes:
        metric_type: ``gauge``, ``sum``, ``histogram``, ``exponential_histogram``,
            ``summary``.
        data_points: objects with ``attributes``, ``timestamp_unix_nano`` and ``value``
            or ``count``, ``sum`` and so on.
        language: of the SDK that sent it.
    """

    name: str
    description: str
    unit: str
    metric_type: str
    data_points: Sequence[Mapping[str, JSON]]
    service_name: str
    timestamp_unix_nano: int
    scope_name: str | None = None
    scope_version: str | None = None
    language: str | None = None

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        texts = (
            self.name,
            self.description,
            self.unit,
            self.service_name,
            self.scope_name,
            self.scope_version,
            self.language,
        )
        points = sum(
            400 + 60 * len(point.get("bucket_counts", ())) + 3 * len(str(point))
            for point in self.data_points
        )
        return 300 + bytes_of_texts(texts) + points


def row_of_metric(metric: Metric) -> dict[str, JSON]:
    """A metric as queries show it."""
    row: dict[str, JSON] = {
        "name": metric.name,
        "description": metric.description,
        "unit": metric.unit,
        "metric_type": metric.metric_type,
        "data_points": metric.data_points,
        "service_name": metric.service_name,
        "timestamp_unix_nano": metric.timestamp_unix_nano,
    }
    if metric.scope_name is not None:
        row["instrumentation_scope_name"] = metric.scope_name
    if metric.scope_version is not None:
        row["instrumentation_scope_version"] = metric.scope_version
    return row


Tallies = Callable[[], Mapping[str, tuple[int, int]]]
"""Gives calls that nobody was told of: ended and failed, by function id, ever growing."""


@final
class CallMetrics:
    """Counts the engine's calls and workers.

    Attributes:
        deferred: calls that were handed to a queue.
        buckets: of durations: one count for each of `DURATION_BOUNDS`, then the rest.
        workers: those connected now: id to kind (``link`` or ``local``).
    """

    def __init__(self) -> None:
        self._by_function: dict[str, list[int]] = {}
        self._tallies: Tallies = dict
        self._taken: Mapping[str, tuple[int, int]] = {}
        self.deferred = 0
        self.duration_sum = 0.0
        self.buckets = [0] * (len(DURATION_BOUNDS) + 1)
        self.spawns = 0
        self.deaths = 0
        self.workers: dict[str, str] = {}
        self._latest: deque[float] = deque(maxlen=LATENCY_SAMPLES)

    def call_ended(self, function_id: str, seconds: float, *, failed: bool) -> None:
        """Count a call that has its outcome."""
        counts = self._by_function.get(function_id)
        if counts is None:
            self._count(function_id, 1, int(failed))
        else:
            counts[0] += 1
            counts[1] += failed
        self.duration_sum += seconds
        self.buckets[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self._latest.append(seconds)

    def _count(self, function_id: str, ended: int, failed: int) -> None:
        counts = self._by_function.get(function_id)
        if counts is None:
            if (
                len(self._by_function) >= MAX_FUNCTIONS
                or len(function_id) > MAX_ID_CHARACTERS
            ):
                function_id = OTHERS
            counts = self._by_function.setdefault(function_id, [0, 0])
        counts[0] += ended
        counts[1] += failed

    def begin_tallies(self, tallies: Tallies) -> None:
        """Count from now on also the calls that nobody is told of."""
        self._tallies = tallies
        self._taken = tallies()

    def end_tallies(self) -> None:
        """Count them up to now."""
        self._take_tallies()
        self._tallies = dict

    def _take_tallies(self) -> None:
        found = self._tallies()
        for function_id, (ended, failed) in found.items():
            before = self._taken.get(function_id, (0, 0))
            if ended > before[0] and not function_id.startswith("engine::"):
                self._count(function_id, ended - before[0], failed - before[1])
        self._taken = found

    def worker_came(self, worker_id: str, kind: str) -> None:
        """Count a worker that attached."""
        self.spawns += 1
        self.workers[worker_id] = kind

    def worker_left(self, worker_id: str) -> None:
        """Count a worker that is gone."""
        if self.workers.pop(worker_id, None) is not None:
            self.deaths += 1

    @property
    def by_function(self) -> dict[str, tuple[int, int]]:
        """How often each function was called, and how often that failed."""
        self._take_tallies()
        return {
            function_id: (ended, failed)
            for function_id, (ended, failed) in self._by_function.items()
        }

    @property
    def total(self) -> int:
        """Calls that have their outcome."""
        return sum(ended for ended, _ in self.by_function.values())

    @property
    def timed(self) -> int:
        """Those of them that were timed; of plain ones between links, few are."""
        return sum(self.buckets)

    @property
    def errors(self) -> int:
        """Those of them that failed."""
        return sum(failed for _, failed in self.by_function.values())

    def row(self) -> dict[str, JSON]:
        """The member ``engine_metrics`` of ``engine::metrics::list``."""
        total, errors = self.total, self.errors
        return {
            "invocations": {
                "total": total,
                "success": total - errors,
                "error": errors,
                "deferred": self.deferred,
                "by_function": {
                    function_id: count
                    for function_id, (count, _) in self.by_function.items()
                },
            },
            "workers": {
                "spawns": self.spawns,
                "deaths": self.deaths,
                "active": len(self.workers),
            },
            "performance": _performance(sorted(self._latest)),
        }

    def as_metrics(self, now: int) -> list[Metric]:
        """The counters as metrics of the service ``iii``.

        Args:
            now: nanoseconds since 1970.
        """

        def counter(
            name: str, value: int, kind: str = "sum", unit: str = "1"
        ) -> Metric:
            return _engine_metric(name, unit, kind, {"value": value}, now)

        return [
            counter("iii.invocations.total", self.total),
            counter("iii.invocation.errors.total", self.errors),
            _engine_metric(
                "iii.invocation.duration",
                "s",
                "histogram",
                {
                    "count": self.timed,
                    "sum": self.duration_sum,
                    "bucket_counts": list(self.buckets),
                    "explicit_bounds": list(DURATION_BOUNDS),
                },
                now,
            ),
            counter("iii.workers.active", len(self.workers), "gauge"),
            counter("iii.workers.spawns.total", self.spawns),
            counter("iii.workers.deaths.total", self.deaths),
        ]


def _engine_metric(
    name: str, unit: str, kind: str, values: Mapping[str, JSON], now: int
) -> Metric:
    return Metric(
        name=name,
        description=DESCRIPTIONS[name],
        unit=unit,
        metric_type=kind,
        data_points=[{"attributes": {}, "timestamp_unix_nano": now, **values}],
        service_name="iii",
        timestamp_unix_nano=now,
        scope_name="iii",
    )


DESCRIPTIONS: Final[Mapping[str, str]] = {
    "iii.invocations.total": "Calls that have their outcome.",
    "iii.invocation.errors.total": "Calls that failed.",
    "iii.invocation.duration": "Seconds from the routing of a call to its outcome.",
    "iii.workers.active": "Workers that are attached now.",
    "iii.workers.spawns.total": "Workers that attached.",
    "iii.workers.deaths.total": "Workers that left.",
}


def _performance(durations: Sequence[float]) -> dict[str, float]:
    """Times of the latest calls in milliseconds; zeros while there are none."""

    def at(part: float) -> float:
        if not durations:
            return 0.0
        place = round(part * (len(durations) - 1))
        return durations[place] * 1000

    average = sum(durations) / len(durations) * 1000 if durations else 0.0
    return {
        "avg_duration_ms": average,
        "p50_duration_ms": at(0.5),
        "p95_duration_ms": at(0.95),
        "p99_duration_ms": at(0.99),
        "min_duration_ms": at(0.0),
        "max_duration_ms": at(1.0),
    }


def aggregated(metrics: Iterable[Metric], interval: int) -> list[JSON]:
    """Numbers by metric and window of time, oldest window first.

    Args:
        metrics: gauges and sums; others are passed over.
        interval: length of a window, in nanoseconds.
    """
    windows: dict[tuple[int, str], list[float]] = {}
    for metric in metrics:
        for point in metric.data_points:
            if "value" in point:
                start = point["timestamp_unix_nano"] // interval * interval
                windows.setdefault((start, metric.name), []).append(point["value"])
    return [
        {
            "metric_name": name,
            "start_time_unix_nano": start,
            "end_time_unix_nano": start + interval,
            "count": len(values),
            "sum": sum(values),
            "min": min(values),
            "max": max(values),
            "avg": sum(values) / len(values),
        }
        for (start, name), values in sorted(windows.items())
    ]


def aggregated_histograms(metrics: Iterable[Metric], interval: int) -> list[JSON]:
    """The last histogram of each metric in each window of time, oldest window first."""
    windows: dict[tuple[int, str], Mapping[str, JSON]] = {}
    for metric in metrics:
        for point in metric.data_points:
            if "bucket_counts" in point:
                start = point["timestamp_unix_nano"] // interval * interval
                windows[(start, metric.name)] = point
    return [
        {
            "metric_name": name,
            "start_time_unix_nano": start,
            "end_time_unix_nano": start + interval,
            "count": point["count"],
            "sum": point.get("sum", 0.0),
            "bucket_counts": point["bucket_counts"],
            "explicit_bounds": point["explicit_bounds"],
        }
        for (start, name), point in sorted(windows.items(), key=lambda item: item[0])
    ]
