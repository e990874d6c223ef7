"""The bundled workers, and the table of them.

The table is imported when it is first used: a host that serves one worker pays for that
one alone.
"""

import importlib
from typing import Any

__all__ = ["BUILTINS", "BuiltinSpec", "Resources", "Serve"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in __all__:
        home = "_specs" if name == "BUILTINS" else "_spec"
        return getattr(importlib.import_module(f"iii_trio.builtins.{home}"), name)
    msg = f"module 'iii_trio.builtins' has no attribute {name!r}"
    raise AttributeError(msg)
