"""A worker on the newest Python SDK that shows who it is; run as a program."""

import json
import os
from typing import Any

from iii import InitOptions, InvocationError, register_worker

headers = json.loads(os.environ.get("LOCKED_HEADERS", "null"))
worker = register_worker(
    os.environ["III_URL"], InitOptions(worker_name="py-locked", headers=headers)
)


def attempt(request: dict[str, Any]) -> dict[str, Any]:
    """Call another function with what was asked for, and say how it went."""
    try:
        return {"result": worker.trigger(request)}
    except InvocationError as error:
        return {"code": error.code, "message": error.message}


worker.register_function("attempt", attempt)
worker.register_function("last", attempt)
