"""What discovery shows of the configuration functions. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from iii_trio.builtins.configuration._inputs import (
    EVENT_TYPES,
    ConfigurationTriggerConfig,
    GetInput,
    ListInput,
    RegisterInput,
    SchemaInput,
    SetInput,
)

DESCRIPTIONS: Final[Mapping[str, str]] = {
    "configuration::register": "Declares a configuration and the schema of its value.",
    "configuration::set": "Replaces the value of a configuration.",
    "configuration::get": "Reads a value, its ${VAR:default} placeholders replaced.",
    "configuration::list": "Lists the configurations, without their values.",
    "configuration::schema": "Shows one configuration, without its value.",
}

REQUEST_FORMATS: Final[Mapping[str, Any]] = {
    "configuration::register": msgspec.json.schema(RegisterInput),
    "configuration::set": msgspec.json.schema(SetInput),
    "configuration::get": msgspec.json.schema(GetInput),
    "configuration::list": msgspec.json.schema(ListInput),
    "configuration::schema": msgspec.json.schema(SchemaInput),
}
"""JSON Schemas of the inputs."""

TRIGGER_CONFIG_FORMAT: Final[Mapping[str, Any]] = msgspec.json.schema(
    ConfigurationTriggerConfig
)

EVENT_FORMAT: Final[Mapping[str, Any]] = {
    "title": "ConfigurationEvent",
    "type": "object",
    "properties": {
        "type": {"const": "configuration"},
        "event_type": {"enum": list(EVENT_TYPES)},
        "id": {"type": "string"},
        "name": {"type": "string"},
        "description": {"type": "string"},
        "schema": {},
        "old_value": {},
        "new_value": {},
        "metadata": {},
    },
    "required": [
        "type",
        "event_type",
        "id",
        "name",
        "description",
        "schema",
        "old_value",
        "new_value",
    ],
}
"""What the functions of `configuration` triggers get."""
