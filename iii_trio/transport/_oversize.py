"""What becomes of a frame that is too large to be read: its caller must learn it. Pure.

Only the begin and the end of the frame are known. SDKs put the members of the envelope
before the payload (Node, Rust) or around it (Python), so they are looked for before the
payload first, and otherwise as far behind it as possible. Whatever is found is only used
to fail a call of the very worker that sent the frame.
"""

import re
from typing import Final, Literal

import msgspec

from iii_trio.protocol import (
    MAX_MESSAGE_BYTES,
    encode_error,
    encode_result,
    function_field,
    is_uuid,
    payload_too_large,
)

_PAYLOAD: Final = re.compile(rb'"(?:data|result|error|metadata)"\s*:')
_MEMBER: Final = rb'"%s"\s*:\s*("(?:[^"\\]|\\.)*")'
_TYPE: Final = re.compile(_MEMBER % b"type")
_ID: Final = re.compile(_MEMBER % b"invocation_id")
_FUNCTION: Final = re.compile(_MEMBER % b"function_id")

Verdict = tuple[Literal["answer", "result", "void"], bytes]


def judge_oversize(size: int, excerpt: bytes) -> Verdict | None:
    """What to do about a frame that was too large.

    Args:
        size: of the frame, bytes.
        excerpt: its begin and its end, with a line feed between them.

    Returns:
        ``answer`` and the result frame to send back to the caller, whose call it was;
        ``result`` and the frame to read in its place, when it was the answer to a call;
        ``void`` and nothing, when it was a call that nobody waits for; ``None`` if it
        was no call, or that cannot be told.
    """
    kind, invocation_id = _text(_TYPE, excerpt), _text(_ID, excerpt)
    if kind == "invokefunction" and b'"invocation_id"' not in excerpt:
        return "void", b""
    if invocation_id is None or not is_uuid(invocation_id):
        return None
    verdict: Literal["answer", "result"]
    if kind == "invokefunction":
        verdict = "answer"
    elif kind == "invocationresult":
        verdict = "result"
    else:
        return None
    error = payload_too_large(size, MAX_MESSAGE_BYTES, "the engine")
    function = function_field(_text(_FUNCTION, excerpt) or "")
    frame = encode_result(invocation_id, function, b"", encode_error(error))
    return verdict, frame


def _text(member: re.Pattern[bytes], excerpt: bytes) -> str | None:
    """The value of a member of the envelope, if it is a text."""
    payload = _PAYLOAD.search(excerpt)
    found = member.search(excerpt, 0, payload.start() if payload else len(excerpt))
    if found is None:
        for later in member.finditer(excerpt):
            found = later
    if found is None:
        return None
    try:
        return msgspec.json.decode(found[1], type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
