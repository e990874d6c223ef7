import io
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from iii_trio.app._live_help import fields, show, type_of
from iii_trio.app._terminal import printable


def shown(described: Any) -> str:
    out = io.StringIO()
    show("math::add", described, Console(file=out, width=100, highlight=False))
    return out.getvalue()


def test_help_lists_fields_with_type_need_and_description() -> None:
    text = shown(
        {
            "description": "Adds two numbers.",
            "request_schema": {
                "properties": {
                    "a": {"type": "number", "description": "the first"},
                    "b": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                },
                "required": ["a"],
            },
        }
    )
    assert "Usage: iii-trio trigger math::add [KEY=VALUE]..." in text
    assert "Adds two numbers." in text
    rows = [line.split() for line in text.splitlines()]
    assert ["a", "number", "yes", "the", "first"] in rows
    assert ["b", "number", "|", "null", "no"] in rows


@pytest.mark.parametrize(
    "described",
    [
        None,
        [],
        {},
        {"request_schema": True},
        {"request_schema": {"properties": []}},
        {"description": 5, "request_schema": {}},
    ],
)
def test_function_without_schema_says_so(described: object) -> None:
    assert "published no fields" in shown(described)


def test_text_of_workers_is_neither_markup_nor_control_sequence() -> None:
    text = shown({"description": "[bold]x[/bold] \x1b[2J\u202eevil\nnext"})
    assert "[bold]x[/bold] [2Jevil next" in text
    assert "\x1b" not in text


@given(st.text())
def test_printable_text_has_no_invisible_characters(text: str) -> None:
    categories = {unicodedata.category(char) for char in printable(text)}
    assert not categories & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_visible_text_is_kept(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"oneOf": [{"$ref": "#/$defs/Pair"}, {"type": "null"}, 5]}, "Pair | null"),
        ({"anyOf": []}, "any"),
        ({"enum": [1, 2]}, "enum"),
        ({}, "any"),
    ],
)
def test_types_are_named_in_a_few_words(field: dict[str, Any], text: str) -> None:
    assert type_of(field) == text


def test_root_reference_is_followed() -> None:
    pair = {"properties": {"a": {"type": "integer"}}}
    schema = {"$ref": "#/$defs/Pair", "$defs": {"Pair": pair}}
    assert list(fields(schema)) == [("a", "integer", "no", "")]


@pytest.mark.parametrize("target", ["#/$defs/A", "#/$defs/B", "#/x/y", "http://x", "#"])
def test_references_that_lead_nowhere_give_no_rows(target: str) -> None:
    circle = {"A": {"$ref": "#/$defs/A"}, "B": {"$ref": "#/$defs/None"}}
    assert list(fields({"$ref": target, "$defs": circle})) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["properties", "required", "type", "anyOf", "a"]), inner
        )
    ),
    max_leaves=15,
)


@given(JSON)
def test_any_schema_gives_rows_or_none(schema: object) -> None:
    for row in fields(schema):
        assert len(row) == 4
