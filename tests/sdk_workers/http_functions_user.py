"""Registers HTTP-invoked functions through the newest Python SDK; run as a program.

It prints one JSON object: what each call answered.
"""

import json
import os
import sys
import time
import urllib.request
import warnings
from typing import Any

from iii import InitOptions, InvocationError, register_worker
from iii_helpers.http import (
    HttpAuthApiKey,
    HttpAuthBearer,
    HttpAuthHmac,
    HttpInvocationConfig,
)

warnings.simplefilter("ignore", DeprecationWarning)  # the SDK warns of its own future

ENDPOINT = os.environ["ENDPOINT_URL"]
GATEWAY = os.environ["GATEWAY_URL"]

worker = register_worker(os.environ["III_URL"], InitOptions(worker_name="py-http"))


def call(function_id: str, payload: Any) -> Any:
    """Call a function; its answer, or the code and message of its error."""
    try:
        return worker.trigger({"function_id": function_id, "payload": payload})
    except InvocationError as error:
        return [error.code, error.message]


def register(name: str, path: str, auth: Any = None, **options: Any) -> None:
    """Register a function that is an endpoint."""
    config = HttpInvocationConfig(url=f"{ENDPOINT}/{path}", auth=auth, **options)
    worker.register_function(f"py::{name}", config, description=f"is {name}")


def fetch(path: str) -> Any:
    """Ask the gateway, until the route is there."""
    url = f"{GATEWAY}/{path}"
    request = urllib.request.Request(
        url, b'{"n":1}', {"Content-Type": "application/json"}
    )
    for _ in range(200):
        try:
            with urllib.request.urlopen(request) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            time.sleep(0.01)
    return None


def main() -> None:
    """Register, call, ask the gateway."""
    report: dict[str, Any] = {}
    register("plain", "echo", timeout_ms=20_000, headers={"X-Tag": "py"})
    register("hmac", "echo", HttpAuthHmac(secret_key="HOOK_KEY"))
    register("bearer", "echo", HttpAuthBearer(token_key="HOOK_KEY"), method="PUT")
    api_key = HttpAuthApiKey(header="X-Api-Key", value_key="HOOK_KEY")
    register("api_key", "echo", api_key)
    register("failing", "fail")
    register("keyless", "echo", HttpAuthHmac(secret_key="NO_SUCH_KEY"))
    call("engine::workers::list", {})  # functions are registered when it is answered
    for name in ("plain", "hmac", "bearer", "api_key", "failing", "keyless"):
        report[name] = call(f"py::{name}", {"n": 1})
    worker.register_trigger(
        {
            "type": "http",
            "function_id": "py::hmac",
            "config": {"api_path": "/hook", "http_method": "POST"},
        }
    )
    report["gateway"] = fetch("hook")
    worker.shutdown()
    sys.stdout.write(json.dumps(report))


main()
