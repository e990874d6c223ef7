import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.app._payload import PayloadError, build_payload, pretty


@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("a=2", 2),
        ("a=-1.5", -1.5),
        ("a=1e3", 1000.0),
        ("a=true", True),
        ("a=null", None),
        ('a="5"', "5"),
        ("a=[1,2]", [1, 2]),
        ('a={"x":1}', {"x": 1}),
        ("a=hello", "hello"),
        ("a=007", "007"),
        ("a=0x10", "0x10"),
        ("a=NaN", "NaN"),
        ("a=-Infinity", "-Infinity"),
        ("a=[NaN]", "[NaN]"),
        ("a=1e999", "1e999"),
        ("a=", ""),
        ("a=b=c", "b=c"),
        ("a=True", "True"),
        ("a=yes", "yes"),
        ("a=1_000", "1_000"),
        ("a= 5 ", 5),
        ("a=" + "[" * 100_000, "[" * 100_000),
    ],
)
def test_values_are_json_or_else_strings(token: str, value: object) -> None:
    payload = build_payload([token], None)
    assert payload == {"a": value}
    assert type(payload["a"]) is type(value)


def test_nothing_is_an_empty_object() -> None:
    assert build_payload([], None) == {}


@pytest.mark.parametrize("text", ["5", "null", '"x"', "[1]", '{"a": 1}'])
def test_json_alone_is_taken_as_it_is(text: str) -> None:
    assert build_payload([], text) == json.loads(text)


def test_pairs_override_the_json_object_shallowly() -> None:
    payload = build_payload(["a=1", "d.e=2"], '{"a": {"b": 1}, "c": 3}')
    assert payload == {"a": 1, "c": 3, "d.e": 2}


def test_last_of_a_key_wins() -> None:
    assert build_payload(["a=1", "a=2"], None) == {"a": 2}


def test_key_of_blanks_is_a_key() -> None:
    assert build_payload([" =1"], None) == {" ": 1}


@pytest.mark.parametrize(
    ("pairs", "text", "message"),
    [
        (["abc"], None, "expected key=value, got 'abc'"),
        (["=1"], None, "payload key must not be empty (got '=1')"),
        ([], "{", "--json: invalid JSON"),
        ([], "NaN", "--json: invalid JSON"),
        ([], "[" * 100_000, "--json: invalid JSON"),
        (["a=1"], "[1]", "--json must be an object when combined with kv pairs"),
    ],
)
def test_bad_arguments_are_named(
    pairs: list[str], text: str | None, message: str
) -> None:
    with pytest.raises(PayloadError) as caught:
        build_payload(pairs, text)
    assert message in str(caught.value)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.text(min_size=1).filter(lambda key: "=" not in key), JSON_VALUES)
def test_any_json_value_survives_a_pair(key: str, value: Any) -> None:
    assert build_payload([f"{key}={json.dumps(value)}"], None) == {key: value}


@given(JSON_VALUES)
def test_pretty_json_reads_back(value: Any) -> None:
    assert json.loads(pretty(value)) == value


def test_pretty_json_sorts_keys_and_indents_by_two() -> None:
    text = '{\n  "a": [\n    "é"\n  ],\n  "b": 1\n}'
    assert pretty({"b": 1, "a": ["é"]}) == text


def test_half_a_surrogate_pair_is_printed_escaped() -> None:
    assert pretty("\ud800") == '"\\ud800"'


def test_what_the_encoding_does_not_have_is_printed_escaped() -> None:
    assert pretty("é€", "latin-1") == '"\\u00e9\\u20ac"'


def test_infinity_is_not_printed() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        pretty([float("inf")])
