"""JSON Schemas: compiled once, and what a value has against them. Pure.

Nothing is fetched: a schema may refer to itself and to the standard drafts only.
"""

from typing import Any, Final, NoReturn, final

import attrs
import jsonschema_rs

from iii_trio.builtins.configuration._steps import MAX_STEPS, Steps

JSON = Any

MAX_PROBLEMS: Final = 10
"""How many problems a message names."""

MAX_ITEMS: Final = 1000
"""Of a value with more the first problem alone is told: the validator makes all of them
before it shows one, each with 1.5 KiB, and with a copy of what it is about."""

MAX_DEPTH: Final = 128
"""How deep values and schemas may nest; validating them takes stack for each level."""

MAX_LOOKS: Final = 10_000_000
"""How often a schema may be looked at while a value is checked, estimated: seconds."""

TOLD_LOOKS: Final = 10_000
"""Of more the first problem alone is told, and none that has others in it: each takes up
to 0.1 ms to make."""

SHOWN_CHARACTERS: Final = 200
"""How much a message tells of each; it may quote the value."""


@final
@attrs.frozen(eq=False)
class Validator:
    """A compiled schema."""

    compiled: Any
    steps: Steps


class SchemaError(ValueError):
    """Not a JSON Schema, or one that cannot be used; the message says why."""


def compile_schema(schema: JSON) -> Validator:
    """Compile a schema of any draft; without ``$schema`` it is one of 2020-12.

    Raises:
        SchemaError: it is none, refers to what is not there, or means so many schemas
            that looking at a value would take too long.
    """
    if is_too_deep(schema):
        raise SchemaError(f"invalid JSON Schema: it nests deeper than {MAX_DEPTH}")
    try:
        steps = Steps(schema)
        steps.check()
        compiled = jsonschema_rs.validator_for(schema, retriever=_refuse)
    except ValueError as exc:
        raise SchemaError(f"invalid JSON Schema: {_reason(exc)}") from exc
    if steps.unknown:
        reference = steps.unknown[0]
        raise SchemaError(
            f"invalid JSON Schema: reference {reference!r} cannot be followed: put what "
            "it names under $defs, and refer to it as #/$defs/name"
        )
    return Validator(compiled, steps)


def problems_of(value: JSON, validator: Validator) -> list[str]:
    """What is wrong with a value, each with its path: ``$.port: ...``; ``[]`` if fine."""
    depth, size = _measured(value)
    if depth > MAX_DEPTH:
        return [f"$: it nests deeper than {MAX_DEPTH}"]
    compiled, steps = validator.compiled, validator.steps.at(depth)
    if steps > MAX_STEPS or steps * size > MAX_LOOKS:
        problem = "it is too large, or nests too deep, to be checked with this schema"
        return [f"$: {problem}"]
    if compiled.is_valid(value):
        return []
    steps = validator.steps.at(depth, telling=True)
    if steps * size <= TOLD_LOOKS and size <= MAX_ITEMS:
        errors = list(compiled.iter_errors(value))
        problems = [_told(error) for error in errors[:MAX_PROBLEMS]]
        if len(errors) > MAX_PROBLEMS:
            problems.append(f"{len(errors) - MAX_PROBLEMS} more")
        return problems
    most = TOLD_LOOKS if validator.steps.branches else MAX_LOOKS
    if steps > MAX_STEPS or steps * size > most:
        return ["$: it does not fit its schema; both are too large to tell where"]
    return [_first(value, compiled)]


def _first(value: JSON, compiled: Any) -> str:  # noqa: ANN401
    try:
        compiled.validate(value)
    except jsonschema_rs.ValidationError as error:
        return _told(error)
    raise AssertionError  # pragma: no cover - it is not valid


def is_too_deep(value: JSON) -> bool:
    """Whether a JSON value nests deeper than `MAX_DEPTH`; needs no stack itself."""
    return _measured(value)[0] > MAX_DEPTH


def _measured(value: JSON) -> tuple[int, int]:
    """How deep a value nests, at most one more than `MAX_DEPTH`, and how much is in it."""
    level, size = [value], 1
    for depth in range(MAX_DEPTH + 1):
        inner: list[JSON] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        if not inner:
            return depth, size
        level = inner
        size += len(inner)
    return MAX_DEPTH + 1, size


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
