"""How much work a schema may be: what is refused, and what is not."""

from typing import Any

import pytest

from iii_trio.builtins.configuration import _schema
from iii_trio.builtins.configuration._schema import (
    SchemaError,
    compile_schema,
    problems_of,
)
from iii_trio.builtins.configuration._steps import MAX_STEPS, Steps

TOO_MANY = "more than 100000 schemas are looked at for one value"
LEVELS = 18


def doubling(
    levels: int = LEVELS,
    reference: str = "#/$defs/a{}",
    keyword: str = "allOf",
    name: tuple[str, str] | None = None,
) -> Any:
    """A schema that stands for ``2 ** levels``: each level refers to the next one twice."""
    definitions: dict[str, Any] = {"a0": {"type": "integer"}}
    for level in range(1, levels + 1):
        lower = {"$ref": reference.format(level - 1)}
        definitions[f"a{level}"] = {keyword: [lower, dict(lower)]}
    for level in range(levels + 1):
        if name is not None:
            definitions[f"a{level}"][name[0]] = name[1].format(level)
    return {"$defs": definitions, "$ref": reference.format(levels)}


def test_what_references_stand_for_is_counted() -> None:
    steps = Steps(doubling(3))
    steps.check()
    # At each level the schema and two references to the next one; one at the begin.
    assert steps.at(0) == 1 + 15 + 14
    assert steps.unknown == []


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_a_schema_that_stands_for_too_many_is_refused(keyword: str) -> None:
    compile_schema(doubling(10, keyword=keyword))
    with pytest.raises(SchemaError, match=TOO_MANY):
        compile_schema(doubling(keyword=keyword))


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("#/%24defs/a{}", None),
        ("json-schema:///#/$defs/a{}", None),
        ("#a{}", ("$anchor", "a{}")),
        ("#a{}", ("$dynamicAnchor", "a{}")),
        ("http://here/a{}", ("$id", "http://here/a{}")),
        ("a{}", ("$id", "a{}")),
        ("a{}#", ("$id", "a{}")),
    ],
)
def test_a_reference_is_followed_however_it_is_written(
    reference: str, name: tuple[str, str] | None
) -> None:
    compile_schema(doubling(10, reference, name=name))
    with pytest.raises(SchemaError, match=TOO_MANY):
        compile_schema(doubling(LEVELS, reference, name=name))


def test_names_of_old_drafts_are_followed() -> None:
    by_id = doubling(LEVELS, "a{}", name=("id", "http://here/a{}"))
    by_id |= {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "id": "http://here/",
    }
    with pytest.raises(SchemaError, match=TOO_MANY):
        compile_schema(by_id)
    anchors = doubling(LEVELS, "#a{}", name=("$id", "#a{}"))
    anchors["$schema"] = "http://json-schema.org/draft-07/schema#"
    with pytest.raises(SchemaError, match=TOO_MANY):
        compile_schema(anchors)
    beside = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"a": {"type": "integer"}},
        "properties": {"x": {"$id": "x", "$ref": "#/definitions/a"}},
    }
    assert len(problems_of({"x": "a"}, compile_schema(beside))) == 1


@pytest.mark.parametrize(
    "within",
    [
        lambda schema: {"items": schema},
        lambda schema: {"prefixItems": [schema]},
        lambda schema: {"contains": schema},
        lambda schema: {"properties": {"a": schema}},
        lambda schema: {"patternProperties": {"a": schema}},
        lambda schema: {"additionalProperties": schema},
        lambda schema: {"dependentSchemas": {"a": schema}},
        lambda schema: {"not": schema},
        lambda schema: {"if": schema},
        lambda schema: {"allOf": [True, {"then": schema, "else": {}}]},
    ],
)
def test_it_is_refused_wherever_it_stands(within: Any) -> None:
    for levels, refused in ((10, False), (LEVELS, True)):
        part = doubling(levels)
        schema = {"$defs": part.pop("$defs"), **within(part)}
        if refused:
            with pytest.raises(SchemaError, match=TOO_MANY):
                compile_schema(schema)
        else:
            compile_schema(schema)


def test_schemas_that_go_through_others_again_are_counted_again() -> None:
    schema: Any = {"type": "object"}
    for _ in range(LEVELS):
        schema = {"unevaluatedProperties": True, "allOf": [schema]}
    with pytest.raises(SchemaError, match=TOO_MANY):
        compile_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {str(number): {"items": {}} for number in range(MAX_STEPS + 1)}},
        {"$defs": {"a": {"not": {}}}, "allOf": [{"$ref": "#/$defs/a"}] * MAX_STEPS},
    ],
)
def test_a_schema_of_very_many_is_refused(schema: Any) -> None:
    with pytest.raises(SchemaError, match="it has more than 100000 schemas"):
        compile_schema(schema)


# --- circles


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {
            "$ref": "#/$defs/a",
            "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#"}},
        },
    ],
)
def test_references_that_lead_back_to_themselves_end(schema: Any) -> None:
    assert problems_of(1, compile_schema(schema)) == []


@pytest.mark.parametrize("count", [2, 7])
def test_several_ways_round_a_circle_are_refused(count: int) -> None:
    names = [f"a{number}" for number in range(count)]
    definitions = {
        name: {"anyOf": [{"$ref": f"#/$defs/{one}"} for one in names]} for name in names
    }
    schema = {"$defs": definitions, "properties": {"x": {"$ref": "#/$defs/a0"}}}
    with pytest.raises(SchemaError, match="refers to itself for the same value"):
        compile_schema(schema)


def nested(depth: int, key: str = "x") -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {key: value}
    return value


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x": {"$ref": "#"}}},
        {"properties": {"x": {"$ref": "#"}, "y": {"$ref": "#"}}},
        {"items": {"$ref": "#"}, "additionalProperties": {"$ref": "#"}},
        {"$recursiveAnchor": True, "properties": {"x": {"$recursiveRef": "#"}}},
        {
            "$dynamicAnchor": "tree",
            "additionalProperties": {"$dynamicRef": "#tree"},
        },
    ],
)
def test_a_schema_of_trees_takes_deep_ones(schema: Any) -> None:
    if "$recursiveAnchor" in schema:
        schema["$schema"] = "https://json-schema.org/draft/2019-09/schema"
    assert problems_of(nested(128), compile_schema(schema)) == []


NOT_HERE = ["$: it does not fit its schema; both are too large to tell where"]
ONCE: Any = {"properties": {"x": {"$ref": "#"}}}
STEP: Any = {
    "oneOf": [
        {
            "properties": {
                "kind": {"const": number},
                "x": {"$ref": "#/$defs/step"},
                "others": {"items": {"$ref": "#/$defs/step"}},
            },
            "required": ["kind"],
        }
        for number in range(20)
    ]
}
TEXT: Any = {
    "anyOf": [
        {"type": ["string", "number", "boolean", "null"]},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "object", "additionalProperties": {"$ref": "#"}},
    ]
}


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [ONCE, dict(ONCE)]},
        {"allOf": [ONCE, dict(ONCE)], "unevaluatedProperties": True},
        {"$defs": {"step": STEP}, "$ref": "#/$defs/step"},
        TEXT,
    ],
)
def test_a_schema_that_leads_back_to_itself_in_many_ways_takes_deep_values(
    schema: Any,
) -> None:
    """Which would never end if the validator did not remember what it found."""
    value: Any = {"kind": 1}
    for number in range(100):
        value = {"kind": number % 20, "x": value, "others": []}
    assert problems_of(value, compile_schema(schema)) == []


def test_where_such_a_value_is_wrong_is_told_if_it_is_flat() -> None:
    schema = {"$defs": {"step": STEP}, "$ref": "#/$defs/step"}
    validator = compile_schema(schema)
    assert problems_of({"kind": 77}, validator) != NOT_HERE
    value: Any = {"kind": 77}
    for _ in range(100):
        value = {"kind": 1, "x": value}
    assert problems_of(value, validator) == NOT_HERE
    validator = compile_schema({"allOf": [ONCE, dict(ONCE)], "type": "object"})
    assert problems_of(nested(100), validator) == NOT_HERE


def test_schemas_that_double_from_level_to_level_take_flat_values_only() -> None:
    definitions: dict[str, Any] = {"a0": {}}
    for level in range(1, 31):
        lower = {"$ref": f"#/$defs/a{level - 1}"}
        definitions[f"a{level}"] = {"properties": {"x": {"allOf": [lower, lower]}}}
    validator = compile_schema({"$defs": definitions, "$ref": "#/$defs/a30"})
    assert problems_of(nested(10), validator) == []
    for depth in (30, 128, 30):
        assert problems_of(nested(depth), validator) == [
            "$: it is too large, or nests too deep, to be checked with this schema"
        ]


# --- what cannot be followed


def test_a_standard_schema_may_be_referred_to() -> None:
    standard = "https://json-schema.org/draft/2020-12/schema"
    validator = compile_schema({"properties": {"s": {"$ref": standard}}})
    assert problems_of({"s": {"type": "integer"}}, validator) == []
    assert problems_of({"s": {"type": 1}}, validator) != []


def test_what_cannot_be_followed_cannot_be_counted() -> None:
    # The validator takes this name for a path below its own name of the document.
    schema = {
        "$defs": {"a": {"$id": "b/../a", "type": "integer"}},
        "$ref": "json-schema:///a",
    }
    with pytest.raises(SchemaError, match="'json-schema:///a' cannot be followed"):
        compile_schema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/allOf/1"},
        {"$ref": "#/allOf/x", "allOf": [{}]},
        {"$ref": 1},
        {"$ref": "http://["},
        {"$id": "http://["},
        {"allOf": {"a": 1}},
        5,
    ],
)
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(SchemaError, match="invalid JSON Schema: "):
        compile_schema(schema)


@pytest.mark.parametrize("pointer", ["#/allOf/0", "#/x~1y~0", "#/x%2Fy/../z"])
def test_a_pointer_is_followed(pointer: str) -> None:
    schema = {
        "allOf": [{"type": "integer"}],
        "x/y~": {"type": "integer"},
        "x/y": {"..": {"z": {"type": "integer"}}},
    }
    steps = Steps({"properties": {"a": {"$ref": pointer}}, **schema})
    steps.check()
    assert steps.unknown == ([pointer] if ".." in pointer else [])


# --- values


def test_of_a_value_that_takes_long_one_problem_or_none_is_told() -> None:
    many = {"allOf": [{"items": {"type": "integer"}}] * 50}
    assert len(problems_of(["x"], compile_schema(many))) == 11
    [problem] = problems_of(["x"] * 500, compile_schema(many))
    assert problem.startswith("$[0]: ")
    branches = {"anyOf": [{"items": {"type": "integer"}}] * 50}
    [problem] = problems_of(["x"], compile_schema(branches))
    assert problem.startswith("$: ")
    assert problems_of(["x"] * 500, compile_schema(branches)) == [
        "$: it does not fit its schema; both are too large to tell where"
    ]
    assert problems_of([1] * 500, compile_schema(branches)) == []


def test_a_large_value_and_a_large_schema_are_refused_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_schema, "MAX_LOOKS", 1000)
    validator = compile_schema({"items": {"allOf": [{"type": "integer"}] * 100}})
    assert problems_of([1] * 5, validator) == []
    assert problems_of([1] * 10, validator) == [
        "$: it is too large, or nests too deep, to be checked with this schema"
    ]
