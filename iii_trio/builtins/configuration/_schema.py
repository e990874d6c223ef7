"""JSON Schemas: compiled once, and what a value has against them. Pure.

Nothing is fetched: a schema may refer to itself and to the standard drafts only.
"""

from typing import Any, Final, NoReturn, Protocol

import jsonschema_rs

JSON = Any

MAX_PROBLEMS: Final = 10
"""How many problems a message names."""

MAX_ITEMS: Final = 1000
"""Of a value with more the first problem alone is told: the validator makes all of them
before it shows one, each with 1.5 KiB, and with a copy of what it is about."""

MAX_DEPTH: Final = 128
"""How deep values and schemas may nest; validating them takes stack for each level."""

SHOWN_CHARACTERS: Final = 200
"""How much a message tells of each; it may quote the value."""


class Validator(Protocol):
    """A compiled schema."""

    def iter_errors(self, instance: JSON, /) -> Any:  # noqa: ANN401
        """All that is wrong with a value."""

    def validate(self, instance: JSON, /) -> None:
        """Raise the first thing that is wrong with it."""


class SchemaError(ValueError):
    """Not a JSON Schema; the message says why."""


def compile_schema(schema: JSON) -> Validator:
    """Compile a schema of any draft; without ``$schema`` it is one of 2020-12.

    Raises:
        SchemaError: it is none, or refers to what is not there.
    """
    if is_too_deep(schema):
        raise SchemaError(f"invalid JSON Schema: it nests deeper than {MAX_DEPTH}")
    try:
        return jsonschema_rs.validator_for(schema, retriever=_refuse)
    except ValueError as exc:
        raise SchemaError(f"invalid JSON Schema: {_reason(exc)}") from exc


def problems_of(value: JSON, validator: Validator) -> list[str]:
    """What is wrong with a value, each with its path: ``$.port: ...``; ``[]`` if fine."""
    if is_too_deep(value):
        return [f"$: it nests deeper than {MAX_DEPTH}"]
    if _is_large(value):
        try:
            validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return [_told(error)]
        return []
    errors = list(validator.iter_errors(value))
    problems = [_told(error) for error in errors[:MAX_PROBLEMS]]
    if len(errors) > MAX_PROBLEMS:
        problems.append(f"{len(errors) - MAX_PROBLEMS} more")
    return problems


def is_too_deep(value: JSON) -> bool:
    """Whether a JSON value nests deeper than `MAX_DEPTH`; needs no stack itself."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[JSON] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        if not inner:
            return False
        level = inner
    return True


def _is_large(value: JSON) -> bool:
    """Whether more than `MAX_ITEMS` values are in it."""
    left, found = [value], 0
    while left and found <= MAX_ITEMS:
        item = left.pop()
        found += 1
        if isinstance(item, dict | list):
            if len(item) > MAX_ITEMS:
                return True
            left.extend(item.values() if isinstance(item, dict) else item)
    return found > MAX_ITEMS


def _told(error: jsonschema_rs.ValidationError) -> str:
    return f"{_path(error.instance_path)}: {_reason(error)}"


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri!r} is not fetched: put what it names under $defs")


def _reason(exc: ValueError) -> str:
    text = exc.message if isinstance(exc, jsonschema_rs.ValidationError) else str(exc)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _path(steps: list[str | int]) -> str:
    return "$" + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps
    )
