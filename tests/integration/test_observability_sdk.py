"""Loggers, spans and metrics of the newest Python and Node SDKs, seen in an app."""

import pathlib
from typing import Any

import pytest

from iii_trio.app import open_app
from tests.integration.sdk_rig import run_sdk_program
from tests.live import Language


async def report_of(language: Language, directory: pathlib.Path) -> dict[str, Any]:
    workers = [{"name": "iii-worker-manager", "config": {"port": 0}}]
    async with open_app({"workers": workers}, data_dir=directory / "data") as app:
        report: dict[str, Any] = await run_sdk_program(
            app, language, "observability_user", directory
        )
    return report


def spans_in(rows: list[Any]) -> list[Any]:
    """Every span of a tree."""
    return [span for row in rows for span in (row, *spans_in(row["children"]))]


@pytest.mark.parametrize(
    "language", ["py", pytest.param("ts", marks=pytest.mark.needs_node)]
)
async def test_what_an_sdk_logs_traces_and_measures_is_seen(
    language: Language, tmp_path: pathlib.Path
) -> None:
    report = await report_of(language, tmp_path)
    assert report["answer"] == {"n": 2}
    assert report["failed"] == "invocation_failed"
    # The function that was told of a warning logged two itself, and was not told those.
    assert (report["heard"], report["more"]) == (["worked"], 0)

    record = report["record"]
    assert (record["severity_text"], record["severity_number"]) == ("WARN", 13)
    assert record["service_name"] == f"{language}-till"
    assert record["resource"]["service.name"] == f"{language}-shop"
    spans = spans_in(report["tree"]["roots"])
    assert {span["trace_id"] for span in spans} == {record["trace_id"]}
    assert record["span_id"] in {span["span_id"] for span in spans}
    names = " ".join(span["name"] for span in spans)
    assert f"{language}::work" in names
    assert f"{language}::step" in names
    failed = report["error"]["spans"]
    assert any(span["status"] == "error" for span in failed)
    assert {span["trace_id"] for span in failed} <= set(report["traced"])
    assert report["groups"]["groups"] == []

    [metric, *_] = report["metrics"]["sdk_metrics"]
    assert metric["service_name"] == f"{language}-shop"
    assert report["metrics"]["aggregated_metrics"][0]["count"] >= 1
    calls = report["metrics"]["engine_metrics"]["invocations"]
    assert calls["by_function"][f"{language}::work"] == 2
    assert calls["error"] == 1
    assert report["rollups"]["rollups"][0]["metric_name"] == metric["name"]
    if language == "ts":
        latest = report["info"]["worker"]["latest_metrics"]
        assert latest["memory_rss"] > 10**6
        assert latest["runtime"] == "node"
    else:
        assert metric["data_points"][0]["value"] == 3

    assert report["direct"] == [17, 9, 5, 1]
    assert report["health::check"]["status"] == "healthy"
    assert report["sampling::rules"]["traces"]["default_ratio"] == 1.0
    assert report["alerts::list"]["alerts"] == []
    assert report["alerts::evaluate"]["evaluated"] is False
    assert report["baggage"] == [{"value": "b"}, {"baggage": {"a": "b"}}]
    assert report["overflow"] == "time_value_overflow"
    assert report["bad input"] == "deserialization_error"
    assert report["cleared"] == [{"success": True}, {"success": True}]
