"""``iii-trio``: start an engine and turn what can go wrong into an exit code."""

import logging
import sys
from functools import partial
from pathlib import Path

import trio

from iii_trio.app._logging import LogFormat, configure_logging, follow_config
from iii_trio.app._server import serve
from iii_trio.errors import AdapterError, ConfigError, RegistrationError

logger = logging.getLogger("iii_trio.app")


async def start(
    config: Path | None,
    *,
    data_dir: Path,
    drain_timeout: float,
    reload_delay: float,
    log_format: LogFormat,
) -> int:
    """Serve until a signal; 0 after a drain, 1 if it could not start or was cut short."""
    await trio.lowlevel.checkpoint()
    configure_logging(log_format)
    try:
        drained = await serve(
            config,
            data_dir=data_dir,
            drain_timeout=drain_timeout,
            reload_delay=reload_delay,
            on_config=partial(follow_config, default_format=log_format),
        )
    except (AdapterError, ConfigError, RegistrationError, OSError) as exc:
        print_failure(exc)
        return 1
    return 0 if drained else 1


def print_failure(exc: BaseException) -> None:
    """Tell a person what went wrong; a mistake of theirs needs no traceback."""
    lines = [f"Error: {exc}", *(f"  {note}" for note in getattr(exc, "__notes__", ()))]
    sys.stderr.write("\n".join(lines) + "\n")
