"""Cron and pub/sub, used by the newest Python and Node SDKs, in an app."""

import pathlib

import pytest

from iii_trio.app import open_app
from tests.integration.sdk_rig import failure_in, run_sdk_program
from tests.live import Language

WORKERS = [
    {"name": "iii-worker-manager", "config": {"port": 0}},
    {"name": "cron"},
    {"name": "pubsub"},
]


@pytest.mark.parametrize(
    "language", ["py", pytest.param("ts", marks=pytest.mark.needs_node)]
)
async def test_an_sdk_uses_everything_that_cron_and_pubsub_offer(
    language: Language, tmp_path: pathlib.Path
) -> None:
    async with open_app({"workers": WORKERS}, data_dir=tmp_path / "data") as app:
        report = await run_sdk_program(app, language, "triggers_user", tmp_path)
    [job] = report["jobs"]
    assert job["function_id"] == f"{language}::tick"
    assert (job["expression"], job["timezone"]) == ("* * * * * *", "UTC")
    first, second = report["ticks"]
    for tick in (first, second):
        assert (tick["trigger"], tick["job_id"]) == ("cron", job["job_id"])
        assert tick["scheduled_time"].endswith("+00:00")
        assert len(tick["scheduled_time"]) == 25
        assert len(tick["actual_time"]) == 32
        assert tick["actual_time"] >= tick["scheduled_time"][:19]
    assert first["scheduled_time"] < second["scheduled_time"]
    assert report["left"] == []
    assert report["next"] == ["2026-01-02T00:00:00+00:00"]
    refused = "Invalid cron expression 'no cron': expected 5, 6 or 7 fields, found 2"
    assert failure_in(report["bad"]) == ("invalid_expression", refused)
    assert (report["answer"], report["nobody"]) == (None, None)
    assert report["null"] == [None, None]
    assert report["heard"] == list(range(20))
    assert failure_in(report["no_topic"]) == ("topic_not_set", "Topic is not set")
    assert report["no_data"][0] == "deserialization_error"
    assert report["more"] == 0
