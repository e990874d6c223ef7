"""Structuring what builtins get as JSON, with the wording that clients know. Pure.

A missing field, a wrong type and an unknown variant read as in the reference engine.
Unknown keys are ignored; nothing is converted from one type to another.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar, cast, final

import attrs
import cattrs
import msgspec
from cattrs.cols import is_sequence, list_structure_factory
from cattrs.gen import make_dict_structure_fn

from iii_trio.builtins._update_ops import UPDATE_OPS, UpdateOp
from iii_trio.errors import AdapterError, FunctionFailedError, RegistrationError

T = TypeVar("T")

ALIAS: Final = "iii_trio_alias"
"""Key of an attrs field's metadata: a second name under which clients may send it."""

SHOWN_CHARACTERS: Final = 60
"""How much of a misplaced value an error message repeats."""


class InputError(ValueError):
    """A JSON value does not fit; the message says where and why."""


def structure_input(function_id: str, payload: object, kind: type[T]) -> T:
    """Make an attrs instance out of the payload of a builtin function.

    Raises:
        FunctionFailedError: with code ``deserialization_error``.
    """
    try:
        return structure(payload, kind)
    except InputError as exc:
        raise FunctionFailedError(
            f"Failed to deserialize input for {function_id}: {exc}",
            code="deserialization_error",
        ) from exc


def read_answer(answer: bytes, kind: type[T]) -> T:
    """What a function over there answered.

    Args:
        answer: JSON text, ``b""`` for no result.
        kind: what it should be, as msgspec knows types.

    Raises:
        AdapterError: it is something else.
    """
    try:
        return msgspec.json.decode(answer or b"null", type=kind)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise AdapterError(f"the other engine's answer does not fit: {exc}") from exc


@final
class InputReader(Generic[T]):
    """Reads JSON text at once into what `structure` makes: for functions called often.

    Only for classes with fields that are strings, ``float`` or anything at all: of
    those the decoder takes what `structure` takes. What it does not take is read
    again by `structure`, which says why; so is what comes under a second name.
    """

    def __init__(self, function_id: str, kind: type[T]) -> None:
        self._function_id = function_id
        self._kind = kind
        self._decode: Callable[[msgspec.Raw], T] = msgspec.json.Decoder(
            _struct_of(cast("Any", kind))
        ).decode

    def read(self, text: msgspec.Raw) -> T:
        """Structure the payload of a call.

        Returns:
            An instance of the class, or a struct with the same attributes.

        Raises:
            FunctionFailedError: with code ``deserialization_error``; or
                ``invalid_payload`` if nothing could decode it.
        """
        try:
            return self._decode(text)
        except (msgspec.DecodeError, RecursionError):
            pass
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as exc:
            raise FunctionFailedError(str(exc), code="invalid_payload") from exc
        return structure_input(self._function_id, value, self._kind)


def _struct_of(kind: type[Any]) -> Any:  # noqa: ANN401 - a class, made here
    """A struct with the fields of an attrs class, which is quicker to make.

    A second name of a field is a field that nothing fits. Validators are left out:
    what they demand has to be in the field's type as well.
    """
    members: list[Any] = []
    for field in attrs.fields(attrs.resolve_types(kind)):
        given = () if field.default is attrs.NOTHING else (field.default,)
        members.append((field.name, field.type, *given))
        if ALIAS in field.metadata:
            members.append((field.metadata[ALIAS], msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct(kind.__name__, members, kw_only=True, frozen=True)


def structure_trigger_config(config: object, kind: type[T]) -> T:
    """Make an attrs instance out of the config of a trigger.

    Raises:
        RegistrationError: it does not fit.
    """
    try:
        return structure(config, kind)
    except InputError as exc:
        raise RegistrationError(f"Failed to parse trigger config: {exc}") from exc


def structure(value: object, kind: type[T]) -> T:
    """Make an attrs instance out of a JSON value.

    Raises:
        InputError: the first thing that does not fit.
    """
    try:
        return _CONVERTER.structure(value, kind)
    except (cattrs.BaseValidationError, ValueError, TypeError) as exc:
        raise InputError(_first_reason(exc, "")) from exc


def describe(value: object) -> str:
    """A JSON value as error messages name it: its type; and it, unless it is large."""
    match value:
        case None:
            return "null"
        case dict():
            return "map"
        case list():
            return "sequence"
        case bool():
            return f"boolean `{str(value).lower()}`"
        case int():
            return f"integer `{_shortened(repr(value))}`"
        case float():
            return f"floating point `{value}`"
        case _:
            return f'string "{_shortened(str(value))}"'


def _shortened(text: str) -> str:
    if len(text) > SHOWN_CHARACTERS:
        return text[: SHOWN_CHARACTERS - 1] + "…"
    return text


def _wrong_type(value: object, expected: str) -> InputError:
    return InputError(f"invalid type: {describe(value)}, expected {expected}")


def _first_reason(exc: BaseException, where: str) -> str:
    match exc:
        case cattrs.ClassValidationError():
            placed, unplaced = exc.group_exceptions()
            if placed:
                first, note = placed[0]
                return _first_reason(first, f"{where}.{note.name}")
            return _first_reason(unplaced[0], where)
        case cattrs.IterableValidationError():
            first, position = exc.group_exceptions()[0][0]
            return _first_reason(first, f"{where}[{position.index}]")
        case _:
            return f"{where.lstrip('.')}: {exc}" if where else str(exc)


def _exactly(expected: str, *accepted: type) -> Callable[[Any, Any], Any]:
    def hook(value: object, _kind: object) -> object:
        if type(value) not in accepted:
            raise _wrong_type(value, expected)
        return value

    return hook


def _object_hook(kind: type[Any]) -> Callable[[Any, Any], Any]:
    """Structure an attrs class; required fields and aliases are looked after first."""
    make = make_dict_structure_fn(cast("Any", kind), _CONVERTER)
    fields = attrs.fields(kind)
    required = [field.name for field in fields if field.default is attrs.NOTHING]
    aliases = {
        field.metadata[ALIAS]: field.name for field in fields if ALIAS in field.metadata
    }

    def hook(value: Any, annotation: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, dict):
            raise _wrong_type(value, "an object")
        if aliases:
            value = _without_aliases(value, aliases)
        for name in required:
            if name not in value:
                raise InputError(f"missing field `{name}`")
        return make(value, annotation)

    return hook


def _list_hook(kind: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401
    make = list_structure_factory(kind, _CONVERTER)

    def hook(value: object, annotation: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, list):
            raise _wrong_type(value, "an array")
        return make(value, annotation)

    return hook


def _without_aliases(
    value: Mapping[str, object], aliases: Mapping[str, str]
) -> dict[str, object]:
    renamed: dict[str, object] = {}
    for key, item in value.items():
        name = aliases.get(key, key)
        if name in renamed:
            raise InputError(f"duplicate field `{name}`")
        renamed[name] = item
    return renamed


def _structure_path(value: object, _kind: object) -> object:
    """A string, an array of strings, or null."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise _wrong_type(value, "a string or an array of strings")
    for item in value:
        if not isinstance(item, str):
            raise _wrong_type(item, "a string")
    return value


def _structure_amount(value: object, _kind: object) -> object:
    """A signed 64-bit integer, or, our extension, a float."""
    if type(value) is int:
        if not -(2**63) <= value < 2**63:
            raise InputError(f"invalid value: integer `{value}`, expected i64")
        return value
    if type(value) is not float:
        raise _wrong_type(value, "a number")
    return value


def _structure_op(value: object, _kind: object) -> object:
    """An update operation, told apart by its ``type``."""
    if not isinstance(value, dict):
        raise _wrong_type(value, "an update operation")
    if "type" not in value:
        raise InputError("missing field `type`")
    name = value["type"]
    if not isinstance(name, str):
        raise _wrong_type(name, "a string")
    if name not in UPDATE_OPS:
        known = ", ".join(f"`{known}`" for known in UPDATE_OPS)
        raise InputError(f"unknown variant `{name}`, expected one of {known}")
    return _CONVERTER.structure(value, UPDATE_OPS[name])


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook(str, _exactly("a string", str))
    converter.register_structure_hook(bool, _exactly("a boolean", bool))
    converter.register_structure_hook(int, _exactly("an integer", int))
    converter.register_structure_hook(float, _exactly("a number", int, float))
    converter.register_structure_hook_factory(attrs.has, _object_hook)
    converter.register_structure_hook_factory(is_sequence, _list_hook)
    for union, hook in (
        (UpdateOp, _structure_op),
        (int | float, _structure_amount),
        (str | list[str] | None, _structure_path),
    ):
        converter.register_structure_hook(cast("Any", union), hook)
    return converter


_CONVERTER: Final = _make_converter()
