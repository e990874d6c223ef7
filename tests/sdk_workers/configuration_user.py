"""Uses the configuration worker through the newest Python SDK; run as a program.

It prints one JSON object: what each call answered, and what was told.
"""

import json
import os
import queue
import sys
import warnings
from typing import Any

from iii import InitOptions, InvocationError, register_worker

warnings.simplefilter("ignore", DeprecationWarning)  # the SDK warns of its own future

worker = register_worker(os.environ["III_URL"], InitOptions(worker_name="py-settings"))
events: queue.Queue[Any] = queue.Queue()

SCHEMA = {
    "type": "object",
    "properties": {"port": {"type": "integer"}},
    "required": ["port"],
}
ABOUT = {"id": "py", "name": "Py", "description": "For tests.", "schema": SCHEMA}


def keep(event: Any) -> None:
    """Keep an event."""
    events.put(event)


def call(name: str, payload: Any) -> Any:
    """Call a function; its answer, or the code and message of its error."""
    function_id = f"configuration::{name}"
    try:
        return worker.trigger({"function_id": function_id, "payload": payload})
    except InvocationError as error:
        return [error.code, error.message]


def main() -> None:
    """Use every function, meet every error, hear of every change."""
    report: dict[str, Any] = {"early": call("set", {"id": "py", "value": 1})}
    worker.register_function("py::keep", keep)
    worker.register_trigger(
        {
            "type": "configuration",
            "function_id": "py::keep",
            "config": {"configuration_id": "py"},
        }
    )
    report["register"] = call("register", ABOUT)
    report["bad_schema"] = call("register", {**ABOUT, "id": "x", "schema": {"type": 1}})
    report["bad_id"] = call("register", {**ABOUT, "id": "Not Valid"})
    report["bad_input"] = call("register", {"id": "py"})
    report["set"] = call("set", {"id": "py", "value": {"port": "${PY_PORT:81}"}})
    report["invalid"] = call("set", {"id": "py", "value": {"port": "high"}})
    report["get"] = call("get", {"id": "py"})
    report["raw"] = call("get", {"id": "py", "raw": True})
    report["schema"] = call("schema", {"id": "py"})
    report["missing"] = call("get", {"id": "nobody"})
    listed = call("list", {})["configurations"]
    report["list"] = [entry for entry in listed if entry["id"] in {"py", "old"}]
    report["unknown_schema"] = call("set", {"id": "old", "value": 2})
    report["old"] = call("get", {"id": "old"})
    call("set", {"id": "py", "value": {"port": "${NOT_SET_ANYWHERE}"}})
    report["unset"] = call("get", {"id": "py"})
    report["events"] = [events.get(timeout=20) for _ in range(3)]
    worker.shutdown()
    sys.stdout.write(json.dumps(report))


main()
