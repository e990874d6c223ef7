"""What waits for all peers together. Pure: told of every outbox that its socket left full.

Each connection has a limit of its own, but a thousand of them below it are too much still.
Above the cap, whoever has more than an equal share and grows is dropped, so that all
together stay below it; and listeners hear of it, to refuse what can be refused.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, final

__all__ = ["Outboxes"]

_RELAXED: Final = 0.75
"""Of the cap: below this, listeners hear that it is over."""


@final
class Outboxes:
    """The sum of all outboxes whose sockets take no more.

    Attributes:
        limit: the cap, in bytes.
        total: bytes waiting.
        waiting: outboxes that have such bytes.
        dropped: connections that had too large a share.
        overflown: connections that were dropped for a limit of their own.
        pressed: the total has been above the cap, and not far below it since.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self.limit = limit
        self.total = 0
        self.waiting = 0
        self.dropped = 0
        self.overflown = 0
        self.pressed = False
        self._listeners: list[Callable[[bool], None]] = []

    @contextmanager
    def telling(self, listener: Callable[[bool], None]) -> Iterator[None]:
        """Call ``listener`` with ``pressed`` whenever that changes, in a block."""
        self._listeners.append(listener)
        listener(self.pressed)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def weigh(self, old: int, new: int) -> bool:
        """An outbox that held ``old`` bytes holds ``new``; false: it is to be dropped."""
        self.total += new - old
        self.waiting += (new > 0) - (old > 0)
        over = self.total > self.limit
        if over != self.pressed and (over or self.total <= self.limit * _RELAXED):
            self.pressed = over
            for listener in self._listeners:
                listener(over)
        if over and new > old and new * self.waiting > self.limit:
            self.dropped += 1
            return False
        return True
