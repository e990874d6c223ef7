"""Patterns of ids: ``*`` stands for any run of characters, ``::`` included.

Matching takes time in proportion to the text, whatever the pattern: the ids that it sees
come from strangers.
"""

import re
from typing import Any, Final, final

import attrs

_MATCH: Final = re.compile(r"""match\(\s*(["'])(.*)\1\s*\)""", re.DOTALL)


def wildcard_in(text: str) -> str | None:
    """The pattern of ``match("pattern")``, ``None`` for any other text."""
    found = _MATCH.fullmatch(text.strip())
    return None if found is None else found.group(2)


def matches(pattern: str, text: str) -> bool:
    """Tell whether the whole text fits a pattern."""
    first, *others = pattern.split("*")
    if not others:
        return text == first
    *middle, last = others
    if not text.startswith(first):
        return False
    at = len(first)
    for part in middle:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(text) - at >= len(last) and text.endswith(last)


@final
@attrs.frozen
class IdPattern:
    """An exact id, ``prefix*`` or ``match("pattern")``, as grants are written."""

    text: str

    def fits(self, function_id: str) -> bool:
        """Tell whether an id is meant."""
        wildcard = wildcard_in(self.text)
        if wildcard is not None:
            return matches(wildcard, function_id)
        if self.text.endswith("*") and function_id.startswith(self.text[:-1]):
            return True
        return function_id == self.text


def same_json(left: Any, right: Any) -> bool:  # noqa: ANN401 - JSON values
    """Deep equality of JSON values: numbers by value, ``true`` is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            same_json(value, right[key]) for key, value in left.items()
        )
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return bool(left == right)
