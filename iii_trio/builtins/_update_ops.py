"""The update operations that state and stream share. Pure.

Values are decoded JSON. What is given is never changed: an update copies each container
that it changes once, then changes the copy in place, so that it takes time by the sum of
its operations and the old value, not by their product. The rules are those of the
reference engine.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from iii_trio.builtins._draft import Draft, GrowingText

JSON = Any
Path = str | list[str] | None

DOC_URL: Final = "https://iii.dev/docs/workers/iii-state#error-codes"
"""Sent with every error; clients show it."""

MAX_SEGMENTS: Final = 32
MAX_SEGMENT_BYTES: Final = 256
MAX_MERGE_KEYS: Final = 1024
MAX_MERGE_DEPTH: Final = 16
FORBIDDEN_KEYS: Final = frozenset({"__proto__", "constructor", "prototype"})
"""Keys that change an object's prototype where JavaScript reads them."""

INTEGERS: Final = range(-(2**63), 2**64)
"""What the arithmetic can represent: signed or unsigned 64 bits."""


@attrs.frozen
class SetOp:
    """Replace the root or a first-level key."""

    path: str
    value: JSON = None


@attrs.frozen
class MergeOp:
    """Merge an object, one level deep, into the root or an object inside."""

    value: JSON
    path: Path = None


@attrs.frozen
class IncrementOp:
    """Add to a number."""

    path: str
    by: int | float


@attrs.frozen
class DecrementOp:
    """Subtract from a number."""

    path: str
    by: int | float


@attrs.frozen
class AppendOp:
    """Push to an array, or concatenate to a string."""

    value: JSON
    path: Path = None


@attrs.frozen
class RemoveOp:
    """Remove a first-level key, or make the root null."""

    path: str


UpdateOp = SetOp | MergeOp | IncrementOp | DecrementOp | AppendOp | RemoveOp

UPDATE_OPS: Final[Mapping[str, type[Any]]] = {
    "set": SetOp,
    "merge": MergeOp,
    "increment": IncrementOp,
    "decrement": DecrementOp,
    "append": AppendOp,
    "remove": RemoveOp,
}
"""The ``type`` of an operation on the wire, and its class."""


@attrs.frozen(kw_only=True)
class UpdateError:
    """Why one operation was skipped."""

    op_index: int
    code: str
    message: str

    def to_json(self) -> dict[str, JSON]:
        """As clients get it."""
        return {
            "op_index": self.op_index,
            "code": self.code,
            "message": self.message,
            "doc_url": DOC_URL,
        }


@attrs.frozen
class Updated:
    """The value after all operations, and what was skipped."""

    value: JSON
    errors: Sequence[UpdateError]


def apply_update(old: JSON, ops: Sequence[UpdateOp], *, exists: bool) -> Updated:
    """Apply operations in order; a failing one is skipped, the others still apply.

    Args:
        old: the value before; not looked at unless it ``exists``.
        ops: what to do.
        exists: whether the key exists; a missing value starts as ``{}``.
    """
    value: JSON = old if exists else {}
    # Until an operation succeeds on it, a missing value counts as empty, not as {}.
    missing = not exists
    draft = Draft()
    errors: list[UpdateError] = []
    for index, op in enumerate(ops):
        try:
            _check_path(op)
            value = _APPLY[type(op)](op, _MISSING if missing else value, draft)
            missing = False
        except _SkippedError as exc:
            errors.append(
                UpdateError(op_index=index, code=exc.code, message=exc.message)
            )
    return Updated(draft.finish(value), errors)


class _Missing:
    """Stands for a value that does not exist."""


_MISSING: Final = _Missing()


class _SkippedError(Exception):
    """An operation does not apply."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def _name_of(op: UpdateOp) -> str:
    return _NAMES[type(op)]


def _segments(path: Path) -> Sequence[str]:
    """The keys of a path; none is the root. A string is one literal key."""
    if isinstance(path, str):
        return (path,) if path else ()
    return path or ()


def _show(path: Path) -> str:
    """A path as it stands in messages."""
    if not path:
        return "'root'"
    return f"'{path}'" if isinstance(path, str) else f"'[{', '.join(path)}]'"


def _check_path(op: UpdateOp) -> None:
    name = _name_of(op)
    segments = _segments(op.path)
    if len(segments) > MAX_SEGMENTS:
        raise _SkippedError(
            f"{name}.path.too_deep",
            f"Path {_show(op.path)} has {len(segments)} segments, the limit is "
            f"{MAX_SEGMENTS}.",
        )
    for segment in segments:
        if not segment:
            raise _SkippedError(
                f"{name}.path.empty_segment",
                f"Path {_show(op.path)} has an empty segment.",
            )
        if len(segment.encode()) > MAX_SEGMENT_BYTES:
            raise _SkippedError(
                f"{name}.path.segment_too_long",
                f"Path {_show(op.path)} has a segment over {MAX_SEGMENT_BYTES} bytes.",
            )
        if segment in FORBIDDEN_KEYS:
            raise _SkippedError(
                f"{name}.path.proto_polluted",
                f"Path {_show(op.path)} names '{segment}', which is not allowed.",
            )


def _type_name(value: JSON) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for kind, name in (
        ((int, float), "number"),
        ((str, GrowingText), "string"),
        (list, "array"),
    ):
        if isinstance(value, kind):
            return name
    return "object"


def _is_number(value: JSON) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _root_object(op: UpdateOp, root: JSON) -> dict[str, JSON]:
    """The root, which the operation needs to be an object."""
    if root is _MISSING:
        return {}
    if not isinstance(root, dict):
        raise _SkippedError(
            f"{_name_of(op)}.target_not_object",
            f"Cannot {_name_of(op)} {_show(op.path)}: the value is of type "
            f"{_type_name(root)}, not an object.",
        )
    return root


def _set(op: SetOp, root: JSON, draft: Draft) -> JSON:
    if not op.path:
        return op.value
    return draft.put(_root_object(op, root), op.path, op.value)


def _remove(op: RemoveOp, root: JSON, draft: Draft) -> JSON:
    if not op.path:
        return None
    target = draft.own(_root_object(op, root))
    target.pop(op.path, None)
    return target


def _add(op: IncrementOp | DecrementOp, root: JSON, draft: Draft) -> JSON:
    if not op.path:
        return _sum(op, root)
    target = _root_object(op, root)
    return draft.put(target, op.path, _sum(op, target.get(op.path, _MISSING)))


def _sum(op: IncrementOp | DecrementOp, value: JSON) -> int | float:
    """The number after adding or subtracting; integers stay integers."""
    by = op.by if isinstance(op, IncrementOp) else -op.by
    if value is _MISSING:
        return by
    if not _is_number(value):
        raise _not_number(op, f"of type {_type_name(value)}, not a number")
    try:
        total: int | float = value + by
    except OverflowError:
        total = float("inf")
    fits = total in INTEGERS if isinstance(total, int) else abs(total) < float("inf")
    if not fits:
        raise _not_number(op, "a number that would overflow")
    return total


def _not_number(op: IncrementOp | DecrementOp, what: str) -> _SkippedError:
    name = _name_of(op)
    return _SkippedError(
        f"{name}.not_number",
        f"Cannot {name} {_show(op.path)} by {op.by}: the value is {what}.",
    )


def _merge(op: MergeOp, root: JSON, draft: Draft) -> JSON:
    _check_merge_value(op)
    segments = _segments(op.path)
    if not segments and root is not _MISSING and not isinstance(root, dict):
        return root  # no error: the reference does nothing here

    def merged(leaf: JSON) -> JSON:
        target = draft.own(_object_or_empty(leaf))
        target.update(op.value)
        return target

    return _at_path(root, segments, merged, draft)


def _check_merge_value(op: MergeOp) -> None:
    where = _show(op.path)
    if not isinstance(op.value, dict):
        raise _SkippedError(
            "merge.value.not_an_object",
            f"Cannot merge into {where}: the value is of type "
            f"{_type_name(op.value)}, not an object.",
        )
    if len(op.value) > MAX_MERGE_KEYS:
        raise _SkippedError(
            "merge.value.too_many_keys",
            f"Cannot merge into {where}: the value has {len(op.value)} keys, the "
            f"limit is {MAX_MERGE_KEYS}.",
        )
    for key in op.value:
        if key in FORBIDDEN_KEYS:
            raise _SkippedError(
                "merge.value.proto_polluted",
                f"Cannot merge into {where}: the value has the key '{key}', which is "
                "not allowed.",
            )
    if _is_deeper(op.value, MAX_MERGE_DEPTH):
        raise _SkippedError(
            "merge.value.too_deep",
            f"Cannot merge into {where}: the value is nested over {MAX_MERGE_DEPTH} "
            "levels.",
        )


def _is_deeper(value: JSON, levels: int) -> bool:
    """Whether objects and arrays nest over so many levels; stops at the first."""
    if not isinstance(value, dict | list):
        return False
    if levels == 0:
        return True
    children = value.values() if isinstance(value, dict) else value
    return any(_is_deeper(child, levels - 1) for child in children)


def _append(op: AppendOp, root: JSON, draft: Draft) -> JSON:
    segments = _segments(op.path)
    if not segments:
        return _appended(op, root, draft)
    target = _root_object(op, root)
    # A missing leaf below the first level becomes an array, even for strings.
    fresh: JSON = _MISSING if len(segments) == 1 else []
    return _at_path(
        target,
        segments,
        lambda leaf: _appended(op, fresh if leaf is _MISSING else leaf, draft),
        draft,
    )


def _appended(op: AppendOp, value: JSON, draft: Draft) -> JSON:
    if value is None or value is _MISSING:
        if isinstance(op.value, str):
            return op.value
        value = []
    if isinstance(value, list):
        target = draft.own(value)
        target.append(op.value)
        return target
    if isinstance(value, str) and isinstance(op.value, str):
        return GrowingText(value, op.value)
    if isinstance(value, GrowingText) and isinstance(op.value, str):
        value.parts.append(op.value)
        return value
    raise _SkippedError(
        "append.type_mismatch",
        f"Cannot append a value of type {_type_name(op.value)} to {_show(op.path)}, "
        f"which is of type {_type_name(value)}.",
    )


def _at_path(
    value: JSON, segments: Sequence[str], change: Callable[[JSON], JSON], draft: Draft
) -> JSON:
    """Change what is at a path; what is no object on the way becomes one.

    Nothing changes before ``change``, which may fail.
    """
    if not segments:
        return change(value)
    parent = _object_or_empty(value)
    child = parent.get(segments[0], _MISSING)
    changed = _at_path(child, segments[1:], change, draft)
    return draft.put(parent, segments[0], changed)


def _object_or_empty(value: JSON) -> dict[str, JSON]:
    return value if isinstance(value, dict) else {}


_APPLY: Final[Mapping[type[Any], Callable[[Any, JSON, Draft], JSON]]] = {
    SetOp: _set,
    MergeOp: _merge,
    IncrementOp: _add,
    DecrementOp: _add,
    AppendOp: _append,
    RemoveOp: _remove,
}

_NAMES: Final = {kind: name for name, kind in UPDATE_OPS.items()}
