"""Frozen records of what happened in an engine, for listeners, tests and metrics."""

from typing import Literal

import attrs

__all__ = [
    "AccessDenied",
    "Event",
    "FunctionRegistered",
    "FunctionUnregistered",
    "InvocationOpened",
    "InvocationSettled",
    "TriggerChanged",
    "TriggerTypeRegistered",
    "TriggerTypeUnregistered",
    "WorkerAnnounced",
    "WorkerAttached",
    "WorkerDetached",
]

TriggerState = Literal["registered", "active", "invoked", "unregistered"]


@attrs.frozen(kw_only=True)
class Event:
    """Base of all events."""


@attrs.frozen(kw_only=True)
class WorkerAttached(Event):
    """A worker attached; it has no name or namespace yet unless it is local."""

    worker_id: str
    kind: Literal["link", "local"]


@attrs.frozen(kw_only=True)
class WorkerAnnounced(Event):
    """A worker told its name, namespace and runtime."""

    worker_id: str
    name: str | None
    namespace: str


@attrs.frozen(kw_only=True)
class WorkerDetached(Event):
    """A worker is gone and nothing of it is left."""

    worker_id: str
    reason: str


@attrs.frozen(kw_only=True)
class FunctionRegistered(Event):
    """A function can be called."""

    worker_id: str
    namespace: str
    function_id: str


@attrs.frozen(kw_only=True)
class FunctionUnregistered(Event):
    """A function can no longer be called."""

    worker_id: str
    namespace: str
    function_id: str


@attrs.frozen(kw_only=True)
class TriggerTypeRegistered(Event):
    """A provider serves a trigger type."""

    worker_id: str
    namespace: str
    trigger_type: str


@attrs.frozen(kw_only=True)
class TriggerTypeUnregistered(Event):
    """A provider no longer serves a trigger type."""

    worker_id: str
    namespace: str
    trigger_type: str


@attrs.frozen(kw_only=True)
class TriggerChanged(Event):
    """A trigger entered a state; ``reason`` says why it is not (or no more) active."""

    trigger_id: str
    trigger_type: str
    function_id: str
    state: TriggerState
    reason: str = ""


@attrs.frozen(kw_only=True)
class InvocationOpened(Event):
    """A call was routed to a callee."""

    invocation_id: str
    function_id: str
    caller_worker_id: str | None
    callee_worker_id: str


@attrs.frozen(kw_only=True)
class InvocationSettled(Event):
    """A call reached its one outcome; ``code`` is ``None`` for a result."""

    invocation_id: str
    function_id: str
    code: str | None


@attrs.frozen(kw_only=True)
class AccessDenied(Event):
    """Access rules refused something.

    Attributes:
        worker_id: who wanted it; a connection that was refused has an id, but is no
            worker.
        action: what it wanted to do.
        subject: the function, trigger, trigger type or namespace; for ``connect`` where
            the peer is.
    """

    worker_id: str
    action: Literal["connect", "call", "register", "unregister"]
    subject: str
    reason: str
