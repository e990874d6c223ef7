"""Uses everything that queues offer, through the newest Python SDK; run as a program.

It prints one JSON object: what each call answered, and what was delivered.
"""

import json
import os
import queue
import sys
import time
import warnings
from typing import Any

from iii import InitOptions, InvocationError, TriggerAction, register_worker

warnings.simplefilter("ignore", DeprecationWarning)  # the SDK warns of its own future

worker = register_worker(os.environ["III_URL"], InitOptions(worker_name="py-queues"))
delivered: queue.Queue[Any] = queue.Queue()


def take(data: Any) -> None:
    """Keep what is delivered."""
    delivered.put(data)


def refuse(_data: Any) -> None:
    """Fail, always."""
    msg = "never"
    raise ValueError(msg)


def call(function_id: str, **payload: Any) -> Any:
    """Call a function; its answer, or the code and message of its error."""
    try:
        return worker.trigger({"function_id": function_id, "payload": payload})
    except InvocationError as error:
        return [error.code, error.message]


def enqueue(function_id: str, name: str, payload: Any) -> Any:
    """Enqueue a call; the receipt, or the code and message of the error."""
    action = TriggerAction.Enqueue(queue=name)
    request = {"function_id": function_id, "payload": payload, "action": action}
    try:
        return worker.trigger(request)
    except InvocationError as error:
        return [error.code, error.message]


def wait_for_dead(name: str) -> Any:
    """The dead messages of a queue, once there is one."""
    for _ in range(500):
        rows = call("engine::queue::dlq_messages", topic=name)
        if rows:
            return rows
        time.sleep(0.01)
    return None


def main() -> None:
    """Use queues."""
    worker.register_function("py::take", take)
    worker.register_function("py::refuse", refuse)
    worker.register_trigger(
        {
            "type": "durable:subscriber",
            "function_id": "py::take",
            "config": {"topic": "news", "queue_config": {"maxRetries": 1}},
        }
    )
    report: dict[str, Any] = {}
    config = {"max_retries": 1}
    report["defined"] = call("queue::define", queue="once", config=config)
    report["receipt"] = enqueue("py::take", "default", {"n": 1})
    report["first"] = delivered.get(timeout=20)
    report["published"] = call("iii::durable::publish", topic="news", data=[2])
    report["second"] = delivered.get(timeout=20)
    report["unknown"] = enqueue("py::take", "nowhere", {})
    enqueue("py::refuse", "once", {"n": 3})
    report["dead"] = wait_for_dead("once")
    report["dlq_topics"] = call("engine::queue::dlq_topics")
    report["topics"] = call("engine::queue::list_topics")
    report["stats"] = call("engine::queue::topic_stats", topic="once")
    row = report["dead"][0]["id"]
    report["redriven"] = call(
        "iii::queue::redrive_message", queue="once", message_id=row
    )
    wait_for_dead("once")
    report["discarded"] = call(
        "iii::queue::discard_message", queue="once", message_id=row
    )
    report["all"] = call("iii::queue::redrive", queue="once")
    report["empty"] = call("iii::queue::redrive", queue="")
    worker.shutdown()
    sys.stdout.write(json.dumps(report))


main()
