"""Hypothesis strategies: JSON, names, frames and fault plans.

The only module of the package that imports Hypothesis. Worker programs have strategies
of their own beside their steps, in ``iii_trio.testing.programs``.
"""

import uuid
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
from hypothesis import strategies as st

from iii_trio.protocol import FRAME_TYPES, AnyFrame, Frame
from iii_trio.transport import FaultPlan

__all__ = [
    "JSON",
    "fault_plans",
    "frames",
    "function_ids",
    "invocation_ids",
    "json_texts",
    "json_values",
]

JSON: TypeAlias = Any
"""A value that JSON can hold: ``None``, bool, number, text, list or dict of them."""

_text = st.text(max_size=20)


def json_values(*, max_leaves: int = 12) -> st.SearchStrategy[JSON]:
    """JSON values as Python objects: finite floats, integers of any size."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | _text
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4)
        ),
        max_leaves=max_leaves,
    )


@st.composite
def json_texts(draw: st.DrawFn, values: st.SearchStrategy[JSON] | None = None) -> bytes:
    """JSON text in odd but valid spellings: white space, escapes, any separator.

    Args:
        draw: given by Hypothesis.
        values: what the text holds; anything by default.
    """
    value = draw(json_values() if values is None else values)
    text = msgspec.json.encode(value)
    if draw(st.booleans()):
        text = msgspec.json.format(text, indent=draw(st.integers(-1, 3)))
    if draw(st.booleans()):
        text = _escape(text)
    return text


def _escape(text: bytes) -> bytes:
    """Spell every character beyond ASCII as its hexadecimal escape."""
    units = text.decode().encode("utf-16-be")
    pairs = (units[at : at + 2] for at in range(0, len(units), 2))
    return b"".join(
        pair[1:] if pair < b"\x00\x80" else b"\\u" + pair.hex().encode()
        for pair in pairs
    )


def function_ids() -> st.SearchStrategy[str]:
    """Function ids: mostly ``group::name``, sometimes any text that is not empty."""
    word = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8)
    usual = st.lists(word, min_size=1, max_size=3).map("::".join)
    return usual | _text.filter(bool)


def invocation_ids() -> st.SearchStrategy[str]:
    """UUIDs in each spelling that public SDKs use."""
    spellings = (str, lambda u: str(u).upper(), lambda u: u.hex, lambda u: u.urn)
    return st.builds(
        lambda value, spell: str(spell(value)),
        st.integers(0, 2**128 - 1).map(lambda n: uuid.UUID(int=n)),
        st.sampled_from(spellings),
    )


def frames() -> st.SearchStrategy[AnyFrame]:
    """Any frame that `iii_trio.protocol` knows, with raw payloads."""
    return st.one_of(
        *(_frames_of(kind) for kind in FRAME_TYPES.values()),
    )


def _frames_of(kind: type[Frame]) -> st.SearchStrategy[Any]:
    fields = {
        field.name: _values_of(field)
        for field in msgspec.structs.fields(kind)
        if field.name != "type"
    }
    return st.builds(kind, **fields)


def _values_of(field: msgspec.structs.FieldInfo) -> st.SearchStrategy[Any]:
    """Values of one field, by its name or type; optional ones may be missing."""
    if field.name == "invocation_id":
        values: st.SearchStrategy[Any] = invocation_ids()
    elif field.type is msgspec.Raw:
        values = json_texts().map(msgspec.Raw)
    elif field.name == "deadline_ms":
        values = st.floats(0, 1e9)
    elif field.name == "features":
        values = st.lists(_text, max_size=3)
    else:
        values = _text
    optional = field.default is not msgspec.NODEFAULT
    return values | st.just(field.default) if optional else values


@st.composite
def fault_plans(
    draw: st.DrawFn, *, max_bytes: int = 64, pieces: Sequence[int] = (1, 3, 65536)
) -> FaultPlan:
    """Fault plans of memory links: at most one fault, and pieces of some size.

    Args:
        draw: given by Hypothesis.
        max_bytes: the fault comes within so many bytes.
        pieces: how many bytes may arrive at a time; small ones take many steps.
    """
    kind = draw(
        st.sampled_from(["none", "cut_after", "end_after", "drop_after", "stall_after"])
    )
    count = draw(st.integers(0, max_bytes))
    return FaultPlan(
        delay=draw(st.sampled_from([0.0, 0.0, 0.5])),
        piece=draw(st.sampled_from(pieces)),
        **({} if kind == "none" else {kind: count}),
    )
