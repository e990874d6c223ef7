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
from iii_trio.transport._byte_pipe import BytePipe, FaultPlan
from iii_trio.transport._channel_ends import (
    ChannelEnd,
    ChannelMaker,
    ChannelPromise,
)
from iii_trio.transport._deliver import deliver_binary, deliver_text
from iii_trio.transport._dial import open_trio_websocket
from iii_trio.transport._link import Link, LinkSink, Outbox
from iii_trio.transport._listener import (
    ChannelSocket,
    Listener,
    ListenerHandler,
    WebSocketLink,
)
from iii_trio.transport._memory import (
    MemoryConnection,
    MemoryNetwork,
    open_memory_network,
)
from iii_trio.transport._memory_link import MemoryLink
from iii_trio.transport._trio_websocket import (
    TrioWebSocketLink,
    open_link_over,
    open_trio_websocket_link,
    serve_trio_websocket,
)

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
