"""What references stand for is counted as if it stood there."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from iii_trio.builtins.configuration._steps import MAX_STEPS, Steps, TooLargeError

LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
SINGLE = (
    *("not", "if", "then", "else", "items", "contains"),
    *("additionalProperties", "unevaluatedProperties", "propertyNames"),
)
MAPS = ("properties", "patternProperties", "dependentSchemas")


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Schemas by name, each of which refers to earlier ones only."""
    found: dict[str, Any] = {"a0": {"type": "integer"}}
    for level in range(1, draw(st.integers(2, 5))):
        lower = st.builds(
            lambda number: {"$ref": f"#/$defs/a{number}"}, st.integers(0, level - 1)
        )
        few = st.lists(lower, min_size=1, max_size=2)
        found[f"a{level}"] = draw(
            st.dictionaries(st.sampled_from(LISTS), few, max_size=2)
        )
        found[f"a{level}"] |= draw(
            st.dictionaries(st.sampled_from(SINGLE), lower, max_size=2)
        )
        named = st.dictionaries(st.sampled_from("xy"), lower, max_size=2)
        found[f"a{level}"] |= draw(
            st.dictionaries(st.sampled_from(MAPS), named, max_size=1)
        )
    return found


def written_out(schema: Any, names: dict[str, Any]) -> Any:
    """The same with copies of what it refers to."""
    if isinstance(schema, list):
        return [written_out(one, names) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = names[schema["$ref"].removeprefix("#/$defs/")]
        return {"allOf": [written_out(target, names)]}
    return {key: written_out(one, names) for key, one in schema.items()}


def counted(schema: Any, depth: int) -> int:
    steps = Steps(schema)
    try:
        steps.check()
    except TooLargeError:
        return MAX_STEPS + 1
    assert steps.unknown == []
    return steps.at(depth)


@given(definitions(), st.integers(0, 4))
def test_a_reference_counts_as_what_it_refers_to(
    names: dict[str, Any], depth: int
) -> None:
    schema = {"$ref": f"#/$defs/a{len(names) - 1}"}
    by_reference = counted({"$defs": names, **schema}, depth)
    assert by_reference == counted(written_out(schema, names), depth)
