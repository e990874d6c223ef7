"""Which actions functions say that they perform."""

import contextlib

import msgspec
import pytest

from iii_trio.engine._actions import Action, parse_action, served_action


@pytest.mark.parametrize(
    ("metadata", "served"),
    [
        ({"trigger_action": "later"}, "later"),
        ({"trigger_action": 1}, None),
        ({}, None),
        ("trigger_action", None),
    ],
)
def test_only_a_text_in_an_object_names_an_action(
    metadata: object, served: str | None
) -> None:
    assert served_action(metadata) == served


def test_an_action_needs_a_type_and_may_have_more() -> None:
    assert parse_action(b'{"type":"void","more":1}') == Action("void")
    with pytest.raises(msgspec.DecodeError):
        parse_action(b'{"queue":"mail"}')


def test_an_action_of_any_depth_is_read_or_none() -> None:
    for levels in (*range(800, 1000), 100_000):
        text = b'{"type":"x","a":%b}' % (b"[" * levels + b"]" * levels)
        for action in (text, msgspec.Raw(text)):
            with contextlib.suppress(msgspec.DecodeError):
                assert parse_action(action) == Action("x")
