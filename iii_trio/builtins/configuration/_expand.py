"""Placeholders in values: ``${VAR}`` and ``${VAR:default}`` in strings. Pure.

Unlike in a config file they are no text macro: each string of a value is looked at by
itself, keys never.
"""

from collections.abc import Mapping
from re import Match
from typing import Any, Final

import attrs

from iii_trio._yaml import PLACEHOLDER, parse_yaml
from iii_trio.errors import ConfigError

JSON = Any

MAX_TYPED: Final = 1000
"""Longer texts stay text: as YAML, one could nest deep enough to exhaust the stack."""

_NULLS: Final = ("null", "Null", "NULL", "~")


@attrs.frozen
class Expanded:
    """A value with its placeholders replaced.

    Attributes:
        value: strings with an unset variable are as they were.
        unset: variables that are not set and have no default, in order of appearance.
    """

    value: JSON
    unset: tuple[str, ...] = ()


def expand_value(value: JSON, environ: Mapping[str, str]) -> Expanded:
    """Replace the placeholders in every string of a JSON value.

    A string that is one placeholder, apart from spaces, becomes what YAML takes the
    text for: a number, a boolean, a list; placeholders inside of longer text stay text.
    """
    unset: dict[str, None] = {}
    expanded = _expand(value, environ, unset)
    return Expanded(expanded, tuple(unset))


def _expand(value: JSON, environ: Mapping[str, str], unset: dict[str, None]) -> JSON:
    match value:
        case str():
            return _expand_text(value, environ, unset)
        case list():
            return [_expand(item, environ, unset) for item in value]
        case dict():
            return {key: _expand(item, environ, unset) for key, item in value.items()}
        case _:
            return value


def _expand_text(text: str, environ: Mapping[str, str], unset: dict[str, None]) -> JSON:
    missing: list[str] = []

    def replace(match: Match[str]) -> str:
        name: str = match.group(1)
        default: str | None = match.group(2)
        found = environ.get(name, default)
        if found is None:
            missing.append(name)
            return ""
        return found

    expanded = PLACEHOLDER.sub(replace, text)
    if missing:
        unset.update(dict.fromkeys(missing))
        return text
    alone = PLACEHOLDER.fullmatch(text.strip(" "))
    return _typed(replace(alone)) if alone else expanded


def _typed(text: str) -> JSON:
    """What YAML takes a text for; plain text, and what is no YAML, stays as it is."""
    # With an anchor a short text could stand for an endless value.
    if not text.strip() or len(text) > MAX_TYPED or "&" in text:
        return text
    try:
        value = parse_yaml(text)
    except ConfigError:
        return text
    plain = isinstance(value, str) and text.lstrip()[0] not in "\"'|>"
    comment = value is None and text.strip() not in _NULLS
    return text if plain or comment else value
