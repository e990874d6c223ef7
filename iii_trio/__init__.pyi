from iii_trio._version import __version__
from iii_trio.app import open_app, serve
from iii_trio.engine import Engine, open_engine
from iii_trio.errors import (
    ConfigError,
    FunctionFailedError,
    IIIError,
    InvocationError,
    RegistrationError,
)
from iii_trio.worker import NULL, Worker, current_invocation, open_worker

__all__ = [
    "NULL",
    "ConfigError",
    "Engine",
    "FunctionFailedError",
    "IIIError",
    "InvocationError",
    "RegistrationError",
    "Worker",
    "__version__",
    "current_invocation",
    "open_app",
    "open_engine",
    "open_worker",
    "serve",
]
