"""Frames to bytes and back: strict about known frames, tolerant of unknown ones.

`decode` reads one text message. `encode` writes any frame. The two frames of the hot path,
a call and its result, have builders of their own that put raw payload bytes into place
without parsing them.
"""

import json
from typing import Final

import msgspec

from iii_trio.errors import RemoteProtocolError
from iii_trio.protocol._error_codes import sayable
from iii_trio.protocol._messages import (
    ABSENT,
    AnyFrame,
    ErrorBody,
    Frame,
    InvokeFunction,
)
from iii_trio.protocol._names import is_uuid

Piece = bytes | msgspec.Raw | memoryview
JSONBytes = bytes | msgspec.Raw
"""JSON text as bytes; ``b""`` or `ABSENT` where a value may be missing."""

decode_unchecked: Final = msgspec.json.Decoder(AnyFrame).decode
"""Read one frame without the check of a call's id; raises one of `BAD_FRAME`."""
_encode_json: Final = msgspec.json.encode
_decode_json: Final = msgspec.json.decode
_BAD_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError)
BAD_FRAME: Final = (*_BAD_JSON, RecursionError)
"""What `decode_unchecked` raises; `decode` tells what is wrong."""


class _TypeOnly(msgspec.Struct):
    type: str = ""


_BRACE: Final = ord("{")
_END: Final = ord("}")
_QUOTE: Final = ord('"')
_SPACE: Final = ord(" ")

_INVOKE: Final = b'{"type":"invokefunction","invocation_id":"'
_RESULT: Final = b'{"type":"invocationresult","invocation_id":"'

_SMALL_BYTES: Final = 4096
"""Payloads up to this are copied, more than once, where that saves other steps."""

_type_decoder: Final = msgspec.json.Decoder(_TypeOnly)


class UnknownFrameError(RemoteProtocolError):
    """A well-formed JSON object whose ``type`` this version does not know."""


def decode(text: bytes) -> AnyFrame:
    """Read one frame.

    Args:
        text: one JSON object, valid UTF-8 (links check that).

    Raises:
        UnknownFrameError: the type is not known: ignore the frame.
        RemoteProtocolError: not JSON, a known type with a missing or mistyped field, a
            call whose id is no UUID, or nesting too deep to decode.
    """
    try:
        frame: AnyFrame = decode_unchecked(text)
    except _BAD_JSON as exc:
        raise _explain(text, exc) from exc
    except RecursionError as exc:
        msg = "JSON is nested too deep to decode"
        raise RemoteProtocolError(msg) from exc
    if (
        type(frame) is InvokeFunction
        and frame.invocation_id is not None
        and not is_uuid(frame.invocation_id)
    ):
        msg = f"bad invokefunction frame: id {frame.invocation_id!r} is not a UUID"
        raise RemoteProtocolError(msg)
    return frame


def _explain(text: bytes, exc: Exception) -> RemoteProtocolError:
    """Tell an unknown type from a bad frame; runs only on errors."""
    try:
        kind = _type_decoder.decode(text).type
    except BAD_FRAME:
        return RemoteProtocolError(f"not a frame: {exc}")
    if kind not in FRAME_TYPES:
        return UnknownFrameError(f"unknown frame type {kind!r}")
    return RemoteProtocolError(f"bad {kind} frame: {exc}")


FRAME_TYPES: Final[dict[str, type[Frame]]] = {
    str(kind.__struct_config__.tag): kind for kind in Frame.__subclasses__()
}
"""Wire ``type`` to class, of every frame that this version knows."""


def encode(frame: AnyFrame) -> bytes:
    """Write one frame as JSON; absent optional fields are left out."""
    return _encode_json(frame)


def is_absent(value: JSONBytes) -> bool:
    """Tell whether a payload field is missing or null, which mean the same."""
    return value is ABSENT or bytes(value) in (b"", b"null")


def payload_or_null(value: JSONBytes) -> bytes:
    """The JSON text of a payload field; a missing one is ``null``."""
    return bytes(value) or b"null"


def function_field(function_id: str) -> bytes:
    """The ``function_id`` member of a frame, made once for `encode_result`."""
    return b'","function_id":' + _encode_json(function_id)


def invoke_field(function_id: str) -> bytes:
    """The middle of a call's frame, made once for `encode_invoke`."""
    return function_field(function_id) + b',"data":'


def encode_invoke(
    invocation_id: str,
    function: bytes,
    payload: JSONBytes,
    caller: bytes = b"",
    extras: bytes = b"",
) -> bytes:
    """Build an ``invokefunction`` frame around raw bytes.

    Args:
        invocation_id: plain ASCII.
        function: of `invoke_field`.
        payload: JSON text, put in as it is.
        caller: a JSON member that tells who called, such as `caller_field` gives;
            it goes to the end of an object payload, because JSON readers take the last
            of duplicate keys: a forged one loses.
        extras: of `invoke_extras`.
    """
    if caller and len(payload) <= _SMALL_BYTES:
        # Nearly every call.
        text = bytes(payload)
        if text[:2] == b'{"' and text[-1] == _END:
            name = invocation_id.encode()
            parts = (
                _INVOKE,
                name,
                function,
                text[:-1],
                b",",
                caller,
                b"}",
                extras,
                b"}",
            )
            return b"".join(parts)
    pieces = _with_caller(payload, caller) if caller else (payload,)
    return b"".join((_INVOKE, invocation_id.encode(), function, *pieces, extras, b"}"))


def invoke_extras(
    metadata: JSONBytes,
    traceparent: str | None,
    baggage: str | None,
    deadline_ms: float | None,
) -> bytes:
    """The rarer members of an ``invokefunction`` frame; absent ones are left out.

    Args:
        metadata: JSON text, or ``b""``.
        traceparent: W3C trace context.
        baggage: W3C baggage.
        deadline_ms: only for peers that announced ``iii-trio.cancel.v1``.
    """
    parts: list[JSONBytes] = []
    if metadata:
        parts += (b',"metadata":', metadata)
    if traceparent is not None:
        parts += (b',"traceparent":', _encode_json(traceparent))
    if baggage is not None:
        parts += (b',"baggage":', _encode_json(baggage))
    if deadline_ms is not None:
        parts += (b',"deadline_ms":', _encode_json(deadline_ms))
    return b"".join(parts)


def encode_result(
    invocation_id: str,
    function: bytes,
    result: JSONBytes,
    error: JSONBytes = b"",
    traceparent: str | None = None,
    baggage: str | None = None,
) -> bytes:
    """Build an ``invocationresult`` frame around raw bytes, in one join.

    Args:
        invocation_id: the caller's own id for the call.
        function: of `function_field`: the id that the caller asked for.
        result: JSON text; ``b""`` leaves the field out.
        error: JSON text of an error body, or ``b""``.
        traceparent: the caller's own, echoed.
        baggage: the caller's own, echoed.
    """
    extras = b""
    if traceparent is not None or baggage is not None:
        extras = invoke_extras(b"", traceparent, baggage, None)
    name = b',"error":' if error else b',"result":' if result else b""
    return b"".join(
        (
            _RESULT,
            invocation_id.encode(),
            function,
            name,
            error or result,
            extras,
            b"}",
        )
    )


def splice_caller(payload: JSONBytes, caller: bytes) -> JSONBytes:
    """Put the caller's worker id at the end of an object payload; see `encode_invoke`.

    Args:
        payload: JSON text; anything but an object is returned as it is.
        caller: ``"_caller_worker_id":"..."`` without a comma.
    """
    pieces = _with_caller(payload, caller)
    return b"".join(pieces) if len(pieces) > 1 else payload


def _with_caller(payload: JSONBytes, caller: bytes) -> tuple[Piece, ...]:
    """The pieces of a payload with the caller in it; of no object: itself."""
    view = memoryview(payload)
    if view and (view[0] <= _SPACE or view[-1] <= _SPACE):  # only local callers do that
        view = memoryview(bytes(payload).strip())
    if not view or view[0] != _BRACE:
        return (payload,)
    # An object has a member iff there is a quote; it comes right after white space.
    empty = view[1] != _QUOTE and not bytes(view[1:-1]).strip()
    return view[:-1], b"" if empty else b",", caller, b"}"


def encode_error(body: ErrorBody) -> bytes:
    """Write an error body, whatever it holds: a caller must learn that its call failed.

    Unknown fields of a relayed one are kept, unless they are no JSON.
    """
    fields = {"code": body.code, "message": body.message}
    if body.stacktrace is not None:
        fields["stacktrace"] = body.stacktrace
    try:
        return _encode_json({**body.extra, **fields})
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        return _encode_json({name: sayable(text) for name, text in fields.items()})


def decode_error(text: JSONBytes) -> ErrorBody:
    """Read an error body, however malformed: a caller must learn that its call failed.

    What is no object with a text ``message`` becomes ``invocation_failed`` with the text
    that can be read; one that only lacks a text ``code`` becomes ``UNKNOWN``.
    """
    raw = bytes(text)
    try:
        value = _decode_json(raw)
    except BAD_FRAME:
        value = raw.decode("utf-8", "replace")
    if not isinstance(value, dict):
        message = value if isinstance(value, str) else _shown(value)
        return ErrorBody(code="invocation_failed", message=message)
    code, message = value.pop("code", None), value.pop("message", None)
    stacktrace = value.pop("stacktrace", None)
    if not isinstance(message, str):
        message = "" if message is None else _shown(message)
        message = message or f"the callee sent an error without a message ({code})"
        code = code if isinstance(code, str) else "invocation_failed"
    return ErrorBody(
        code=code if isinstance(code, str) else "UNKNOWN",
        message=message,
        stacktrace=stacktrace if isinstance(stacktrace, str) else None,
        extra=value,
    )


def _shown(value: object) -> str:
    """A JSON value as a text."""
    try:
        return json.dumps(value)
    except RecursionError:  # `json` gives up earlier than the decoder
        return "(nested too deep to show)"
