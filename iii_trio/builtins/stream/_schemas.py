"""What discovery shows of the stream functions. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from iii_trio.builtins._update_ops import UPDATE_OPS
from iii_trio.builtins.stream._inputs import (
    GroupInput,
    ItemInput,
    ListAllInput,
    SendInput,
    SetInput,
    StreamInput,
    StreamTriggerConfig,
)

DESCRIPTIONS: Final[Mapping[str, str]] = {
    "stream::set": "Stores an item of a group and tells its subscribers.",
    "stream::get": "Reads an item; no result if there is none.",
    "stream::delete": "Removes an item and tells its subscribers.",
    "stream::update": "Applies operations to an item in one atomic step.",
    "stream::list": "Lists the values of a group, oldest item first.",
    "stream::list_groups": "Lists the groups of a stream that hold an item.",
    "stream::list_all": "Lists every stored stream with its groups.",
    "stream::send": "Sends an event to subscribers without storing it.",
}

UPDATE_FORMAT: Final[Mapping[str, Any]] = {
    "title": "StreamUpdateInput",
    "type": "object",
    "properties": {
        "stream_name": {"type": "string"},
        "group_id": {"type": "string"},
        "item_id": {"type": "string"},
        "ops": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"type": {"enum": list(UPDATE_OPS)}},
                "required": ["type"],
            },
        },
    },
    "required": ["stream_name", "group_id", "item_id", "ops"],
}
"""By hand: the operations are told apart by ``type``, which msgspec cannot express."""

REQUEST_FORMATS: Final[Mapping[str, Any]] = {
    "stream::set": msgspec.json.schema(SetInput),
    "stream::get": msgspec.json.schema(ItemInput),
    "stream::delete": msgspec.json.schema(ItemInput),
    "stream::update": UPDATE_FORMAT,
    "stream::list": msgspec.json.schema(GroupInput),
    "stream::list_groups": msgspec.json.schema(StreamInput),
    "stream::list_all": msgspec.json.schema(ListAllInput),
    "stream::send": msgspec.json.schema(SendInput),
}
"""JSON Schemas of the inputs."""

TRIGGER_CONFIG_FORMAT: Final[Mapping[str, Any]] = msgspec.json.schema(
    StreamTriggerConfig
)

EVENT_FORMAT: Final[Mapping[str, Any]] = {
    "title": "StreamEvent",
    "type": "object",
    "properties": {
        "type": {"const": "stream"},
        "timestamp": {"type": "integer"},
        "streamName": {"type": "string"},
        "groupId": {"type": "string"},
        "id": {"type": ["string", "null"]},
        "event": {
            "type": "object",
            "properties": {"type": {"enum": ["create", "update", "delete", "event"]}},
            "required": ["type"],
        },
    },
    "required": ["type", "timestamp", "streamName", "groupId", "id", "event"],
}
"""What the functions of `stream` triggers get."""

VISIT_CONFIG_FORMAT: Final[Mapping[str, Any]] = {
    "title": "StreamVisitTriggerConfig",
    "type": "object",
    "properties": {"condition_function_id": {"type": "string"}},
}

VISIT_FORMAT: Final[Mapping[str, Any]] = {
    "title": "StreamVisit",
    "type": "object",
    "properties": {
        "subscription_id": {"type": "string"},
        "stream_name": {"type": "string"},
        "group_id": {"type": "string"},
        "id": {"type": ["string", "null"]},
        "context": {},
    },
    "required": ["subscription_id", "stream_name", "group_id", "id", "context"],
}
"""What handlers of joins and leaves get."""

JOIN_RESULT_FORMAT: Final[Mapping[str, Any]] = {
    "title": "StreamJoinResult",
    "type": "object",
    "properties": {"unauthorized": {"type": "boolean"}},
}
