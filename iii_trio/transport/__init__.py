"""How frames move: links of several kinds, and what a worker attaches to."""

from iii_trio.transport._attachment import (
    AttachedPort,
    Attachment,
    CallKind,
    ChannelEnd,
    FunctionSpec,
    Handlers,
    IncomingCall,
    Outcome,
    Request,
    TriggerSpec,
    TriggerTypeSpec,
    WorkerSpec,
)
from iii_trio.transport._link import Link, LinkSink

__all__ = [
    "AttachedPort",
    "Attachment",
    "CallKind",
    "ChannelEnd",
    "FunctionSpec",
    "Handlers",
    "IncomingCall",
    "Link",
    "LinkSink",
    "Outcome",
    "Request",
    "TriggerSpec",
    "TriggerTypeSpec",
    "WorkerSpec",
]
