"""Makes the calls that it is given, through the newest Python SDK; run as a program.

On stdin it gets a JSON array of requests, on stdout it gives as many answers: ``{"result":
...}``, ``{}`` without one, or ``{"error": [code, message]}``. With ``until`` a request is
repeated until its result is that. With ``keep`` the id in its result is kept under that
name; ``"$name"`` in a field of a later payload stands for it.
"""

import json
import os
import sys
import time
import warnings
from typing import Any

from iii import InitOptions, InvocationError, register_worker

warnings.simplefilter("ignore", DeprecationWarning)  # the SDK warns of its own future

worker = register_worker(os.environ["III_URL"], InitOptions(worker_name="calls"))


def refuse(_data: Any) -> None:
    """Fail, always."""
    msg = "never"
    raise ValueError(msg)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Make a call once."""
    try:
        result = worker.trigger(request)
    except InvocationError as error:
        return {"error": [error.code, error.message]}
    return {} if result is None else {"result": result}


def main() -> None:
    """Make all calls in turn."""
    kept: dict[str, str] = {}
    worker.register_function("sdk::refuse", refuse)
    answers = []
    for request in json.load(sys.stdin):
        until, keep = request.pop("until", None), request.pop("keep", None)
        if isinstance(request["payload"], dict):
            filled = {
                name: kept.get(value, value) if isinstance(value, str) else value
                for name, value in request["payload"].items()
            }
            request["payload"] = filled
        found = answer(request)
        while until is not None and found.get("result") != until:
            time.sleep(0.01)
            found = answer(request)
        if keep is not None:
            kept[f"${keep}"] = found["result"]["id"]
        answers.append(found)
    worker.shutdown()
    sys.stdout.write(json.dumps(answers))


main()
