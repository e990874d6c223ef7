"""One frozen class per frame type: the vocabulary of a worker link.

Field names are those of the wire. Payload fields are ``msgspec.Raw``: JSON text that was
checked for syntax and is never parsed by whoever only forwards it. An absent field and a
``null`` mean the same, so optional fields default to ``None`` or to `ABSENT`.

Nothing here encodes, decodes or decides; see ``_codec.py`` and ``_session.py``.
Source: the iii worker protocol, frames table.
"""

from typing import Any, Final

import msgspec

ABSENT: Final = msgspec.Raw()
"""The default of every payload field: not there. Falsy under ``len(bytes(...))``."""


class Frame(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    tag_field="type",
    tag=str.lower,
):
    """Base of all frames; ``type`` on the wire is the class name in lower case."""


class WorkerRegistered(Frame, frozen=True):
    """Engine to worker, first frame after the accept: your id and reattach token."""

    worker_id: str
    reattach_token: str | None = None
    features: list[str] | None = None


class Reattach(Frame, frozen=True):
    """Worker to engine, first frame of a reconnect: I was this worker."""

    previous_worker_id: str
    reattach_token: str | None = None


class RegisterFunction(Frame, frozen=True):
    """Worker to engine: I offer a function."""

    id: str
    description: str | None = None
    request_format: msgspec.Raw = ABSENT
    response_format: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT
    invocation: msgspec.Raw = ABSENT


class UnregisterFunction(Frame, frozen=True):
    """Worker to engine: I no longer offer it."""

    id: str


class RegisterService(Frame, frozen=True):
    """Worker to engine: obsolete; accepted and ignored."""

    id: str
    name: str | None = None
    description: str | None = None
    parent_service_id: str | None = None


class RegisterTriggerType(Frame, frozen=True):
    """Worker to engine: I provide a kind of event."""

    id: str
    description: str | None = None
    trigger_request_format: msgspec.Raw = ABSENT
    call_request_format: msgspec.Raw = ABSENT
    namespace: str | None = None


class UnregisterTriggerType(Frame, frozen=True):
    """Worker to engine: I no longer provide it."""

    id: str
    namespace: str | None = None


class RegisterTrigger(Frame, frozen=True):
    """Both ways: bind an event to a function; the engine tells the provider."""

    id: str
    trigger_type: str
    function_id: str
    config: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT
    namespace: str | None = None
    trigger_namespace: str | None = None


class UnregisterTrigger(Frame, frozen=True):
    """Both ways: end a binding."""

    id: str
    trigger_type: str | None = None


class TriggerRegistrationResult(Frame, frozen=True):
    """Both ways: a provider's answer; the engine's error to the binder."""

    id: str
    trigger_type: str = ""
    function_id: str = ""
    error: msgspec.Raw = ABSENT


class InvokeFunction(Frame, frozen=True):
    """Both ways: call a function. No ``invocation_id`` means no reply is wanted."""

    function_id: str
    invocation_id: str | None = None
    data: msgspec.Raw = ABSENT
    action: msgspec.Raw = ABSENT
    traceparent: str | None = None
    baggage: str | None = None
    metadata: msgspec.Raw = ABSENT
    namespace: str | None = None
    deadline_ms: float | None = None


class InvocationResult(Frame, frozen=True):
    """Both ways: the outcome of a call. ``error`` wins over ``result``."""

    invocation_id: str
    function_id: str | None = None
    result: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    traceparent: str | None = None
    baggage: str | None = None


class CancelInvocation(Frame, frozen=True):
    """Both ways, only to peers that announced ``iii-trio.cancel.v1``: stop that call."""

    invocation_id: str
    reason: str | None = None


class RegistrationRejected(Frame, frozen=True):
    """Engine to worker: a name or function is held by another live worker."""

    code: str
    namespace: str
    worker_name: str | None = None
    function_id: str | None = None
    owner_worker_id: str = msgspec.field(default_factory=str)


class Ping(Frame, frozen=True):
    """Both ways: an application-level ping."""


class Pong(Frame, frozen=True):
    """Both ways: the answer to `Ping`."""


class Error(Frame, frozen=True):
    """Engine to worker: the session was refused; the connection closes."""

    error: msgspec.Raw


AnyFrame = (
    WorkerRegistered
    | Reattach
    | RegisterFunction
    | UnregisterFunction
    | RegisterService
    | RegisterTriggerType
    | UnregisterTriggerType
    | RegisterTrigger
    | UnregisterTrigger
    | TriggerRegistrationResult
    | InvokeFunction
    | InvocationResult
    | CancelInvocation
    | RegistrationRejected
    | Ping
    | Pong
    | Error
)


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The wire form of a failure: ``{"code", "message", "stacktrace"?, ...}``.

    Attributes:
        extra: fields that this version does not know; they pass unchanged.
    """

    code: str
    message: str
    stacktrace: str | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class ChannelRef(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a channel, as it travels inside payloads.

    Attributes:
        direction: ``"read"`` or ``"write"``: what the holder of this end does.
    """

    channel_id: str
    access_key: str
    direction: str


class EnqueueReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a call with the ``enqueue`` action."""

    messageReceiptId: str  # noqa: N815 - the wire's spelling
