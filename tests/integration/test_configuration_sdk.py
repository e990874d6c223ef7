"""The configuration worker, used by the newest Python and Node SDKs, in an app."""

from pathlib import Path
from typing import Any

import pytest

from iii_trio.app import open_app
from iii_trio.worker import open_worker
from tests.integration.sdk_rig import failure_in, run_sdk_program
from tests.live import Language

LISTENER = {"name": "iii-worker-manager", "config": {"port": 0}}
OLD = {"id": "old", "name": "Old", "description": "", "schema": True}


@pytest.mark.parametrize(
    "language", ["py", pytest.param("ts", marks=pytest.mark.needs_node)]
)
async def test_an_sdk_uses_everything_that_the_configuration_worker_offers(
    language: Language, tmp_path: Path
) -> None:
    workers = {"workers": [LISTENER]}
    data = tmp_path / "data"
    async with (
        open_app(workers, data_dir=data) as app,
        open_worker(app.engine) as worker,
    ):
        await worker.invoke("configuration::register", {**OLD, "initial_value": 1})
    # In this run nobody has registered it yet.
    async with open_app(workers, data_dir=data) as app:
        report = await run_sdk_program(app, language, "configuration_user", tmp_path)
    check_answers(report, language)
    check_failures(report, language)
    check_events(report, language)


def about(language: Language) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"port": {"type": "integer"}},
        "required": ["port"],
    }
    name = language.capitalize()
    return {"id": language, "name": name, "description": "For tests.", "schema": schema}


def check_answers(report: dict[str, Any], language: Language) -> None:
    shown = about(language)
    raw = {"port": f"${{{language.upper()}_PORT:81}}"}
    assert report["register"] == {**shown, "value": None}
    assert report["set"] == {"old_value": None, "new_value": raw}
    assert report["get"] == {"id": language, "value": {"port": 81}}
    assert report["raw"] == {"id": language, "value": raw}
    assert report["schema"] == shown
    assert report["list"] == [{**OLD, "schema": None}, shown]
    assert report["old"] == {"id": "old", "value": 1}


def check_failures(report: dict[str, Any], language: Language) -> None:
    codes = {
        key: failure_in(report[key])[0]
        for key in (
            "early",
            "bad_schema",
            "bad_id",
            "bad_input",
            "invalid",
            "missing",
            "unknown_schema",
            "unset",
        )
    }
    assert codes == {
        "early": "NOT_REGISTERED",
        "bad_schema": "SCHEMA_INVALID",
        "bad_id": "INVALID_ID",
        "bad_input": "deserialization_error",
        "invalid": "SCHEMA_INVALID",
        "missing": "NOT_FOUND",
        "unknown_schema": "SCHEMA_UNAVAILABLE",
        "unset": "EXPAND_FAILED",
    }
    assert failure_in(report["invalid"])[1] == (
        'schema validation failed: $.port: "high" is not of type "integer"'
    )
    assert failure_in(report["missing"])[1] == "configuration 'nobody' not found"


def check_events(report: dict[str, Any], language: Language) -> None:
    common = {"type": "configuration", **about(language)}
    unset = {"port": "${NOT_SET_ANYWHERE}"}
    expected: list[dict[str, Any]] = [
        {"event_type": "configuration:registered", "old_value": None},
        {"event_type": "configuration:updated", "old_value": None},
        {"event_type": "configuration:updated", "old_value": {"port": 81}},
    ]
    values = [None, {"port": 81}, unset]
    assert report["events"] == [
        {**common, **one, "new_value": value}
        for one, value in zip(expected, values, strict=True)
    ]
