"""The payload of ``iii-trio trigger`` from its arguments, and JSON as it prints it.

Pure. Typing is JSON, not shell or YAML: ``a=2`` is a number, ``a=007``, ``a=yes`` and
``a=NaN`` are strings.
"""

import json
from collections.abc import Sequence
from typing import Any, NoReturn

JSON = Any


class PayloadError(ValueError):
    """The arguments give no payload; the text is for the person who typed them."""


def build_payload(pairs: Sequence[str], json_text: str | None) -> JSON:
    """The payload of a call.

    Args:
        pairs: ``key=value`` tokens; keys are literal, the last of a key wins.
        json_text: any JSON value. With pairs it must be an object, which they override.

    Raises:
        PayloadError: what is wrong with which token.
    """
    base: JSON = {}
    if json_text is not None:
        try:
            base = _parse(json_text)
        except ValueError as exc:
            raise PayloadError(f"--json: invalid JSON: {exc}") from exc
        if not pairs:
            return base
        if not isinstance(base, dict):
            msg = "--json must be an object when combined with kv pairs"
            raise PayloadError(msg)
    return base | dict(map(_pair, pairs))


def _pair(token: str) -> tuple[str, JSON]:
    key, equals, text = token.partition("=")
    if not equals:
        raise PayloadError(f"expected key=value, got {token!r}")
    if not key:
        raise PayloadError(f"payload key must not be empty (got {token!r})")
    try:
        return key, _parse(text)
    except ValueError:
        return key, text


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _parse(text: str) -> JSON:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as exc:
        msg = "nested too deep"
        raise ValueError(msg) from exc
    # 1e999 parses as infinity, which no JSON text can say.
    json.dumps(value, allow_nan=False)
    return value


def pretty(value: JSON, encoding: str = "utf-8") -> str:
    """JSON over several lines: keys sorted, two spaces, no escapes where none needed.

    Args:
        value: any JSON value.
        encoding: of where it goes.

    Raises:
        ValueError: infinity is in it, as Python reads ``1e400``.
    """
    options: dict[str, Any] = {"indent": 2, "sort_keys": True, "allow_nan": False}
    text = json.dumps(value, ensure_ascii=False, **options)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        # Such as half of a surrogate pair: it is JSON, but cannot be printed.
        return json.dumps(value, **options)
    return text
