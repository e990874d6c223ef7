"""iii_trio: an engine for iii workers, on Trio.

This is a table of contents: names are imported when they are first used, so that a
program pays only for the parts that it touches.
"""

import importlib
from typing import Any

from iii_trio._version import __version__

_HOME = {
    "Engine": "iii_trio.engine",
    "open_engine": "iii_trio.engine",
    "NULL": "iii_trio.worker",
    "Worker": "iii_trio.worker",
    "current_invocation": "iii_trio.worker",
    "open_worker": "iii_trio.worker",
    "open_app": "iii_trio.app",
    "serve": "iii_trio.app",
    "IIIError": "iii_trio.errors",
    "InvocationError": "iii_trio.errors",
    "FunctionFailedError": "iii_trio.errors",
    "RegistrationError": "iii_trio.errors",
    "ConfigError": "iii_trio.errors",
}

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


def __getattr__(name: str) -> Any:  # noqa: ANN401
    try:
        home = _HOME[name]
    except KeyError:
        msg = f"module 'iii_trio' has no attribute {name!r}"
        raise AttributeError(msg) from None
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return list(__all__)
