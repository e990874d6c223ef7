"""Cron and pub/sub, used by the newest Python and Node SDKs, in an app."""

import os
import pathlib
import shutil
import sys
from typing import Any

import msgspec
import pytest
import trio

from iii_trio.app import open_app
from tests import sdks
from tests.live import PATIENCE, Language

PROGRAMS = pathlib.Path(__file__).parent.parent / "sdk_workers"


def command_of(language: Language, directory: pathlib.Path) -> list[str]:
    if language == "py":
        return [sys.executable, str(PROGRAMS / "triggers_user.py")]
    modules = sdks.node_modules_with_sdk(sdks.NEWEST_NODE).resolve()
    (directory / "node_modules").symlink_to(modules)
    (directory / "package.json").write_text('{"type": "module"}')
    shutil.copy(PROGRAMS / "triggers_user.ts", directory)
    return [sdks.need_node(), "--import", "tsx", "triggers_user.ts"]


async def report_of(language: Language, directory: pathlib.Path) -> dict[str, Any]:
    workers = [
        {"name": "iii-worker-manager", "config": {"port": 0}},
        {"name": "cron"},
        {"name": "pubsub"},
    ]
    command = command_of(language, directory)
    with trio.fail_after(PATIENCE):
        async with open_app({"workers": workers}, data_dir=directory / "data") as app:
            host, port = app.addresses["iii-worker-manager"][0]
            finished = await trio.run_process(
                command,
                cwd=directory,
                env={**os.environ, "III_URL": f"ws://{host}:{port}"},
                capture_stdout=True,
            )
    # The Node SDK says on the same pipe that it connected.
    last_line = finished.stdout.splitlines()[-1]
    report: dict[str, Any] = msgspec.json.decode(last_line)
    return report


def failure_in(answer: list[str]) -> tuple[str, str]:
    """Code and message; the Node SDK puts the code before the message too."""
    code, message = answer
    return code, message.removeprefix(f"{code}: ")


@pytest.mark.parametrize(
    "language", ["py", pytest.param("ts", marks=pytest.mark.needs_node)]
)
async def test_an_sdk_uses_everything_that_cron_and_pubsub_offer(
    language: Language, tmp_path: pathlib.Path
) -> None:
    report = await report_of(language, tmp_path)
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
