"""Provides a trigger type and an action through the newest Python SDK; run as a program.

It serves until it is ended. ``py::ring`` fires the triggers of its type, in the way that
the caller asks for; ``py::later`` is what happens to calls with the action ``py-later``.
"""

import os
import threading
import warnings
from typing import Any

from iii import InitOptions, TriggerAction, register_worker
from iii.trigger import TriggerConfig, TriggerHandler

warnings.simplefilter("ignore", DeprecationWarning)  # the SDK warns of its own future

worker = register_worker(os.environ["III_URL"], InitOptions(worker_name="py-extender"))
bindings: dict[str, TriggerConfig[Any]] = {}
ACTIONS: dict[str, dict[str, Any]] = {
    "sync": {},
    "void": {"action": TriggerAction.Void()},
    "enqueue": {"action": TriggerAction.Enqueue(queue="default")},
}


class Chime(TriggerHandler[Any]):  # type: ignore[misc]  # untyped
    """A provider of triggers that fire when somebody calls ``py::ring``."""

    async def register_trigger(self, config: TriggerConfig[Any]) -> None:
        """Refuse what names no tone."""
        if "tone" not in config.config:
            raise ValueError("a chime needs a tone")
        bindings[config.id] = config

    async def unregister_trigger(self, config: TriggerConfig[Any]) -> None:
        """Forget a binding."""
        bindings.pop(config.id, None)


def ring(request: dict[str, Any]) -> list[Any]:
    """Fire every binding; what each call answered."""
    return [
        worker.trigger(
            {
                "function_id": one.function_id,
                "payload": {"tone": one.config["tone"]},
                **ACTIONS[request["how"]],
            }
        )
        for one in list(bindings.values())
    ]


def later(request: dict[str, Any]) -> dict[str, Any]:
    """Say what was to be called, and call it."""
    call = {"function_id": request["function_id"], "payload": request["data"]}
    minutes = request["action"]["minutes"]
    return {"minutes": minutes, "answer": worker.trigger(call)}


worker.register_trigger_type({"id": "py-chime", "description": "A chime."}, Chime())
worker.register_function("py::later", later, metadata={"trigger_action": "py-later"})
worker.register_function("py::ring", ring)
threading.Event().wait()
