"""How deep JSON text nests."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from iii_trio.protocol import nests_deeper
from iii_trio.testing.strategies import json_values


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(json_values(), st.integers(0, 5), st.sampled_from([None, 1]))
def test_it_counts_what_a_parser_builds(
    value: object, limit: int, indent: int | None
) -> None:
    text = json.dumps(value, indent=indent).encode()
    assert nests_deeper(text, limit) == (depth_of(value) > limit)


@pytest.mark.parametrize("bracket", ["[", "{", "]", "}", '\\"[', "\\\\"])
def test_brackets_in_strings_do_not_count(bracket: str) -> None:
    text = json.dumps([[bracket * 9, {bracket * 9: [bracket]}]]).encode()
    assert nests_deeper(text, 3)
    assert not nests_deeper(text, 4)


def test_text_that_is_no_json_ends_too() -> None:
    assert nests_deeper(b"[" * 100_000 + b'"', 1000)
    assert nests_deeper(b'"' + b"\\" * 100_000 + b"[" * 9, 8)
