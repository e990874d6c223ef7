"""The `configuration` functions and trigger type."""

from iii_trio.builtins.configuration._config import ConfigurationConfig
from iii_trio.builtins.configuration._worker import (
    ConfigurationHandle,
    serve_configuration,
)

__all__ = ["ConfigurationConfig", "ConfigurationHandle", "serve_configuration"]
