"""One entry: what it says, how a registration changes it, what of it rests. Pure.

A schema is not stored: it belongs to the worker that registered it in this run.
"""

import re
from typing import Any, Final

import attrs
import msgspec

from iii_trio.builtins.configuration._inputs import RegisterInput
from iii_trio.builtins.configuration._schema import Validator

JSON = Any

encode_sorted: Final = msgspec.json.Encoder(order="sorted").encode

VALID_ID: Final = re.compile(r"[a-z0-9_-]{1,64}")


@attrs.frozen(kw_only=True)
class Entry:
    """A configuration.

    Attributes:
        schema: as registered in this run, ``None`` before.
        validator: of the schema.
        value: with its placeholders; ``UNSET`` if there never was one.
        metadata: any JSON, ``None`` if there is none.
        seed: as registered last, ``UNSET`` without one.
        is_set: whether the value was given by somebody; otherwise it is the seed.
    """

    id: str
    name: str
    description: str
    schema: JSON = None
    validator: Validator | None = None
    value: JSON = msgspec.UNSET
    metadata: JSON = None
    seed: JSON = msgspec.UNSET
    is_set: bool = False

    @property
    def present_value(self) -> JSON:
        """The value, null if there is none."""
        return None if self.value is msgspec.UNSET else self.value

    def described(self) -> dict[str, JSON]:
        """The entry without its value, as listings show it."""
        shown = {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "schema": self.schema,
        }
        return shown if self.metadata is None else {**shown, "metadata": self.metadata}

    def with_value(self, value: JSON) -> "Entry":
        """The entry after somebody set a value."""
        return attrs.evolve(self, value=value, is_set=True)


def registered(old: Entry | None, given: RegisterInput, validator: Validator) -> Entry:
    """The entry after a registration."""
    entry = Entry(
        id=given.id,
        name=given.name,
        description=given.description,
        schema=given.schema,
        validator=validator,
        metadata=given.metadata,
        seed=given.seed,
    )
    if given.initial_value is not None:
        return entry.with_value(given.initial_value)
    if old is None:
        return attrs.evolve(entry, value=given.seed)
    if given.seed is msgspec.UNSET:
        # The last seed is remembered: who registers without one has nothing against it.
        return attrs.evolve(entry, value=old.value, is_set=old.is_set, seed=old.seed)
    edited = old.seed is not msgspec.UNSET and not _same(old.seed, given.seed)
    if old.is_set and not edited:
        return attrs.evolve(entry, value=old.value, is_set=True)
    return attrs.evolve(entry, value=given.seed)


def _same(left: JSON, right: JSON) -> bool:
    return encode_sorted(left) == encode_sorted(right)


def to_record(entry: Entry) -> bytes | None:
    """What is stored of an entry; ``None``: nothing, its owner brings it each time."""
    if entry.seed is not msgspec.UNSET and not entry.is_set:
        return None
    record: dict[str, JSON] = {
        "name": entry.name,
        "description": entry.description,
        "metadata": entry.metadata,
    }
    if entry.is_set:
        record["value"] = entry.value
    if entry.seed is not msgspec.UNSET:
        record["seed"] = entry.seed
    return msgspec.json.encode(record)


def from_record(configuration_id: str, text: bytes) -> Entry:
    """The entry that was stored."""
    record = msgspec.json.decode(text)
    return Entry(
        id=configuration_id,
        name=record["name"],
        description=record["description"],
        value=record.get("value", msgspec.UNSET),
        metadata=record["metadata"],
        seed=record.get("seed", msgspec.UNSET),
        is_set="value" in record,
    )
