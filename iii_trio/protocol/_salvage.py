"""What is left of a frame that cannot be read: enough to tell whoever waits for it.

JSON text that other libraries write and read may still be none for us: half of a
surrogate pair as an escape (``JSON.stringify`` of a string that was cut in the middle of
an emoji), ``NaN`` (Python's ``json``), nesting too deep. Each call has an outcome, so the
id is found by reading the frame with that in it replaced; where the ids come first, as
most libraries write them, whatever is wrong with the payload. Only bad frames come here.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

import msgspec

from iii_trio.protocol._codec import BAD_FRAME, is_absent
from iii_trio.protocol._error_codes import refused
from iii_trio.protocol._messages import ABSENT, ErrorBody
from iii_trio.protocol._names import is_uuid

Kind = Literal["call", "answer", "cancellation", "refusal"]

_KINDS: Final[dict[str, Kind]] = {
    "invokefunction": "call",
    "invocationresult": "answer",
    "cancelinvocation": "cancellation",
    "triggerregistrationresult": "refusal",
}

_HALF: Final = (
    r"it holds half of a surrogate pair (an escape such as \ud83d that stands alone, often "
    "of a string that was cut in the middle of an emoji), which is no text"
)

_NAME_BYTES: Final = 4096
"""A longer function id is not repeated: escaped it may take six times its length."""

_LARGE_BYTES: Final = 2**20
"""Of longer text the payload is only left out, where it is found: to replace what is in it
may take 15 ms for each of these."""


class Remains(msgspec.Struct, frozen=True, kw_only=True):
    """What a frame was about.

    Attributes:
        kind: a call, the answer to one, the wish to end one, or a provider's refusal of a
            trigger.
        id: the sender's of a call, which is a UUID, and of a cancellation; the
            receiver's of an answer; the trigger's of a refusal.
        function_id: ``""`` if that is lost, or very long.
        problem: why the frame cannot be read; ``""``: it can.
    """

    kind: Kind
    id: str
    function_id: str
    problem: str

    def error(self) -> ErrorBody:
        """What whoever waits is told."""
        name = repr(self.function_id) if self.function_id else self.id
        if self.kind == "call":
            return refused(f"the call of {name} cannot be read: {self.problem}")
        if self.kind == "refusal":
            return ErrorBody(
                code="trigger_registration_failed",
                message=f"refused; why cannot be read: {self.problem}",
            )
        return ErrorBody(
            code="invocation_failed",
            message=f"the answer of {name} cannot be read: {self.problem}",
        )


class _Members(msgspec.Struct):
    type: str
    id: msgspec.Raw = ABSENT
    invocation_id: str = ""
    function_id: msgspec.Raw = ABSENT
    action: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class _Action(msgspec.Struct):
    type: str


_decode_members: Final = msgspec.json.Decoder(_Members).decode
_decode_action: Final = msgspec.json.Decoder(_Action).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


def salvage(text: bytes, problem: str = "") -> Remains | None:
    """Find out who waits for a frame.

    Args:
        text: of a frame that `decode` refuses, or that is refused for another reason.
        problem: what `decode` said of it; where a plainer reason is found, that counts.

    Returns:
        ``None`` if it is none of those, a call without a UUID or that nobody waits for,
        or beyond that. A trigger's result without an error is no refusal.
    """
    for mend, known_problem in _MENDS if len(text) <= _LARGE_BYTES else _QUICK_MENDS:
        text = mend(text)
        try:
            members = _decode_members(text)
        except msgspec.ValidationError:
            return None
        except BAD_FRAME:
            continue
        return _remains(members, known_problem or problem)
    return None


def _remains(members: _Members, problem: str) -> Remains | None:
    kind = _KINDS.get(members.type)
    if kind is None or (kind == "refusal" and is_absent(members.error)):
        return None
    if kind == "call" and not is_uuid(members.invocation_id):
        return None
    if _is_void(members.action):
        return None  # nobody waits for it
    function_id = ""
    if len(members.function_id) <= _NAME_BYTES:
        function_id = _text(members.function_id)
    return Remains(
        kind=kind,
        id=_text(members.id) if kind == "refusal" else members.invocation_id,
        function_id=function_id,
        problem=problem,
    )


def _text(value: msgspec.Raw) -> str:
    with suppress(*BAD_FRAME):
        return _decode_text(value)
    return ""


def _is_void(action: msgspec.Raw) -> bool:
    try:
        return _decode_action(action).type == "void"
    except BAD_FRAME:
        return False


def _as_it_is(text: bytes) -> bytes:
    return text


def _without_halves(text: bytes) -> bytes:
    """Make escapes of surrogates escapes of something else; no id has any.

    With the escaped backslashes gone, each backslash that is left begins an escape.
    """
    if b"\\ud" not in text and b"\\uD" not in text:
        return text
    text = text.replace(b"\\\\", b"__")
    return text.replace(b"\\ud", b"\\uf").replace(b"\\uD", b"\\uf")


def _without_nan(text: bytes) -> bytes:
    """Make numbers of them, in strings, too; no id has any."""
    return text.replace(b"NaN", b"0").replace(b"Infinity", b"0")


def _without_values(text: bytes) -> bytes:
    """Make one number of everything from the first inner bracket to the last."""
    outer = text.find(b"{"), text.rfind(b"}")
    first = [text.find(bracket, outer[0] + 1) for bracket in (b"[", b"{")]
    last = max(text.rfind(bracket, 0, outer[1]) for bracket in (b"]", b"}"))
    begin = min((place for place in first if place >= 0), default=last)
    return text[:begin] + b"0" + text[last + 1 :] if 0 <= begin < last else text


def _without_end(text: bytes) -> bytes:
    """End it before the payload: most libraries write the ids first."""
    places = [text.find(name) for name in (b'"data":', b'"result":', b'"error":')]
    begin = min((place for place in places if place >= 0), default=-1)
    return text[:begin] + b'"":0}' if begin >= 0 else text


_Mends = tuple[tuple[Callable[[bytes], bytes], str], ...]

_MENDS: Final[_Mends] = (
    (_as_it_is, ""),
    (_without_halves, _HALF),
    (_without_nan, "it holds NaN or Infinity, which JSON does not know"),
    (_without_values, ""),
    (_without_end, ""),
)
"""Applied one after the other until the text can be read; what was wrong then."""

_QUICK_MENDS: Final[_Mends] = (
    (_as_it_is, ""),
    (_without_values, ""),
    (_without_end, ""),
)
