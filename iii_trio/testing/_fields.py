"""Picking events and frames by the values of their fields, given as keywords."""

from collections.abc import Mapping

import attrs
import msgspec

from iii_trio.protocol import Event, Frame


def check_field_names(kind: type[Event | Frame], fields: Mapping[str, object]) -> None:
    """Refuse names that a class does not have: they would never match.

    Raises:
        TypeError: lists the names that the class has.
    """
    if issubclass(kind, msgspec.Struct):
        real = kind.__struct_fields__
    else:
        real = tuple(attrs.fields_dict(kind))
    for name in fields:
        if name not in real:
            has = f"it has {', '.join(real)}" if real else "it has none"
            msg = f"{kind.__name__} has no field {name!r}; {has}"
            raise TypeError(msg)


def has_fields(one: Event | Frame, fields: Mapping[str, object]) -> bool:
    """Whether the named fields have these values."""
    return all(getattr(one, name) == value for name, value in fields.items())
