"""Structure one block of a configuration into its frozen class, strictly.

Every failure is a `ConfigError` with the path of the offending key; an unknown key comes
with the nearest valid one. Nothing is coerced: ``"80"`` is no port, ``1`` is no bool.
Pure: knows no worker and no file.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_origin

import attrs
from cattrs import Converter
from cattrs.cols import (
    homogenous_tuple_structure_factory,
    list_structure_factory,
    mapping_structure_factory,
)
from cattrs.errors import (
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)

from iii_trio.errors import ConfigError

T = TypeVar("T")


def nearest(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for the closest of ``known``, or ``""``."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


Describe = Callable[[object], str]
Hook = Callable[[Any, Any], Any]


def _strict(tell: Describe, expected: type, *accepted: type) -> Hook:
    def hook(value: Any, _: Any) -> Any:  # noqa: ANN401
        # bool is an int for Python, not for a reader of YAML.
        wrong_bool = isinstance(value, bool) and expected is not bool
        if wrong_bool or not isinstance(value, (expected, *accepted)):
            msg = f"expected {_word(expected)}, got {tell(value)}"
            raise TypeError(msg)
        return expected(value)

    return hook


_WORDS = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def _word(kind: type) -> str:
    return _WORDS[kind]


def describe(value: object) -> str:
    """A value as a reader of the file knows it, shortened."""
    match value:
        case None:
            return "nothing (null)"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return str(value).lower()
        case int() if value.bit_length() > 200:
            return "an integer that is far too large"
        case _:
            text = repr(value)
            return text if len(text) <= 60 else text[:57] + "..."


def describe_kind(value: object) -> str:
    """A value that may be a secret: its kind alone."""
    words = (
        _WORDS[kind] for kind in (bool, str, int, float) if isinstance(value, kind)
    )
    return next(words, describe(value))


def _shaped(tell: Describe, expected: type, inner: Hook) -> Hook:
    """A hook that is not given, say, a string for a list, which has items too."""

    def hook(value: Any, kind: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, expected):
            shape = "a list" if expected is list else "a mapping"
            raise TypeError(f"expected {shape}, got {tell(value)}")
        return inner(value, kind)

    return hook


def _make_converter(tell: Describe) -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _strict(tell, str))
    converter.register_structure_hook(int, _strict(tell, int))
    converter.register_structure_hook(float, _strict(tell, float, int))
    converter.register_structure_hook(bool, _strict(tell, bool))

    @converter.register_structure_hook_factory(attrs.has)
    def of_class(kind: Any, converter: Converter) -> Hook:  # noqa: ANN401
        return _shaped(tell, dict, converter.gen_structure_attrs_fromdict(kind))

    @converter.register_structure_hook_factory(_is(list))
    def of_list(kind: Any, converter: Converter) -> Hook:  # noqa: ANN401
        return _shaped(tell, list, list_structure_factory(kind, converter))

    @converter.register_structure_hook_factory(_is(tuple))
    def of_tuple(kind: Any, converter: Converter) -> Hook:  # noqa: ANN401
        inner = homogenous_tuple_structure_factory(kind, converter)
        return _shaped(tell, list, inner)

    @converter.register_structure_hook_factory(_is(dict, Mapping))
    def of_mapping(kind: Any, converter: Converter) -> Hook:  # noqa: ANN401
        return _shaped(tell, dict, mapping_structure_factory(kind, converter))

    return converter


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) in kinds


_CONVERTER = _make_converter(describe)
_QUIET_CONVERTER = _make_converter(describe_kind)
"""For classes that hold secrets: its errors show no value."""


def structure(value: object, target: type[T], path: str) -> T:
    """Make a ``target`` (an attrs class) of a mapping read from a configuration.

    With a true ``target.holds_secrets`` errors name the kind of a value, not the value.

    Raises:
        ConfigError: the first thing that does not fit, with its path.
    """
    quiet = bool(getattr(target, "holds_secrets", False))
    if not isinstance(value, dict):
        told = describe_kind(value) if quiet else describe(value)
        raise ConfigError(f"expected a mapping, got {told}", path=path)
    try:
        return (_QUIET_CONVERTER if quiet else _CONVERTER).structure(value, target)
    except (ClassValidationError, IterableValidationError) as exc:
        where, message = _first_failure(exc, path)
        raise ConfigError(message, path=where) from (None if quiet else exc)


def _first_failure(exc: BaseException, path: str) -> tuple[str, str]:
    match exc:
        case ClassValidationError():
            inner, others = exc.group_exceptions()
            for other in others:
                if isinstance(other, ForbiddenExtraKeysError):
                    return _unknown_key(other, path)
            if inner:
                first, note = inner[0]
                return _first_failure(first, f"{path}.{note.name}")
            return path, str(others[0])
        case IterableValidationError():
            items, _ = exc.group_exceptions()
            item, position = items[0]
            return _first_failure(item, f"{path}[{position.index!r}]")
        case KeyError():
            return path, "is required"
        case _:
            return path, str(exc)


def _unknown_key(exc: ForbiddenExtraKeysError, path: str) -> tuple[str, str]:
    key = min(map(str, exc.extra_fields))
    known = [field.alias or field.name for field in attrs.fields(exc.cl)]
    if getattr(exc.cl, "holds_secrets", False):
        return path, f"unknown key; known: {', '.join(known)}"
    return f"{path}.{key}", f"unknown key{nearest(key, known)}"
