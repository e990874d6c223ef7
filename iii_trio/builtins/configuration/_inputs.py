"""What the configuration functions take, and what their triggers are bound with. Pure."""

from typing import Any, Final

import attrs
import msgspec

JSON = Any

REGISTERED: Final = "configuration:registered"
UPDATED: Final = "configuration:updated"
DELETED: Final = "configuration:deleted"
EVENT_TYPES: Final = (REGISTERED, UPDATED, DELETED)


@attrs.frozen
class RegisterInput:
    """Input of ``configuration::register``.

    Attributes:
        schema: JSON Schema of the value, of any draft.
        initial_value: the new value; null: the value that there is stays.
        metadata: any JSON; null: none.
        seed: our extension: the value as long as nobody sets one. It is not stored; one
            that differs from that of the last time replaces what was set meanwhile.
    """

    id: str
    name: str
    description: str
    schema: JSON
    initial_value: JSON = None
    metadata: JSON = None
    seed: JSON = msgspec.UNSET


@attrs.frozen
class SetInput:
    """Input of ``configuration::set``."""

    id: str
    value: JSON


@attrs.frozen
class GetInput:
    """Input of ``configuration::get``; ``raw``: with its placeholders."""

    id: str
    raw: bool = False


@attrs.frozen
class SchemaInput:
    """Input of ``configuration::schema``."""

    id: str


@attrs.frozen
class ListInput:
    """Input of ``configuration::list``: any object."""


@attrs.frozen
class ConfigurationTriggerConfig:
    """Which changes a trigger is about; ``None`` matches all.

    The condition is run by the worker library; it is here for its type to be checked.
    """

    configuration_id: str | None = None
    event_types: list[str] | None = None
    condition_function_id: str | None = None

    def matches(self, configuration_id: str, event_type: str) -> bool:
        """Whether a change is one of them."""
        return self.configuration_id in (None, configuration_id) and (
            self.event_types is None or event_type in self.event_types
        )
