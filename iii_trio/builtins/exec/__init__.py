"""Commands that run with the engine."""

from iii_trio.builtins.exec._config import ExecConfig
from iii_trio.builtins.exec._worker import serve_exec

__all__ = ["ExecConfig", "serve_exec"]
