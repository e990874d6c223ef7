"""A worker on any Python SDK since 0.11 that does what a script asks of it.

It offers the same functions as ``client.mjs`` and ``client.rs``, all named
``<CLIENT>::...`` after the environment variable, so that one script can try them all.
"""

import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

from iii import InitOptions, TriggerAction, register_worker
from iii.triggers import TriggerHandler

warnings.simplefilter("ignore", DeprecationWarning)  # the SDK warns of its own future

NAME = os.environ["CLIENT"]
QUIET = "CLIENT_QUIET" in os.environ
KINDS = os.environ.get("CLIENT_KINDS", "http").split(",")
OPTIONS: dict[str, Any] = {"worker_name": NAME}
if "CLIENT_RECONNECT_MS" in os.environ:
    from iii_helpers.observability import ReconnectionConfig

    delay = int(os.environ["CLIENT_RECONNECT_MS"])
    OPTIONS["reconnection_config"] = ReconnectionConfig(
        initial_delay_ms=delay, max_delay_ms=4 * delay
    )

worker = register_worker(os.environ["III_URL"], InitOptions(**OPTIONS))
bindings: dict[str, Any] = {}
bells: dict[str, Any] = {}
bells_lock = threading.Lock()


def call(function_id: str, payload: Any, **more: Any) -> Any:
    """Call a function."""
    return worker.trigger({"function_id": function_id, "payload": payload, **more})


def echo(payload: Any) -> Any:
    """Return the payload, without the mark of the caller, and who answered."""
    payload.pop("_caller_worker_id", None)
    return {"from": NAME, "payload": payload}


def fail(_payload: Any) -> None:
    """Raise what every program raises one day."""
    msg = "no luck"
    raise ValueError(msg)


def size(payload: Any) -> dict[str, int]:
    """Tell the length of a text."""
    return {"size": len(payload["text"])}


def big(payload: Any) -> dict[str, str]:
    """Return a text of the wanted length."""
    return {"text": "x" * payload["size"]}


def ask(request: Any) -> dict[str, Any]:
    """Call another function, and say how it went."""
    try:
        return {"result": call(request["function_id"], request["payload"])}
    except Exception as error:  # noqa: BLE001 - each generation has its own class
        code = getattr(error, "code", type(error).__name__)
        return {"code": code, "message": str(error)}


def fire(request: Any) -> None:
    """Call another function without waiting for it."""
    call(request["function_id"], request["payload"], action=TriggerAction.Void())


def enqueue(request: Any) -> Any:
    """Put a call into a queue; the receipt."""
    action = TriggerAction.Enqueue(queue=request["queue"])
    receipt = call(request["function_id"], request["payload"], action=action)
    return receipt if isinstance(receipt, dict) else receipt.model_dump()


def bind(request: Any) -> None:
    """Bind a trigger to the function of its kind."""
    bindings[request["kind"]] = worker.register_trigger(
        {
            "type": request["type"],
            "function_id": f"{NAME}::on_{request['kind']}",
            "config": request["config"],
        }
    )


def unbind(request: Any) -> None:
    """End a binding."""
    bindings.pop(request["kind"]).unregister()


def on(kind: str) -> Callable[[Any], dict[str, Any]]:
    """Make the function that triggers of a kind call; it tells the script."""

    def fired(_payload: Any) -> dict[str, Any]:
        if not QUIET:
            call("script::fired", {"client": NAME, "kind": kind})
        return {"status_code": 200, "body": {"from": NAME}}

    return fired


async def write(request: Any) -> dict[str, int]:
    """Write to a channel that the script made."""
    writer = request["writer"]
    for number in range(request["pieces"]):
        await writer.write(bytes([number % 256]) * request["bytes"])
    await writer.close_async()
    return {"written": request["pieces"] * request["bytes"]}


async def read(request: Any) -> dict[str, int]:
    """Read a channel to its end."""
    return {"read": len(await request["nested"][0]["reader"].read_all())}


def relay(request: Any) -> dict[str, Any]:
    """Make a channel, let the script write to it, and read it oneself."""
    refs = call("engine::channels::create", {})
    payload = {**request, "writer": refs["writer"]}
    call("script::write", payload, action=TriggerAction.Void())
    result: dict[str, Any] = call(
        f"{NAME}::read", {"nested": [{"reader": refs["reader"]}]}
    )
    return result


class Bell(TriggerHandler[Any]):  # type: ignore[misc]  # untyped
    """A provider of triggers that fire when somebody calls ``ring``."""

    async def register_trigger(self, config: Any) -> None:
        """Refuse bells that are too loud, keep the others."""
        if config.config["volume"] > 10:
            msg = "too loud"
            raise ValueError(msg)
        with bells_lock:
            bells[config.id] = config

    async def unregister_trigger(self, config: Any) -> None:
        """Forget a binding."""
        with bells_lock:
            bells.pop(config.id, None)


def ring(payload: Any) -> list[Any]:
    """Fire every binding and return what the functions answered."""
    payload.pop("_caller_worker_id", None)
    with bells_lock:
        bound = list(bells.values())
    return [call(one.function_id, payload) for one in bound]


worker.register_trigger_type({"id": f"{NAME}-bell", "description": "A bell."}, Bell())
for function in (
    *(echo, fail, size, big, ask, fire, enqueue, bind, unbind, write, read, relay),
    ring,
):
    worker.register_function(f"{NAME}::{function.__name__}", function)
for one in KINDS:
    worker.register_function(f"{NAME}::on_{one}", on(one))
worker.register_function("script::taken", echo)
worker.register_function(f"{NAME}::ready", echo)
