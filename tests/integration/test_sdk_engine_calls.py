"""Every function of the engine itself, of observability and of a bridge, called by SDKs.

The functions of the workers with data are in ``test_sdk_calls.py``; together they are all
there are.
"""

import pathlib
from typing import Any

import pytest
import trio

from iii_trio.app import App, open_app
from tests.integration.calls_rig import (
    ABSENT,
    ANY,
    Among,
    Call,
    Fails,
    Has,
    check_calls,
    malformed,
)
from tests.live import PATIENCE, Language

LISTENER = {"name": "iii-worker-manager", "config": {"port": 0}}
OFFERED_ELSEWHERE = ("cron::", "configuration::", "engine::queue::", "iii::", "queue::")

# Discovery

REFUSE = {
    "function_id": "sdk::refuse",
    "namespace": "default",
    "worker_name": "calls",
}
DETAIL = Has({**REFUSE, "registered_triggers": []})
CRON_TYPE = {"id": "cron", "namespace": "default", "worker_name": "iii-cron"}
BINDING = {
    "trigger_type": "cron",
    "function_id": "sdk::refuse",
    "config": {"expression": "0 0 0 1 1 *"},
}
CONFIG_SUMMARY = {"config_summary": '{"expression":"0 0 0 1 1 *"}'}
ENGINE_WORKER = {"name": "iii-engine-functions", "runtime": "engine"}


def end(direction: str) -> Has:
    return Has({"channel_id": ANY, "access_key": ANY, "direction": direction})


DISCOVERY = [
    # Until then the SDK's announcement may be on its way.
    Call(
        "engine::functions::list",
        {"prefix": "sdk::"},
        {"functions": [REFUSE]},
        repeat=True,
    ),
    Call(
        "engine::workers::list",
        {"search": "CALL"},
        {"workers": Among(Has({"name": "calls", "status": ANY, "isolation": None}))},
    ),
    Call(
        "engine::workers::info",
        {"name": "calls"},
        Has(
            {
                "worker": Has(
                    {"name": "calls", "internal": False, "function_count": 1}
                ),
                "functions": [REFUSE],
                "trigger_types": [],
                "registered_triggers": [],
            }
        ),
    ),
    Call(
        "engine::workers::info",
        {"name": "iii-engine-functions"},
        Has({"worker": Has(ENGINE_WORKER), "functions": Among(ANY)}),
    ),
    Call(
        "engine::workers::info",
        {"name": "nobody"},
        Fails("NOT_FOUND", "Worker 'nobody' is not connected."),
    ),
    malformed("engine::workers::info", {}, "missing field `name`"),
    Call("engine::functions::list", {"prefix": "engine::logs"}, {"functions": []}),
    Call(
        "engine::functions::list",
        {"prefix": "engine::logs::l", "include_internal": True},
        {"functions": [Has({"function_id": "engine::logs::list"})]},
    ),
    malformed("engine::functions::list", [], "Expected `object`"),
    Call(
        "engine::functions::info",
        {"function_id": "sdk::refuse"},
        DETAIL,
    ),
    Call(
        "engine::functions::info",
        {"function_ids": ["none", "sdk::refuse", "none"]},
        {
            "functions": [
                {"function_id": "none", "error": "not_found"},
                DETAIL,
            ]
        },
    ),
    Call(
        "engine::functions::info",
        {"function_id": "none"},
        Fails("NOT_FOUND", "Function 'none' is not registered."),
    ),
    *(
        Call("engine::functions::info", payload, Fails("INVALID_ARGUMENTS", text))
        for payload, text in (
            ({}, "missing field `function_id`"),
            ({"function_id": "a", "function_ids": ["b"]}, "not both"),
            ({"function_ids": []}, "non-empty"),
            ({"function_ids": [str(n) for n in range(33)]}, "max 32"),
        )
    ),
    Call("engine::triggers::list", {"search": "cron"}, {"triggers": [Has(CRON_TYPE)]}),
    Call(
        "engine::triggers::info",
        {"id": "cron"},
        Has({**CRON_TYPE, "configuration_schema": ANY, "instance_count": 0}),
    ),
    Call(
        "engine::triggers::info",
        {"id": "none"},
        Fails(
            "NOT_FOUND",
            "Trigger type 'none' is not registered in namespace 'default'.",
        ),
    ),
    Call("engine::register_trigger", BINDING, {"id": ANY}, keep="bound"),
    Call(
        "engine::register_trigger",
        {**BINDING, "config": {}},
        Fails("trigger_registration_failed", "Cron expression is required"),
    ),
    Call(
        "engine::register_trigger",
        {**BINDING, "trigger_namespace": " "},
        Fails("INVALID_NAMESPACE", "trigger_namespace"),
    ),
    malformed("engine::register_trigger", {}, "missing field `trigger_type`"),
    Call(
        "engine::registered-triggers::list",
        {"worker": "calls"},
        {"registered_triggers": [Has({**BINDING, **CONFIG_SUMMARY})]},
    ),
    Call(
        "engine::registered-triggers::info",
        {"id": "$bound"},
        Has(
            {
                **BINDING,
                "trigger": Has({**CRON_TYPE, "instance_count": 1}),
                "function": Has(REFUSE),
                "details": Has({"next_fire_times": ANY, "missed_ticks": 0}),
            }
        ),
    ),
    Call("engine::unregister_trigger", {"id": "$bound"}, {"removed": True}),
    Call("engine::unregister_trigger", {"id": "$bound"}, {"removed": False}),
    Call(
        "engine::registered-triggers::info",
        {"id": "$bound"},
        Fails("NOT_FOUND", "was not found."),
    ),
    Call(
        "engine::channels::create",
        {"buffer_size": None},
        {"writer": end("write"), "reader": end("read")},
    ),
    malformed("engine::channels::create", {"buffer_size": "1"}, "Expected `int"),
    Call("engine::workers::register", {"name": "calls"}, {"success": True}),
]

# Observability

RECORD = {
    "severity_number": 13,
    "severity_text": "WARN",
    "body": "careful",
    "attributes": {"n": 1},
    "trace_id": "0" * 31 + "1",
    "service_name": "till",
    "instrumentation_scope_name": "iii",
}
STORAGE = Has({"completeness": ANY, "known_dropped_spans": 0})
LEVELS = {"trace": 1, "debug": 5, "info": 9, "error": 17}


def logged(level: str) -> list[Call]:
    message = {"message": level, "service_name": level}
    row = Has({"body": level, "severity_number": LEVELS[level]})
    return [
        Call(f"engine::log::{level}", message, ABSENT),
        Call(
            "engine::logs::list",
            {"severity_text": level.upper(), "limit": 1},
            Has({"logs": Among(row), "total": ANY, "timestamp": ANY}),
        ),
    ]


COMPONENTS = {
    name: Has({"status": ANY}) for name in ("otel", "metrics", "logs", "spans")
}

OBSERVABILITY = [
    Call(
        "engine::log::warn",
        {
            "message": "\x1b[31mcareful\x1b[0m",
            "data": {"n": 1},
            "trace_id": RECORD["trace_id"],
            "service_name": "till",
        },
        ABSENT,
    ),
    malformed("engine::log::warn", {}, "missing field `message`"),
    Call(
        "engine::logs::list",
        {"trace_id": RECORD["trace_id"], "severity_min": 13},
        Has({"logs": [Has(RECORD)], "total": 1}),
    ),
    *(call for level in LEVELS for call in logged(level)),
    Call("engine::logs::clear", {}, Has({"success": True})),
    Call("engine::logs::list", {"trace_id": RECORD["trace_id"]}, Has({"logs": []})),
    Call(
        "engine::traces::list",
        {"limit": 0},
        {"spans": [], "total": ANY, "offset": 0, "limit": 0, "storage": STORAGE},
    ),
    Call(
        "engine::traces::tree", {"trace_id": "none"}, {"roots": [], "storage": STORAGE}
    ),
    malformed("engine::traces::tree", {}, "missing field `trace_id`"),
    Call(
        "engine::traces::group_by",
        {"attribute": "none"},
        {"groups": [], "storage": STORAGE},
    ),
    Call("engine::traces::clear", {}, Has({"success": True})),
    Call(
        "engine::metrics::list",
        {},
        Has(
            {
                "engine_metrics": Has(
                    {
                        "invocations": Has({"total": ANY, "by_function": ANY}),
                        "workers": Has({"spawns": ANY, "deaths": ANY, "active": ANY}),
                        "performance": Has({"p99_duration_ms": ANY}),
                    }
                ),
                "sdk_metrics": ANY,
                "timestamp": ANY,
            }
        ),
    ),
    Call("engine::metrics::list", {"end_time": 2**62}, Fails("time_value_overflow")),
    Call("engine::rollups::list", {"level": 2}, Has({"rollups": ANY})),
    Call(
        "engine::health::check",
        {},
        {
            "status": "healthy",
            "components": COMPONENTS,
            "timestamp": ANY,
            "version": ANY,
        },
    ),
    Call("engine::sampling::rules", {}, Has({"traces": ANY, "logs": ANY})),
    Call("engine::alerts::list", {}, Has({"alerts": [], "firing_count": 0})),
    Call("engine::alerts::evaluate", {}, Has({"evaluated": False})),
    Call("engine::baggage::set", {"key": "k", "value": "v"}, ANY),
    Call("engine::baggage::get", {"key": "k"}, {"value": "v"}),
    Call("engine::baggage::get_all", {}, {"baggage": {"k": "v"}}),
]

# A bridge

UNPARSABLE = Fails("deserialization_error", "Failed to parse invoke input: ")
PLACE = {"scope": "s", "key": "k"}


def across(function_id: str, data: Any) -> dict[str, Any]:
    return {"function_id": function_id, "data": data}


BRIDGE = [
    Call(
        "bridge.invoke",
        across("state::set", {**PLACE, "value": 1}),
        {"old_value": None, "new_value": 1},
    ),
    Call("far::get", PLACE, 1),
    Call("far::get", {"scope": "s"}, Fails("bridge_error", "deserialization_error")),
    Call("bridge.invoke", {"function_id": "none"}, Fails("bridge_error", "none")),
    Call("bridge.invoke", {}, UNPARSABLE),
    Call("bridge.invoke_async", across("state::delete", PLACE), ABSENT),
    Call("bridge.invoke", across("state::list", {"scope": "s"}), [], repeat=True),
    Call("bridge.invoke_async", {}, UNPARSABLE),
]

SETTINGS = [
    Call(f"{worker}::on-config-change", {}, {"ok": True})
    for worker in ("iii-cron", "iii-observability")
]

CALLS = [*DISCOVERY, *OBSERVABILITY, *BRIDGE, *SETTINGS]


def bridge_to(far: App) -> dict[str, Any]:
    host, port = far.addresses["iii-worker-manager"][0]
    forward = {"local_function": "far::get", "remote_function": "state::get"}
    config = {"url": f"ws://{host}:{port}", "forward": [forward]}
    return {"name": "iii-bridge", "config": config}


@pytest.mark.parametrize(
    "language", ["py", pytest.param("ts", marks=pytest.mark.needs_node)]
)
async def test_an_sdk_calls_every_function_of_the_engine(
    language: Language, tmp_path: pathlib.Path
) -> None:
    there = {"workers": [LISTENER, {"name": "iii-state"}]}
    here = [LISTENER, {"name": "iii-cron"}]
    with trio.fail_after(PATIENCE):
        async with (
            open_app(there, data_dir=tmp_path / "there") as far,
            open_app({"workers": [*here, bridge_to(far)]}, data_dir=tmp_path) as app,
        ):
            await check_calls(app, language, CALLS, tmp_path)
            offered = {function.function_id for function in app.engine.registry}
    rest = {one for one in offered if not one.startswith(OFFERED_ELSEWHERE)}
    assert rest == {call.function_id for call in CALLS}
