"""Complaints: log lines that a peer provokes at will. Pure.

To write one costs more than to refuse what it is about, even if a filter drops it later:
so many in a second, and everybody would wait for the log.
"""

import logging
from collections.abc import Callable
from typing import Final, final

LINES_PER_SECOND: Final = 20


@final
class Complaints:
    """The budget of one kind of line.

    Args:
        log: told how many were left out, when the next second begins.
        now: seconds.
        kind: what they are about, for people.
    """

    def __init__(
        self, log: logging.Logger, now: Callable[[], float], kind: str
    ) -> None:
        self._log = log
        self._now = now
        self._kind = kind
        self._since = now()
        self._count = 0

    def may_write(self) -> bool:
        """Whether one more line may be written; counts it."""
        now = self._now()
        if now - self._since >= 1:
            left_out = self._count - LINES_PER_SECOND
            self._since, self._count = now, 0
            if left_out > 0:
                self._log.warning("%d more %s within a second", left_out, self._kind)
        self._count += 1
        return self._count <= LINES_PER_SECOND
