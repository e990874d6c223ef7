"""Structuring of builtin inputs: strict types, and the wording that clients know."""

from collections.abc import Callable
from typing import Annotated, Any

import attrs
import msgspec
import pytest

from iii_trio.builtins._payloads import (
    ALIAS,
    InputError,
    InputReader,
    describe,
    read_answer,
    structure,
    structure_input,
    structure_trigger_config,
)
from iii_trio.errors import AdapterError, FunctionFailedError, RegistrationError


@attrs.frozen
class Inner:
    count: int


@attrs.frozen
class Sample:
    name: str = attrs.field(metadata={ALIAS: "title"})
    inners: list[Inner] = attrs.field(factory=list)
    flag: bool = False
    ratio: float = 1.0
    note: str | None = None
    anything: Any = None

    def __attrs_post_init__(self) -> None:
        if self.name == "bad":
            raise ValueError("no bad names")


def test_all_of_a_good_input_arrives() -> None:
    given = {
        "title": "t",
        "inners": [{"count": 1}, {"count": 2}],
        "flag": True,
        "ratio": 2,
        "note": None,
        "anything": {"a": [None]},
        "unknown": 1,
    }
    assert structure_input("f::f", given, Sample) == Sample(
        name="t",
        inners=[Inner(1), Inner(2)],
        flag=True,
        ratio=2,
        note=None,
        anything={"a": [None]},
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "invalid type: null, expected an object"),
        ("x", 'invalid type: string "x", expected an object'),
        ({}, "missing field `name`"),
        ({"name": 1}, "name: invalid type: integer `1`, expected a string"),
        ({"name": "a", "title": "b"}, "duplicate field `name`"),
        ({"name": "bad"}, "no bad names"),
        ({"name": "a", "flag": 1}, "flag: invalid type: integer `1`"),
        ({"name": "a", "ratio": True}, "ratio: invalid type: boolean `true`"),
        ({"name": "a", "ratio": "1"}, 'ratio: invalid type: string "1"'),
        ({"name": "a", "note": 1.5}, "note: invalid type: floating point `1.5`"),
        ({"name": "a", "inners": "bc"}, 'inners: invalid type: string "bc"'),
        ({"name": "a", "inners": None}, "inners: invalid type: null"),
        ({"name": "a", "inners": [{"count": 1}, 5]}, "inners[1]: invalid type"),
        ({"name": "a", "inners": [{}]}, "inners[0]: missing field `count`"),
        (
            {"name": "a", "inners": [{"count": True}]},
            "inners[0].count: invalid type: boolean `true`, expected an integer",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(value: object, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        structure(value, Sample)
    assert str(caught.value).startswith(reason)
    with pytest.raises(FunctionFailedError) as failed:
        structure_input("f::f", value, Sample)
    assert failed.value.code == "deserialization_error"
    assert failed.value.message.startswith(
        f"Failed to deserialize input for f::f: {reason}"
    )
    assert not failed.value.function_id, "else the worker takes it for a nested failure"


def test_a_trigger_config_that_does_not_fit_refuses_the_trigger() -> None:
    assert structure_trigger_config({"count": 1}, Inner) == Inner(count=1)
    with pytest.raises(RegistrationError, match="Failed to parse trigger config: "):
        structure_trigger_config({"count": "one"}, Inner)


def test_large_values_are_not_repeated_in_messages() -> None:
    assert len(describe("x" * 1000)) < 80
    assert len(describe(10**1000)) < 80
    assert describe({"a": 1}) == "map"
    assert describe([1]) == "sequence"


@attrs.frozen
class Often:
    name: str = attrs.field(metadata={ALIAS: "title"})
    delay: Annotated[float, msgspec.Meta(ge=0)] = attrs.field(
        default=0, validator=attrs.validators.ge(0)
    )
    note: str | None = None
    anything: Any = None


@pytest.mark.parametrize(
    "given",
    [
        {"name": "n"},
        {"title": "t", "anything": {"title": [1, 2.5, None]}, "unknown": 1},
        {"name": "n", "title": "t"},
        {"name": "n", "anything": "title"},
        {"name": "n", "delay": 2, "note": "x"},
        {"name": "n", "delay": 0.5, "note": None},
        {"name": "n", "delay": -1},
        {"name": "n", "delay": True},
        {"name": "n", "delay": "2"},
        {"name": "n", "delay": 2**70},
        {"name": 5},
        {"name": None},
        {"delay": 1},
        [],
        None,
        "text",
    ],
)
def test_a_reader_of_text_takes_and_refuses_what_structuring_does(given: Any) -> None:
    text = msgspec.json.encode(given)
    reader = InputReader("x::y", Often)

    def outcome_of(read: Callable[[], Often]) -> tuple[Any, ...]:
        try:
            found = read()
            return tuple(getattr(found, each.name) for each in attrs.fields(Often))
        except FunctionFailedError as exc:
            return exc.code, str(exc)

    assert outcome_of(lambda: reader.read(msgspec.Raw(text))) == outcome_of(
        lambda: structure_input("x::y", msgspec.json.decode(text), Often)
    )


@pytest.mark.parametrize("text", [b"", b"{", b'{"name": "n", "anything": 1e400}'])
def test_a_reader_says_what_cannot_be_decoded(text: bytes) -> None:
    with pytest.raises(FunctionFailedError) as caught:
        InputReader("x::y", Often).read(msgspec.Raw(text))
    assert caught.value.code == "invalid_payload"


def test_an_answer_of_another_engine_is_read_or_does_not_fit() -> None:
    assert read_answer(b"[1]", list[int]) == [1]
    assert read_answer(b"", type(None)) is None
    for text in (b"", b"{", b'["1"]', b"[" * 100_000):
        with pytest.raises(AdapterError, match="the other engine's answer does not"):
            read_answer(text, list[int])
