"""How frames move: links of several kinds, and what a worker attaches to.

What only engines and tests need is imported when it is first used: a worker by URL, such
as ``iii-trio trigger``, does not pay for the front door.
"""

import importlib
from typing import Any

from iii_trio.transport._attachment import (
    AttachedPort,
    Attachment,
    CallKind,
    FunctionSpec,
    Handlers,
    IncomingCall,
    InvokedFunction,
    Invoker,
    Outcome,
    Request,
    RunCall,
    StartedCall,
    TriggerSpec,
    TriggerTypeSpec,
    WorkerSpec,
)
from iii_trio.transport._channel_ends import (
    ChannelEnd,
    ChannelMaker,
    ChannelPromise,
)
from iii_trio.transport._deliver import deliver_binary, deliver_text
from iii_trio.transport._dial import open_trio_websocket
from iii_trio.transport._link import Link, LinkSink, Outbox
from iii_trio.transport._trio_websocket import (
    TrioWebSocketLink,
    open_link_over,
    open_trio_websocket_link,
    serve_trio_websocket,
)

_LATER = {
    "BytePipe": "_byte_pipe",
    "ChannelSocket": "_listener",
    "FaultPlan": "_byte_pipe",
    "Listener": "_listener",
    "ListenerHandler": "_listener",
    "MemoryConnection": "_memory",
    "MemoryLink": "_memory_link",
    "MemoryNetwork": "_memory",
    "WebSocketLink": "_listener",
    "open_memory_network": "_memory",
}

__all__ = [
    "AttachedPort",
    "Attachment",
    "BytePipe",
    "CallKind",
    "ChannelEnd",
    "ChannelMaker",
    "ChannelPromise",
    "ChannelSocket",
    "FaultPlan",
    "FunctionSpec",
    "Handlers",
    "IncomingCall",
    "InvokedFunction",
    "Invoker",
    "Link",
    "LinkSink",
    "Listener",
    "ListenerHandler",
    "MemoryConnection",
    "MemoryLink",
    "MemoryNetwork",
    "Outbox",
    "Outcome",
    "Request",
    "RunCall",
    "StartedCall",
    "TriggerSpec",
    "TriggerTypeSpec",
    "TrioWebSocketLink",
    "WebSocketLink",
    "WorkerSpec",
    "deliver_binary",
    "deliver_text",
    "open_link_over",
    "open_memory_network",
    "open_trio_websocket",
    "open_trio_websocket_link",
    "serve_trio_websocket",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    try:
        home = _LATER[name]
    except KeyError:
        msg = f"module 'iii_trio.transport' has no attribute {name!r}"
        raise AttributeError(msg) from None
    return getattr(importlib.import_module(f"iii_trio.transport.{home}"), name)
