"""Read a configuration file: text macros, then YAML, then what it means.

``${VAR}`` and ``${VAR:default}`` are a macro over the whole text, before YAML sees it.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

import trio

from iii_trio._version import __version__
from iii_trio._yaml import PLACEHOLDER, parse_yaml
from iii_trio.app._config import AppConfig, parse_config
from iii_trio.builtins import BUILTINS
from iii_trio.errors import ConfigError

_VERSION_DEFAULT = "__III_ENGINE_VERSION__"


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace every ``${VAR}`` and ``${VAR:default}``; also in comments and keys.

    An exported but empty variable counts as set. A default may be empty and may contain
    colons; there is no nesting and no escape.

    Raises:
        ConfigError: variables that are unset and have no default, with their lines.
    """
    unset: list[str] = []

    def value(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        if name in environ:
            return environ[name]
        if default is None:
            line = text.count("\n", 0, match.start()) + 1
            unset.append(f"{name} (line {line})")
            return ""
        return __version__ if default == _VERSION_DEFAULT else default

    expanded = PLACEHOLDER.sub(value, text)
    if unset:
        msg = (
            f"unset environment variable without a default: {', '.join(unset)}; "
            "export it, or write ${NAME:default}"
        )
        raise ConfigError(msg)
    return expanded


async def read_text(path: trio.Path) -> str:
    """The text of a configuration file.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        return await path.read_text(encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"is not UTF-8: byte {exc.start}") from exc


def parse_text(text: str, environ: Mapping[str, str]) -> Any:  # noqa: ANN401
    """`expand`, then `parse_yaml`."""
    return parse_yaml(expand(text, environ))


async def load_config(
    path: str | os.PathLike[str], environ: Mapping[str, str] | None = None
) -> AppConfig:
    """Read and check a configuration file.

    Args:
        path: YAML, with ``${VAR:default}`` macros.
        environ: default: that of the process.

    Raises:
        ConfigError: it cannot be read, is no YAML, or does not fit.
    """
    text = await read_text(trio.Path(path))
    return config_of_text(text, os.environ if environ is None else environ)


def config_of_text(text: str, environ: Mapping[str, str]) -> AppConfig:
    """Check the text of a configuration file; raises `ConfigError`."""
    return parse_config(parse_text(text, environ), BUILTINS, environ)
