"""What discovery shows of the state functions. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from iii_trio.builtins._update_ops import UPDATE_OPS
from iii_trio.builtins.state._inputs import (
    CompareAndSetInput,
    KeyInput,
    ListGroupsInput,
    ListInput,
    SetInput,
    StateTriggerConfig,
)

DESCRIPTIONS: Final[Mapping[str, str]] = {
    "state::set": "Stores a value under a scope and key.",
    "state::get": "Reads a value; no result if there is none.",
    "state::delete": "Removes a value and returns what it was.",
    "state::update": "Applies operations to a value in one atomic step.",
    "state::compare_and_set": "Stores a value if the present one is as expected.",
    "state::list": "Lists the values of a scope, oldest key first.",
    "state::list_groups": "Lists the scopes that hold a value.",
}

UPDATE_FORMAT: Final[Mapping[str, Any]] = {
    "title": "UpdateInput",
    "type": "object",
    "properties": {
        "scope": {"type": "string"},
        "key": {"type": "string"},
        "ops": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"type": {"enum": list(UPDATE_OPS)}},
                "required": ["type"],
            },
        },
    },
    "required": ["scope", "key", "ops"],
}
"""By hand: the operations are told apart by ``type``, which msgspec cannot express."""

REQUEST_FORMATS: Final[Mapping[str, Any]] = {
    "state::set": msgspec.json.schema(SetInput),
    "state::get": msgspec.json.schema(KeyInput),
    "state::delete": msgspec.json.schema(KeyInput),
    "state::update": UPDATE_FORMAT,
    "state::compare_and_set": msgspec.json.schema(CompareAndSetInput),
    "state::list": msgspec.json.schema(ListInput),
    "state::list_groups": msgspec.json.schema(ListGroupsInput),
}
"""JSON Schemas of the inputs."""

TRIGGER_CONFIG_FORMAT: Final[Mapping[str, Any]] = msgspec.json.schema(
    StateTriggerConfig
)

EVENT_FORMAT: Final[Mapping[str, Any]] = {
    "title": "StateEvent",
    "type": "object",
    "properties": {
        "type": {"const": "state"},
        "event_type": {"enum": ["state:created", "state:updated", "state:deleted"]},
        "scope": {"type": "string"},
        "key": {"type": "string"},
        "old_value": {},
        "new_value": {},
    },
    "required": ["type", "event_type", "scope", "key", "old_value", "new_value"],
}
"""What the functions of `state` triggers get."""
