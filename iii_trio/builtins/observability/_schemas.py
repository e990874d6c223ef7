"""What discovery shows of the trigger types ``log`` and ``trace``. Pure."""

from collections.abc import Mapping
from typing import Any, Final

LEVELS: Final = ["trace", "debug", "info", "warn", "error"]

LOG_CONFIG_FORMAT: Final[Mapping[str, Any]] = {
    "title": "LogTriggerConfig",
    "type": "object",
    "properties": {
        "level": {"enum": ["all", *LEVELS], "default": "all"},
        "min_level": {"enum": LEVELS},
        "condition_function_id": {"type": "string"},
    },
}

_TEXT: Final = {"type": "string"}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_NUMBER: Final = {"type": "integer"}
_OBJECT: Final = {"type": "object"}

LOG_FORMAT: Final[Mapping[str, Any]] = {
    "title": "LogRecord",
    "type": "object",
    "properties": {
        "timestamp_unix_nano": _NUMBER,
        "observed_timestamp_unix_nano": _NUMBER,
        "severity_number": _NUMBER,
        "severity_text": _TEXT,
        "body": _TEXT,
        "attributes": _OBJECT,
        "trace_id": _TEXT_OR_NULL,
        "span_id": _TEXT_OR_NULL,
        "resource": _OBJECT,
        "service_name": _TEXT,
        "instrumentation_scope_name": _TEXT_OR_NULL,
        "instrumentation_scope_version": _TEXT_OR_NULL,
    },
}

TRACE_CONFIG_FORMAT: Final[Mapping[str, Any]] = {
    "title": "TraceTriggerConfig",
    "type": "object",
    "properties": {
        "service_name": _TEXT,
        "status": {"enum": ["ok", "error", "unset"]},
        "condition_function_id": {"type": "string"},
    },
}

TRACE_FORMAT: Final[Mapping[str, Any]] = {
    "title": "TraceCall",
    "type": "object",
    "properties": {"trace_ids": {"type": "array", "items": _TEXT}},
    "required": ["trace_ids"],
}
