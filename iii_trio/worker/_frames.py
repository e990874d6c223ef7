"""Frames that a worker sends, and what it reads out of those it gets. Pure."""

from typing import Any, Final

import msgspec

from iii_trio.errors import RegistrationError
from iii_trio.protocol import (
    ABSENT,
    BAD_FRAME,
    CANCEL_FEATURE,
    DEFAULT_NAMESPACE,
    LARGE_MESSAGES_FEATURE,
    MAX_MESSAGE_BYTES,
    AnyFrame,
    ErrorBody,
    InvokeFunction,
    RegisterFunction,
    RegisterTrigger,
    RegisterTriggerType,
    RegistrationRejected,
    TriggerRegistrationResult,
    encode_error,
    encode_result,
    function_field,
    payload_or_null,
    payload_too_large,
)
from iii_trio.transport import (
    FunctionSpec,
    Outcome,
    Request,
    TriggerSpec,
    TriggerTypeSpec,
    WorkerSpec,
)
from iii_trio.worker._json import JSON, decode, encode

VOID: Final = msgspec.Raw(b'{"type":"void"}')
_CALLER_KEY: Final = "_caller_worker_id"
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text: Final = msgspec.json.Decoder(str)


def raw(value: JSON) -> msgspec.Raw:
    """A JSON value as a payload field; ``None`` leaves it out."""
    return ABSENT if value is None else msgspec.Raw(encode(value))


def announcement(spec: WorkerSpec, invocation_id: str) -> InvokeFunction:
    """The call that tells the engine who we are (protocol, section 3.3).

    Not void, as in the public SDKs: an engine of ours answers with its features.
    """
    data: dict[str, Any] = {
        "runtime": spec.runtime,
        "version": spec.version,
        "name": spec.name,
        "description": spec.description,
        "os": spec.os,
        "pid": spec.pid,
        "isolation": spec.isolation,
        "namespace": spec.namespace,
        "features": [CANCEL_FEATURE, LARGE_MESSAGES_FEATURE],
    }
    if spec.internal:
        data["internal"] = True
    known = {key: value for key, value in data.items() if value is not None}
    return InvokeFunction(
        function_id="engine::workers::register",
        data=msgspec.Raw(encode(known)),
        invocation_id=invocation_id,
        namespace=DEFAULT_NAMESPACE,
    )


class _Announced(msgspec.Struct):
    features: list[str] = msgspec.field(default_factory=list)


_announced: Final = msgspec.json.Decoder(_Announced)


def features_of(answer: Outcome) -> list[str]:
    """What an engine can do, from its answer to the announcement."""
    if isinstance(answer, ErrorBody):
        return []
    try:
        return _announced.decode(answer).features
    except BAD_FRAME:
        return []


def function_frame(spec: FunctionSpec) -> AnyFrame:
    """Offer a function."""
    return RegisterFunction(
        id=spec.function_id,
        description=spec.description,
        request_format=raw(spec.request_format),
        response_format=raw(spec.response_format),
        metadata=raw(spec.metadata),
        invocation=raw(spec.invocation),
    )


def trigger_type_frame(spec: TriggerTypeSpec) -> AnyFrame:
    """Provide a trigger type."""
    return RegisterTriggerType(
        id=spec.trigger_type,
        description=spec.description,
        trigger_request_format=raw(spec.config_format),
        call_request_format=raw(spec.call_format),
    )


def trigger_frame(spec: TriggerSpec) -> AnyFrame:
    """Bind a trigger; the engine wants a config and would take another namespace."""
    return RegisterTrigger(
        id=spec.trigger_id,
        trigger_type=spec.trigger_type,
        function_id=spec.function_id,
        config=msgspec.Raw(encode(spec.config)),
        metadata=raw(spec.metadata),
        namespace=spec.namespace,
        trigger_namespace=spec.trigger_namespace,
    )


def trigger_from(frame: RegisterTrigger) -> TriggerSpec:
    """A binding as the engine tells it to a provider.

    Raises:
        RegistrationError: its config or metadata cannot be decoded.
    """
    metadata = bytes(frame.metadata)
    try:
        return TriggerSpec(
            trigger_id=frame.id,
            trigger_type=frame.trigger_type,
            function_id=frame.function_id,
            config=decode(payload_or_null(frame.config)),
            metadata=decode(metadata) if metadata else None,
            namespace=frame.namespace or DEFAULT_NAMESPACE,
            trigger_namespace=frame.trigger_namespace,
        )
    except BAD_FRAME as exc:
        msg = f"the trigger cannot be decoded: {exc}"
        raise RegistrationError(msg) from exc


def bind_answer(frame: RegisterTrigger, error: RegistrationError | None) -> AnyFrame:
    """What a provider answers to a binding; without an error it is accepted."""
    body = ABSENT
    if error is not None:
        body = msgspec.Raw(
            encode_error(ErrorBody(code=error.code, message=error.message))
        )
    return TriggerRegistrationResult(
        id=frame.id,
        trigger_type=frame.trigger_type,
        function_id=frame.function_id,
        error=body,
    )


def rejection_from(frame: RegistrationRejected) -> RegistrationError:
    """Why the engine did not take a worker's name, or one of its functions."""
    what = f"worker name {frame.worker_name!r}"
    if frame.function_id is not None:
        what = f"function {frame.function_id!r}"
    owner = frame.owner_worker_id
    return RegistrationError(
        f"the engine refused {what} in namespace {frame.namespace!r} ({frame.code})"
        + (f": worker {owner} holds it" if owner else ""),
        code=frame.code,
        owner_worker_id=owner,
    )


def call_frame(
    request: Request, invocation_id: str | None, deadline_ms: float | None
) -> InvokeFunction:
    """A call of ours; without an id nobody answers it."""
    action = msgspec.Raw(request.action) if request.action else ABSENT
    return InvokeFunction(
        invocation_id=invocation_id,
        function_id=request.function_id,
        data=msgspec.Raw(request.payload),
        action=action if invocation_id is not None else VOID,
        traceparent=request.traceparent,
        baggage=request.baggage,
        metadata=msgspec.Raw(request.metadata) if request.metadata else ABSENT,
        namespace=request.namespace,
        deadline_ms=deadline_ms,
    )


def take_caller(payload: bytes) -> tuple[bytes, str | None]:
    """Take the caller's id, which engines put into object payloads, out again.

    Members are not parsed, so they stay as they are, byte for byte.

    Returns:
        The payload without it, and the id (the last one, if there are several). What
        is no text is no id.
    """
    # An escape may spell the key, too; it is rare enough to look twice.
    suspicious = b"_caller_worker_id" in payload or b"\\u" in payload
    if not suspicious or not payload.lstrip().startswith(b"{"):
        return payload, None
    try:
        members = _members.decode(payload)
    except BAD_FRAME:  # nested so deep that only the frame's decoder came through
        return payload, None
    caller = members.pop(_CALLER_KEY, None)
    if caller is None:
        return payload, None
    try:
        return encode(members), _text.decode(caller)
    except BAD_FRAME:
        return encode(members), None


def result_text(frame: InvokeFunction, outcome: Outcome) -> bytes:
    """The answer to a call that has an id."""
    assert frame.invocation_id is not None
    return encode_result(
        frame.invocation_id,
        function_field(frame.function_id or ""),
        b"" if isinstance(outcome, ErrorBody) else outcome,
        encode_error(outcome) if isinstance(outcome, ErrorBody) else b"",
        frame.traceparent,
        frame.baggage,
    )


def too_large(size: int) -> ErrorBody:
    """The refusal of a message that no engine takes."""
    return payload_too_large(size, MAX_MESSAGE_BYTES, "an engine")
