"""Functions whose implementation is an HTTP endpoint: the engine makes the request."""

from iii_trio.builtins.http_functions._config import (
    HTTPFunctionsConfig,
    SecurityConfig,
)
from iii_trio.builtins.http_functions._network import Resolve
from iii_trio.builtins.http_functions._policy import Address
from iii_trio.builtins.http_functions._worker import (
    HTTPFunctionsHandle,
    HTTPFunctionsStatistics,
    serve_http_functions,
)

__all__ = [
    "Address",
    "HTTPFunctionsConfig",
    "HTTPFunctionsHandle",
    "HTTPFunctionsStatistics",
    "Resolve",
    "SecurityConfig",
    "serve_http_functions",
]
