"""Asks for everything that SDK 0.25 added, and reports what it got; run as a program."""

import logging
import os
import warnings
from typing import Any

from iii import InitOptions, ObserveHooks, ObserveRejection, register_worker
from iii.triggers import TriggerHandler

warnings.simplefilter("ignore", DeprecationWarning)  # the SDK warns of its own future
log: list[str] = []


class Keep(logging.Handler):
    """Keeps what the SDK logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        log.append(record.getMessage())


logging.getLogger("iii").addHandler(Keep())
worker = register_worker(os.environ["III_URL"], InitOptions(worker_name="observer"))


class Bell(TriggerHandler[Any]):  # type: ignore[misc]  # untyped
    """Takes every binding."""

    async def register_trigger(self, config: Any) -> None:
        """Take it."""

    async def unregister_trigger(self, config: Any) -> None:
        """Drop it."""


def charge(payload: Any) -> Any:
    """Answer with the amount."""
    return {"amount": payload["amount"]}


def types() -> list[str]:
    """The trigger types that the engine lists of this worker."""
    request = {"function_id": "engine::triggers::list", "payload": {}}
    rows = worker.trigger(request)["triggers"]
    return [row["id"] for row in rows if row["worker_name"] == "observer"]


def main() -> None:
    """Observe, declare hooks, call, and end a trigger type."""
    hooks = ObserveHooks(on_observer_added=lambda _observer: None)
    ref = worker.register_function("py::charge", charge, observe=hooks)
    worker.register_function("py::alert", lambda _payload: None)
    handle = worker.observe({"function_id": "py::charge"}, "py::alert")
    report: dict[str, Any] = {}
    try:
        handle.ready(timeout=30)
    except ObserveRejection as error:
        report["ready"] = error.code
    report["state"] = handle.state
    request = {"function_id": "py::charge", "payload": {"amount": 5}}
    report["amount"] = worker.trigger(request)["amount"]
    report["observed"] = ref.is_observed()
    handle.dispose()
    report["disposed"] = handle.state
    worker.register_trigger_type({"id": "bell", "description": ""}, Bell())
    report["types"] = types()
    worker.unregister_trigger_type({"id": "bell", "description": ""})
    report["fewer"] = types()
    report["warnings"] = [line for line in log if "observe" in line]
    worker.trigger({"function_id": "test::report", "payload": report})


main()
