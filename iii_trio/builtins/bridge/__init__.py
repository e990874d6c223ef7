"""Functions of another engine here, and functions of this one there."""

from iii_trio.builtins.bridge._config import (
    BridgeConfig,
    ExposeConfig,
    ForwardConfig,
)
from iii_trio.builtins.bridge._worker import (
    BridgeHandle,
    BridgeStatistics,
    serve_bridge,
)

__all__ = [
    "BridgeConfig",
    "BridgeHandle",
    "BridgeStatistics",
    "ExposeConfig",
    "ForwardConfig",
    "serve_bridge",
]
