"""What functions, triggers, subscribers and custom providers hand in. Pure."""

from typing import Any, Final

import attrs
import msgspec

from iii_trio.builtins._payloads import ALIAS, InputError, structure
from iii_trio.builtins._update_ops import UpdateOp

JSON = Any


@attrs.frozen
class Place:
    """Where a value is, or what an event is about; without an item: a whole group."""

    stream_name: str
    group_id: str
    item_id: str | None = None


@attrs.frozen
class SetInput:
    """Input of ``stream::set``."""

    stream_name: str
    group_id: str
    item_id: str
    data: JSON


@attrs.frozen
class ItemInput:
    """Input of ``stream::get`` and ``stream::delete``."""

    stream_name: str
    group_id: str
    item_id: str


@attrs.frozen
class UpdateInput:
    """Input of ``stream::update``."""

    stream_name: str
    group_id: str
    item_id: str
    ops: list[UpdateOp]


@attrs.frozen
class GroupInput:
    """Input of ``stream::list``."""

    stream_name: str
    group_id: str


@attrs.frozen
class StreamInput:
    """Input of ``stream::list_groups``."""

    stream_name: str


@attrs.frozen
class ListAllInput:
    """Input of ``stream::list_all``: any object."""


@attrs.frozen
class SendInput:
    """Input of ``stream::send``."""

    stream_name: str
    group_id: str
    type: str
    data: JSON
    id: str | None = None


@attrs.frozen
class StreamTriggerConfig:
    """Which events a `stream` trigger is about; absent, null and empty match all.

    The condition is run by the worker library; it is here for its type to be checked.
    """

    stream_name: str
    group_id: str | None = None
    item_id: str | None = None
    condition_function_id: str | None = None

    def matches(self, place: Place) -> bool:
        """Whether an event at that place is one of them."""
        return (
            self.stream_name == place.stream_name
            and (not self.group_id or self.group_id == place.group_id)
            and (not self.item_id or self.item_id == place.item_id)
        )


@attrs.frozen
class Wish:
    """What a subscriber joins or leaves."""

    subscription_id: str = attrs.field(metadata={ALIAS: "subscriptionId"})
    stream_name: str = attrs.field(metadata={ALIAS: "streamName"})
    group_id: str = attrs.field(metadata={ALIAS: "groupId"})
    id: str | None = None

    @property
    def place(self) -> Place:
        """What it is about."""
        return Place(self.stream_name, self.group_id, self.id)

    @property
    def names_bytes(self) -> int:
        """The size of all names in it, as UTF-8."""
        names = (self.subscription_id, self.stream_name, self.group_id, self.id or "")
        return sum(len(name.encode()) for name in names)


@attrs.frozen
class Frame:
    """A message of a subscriber."""

    type: str
    data: Wish


FRAME_TYPES: Final = ("join", "leave")


def parse_frame(text: bytes) -> Frame | None:
    """Read a message of a subscriber; ``None`` for a blank one.

    Raises:
        InputError: it is no JSON, or none of the known frames.
    """
    if not text.strip():
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InputError(f"not JSON: {exc}") from exc
    frame = structure(value, Frame)
    if frame.type not in FRAME_TYPES:
        raise InputError(f"unknown type {frame.type!r}")
    return frame


@attrs.frozen
class Written:
    """What a custom provider answers to ``set`` and ``update``."""

    new_value: JSON
    old_value: JSON = None
    errors: list[Any] = attrs.field(factory=list)


@attrs.frozen
class Deleted:
    """What a custom provider answers to ``delete``."""

    old_value: JSON = None
