"""Logs, is traced and looks at it through the newest Python SDK; run as a program.

It prints one JSON object: what each call answered, and what triggers told.
"""

import json
import os
import queue
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from iii import InitOptions, InvocationError, TriggerAction, register_worker
from iii_helpers.observability import Logger
from opentelemetry import metrics

warnings.simplefilter("ignore", DeprecationWarning)  # the SDK warns of its own future

worker = register_worker(
    os.environ["III_URL"],
    InitOptions(
        worker_name="py-seen",
        otel={"service_name": "py-shop", "metrics_export_interval_ms": 100},
    ),
)
logger = Logger(service_name="py-till")
heard: queue.Queue[str] = queue.Queue()
traced: queue.Queue[list[str]] = queue.Queue()


def work(payload: Any) -> Any:
    """Log twice, and call another function."""
    logger.info("working", {"n": payload["n"]})  # noqa: PLE1205 - the SDK's own
    if payload["n"] < 0:
        raise ValueError("negative")
    logger.warn("worked")  # noqa: G010 - the SDK's own
    return worker.trigger({"function_id": "py::step", "payload": payload})


def step(payload: Any) -> Any:
    """The inner call."""
    return {"n": payload["n"] + 1}


def on_log(record: Any) -> None:
    """Keep what a log trigger told; log, by the logger and by the engine."""
    heard.put(record["body"])
    logger.warn("heard it")  # noqa: G010 - the SDK's own
    message = {"message": "heard it too"}
    void = TriggerAction.Void()
    worker.trigger(
        {"function_id": "engine::log::warn", "payload": message, "action": void}
    )


def on_trace(event: Any) -> None:
    """Keep what a trace trigger told."""
    traced.put(event["trace_ids"])


def call(function_id: str, payload: Any = None) -> Any:
    """Call a function; its answer, or the code of its error."""
    try:
        return worker.trigger({"function_id": function_id, "payload": payload or {}})
    except InvocationError as error:
        return error.code


def until(found: Callable[[Any], bool], function_id: str, payload: Any) -> Any:
    """Ask until the answer is as wanted."""
    deadline = time.monotonic() + 30
    while not found(answer := call(function_id, payload)):
        if time.monotonic() > deadline:
            raise AssertionError(f"{function_id} keeps answering {answer}")
        time.sleep(0.02)
    return answer


def bodies(answer: Any) -> list[str]:
    """What records say."""
    return [record["body"] for record in answer["logs"]]


def main() -> None:
    """Let everything happen, then ask every function."""
    report: dict[str, Any] = {}
    for function_id, handler in (
        ("py::work", work),
        ("py::step", step),
        ("py::on-log", on_log),
        ("py::on-trace", on_trace),
    ):
        worker.register_function(function_id, handler)
    for kind, function_id, config in (
        ("log", "py::on-log", {"level": "warn"}),
        ("trace", "py::on-trace", {"service_name": "py-shop", "status": "error"}),
    ):
        worker.register_trigger(
            {"type": kind, "function_id": function_id, "config": config}
        )

    # A call may overtake the registrations that were made before it.
    until(
        lambda found: len(found["registered_triggers"]) == 2,
        "engine::registered-triggers::list",
        {"worker": "py-seen"},
    )

    report["answer"] = call("py::work", {"n": 1})
    report["heard"] = [heard.get(timeout=20)]
    report["failed"] = call("py::work", {"n": -1})
    report["traced"] = traced.get(timeout=20)
    logs = until(
        lambda found: {"heard it", "heard it too"} <= set(bodies(found)),
        "engine::logs::list",
        {"severity_text": "warn"},
    )
    worked = [record for record in logs["logs"] if record["body"] == "worked"]
    report["record"] = worked[0]
    trace_id = worked[0]["trace_id"]
    report["tree"] = until(
        lambda found: len(json.dumps(found).split('"span_id"')) >= 3,
        "engine::traces::tree",
        {"trace_id": trace_id},
    )
    report["error"] = call("engine::traces::list", {"trace_ids": report["traced"]})
    report["groups"] = call("engine::traces::group_by", {"attribute": "no such"})

    # This SDK does not begin its gauges by itself; so a metric of the user's own.
    metrics.get_meter("till").create_counter("till.sales", unit="1").add(3)
    report["metrics"] = until(
        lambda found: bool(found["sdk_metrics"]),
        "engine::metrics::list",
        {"metric_name": "till.sales", "aggregate_interval": 3600},
    )
    report["rollups"] = call(
        "engine::rollups::list", {"level": 2, "metric_name": "till.sales"}
    )
    for level in ("trace", "debug", "info", "error"):
        call(f"engine::log::{level}", {"message": level, "service_name": "direct"})
    report["direct"] = [
        record["severity_number"]
        for record in call("engine::logs::list", {})["logs"]
        if record["service_name"] == "direct"
    ]
    for name in (
        "health::check",
        "sampling::rules",
        "alerts::list",
        "alerts::evaluate",
    ):
        report[name] = call(f"engine::{name}")
    call("engine::baggage::set", {"key": "a", "value": "b"})
    report["baggage"] = [
        call("engine::baggage::get", {"key": "a"}),
        call("engine::baggage::get_all"),
    ]
    report["overflow"] = call("engine::metrics::list", {"start_time": 2**62})
    report["bad input"] = call("engine::traces::tree")
    report["cleared"] = [call("engine::traces::clear"), call("engine::logs::clear")]
    report["more"] = heard.qsize()
    worker.shutdown()
    sys.stdout.write(json.dumps(report))


main()
