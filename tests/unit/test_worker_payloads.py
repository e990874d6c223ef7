"""Typed payloads: structuring, the paths of misfits, schemas, truthiness."""

import enum
import json
from typing import Any

import attrs
import pytest

from iii_trio.protocol import ChannelRef
from iii_trio.worker._json import (
    InvalidPayloadError,
    encode,
    plain,
    schema_of,
    structurer,
)
from iii_trio.worker._triggers import with_condition


@attrs.frozen
class Item:
    sku: str
    count: int = 1


@attrs.frozen
class Order:
    items: list[Item]
    price: float = 0.0
    paid: bool = False
    note: str | None = None
    upload: ChannelRef | None = None
    total: int = attrs.field(default=0, validator=attrs.validators.ge(0))


class Size(enum.IntEnum):
    LARGE = 2


class Colour(enum.StrEnum):
    RED = "red"


@attrs.frozen
class Shelf:
    size: Size = Size.LARGE
    colour: Colour = Colour.RED
    place: tuple[int, str] = (1, "a")


def structure(value: Any, annotation: Any = Order) -> Any:
    made = structurer(annotation)
    assert made is not None
    return made(value)


def test_a_fitting_payload_becomes_an_instance() -> None:
    order = structure({"items": [{"sku": "a"}], "price": 3, "extra": "ignored"})
    assert order == Order(items=[Item("a")], price=3.0)
    assert isinstance(order.price, float)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"items": [{"sku": 1}]}, "$.items[0].sku: expected str"),
        ({"items": [{"sku": "a", "count": "5"}]}, "$.items[0].count: expected int"),
        ({"items": [{"sku": "a", "count": True}]}, "$.items[0].count: expected int"),
        ({"items": [], "paid": 1}, "$.paid: expected bool"),
        ({"items": [], "price": "x"}, "$.price: expected float"),
        ({}, "$.items: required field missing"),
        ({"items": [7]}, "$.items[0]: expected an object"),
        ([], "$: expected an object"),
        (None, "$: expected an object"),
    ],
)
def test_a_misfit_is_told_with_its_path(payload: Any, message: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        structure(payload)
    assert message in str(caught.value)


def test_every_misfit_is_told() -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        structure({"items": [{"sku": 1}], "paid": "no"})
    assert str(caught.value) == "$.items[0].sku: expected str; $.paid: expected bool"


def test_a_validator_of_the_class_is_a_misfit_too() -> None:
    with pytest.raises(InvalidPayloadError, match=r"^\$: .*'total' must be >= 0: -1$"):
        structure({"items": [], "total": -1})
    with pytest.raises(InvalidPayloadError, match=r"^\$.place: .*Not enough values"):
        structure({"place": [1]}, Shelf)


def test_a_misfit_does_not_repeat_a_large_value() -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        structure({"place": [10**1000]}, Shelf)
    assert str(caught.value) == "$.place: invalid value"


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"size": 7}, "$.size: expected Size"),
        ({"size": "1"}, "$.size: expected int"),
        ({"colour": "blue"}, "$.colour: expected Colour"),
    ],
)
def test_a_number_or_text_that_is_an_enum_becomes_a_member(
    payload: Any, message: str
) -> None:
    shelf = structure({"size": 2, "colour": "red"}, Shelf)
    assert (shelf.size, shelf.colour) == (Size.LARGE, Colour.RED)
    assert isinstance(shelf.size, Size)
    assert isinstance(shelf.colour, Colour)
    with pytest.raises(InvalidPayloadError) as caught:
        structure(payload, Shelf)
    assert str(caught.value) == message


def test_containers_of_attrs_classes_are_structured() -> None:
    assert structure([{"sku": "a"}], list[Item]) == [Item("a")]
    assert structure(None, Item | None) is None
    with pytest.raises(InvalidPayloadError, match=r"\[1\]\.sku: expected str"):
        structure([{"sku": "a"}, {"sku": 2}], list[Item])


def test_a_channel_ref_may_be_a_field() -> None:
    ref = {"channel_id": "c", "access_key": "k", "direction": "read"}
    order = structure({"items": [], "upload": ref})
    assert order.upload == ChannelRef(**ref)
    with pytest.raises(InvalidPayloadError, match="access_key"):
        structure({"items": [], "upload": {"channel_id": "c"}})


@pytest.mark.parametrize("annotation", [None, dict, list[int], str | None, Any])
def test_plain_annotations_leave_json_alone(annotation: Any) -> None:
    assert structurer(annotation) is None
    assert schema_of(annotation) is None


def test_a_schema_is_made_of_the_annotation() -> None:
    schema = schema_of(Item)
    assert schema["$ref"] == "#/$defs/Item"
    assert schema["$defs"]["Item"] == {
        "title": "Item",
        "type": "object",
        "properties": {
            "sku": {"type": "string"},
            "count": {"type": "integer", "default": 1},
        },
        "required": ["sku"],
    }


def test_a_type_without_schema_gives_none() -> None:
    @attrs.frozen
    class Odd:
        value: complex

    assert schema_of(Odd) is None


def test_instances_are_written_as_objects() -> None:
    assert json.loads(encode(Order(items=[Item("a", 2)], note="n"))) == {
        "items": [{"sku": "a", "count": 2}],
        "price": 0.0,
        "paid": False,
        "note": "n",
        "upload": None,
        "total": 0,
    }


def test_plain_values_share_nothing() -> None:
    value = {"a": [1]}
    copy = plain(value)
    assert copy == value
    assert copy["a"] is not value["a"]
    with pytest.raises(TypeError):
        plain(object())


def test_a_condition_goes_into_the_config() -> None:
    assert with_condition({"a": 1}, None) == {"a": 1}
    assert with_condition(None, "f") == {"condition_function_id": "f"}
    assert with_condition({"a": 1}, "f") == {"a": 1, "condition_function_id": "f"}
    with pytest.raises(TypeError, match="object"):
        with_condition([1], "f")
