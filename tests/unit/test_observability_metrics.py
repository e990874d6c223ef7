"""Counting calls and workers, latest gauges, windows of time."""

from typing import Any

import pytest

from iii_trio.builtins.observability import _gauges, _metrics
from iii_trio.builtins.observability._gauges import LatestGauges
from iii_trio.builtins.observability._metrics import (
    OTHERS,
    CallMetrics,
    Metric,
    aggregated,
    aggregated_histograms,
    row_of_metric,
)

SECOND = 1_000_000_000


def metric(name: str = "m", *points: Any, **fields: Any) -> Metric:
    given: dict[str, Any] = {
        "description": "",
        "unit": "1",
        "metric_type": "gauge",
        "service_name": "shop",
        "timestamp_unix_nano": 0,
    }
    return Metric(name=name, data_points=points, **{**given, **fields})


def gauge(worker_id: Any, value: Any, at: int = 5_000_000) -> Any:
    return {
        "attributes": {"worker.id": worker_id},
        "timestamp_unix_nano": at,
        "value": value,
    }


# --- calls


def test_calls_are_counted_by_function() -> None:
    calls = CallMetrics()
    calls.call_ended("a::b", 0.002, failed=False)
    calls.call_ended("a::b", 0.004, failed=True)
    calls.call_ended("c::d", 100.0, failed=False)
    row = calls.row()
    assert row["invocations"] == {
        "total": 3,
        "success": 2,
        "error": 1,
        "deferred": 0,
        "by_function": {"a::b": 2, "c::d": 1},
    }
    performance = row["performance"]
    assert performance["min_duration_ms"] == 2.0
    assert performance["p50_duration_ms"] == 4.0
    assert performance["p99_duration_ms"] == performance["max_duration_ms"] == 100_000.0
    assert performance["avg_duration_ms"] == pytest.approx(33335.333, abs=0.01)
    assert calls.buckets[-1] == 1
    assert sum(calls.buckets) == 3


def test_without_calls_all_times_are_zero() -> None:
    assert set(CallMetrics().row()["performance"].values()) == {0.0}


def test_functions_beyond_the_bound_are_counted_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_metrics, "MAX_FUNCTIONS", 2)
    calls = CallMetrics()
    for function_id in ("a", "b", "c", "d", "a"):
        calls.call_ended(function_id, 0.1, failed=False)
    assert calls.row()["invocations"]["by_function"] == {"a": 2, "b": 1, OTHERS: 2}


def test_functions_with_endless_ids_are_counted_together() -> None:
    calls = CallMetrics()
    for letter in "ab":
        calls.call_ended(letter * 10**6, 0.1, failed=False)
    assert calls.row()["invocations"]["by_function"] == {OTHERS: 2}


def test_workers_come_and_go() -> None:
    calls = CallMetrics()
    calls.worker_came("1", "link")
    calls.worker_came("2", "local")
    calls.worker_left("1")
    calls.worker_left("1")
    assert calls.row()["workers"] == {"spawns": 2, "deaths": 1, "active": 1}


def test_the_engine_s_counters_are_metrics_too() -> None:
    calls = CallMetrics()
    calls.call_ended("a", 0.1, failed=True)
    by_name = {one.name: one for one in calls.as_metrics(7)}
    assert by_name["iii.invocations.total"].data_points[0]["value"] == 1
    assert by_name["iii.invocation.errors.total"].data_points[0]["value"] == 1
    assert by_name["iii.invocation.duration"].data_points[0]["count"] == 1
    assert by_name["iii.workers.active"].metric_type == "gauge"
    assert {one.timestamp_unix_nano for one in by_name.values()} == {7}


# --- rows


def test_a_row_of_a_metric_shows_its_scope_if_it_has_one() -> None:
    assert "instrumentation_scope_name" not in row_of_metric(metric())
    row = row_of_metric(metric(scope_name="s", scope_version="2"))
    assert row["instrumentation_scope_name"] == "s"
    assert row["instrumentation_scope_version"] == "2"


# --- latest gauges


def test_the_latest_gauges_of_a_worker() -> None:
    gauges = LatestGauges()
    names = {
        "iii.worker.memory.rss": 1000.0,
        "iii.worker.cpu.percent": 3,
        "iii.worker.uptime_seconds": 12.9,
    }
    for name, value in names.items():
        gauges.take(metric(name, gauge("w", value), language="nodejs"), now=100)
    assert gauges.of("w", 220) == {
        "memory_rss": 1000,
        "cpu_percent": 3.0,
        "uptime_seconds": 12,
        "timestamp_ms": 5,
        "runtime": "node",
    }
    assert gauges.of("w", 221) is None
    assert gauges.of("other", 100) is None
    assert list(gauges.all(100)) == ["w"]
    gauges.sweep(220)
    assert list(gauges.all(100)) == ["w"]
    gauges.sweep(221)
    assert gauges.all(100) == {}


def test_other_metrics_and_gauges_without_a_worker_are_passed_over() -> None:
    gauges = LatestGauges()
    gauges.take(metric("other", gauge("w", 1)), now=0)
    gauges.take(metric("iii.worker.memory.rss", gauge(7, 1)), now=0)
    no_value = {"attributes": {"worker.id": "w"}, "timestamp_unix_nano": 1, "count": 2}
    gauges.take(metric("iii.worker.memory.rss", no_value), now=0)
    assert gauges.all(0) == {}


@pytest.mark.parametrize(
    ("language", "runtime"),
    [
        ("nodejs", "node"),
        ("webjs", "browser"),
        ("python", "python"),
        (None, "unknown"),
        ("x" * 1_000_000, "x" * 64),
    ],
)
def test_the_runtime_comes_from_the_sdk_s_language(
    language: str | None, runtime: str
) -> None:
    gauges = LatestGauges()
    gauges.take(
        metric("iii.worker.memory.rss", gauge("w", 1), language=language), now=0
    )
    found = gauges.of("w", 0)
    assert found is not None
    assert found["runtime"] == runtime


def test_workers_that_were_silent_longest_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever invents workers keeps nobody else from being shown."""
    monkeypatch.setattr(_gauges, "MAX_WORKERS", 2)
    gauges = LatestGauges()
    for worker_id in ("a", "b", "a", "c", "x" * 10**6):
        gauges.take(metric("iii.worker.memory.rss", gauge(worker_id, 1)), now=0)
    assert list(gauges.all(0)) == ["a", "c"]


@pytest.mark.parametrize(
    "field", ["name", "description", "unit", "service_name", "scope_name", "language"]
)
def test_the_size_of_a_metric_grows_with_every_text(field: str) -> None:
    fields: dict[str, Any] = {field: "x" * 10**6}
    assert metric(**fields).size > 10**6


def test_numbers_are_summed_up_by_metric_and_window() -> None:
    found = aggregated(
        [
            metric("m", gauge("w", 1, 61 * SECOND), gauge("w", 3, 119 * SECOND)),
            metric("m", gauge("w", 10, 0)),
            metric("a", gauge("w", 2, 0), {"timestamp_unix_nano": 0, "count": 1}),
        ],
        60 * SECOND,
    )
    assert [(row["metric_name"], row["start_time_unix_nano"]) for row in found] == [
        ("a", 0),
        ("m", 0),
        ("m", 60 * SECOND),
    ]
    assert found[-1] == {
        "metric_name": "m",
        "start_time_unix_nano": 60 * SECOND,
        "end_time_unix_nano": 120 * SECOND,
        "count": 2,
        "sum": 4,
        "min": 1,
        "max": 3,
        "avg": 2.0,
    }


def test_the_last_histogram_of_a_window_stands_for_it() -> None:
    def point(at: int, count: int) -> Any:
        return {
            "timestamp_unix_nano": at,
            "count": count,
            "bucket_counts": [count],
            "explicit_bounds": [],
        }

    found = aggregated_histograms(
        [metric("h", point(1, 1), point(2, 5)), metric("h", gauge("w", 1))], SECOND
    )
    assert found == [
        {
            "metric_name": "h",
            "start_time_unix_nano": 0,
            "end_time_unix_nano": SECOND,
            "count": 5,
            "sum": 0.0,
            "bucket_counts": [5],
            "explicit_bounds": [],
        }
    ]


def test_calls_that_nobody_was_told_of_count_while_they_are_asked_for() -> None:
    calls = CallMetrics()
    tallies = {"f": (5, 1), "engine::x": (7, 0)}
    calls.begin_tallies(lambda: dict(tallies))
    calls.call_ended("f", 0.1, failed=False)
    assert calls.by_function == {"f": (1, 0)}
    tallies |= {"f": (8, 2), "g": (1, 0), "engine::x": (9, 0)}
    assert calls.by_function == {"f": (4, 1), "g": (1, 0)}
    assert (calls.total, calls.errors, calls.timed) == (5, 1, 1)
    tallies["g"] = (2, 0)
    calls.end_tallies()
    tallies["g"] = (3, 0)
    assert calls.by_function == {"f": (4, 1), "g": (2, 0)}
