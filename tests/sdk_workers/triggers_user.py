"""Uses cron and pub/sub through the newest Python SDK; run as a program.

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

worker = register_worker(os.environ["III_URL"], InitOptions(worker_name="py-triggers"))
ticks: queue.Queue[Any] = queue.Queue()
messages: queue.Queue[Any] = queue.Queue()


def tick(payload: Any) -> None:
    """Keep a tick."""
    ticks.put(payload)


def hear(data: Any) -> None:
    """Keep a message."""
    messages.put(data)


def call(function_id: str, payload: Any) -> Any:
    """Call a function; its answer, or the code and message of its error."""
    try:
        return worker.trigger({"function_id": function_id, "payload": payload})
    except InvocationError as error:
        return [error.code, error.message]


def bind(kind: str, function_id: str, config: Any) -> Any:
    """Bind a trigger."""
    return worker.register_trigger(
        {"type": kind, "function_id": function_id, "config": config}
    )


def wait_for_jobs(count: int) -> Any:
    """The cron triggers, once there are that many."""
    while len(jobs := call("cron::list", {})) != count:
        time.sleep(0.01)
    return jobs


def main() -> None:
    """Use cron, then pub/sub."""
    report: dict[str, Any] = {}
    worker.register_function("py::tick", tick)
    worker.register_function("py::hear", hear)

    every_second = bind("cron", "py::tick", {"expression": "* * * * * *"})
    bind("cron", "py::tick", {"expression": "no cron"})
    report["ticks"] = [ticks.get(timeout=20), ticks.get(timeout=20)]
    report["jobs"] = wait_for_jobs(1)
    every_second.unregister()
    report["left"] = wait_for_jobs(0)
    asked = {"expression": "@daily", "after": "2026-01-01T00:00:00+00:00", "count": 1}
    report["next"] = call("cron::next", asked)
    report["bad"] = call("cron::next", {"expression": "no cron"})

    bind("subscribe", "py::hear", {"topic": "news"})
    second = bind("subscribe", "py::hear", {"topic": "news"})
    report["answer"] = call("publish", {"topic": "news", "data": None})
    report["null"] = [messages.get(timeout=20), messages.get(timeout=20)]
    second.unregister()
    wait_for_jobs(0)  # answered after what was sent before it
    for number in range(20):
        request = {"topic": "news", "data": {"n": number}}
        void = TriggerAction.Void()
        worker.trigger({"function_id": "publish", "payload": request, "action": void})
    # Handlers of this SDK run in threads: the order in which they came is lost.
    report["heard"] = sorted(messages.get(timeout=20)["n"] for _ in range(20))
    report["nobody"] = call("publish", {"topic": "new", "data": 1})
    report["no_topic"] = call("publish", {"topic": "", "data": 1})
    report["no_data"] = call("publish", {"topic": "news"})
    report["more"] = messages.qsize()
    worker.shutdown()
    sys.stdout.write(json.dumps(report))


main()
