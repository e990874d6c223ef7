"""Keep a peer from filling the log: of each kind of line only so many a second."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final, final

__all__ = ["FloodFilter"]

LINES_PER_SECOND: Final = 20

_PROVOKED: Final = (
    "iii_trio.engine",
    "iii_trio.net",
    "iii_trio.transport",
    "iii_trio.builtins.http",
    "iii_trio.builtins.stream",
)
"""Loggers whose lines a peer can provoke at will."""


@final
class FloodFilter(logging.Filter):
    """Lets the first lines of a second through, by where they are written.

    What was left out is counted in the next such line that is let through.

    Args:
        now: seconds.
        tells: whether it says in that line how many were left out; lines are shared by
            all handlers, so only one filter may.
    """

    def __init__(
        self, now: Callable[[], float] = monotonic, *, tells: bool = True
    ) -> None:
        super().__init__()
        self._now = now
        self._tells = tells
        self._seen: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this one is let through."""
        if not record.name.startswith(_PROVOKED):
            return True
        place = (record.pathname, record.lineno)
        now = self._now()
        since, count = self._seen.get(place, (now, 0))
        if now - since >= 1:
            left_out = count - LINES_PER_SECOND
            since, count = now, 0
            if left_out > 0 and self._tells:
                record.msg = f"{record.getMessage()} (and {left_out} more like it)"
                record.args = None
        self._seen[place] = (since, count + 1)
        return count < LINES_PER_SECOND
