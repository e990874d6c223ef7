"""The `http` trigger type: HTTP requests become invocations."""

from iii_trio._listening import LimitsConfig
from iii_trio.builtins.http._config import (
    CORSConfig,
    HTTPConfig,
    MiddlewareConfig,
)
from iii_trio.builtins.http._server import HTTPServer, HTTPStatistics
from iii_trio.builtins.http._worker import serve_http

__all__ = [
    "CORSConfig",
    "HTTPConfig",
    "HTTPServer",
    "HTTPStatistics",
    "LimitsConfig",
    "MiddlewareConfig",
    "serve_http",
]
