"""A stream that a worker on a public SDK keeps itself, by the helper of the SDK."""

from pathlib import Path

import pytest

from iii_trio.app import open_app
from tests.integration.sdk_rig import run_sdk_program
from tests.live import Language

WORKERS = [
    {"name": "iii-worker-manager", "config": {"port": 0}},
    {"name": "iii-stream", "config": {"port": 0}},
]


@pytest.mark.parametrize(
    "language", ["py", pytest.param("ts", marks=pytest.mark.needs_node)]
)
async def test_a_stream_kept_by_an_sdk_worker_is_used_as_any_other(
    language: Language, tmp_path: Path
) -> None:
    async with open_app({"workers": WORKERS}, data_dir=tmp_path / "data") as app:
        report = await run_sdk_program(app, language, "stream_user", tmp_path)
    # Each event is a call of its own; an SDK may run them side by side.
    assert sorted(report.pop("events"), key=str) == [
        ["create", {"n": 1}],
        ["delete", {"n": 3}],
        ["update", {"n": 3}],
    ]
    assert report == {
        "missing": None,
        "set": {"old_value": None, "new_value": {"n": 1}},
        # The helper registers no update: it is made of the worker's get and set.
        "updated": {"old_value": {"n": 1}, "new_value": {"n": 3}},
        "got": {"n": 3},
        "listed": [{"n": 3}],
        "groups": ["g"],
        "held": {"g": {"i": {"n": 3}}},
        "deleted": {"old_value": {"n": 3}},
        "again": {"old_value": None},
    }
