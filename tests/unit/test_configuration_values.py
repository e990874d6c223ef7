"""Placeholders in values, and what is wrong with values."""

from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from iii_trio._yaml import parse_yaml
from iii_trio.builtins.configuration._config import ConfigurationConfig
from iii_trio.builtins.configuration._entries import (
    VALID_ID,
    Entry,
    from_record,
    registered,
    to_record,
)
from iii_trio.builtins.configuration._expand import Expanded, expand_value
from iii_trio.builtins.configuration._inputs import (
    UPDATED,
    ConfigurationTriggerConfig,
    RegisterInput,
)
from iii_trio.builtins.configuration._schema import (
    SchemaError,
    compile_schema,
    problems_of,
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)

# --- placeholders


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", 8080),
        ("  ${A} ", 8080),
        ("${A}${A}", "80808080"),
        ("port ${A}", "port 8080"),
        ("${A:1}", 8080),
        ("${N:true}", True),
        ("${N:3.5}", 3.5),
        ("${N:on}", "on"),
        ("${N:007}", "007"),
        ("${N:0x10}", 16),
        ("${N:null}", None),
        ("${N:~}", None),
        ("${N:}", ""),
        ("${N: }", " "),
        ("${EMPTY}", ""),
        ("${EMPTY:5}", ""),
        ("${N:[1, a]}", [1, "a"]),
        ('${N:"8080"}', "8080"),
        ("${N:'a'}", "a"),
        ("${N:http://x/y#z}", "http://x/y#z"),
        ("${N:a #b}", "a #b"),
        ("${N:#fff}", "#fff"),
        ("${N:[}", "["),
        ("${N:!!python/object:os.system x}", "!!python/object:os.system x"),
        ("${N:[&a [1], *a]}", "[&a [1], *a]"),
        ("${N::}", ":"),
        ("$A {A} ${} $${A}", "$A {A} ${} $8080"),
        ("${A", "${A"),
    ],
)
def test_a_string_becomes(text: str, expected: Any) -> None:
    expanded = expand_value(text, {"A": "8080", "EMPTY": ""})
    assert expanded == Expanded(expected)
    assert type(expanded.value) is type(expected)


def test_every_string_is_looked_at_and_no_key() -> None:
    value = {"${A}": ["${A}", {"b": "${A}!"}], "c": 1, "d": None}
    expanded = expand_value(value, {"A": "1"})
    assert expanded.value == {"${A}": [1, {"b": "1!"}], "c": 1, "d": None}


def test_unset_variables_are_named_once_and_leave_their_strings_alone() -> None:
    value = ["${B} ${A}", "${C} ${B}", "${A:1}", "${C}"]
    expanded = expand_value(value, {"C": "c"})
    assert expanded.unset == ("B", "A")
    assert expanded.value == ["${B} ${A}", "${C} ${B}", 1, "c"]


@hypothesis.given(json_values)
def test_without_placeholders_nothing_changes(value: Any) -> None:
    text = msgspec.json.encode(value).decode()
    if "${" not in text:
        assert expand_value(value, {}) == Expanded(value)


@hypothesis.given(
    st.one_of(
        st.integers().map(str),
        st.floats(allow_nan=False).map(str),
        st.sampled_from(["true", "off", "null", "~", "1_000", "0o17", "1e3", ".inf"]),
        st.from_regex(r"-?[abc019.+]+", fullmatch=True),
    )
)
def test_a_scalar_has_the_type_that_a_config_file_gives_it(text: str) -> None:
    in_file = parse_yaml(f"key: {text}")["key"]
    assert expand_value("${A}", {"A": text}).value == in_file


@pytest.mark.parametrize("text", ["!!binary aGk=", "!!set {a}", "!!bool maybe"])
def test_a_text_with_a_type_that_json_has_not_stays_text(text: str) -> None:
    assert expand_value("${A}", {"A": text}) == Expanded(text)


# --- schemas


def test_the_path_of_a_problem_leads_to_it() -> None:
    schema = {"properties": {"a": {"items": {"required": ["b"]}}}}
    problems = problems_of({"a": [{"b": 1}, {}]}, compile_schema(schema))
    assert problems == ['$.a[1]: "b" is a required property']


def test_many_problems_are_counted_and_long_ones_are_cut() -> None:
    validator = compile_schema({"items": {"type": "integer"}})
    problems = problems_of(["x" * 1000] * 15, validator)
    assert len(problems) == 11
    assert problems[-1] == "5 more"
    assert len(problems[0]) < 220


@pytest.mark.parametrize(
    "value",
    [[0] * 1001, [[0] * 400] * 3, [{str(n): n for n in range(400)}] * 3],
    ids=["one list", "lists", "objects"],
)
def test_of_a_large_value_the_first_problem_alone_is_told(value: Any) -> None:
    strings = compile_schema({"items": {"type": "string"}})
    others = compile_schema({"items": {"not": {"type": "string"}}})
    assert len(problems_of(value[:2], strings)) == 2
    [problem] = problems_of(value, strings)
    assert problem.startswith("$[0]: ")
    assert problems_of(value, others) == []


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [{"a": value}] if depth % 2 else [value]
    return value


def test_a_value_or_a_schema_nested_too_deep_is_refused() -> None:
    recursive = compile_schema({"items": {"$ref": "#"}})
    assert problems_of(nested(128), recursive) == []
    for value in (nested(129), nested(130), nested(100_000)):
        assert problems_of(value, recursive) == ["$: it nests deeper than 128"]
    with pytest.raises(SchemaError, match="nests deeper than 128"):
        compile_schema({"not": nested(128)})


def test_a_long_text_is_no_yaml() -> None:
    text = "[" * 100_000 + "]" * 100_000
    assert expand_value("${A}", {"A": text}) == Expanded(text)


def test_every_draft_is_understood() -> None:
    draft_07 = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"n": {"type": "integer"}},
        "items": [{"$ref": "#/definitions/n"}],
    }
    assert problems_of([1], compile_schema(draft_07)) == []
    assert problems_of(["a"], compile_schema(draft_07)) != []
    latest = {"prefixItems": [{"type": "integer"}]}
    assert problems_of(["a"], compile_schema(latest)) != []


def test_a_schema_that_refers_to_itself_ends() -> None:
    assert problems_of(1, compile_schema({"$ref": "#"})) == []


# --- records


@hypothesis.given(json_values, json_values, json_values)
def test_a_record_gives_back_what_rests(value: Any, metadata: Any, seed: Any) -> None:
    entry = Entry(
        id="a", name="n", description="d", metadata=metadata, value=value, is_set=True
    )
    for one in (entry, Entry(id="a", name="n", description="d", metadata=metadata)):
        record = to_record(one)
        assert record is not None
        assert from_record("a", record) == one
    seeded = Entry(id="a", name="n", description="d", value=seed, seed=seed)
    assert to_record(seeded) is None
    record = to_record(seeded.with_value(value))
    assert record is not None
    assert from_record("a", record).seed == seed


# --- registrations


def given(**more: Any) -> RegisterInput:
    about: dict[str, Any] = {"id": "a", "name": "n", "description": "d", "schema": True}
    return RegisterInput(**about, **more)


@pytest.mark.parametrize(
    ("old_seed", "is_set", "new", "value", "stays_set"),
    [
        (1, True, {"seed": 1}, 5, True),
        (1, True, {"seed": 2}, 2, False),
        (1, True, {"seed": {"b": 1, "a": 2}}, {"b": 1, "a": 2}, False),
        ({"b": 1, "a": 2}, True, {"seed": {"a": 2, "b": 1}}, 5, True),
        (msgspec.UNSET, True, {"seed": 1}, 5, True),
        (1, False, {"seed": 1}, 1, False),
        (1, True, {}, 5, True),
        (1, True, {"seed": 1, "initial_value": 6}, 6, True),
    ],
)
def test_a_registration_of_a_known_id(
    old_seed: Any, is_set: bool, new: dict[str, Any], value: Any, stays_set: bool
) -> None:
    old = Entry(
        id="a", name="o", description="o", value=5, seed=old_seed, is_set=is_set
    )
    entry = registered(old, given(**new), compile_schema(True))
    assert (entry.name, entry.value, entry.is_set) == ("n", value, stays_set)
    assert entry.seed == new.get("seed", old_seed)


def test_the_first_registration_has_the_seed_or_nothing() -> None:
    validator = compile_schema(True)
    assert registered(None, given(seed=1), validator).present_value == 1
    assert registered(None, given(), validator).present_value is None
    assert VALID_ID.fullmatch("a-b_9")
    assert registered(None, given(metadata=[1]), validator).described() == {
        "id": "a",
        "name": "n",
        "description": "d",
        "schema": True,
        "metadata": [1],
    }
    assert "metadata" not in registered(None, given(), validator).described()


@pytest.mark.parametrize(
    ("config", "matches"),
    [
        ({}, True),
        ({"configuration_id": "a"}, True),
        ({"configuration_id": "b"}, False),
        ({"event_types": [UPDATED]}, True),
        ({"event_types": []}, False),
    ],
)
def test_what_a_trigger_is_about(config: dict[str, Any], matches: bool) -> None:
    assert ConfigurationTriggerConfig(**config).matches("a", UPDATED) is matches


def test_nothing_is_fetched_for_a_schema() -> None:
    with pytest.raises(SchemaError, match="is not fetched"):
        compile_schema({"$ref": "http://localhost:1/x"})


def test_a_time_to_live_before_zero_is_refused() -> None:
    assert ConfigurationConfig().ttl_seconds == 0
    with pytest.raises(ValueError, match="at least 0"):
        ConfigurationConfig(ttl_seconds=-1)
