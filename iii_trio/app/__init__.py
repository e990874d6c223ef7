"""The composition root: configuration, the app, its supervision, the command line.

Names are imported when they are first used, so that ``iii-trio trigger`` does not pay
for the engine.
"""

import importlib
from typing import Any

_HOME = {
    "App": "iii_trio.app._app",
    "AppConfig": "iii_trio.app._config",
    "ListenerConfig": "iii_trio.app._config",
    "ReloadReport": "iii_trio.app._app",
    "RestartPolicy": "iii_trio.app._supervise",
    "WorkerEntry": "iii_trio.app._config",
    "load_config": "iii_trio.app._load",
    "main": "iii_trio.app._cli",
    "open_app": "iii_trio.app._app",
    "serve": "iii_trio.app._server",
    "supervise": "iii_trio.app._supervise",
}

__all__ = [
    "App",
    "AppConfig",
    "ListenerConfig",
    "ReloadReport",
    "RestartPolicy",
    "WorkerEntry",
    "load_config",
    "main",
    "open_app",
    "serve",
    "supervise",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    try:
        home = _HOME[name]
    except KeyError:
        msg = f"module 'iii_trio.app' has no attribute {name!r}"
        raise AttributeError(msg) from None
    return getattr(importlib.import_module(home), name)
