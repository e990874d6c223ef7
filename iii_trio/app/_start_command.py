"""``iii-trio``: start an engine and turn what can go wrong into an exit code."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

from iii_trio.app._logging import LogFormat, configure_logging, follow_config
from iii_trio.app._server import serve
from iii_trio.errors import AdapterError, ConfigError, RegistrationError

logger = logging.getLogger("iii_trio.app")

SWITCH_INTERVAL: Final = 5e-6
"""Seconds that a thread waits for the interpreter before it asks for it (CPython: 5 ms).

A loop with much to do lets go of the interpreter in every pass, for the moment in which it
asks for events. A thread that waits is woken each time, finds it taken again, and begins
to wait anew; so it asks only if a pass takes longer than this. A write to storage needs
the interpreter several times: beside a relay at full speed, with two cores, one caller's
``state::set`` took 2 to 5 ms, with this 0.6 to 0.7, and the relay was as fast.
"""


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
        with quick_switches():
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


@contextmanager
def quick_switches() -> Iterator[None]:
    """Let threads have the interpreter soon; for a process that is ours alone."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def print_failure(exc: BaseException) -> None:
    """Tell a person what went wrong; a mistake of theirs needs no traceback."""
    lines = [f"Error: {exc}", *(f"  {note}" for note in getattr(exc, "__notes__", ()))]
    sys.stderr.write("\n".join(lines) + "\n")
