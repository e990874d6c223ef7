"""What an http trigger says about itself, and the schemas of the trigger type (pure).

The config of a trigger is read leniently, as in the reference: unknown keys are ignored
and values of a wrong type fall back, only ``api_path`` is required.
"""

from typing import Any, Final

import attrs

from iii_trio.builtins.http._routes import METHODS
from iii_trio.errors import RegistrationError

DESCRIPTION: Final = "HTTP API trigger"

_STRING_MAP: Final = {"type": "object", "additionalProperties": {"type": "string"}}

CONFIGURATION_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "api_path": {
            "type": "string",
            "description": "Path to serve: literals, :name, {name}, {*rest} at the end",
        },
        "http_method": {"type": "string", "enum": list(METHODS), "default": "GET"},
        "condition_function_id": {
            "type": "string",
            "description": "Called first; a falsy result is answered with 422",
        },
        "middleware_function_ids": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Called in this order before the handler",
        },
        "channels": {
            "type": "boolean",
            "default": False,
            "description": "Give request_body and response to an in-process handler too",
        },
    },
    "required": ["api_path"],
}

REQUEST_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "query_params": _STRING_MAP,
        "path_params": _STRING_MAP,
        "headers": _STRING_MAP,
        "path": {"type": "string", "description": "The registered pattern"},
        "method": {"type": "string"},
        "body": {"description": "The parsed JSON body, or null"},
    },
    "required": ["query_params", "path_params", "headers", "path", "method", "body"],
}

RESPONSE_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "status_code": {"type": "integer", "minimum": 200, "maximum": 599},
        "headers": {
            "anyOf": [_STRING_MAP, {"type": "array", "items": {"type": "string"}}],
        },
        "body": {"description": "Any JSON value"},
    },
}


@attrs.frozen(kw_only=True)
class HTTPTriggerConfig:
    """The config of one http trigger; its condition is the worker's business.

    Attributes:
        api_path: the pattern, verbatim.
        http_method: in upper case.
        middleware_function_ids: in the order they run.
        channels: offer ``request_body`` and ``response`` also to a handler in this
            process (ours; a handler behind a link always gets them).
    """

    api_path: str
    http_method: str = "GET"
    middleware_function_ids: tuple[str, ...] = ()
    channels: bool = False


def parse_trigger_config(config: Any) -> HTTPTriggerConfig:  # noqa: ANN401 - JSON
    """Read the config of a trigger.

    Raises:
        RegistrationError: ``api_path`` is missing or no string.
    """
    fields: dict[str, Any] = config if isinstance(config, dict) else {}
    path = fields.get("api_path")
    if not isinstance(path, str):
        msg = "api_path is required for http triggers"
        raise RegistrationError(msg)
    method = fields.get("http_method")
    middleware = fields.get("middleware_function_ids")
    return HTTPTriggerConfig(
        api_path=path,
        http_method=method.upper() if isinstance(method, str) else "GET",
        middleware_function_ids=tuple(
            item
            for item in (middleware if isinstance(middleware, list) else ())
            if isinstance(item, str)
        ),
        channels=fields.get("channels") is True,
    )
