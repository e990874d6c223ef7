"""Structure one block of a configuration into its frozen class, strictly.

Every failure is a `ConfigError` with the path of the offending key; an unknown key comes
with the nearest valid one. Nothing is coerced: ``"80"`` is no port, ``1`` is no bool.
Pure: knows no worker and no file.
"""

import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs
from cattrs import Converter
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


def _strict(expected: type, *accepted: type) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:  # noqa: ANN401
        # bool is an int for Python, not for a reader of YAML.
        wrong_bool = isinstance(value, bool) and expected is not bool
        if wrong_bool or not isinstance(value, (expected, *accepted)):
            msg = f"expected {_word(expected)}, got {describe(value)}"
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
        case _:
            text = repr(value)
            return text if len(text) <= 60 else text[:57] + "..."


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _strict(str))
    converter.register_structure_hook(int, _strict(int))
    converter.register_structure_hook(float, _strict(float, int))
    converter.register_structure_hook(bool, _strict(bool))
    return converter


_CONVERTER = _make_converter()


def structure(value: object, target: type[T], path: str) -> T:
    """Make a ``target`` (an attrs class) of a mapping read from a configuration.

    Raises:
        ConfigError: the first thing that does not fit, with its path.
    """
    if not isinstance(value, dict):
        msg = f"expected a mapping, got {describe(value)}"
        raise ConfigError(msg, path=path)
    try:
        return _CONVERTER.structure(value, target)
    except (ClassValidationError, IterableValidationError) as exc:
        where, message = _first_failure(exc, path)
        raise ConfigError(message, path=where) from exc


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
    return f"{path}.{key}", f"unknown key{nearest(key, known)}"
