"""JSON at a worker's border: bytes to values, values to bytes, and typed payloads.

A value that mentions attrs classes is structured by cattrs, anything else stays plain
JSON. Errors of structuring name the path of what does not fit.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any, Final, final, get_args

import attrs
import cattrs
import msgspec
from cattrs.gen import make_dict_structure_fn
from cattrs.preconf.msgspec import make_converter

from iii_trio.errors import FunctionFailedError

JSON = Any
"""A JSON value: ``None``, ``bool``, ``int``, ``float``, ``str``, ``list`` or ``dict``."""


MAX_REASON: Final = 200
"""Characters of what a validator says about a value; what is longer repeats the value."""


@final
class _Null:
    """A present null: see `NULL`."""

    def __repr__(self) -> str:
        return "NULL"


NULL: Final = _Null()
"""Return it from a handler to answer ``null``; ``None`` means "no result"."""


class InvalidPayloadError(ValueError):
    """A JSON value does not fit; the message says where: ``$.a: expected int``."""


encode: Final = msgspec.json.Encoder().encode
"""Any JSON value, or attrs instances, as JSON text."""

decode: Final = msgspec.json.Decoder().decode


def decode_result(text: bytes, function_id: str) -> JSON:
    """The value of a result; ``None`` also stands for "no result".

    Args:
        text: JSON text, or ``b""``.
        function_id: whose result it is, for the error.

    Raises:
        FunctionFailedError: valid JSON that has no value here, such as ``1e400``.
    """
    try:
        return decode(text) if text else None
    except (msgspec.DecodeError, RecursionError) as exc:
        msg = f"the result of {function_id} cannot be decoded: {exc}"
        raise FunctionFailedError(msg, function_id=function_id) from exc


def encode_optional(value: JSON) -> bytes:
    """JSON text of a value, ``b""`` of ``None``."""
    return b"" if value is None else encode(value)


def plain(value: JSON) -> JSON:
    """A copy of ``value`` in which only JSON is left: nobody shares it with the caller.

    Raises:
        TypeError: something in it is no JSON.
    """
    return None if value is None else decode(encode(value))


def mentions_attrs(annotation: Any) -> bool:  # noqa: ANN401 - any annotation
    """Tell whether an annotation is, or contains, an attrs class."""
    if isinstance(annotation, type) and attrs.has(annotation):
        return True
    return any(mentions_attrs(part) for part in get_args(annotation))


def schema_of(annotation: Any) -> JSON:  # noqa: ANN401 - any annotation
    """JSON Schema of an annotation that mentions attrs classes; ``None`` of others.

    ``None`` too when a field has a type for which there is no schema.
    """
    if not mentions_attrs(annotation):
        return None
    try:
        return msgspec.json.schema(annotation)
    except TypeError:
        return None


def structurer(annotation: Any) -> Callable[[JSON], Any] | None:  # noqa: ANN401
    """What turns a JSON value into the annotated type; ``None`` if nothing has to.

    The callable raises `InvalidPayloadError`.
    """
    if not mentions_attrs(annotation):
        return None

    def structure(value: JSON) -> Any:  # noqa: ANN401
        try:
            return _converter.structure(value, annotation)
        except (cattrs.BaseValidationError, ValueError, TypeError) as exc:
            raise InvalidPayloadError(_explain(exc)) from exc

    return structure


def _explain(exc: Exception) -> str:
    """Every misfit as ``path: what``, joined by ``; ``."""
    if not isinstance(exc, cattrs.BaseValidationError):
        return f"$: {exc}"
    lines = cattrs.transform_error(exc, path="$", format_exception=_describe)
    parts = (line.rpartition(" @ ") for line in lines)
    return "; ".join(f"{path}: {what}" for what, _, path in parts)


def _describe(exc: BaseException, kind: type | None) -> str:
    if isinstance(exc, _MisfitError | msgspec.ValidationError):
        return str(exc)
    text = cattrs.v.format_exception(exc, kind).removeprefix("invalid value for type, ")
    if isinstance(exc, ValueError | TypeError) and text.startswith("invalid "):
        reason = str(exc.args[0]) if exc.args else ""  # attrs gives more of them
        text = text.partition(" (")[0]
        if 0 < len(reason) <= MAX_REASON:
            text += f": {reason}"
    return text


class _MisfitError(ValueError):
    """Raised by our own hooks, which know best what was expected."""


def _exactly(kind: type, *accepted: type) -> Callable[[Any, Any], Any]:
    """A hook that refuses what cattrs would convert, such as ``"5"`` to an int.

    It also gets what was made of the type, such as an ``IntEnum``.
    """

    def hook(value: Any, wanted: Any) -> Any:  # noqa: ANN401
        if type(value) is not kind:
            if type(value) not in accepted:
                msg = f"expected {kind.__name__}"
                raise _MisfitError(msg)
            value = kind(value)
        if wanted is not kind and isinstance(wanted, type) and issubclass(wanted, Enum):
            return wanted(value)
        return value

    return hook


def _object_hook(kind: type) -> Callable[[Any, Any], Any]:
    structure: Callable[[Any, Any], Any] = make_dict_structure_fn(kind, _converter)

    def hook(value: Any, annotation: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, dict):
            msg = "expected an object"
            raise _MisfitError(msg)
        return structure(value, annotation)

    return hook


_converter: Final = make_converter()
_converter.register_structure_hook(bool, _exactly(bool))
_converter.register_structure_hook(int, _exactly(int))
_converter.register_structure_hook(float, _exactly(float, int))
_converter.register_structure_hook(str, _exactly(str))
_converter.register_structure_hook_factory(attrs.has, _object_hook)
