"""A worker on the newest Python SDK that does a bit of everything; run as a program."""

import os
import sys
import warnings
from typing import Any

from iii import (
    InitOptions,
    InvocationError,
    StreamRequest,
    StreamResponse,
    TriggerAction,
    register_worker,
)
from iii.channel import ChannelReader, ChannelWriter
from iii.helpers import create_channel_async
from iii.trigger import TriggerConfig, TriggerHandler
from iii_helpers.http import http

warnings.simplefilter("ignore", DeprecationWarning)  # the SDK warns of its own future

worker = register_worker(os.environ["III_URL"], InitOptions(worker_name="py-zoo"))
bindings: dict[str, TriggerConfig[Any]] = {}


def echo(payload: Any) -> Any:
    """Return the payload."""
    return payload


def fail(_payload: Any) -> None:
    """Raise what every program raises one day."""
    msg = "no luck"
    raise ValueError(msg)


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """Call another function with what was asked for, and say how it went."""
    try:
        return {"result": worker.trigger(request)}
    except InvocationError as error:
        return {"code": error.code, "message": error.message}


def fire(request: dict[str, Any]) -> None:
    """Call another function without waiting for it."""
    worker.trigger({**request, "action": TriggerAction.Void()})


def repeat(request: dict[str, Any]) -> str:
    """Return a text of as many megabytes as wanted."""
    size: int = request["megabytes"] << 20
    return "x" * size


def leave(_payload: Any) -> None:
    """End the process in the middle of a call."""
    sys.stdout.flush()
    os._exit(3)


async def write(request: dict[str, Any]) -> dict[str, int]:
    """Write to a channel that the caller made."""
    writer: ChannelWriter = request["writer"]
    for number in range(request["pieces"]):
        await writer.write(bytes([number % 256]) * request["bytes"])
    await writer.close_async()
    return {"written": request["pieces"] * request["bytes"]}


async def read(request: dict[str, Any]) -> dict[str, int]:
    """Read a channel that the caller made to its end."""
    reader: ChannelReader = request["reader"]
    return {"read": len(await reader.read_all())}


async def pass_channel(request: dict[str, Any]) -> Any:
    """Make a channel, let another worker write to it, and read it."""
    channel = await create_channel_async(worker)
    payload = {**request["payload"], "writer": channel.writer_ref.model_dump()}
    call = {"function_id": request["function_id"], "payload": payload}
    written = await worker.trigger_async(call)
    return {**written, "read": len(await channel.reader.read_all())}


async def stream(request: StreamRequest, response: StreamResponse) -> None:
    """Answer over HTTP in pieces: first the length of the body, then the body."""
    body = await request.request_body.read_all()
    await response.status(202)
    await response.headers({"content-type": "text/plain", "x-zoo": "python"})
    await response.writer.write(f"{len(body)} ".encode())
    await response.writer.write(body)
    await response.writer.close_async()


class Bell(TriggerHandler[Any]):  # type: ignore[misc]  # untyped
    """A provider of triggers that fire when somebody calls ``py::ring``."""

    async def register_trigger(self, config: TriggerConfig[Any]) -> None:
        """Refuse bells that are too loud, keep the others."""
        if config.config["volume"] > 10:
            msg = "too loud"
            raise ValueError(msg)
        bindings[config.id] = config

    async def unregister_trigger(self, config: TriggerConfig[Any]) -> None:
        """Forget a binding."""
        bindings.pop(config.id, None)


def ring(payload: Any) -> list[Any]:
    """Fire every binding and return what the functions answered."""
    return [
        worker.trigger({"function_id": one.function_id, "payload": payload})
        for one in list(bindings.values())
    ]


# Twice: the SDK sends a type before it notes its handler, and drops bindings until then.
for _ in range(2):
    worker.register_trigger_type({"id": "bell", "description": "A bell."}, Bell())
for function in (echo, fail, ask, fire, repeat, leave, write, read, pass_channel, ring):
    worker.register_function(f"py::{function.__name__}", function)
worker.register_function("py::stream", http(stream))
