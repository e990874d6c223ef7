"""The `state` functions and trigger type."""

from iii_trio.builtins.state._config import StateConfig
from iii_trio.builtins.state._worker import (
    StateHandle,
    serve_bridged_state,
    serve_state,
)

__all__ = ["StateConfig", "StateHandle", "serve_bridged_state", "serve_state"]
