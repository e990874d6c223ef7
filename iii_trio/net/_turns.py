"""Turns: how much one connection may ask for before the others are served.

Calls of a peer that sends many at a time would make everybody else wait for all of them.
So a connection that is asked for much keeps the rest for later, is not read meanwhile,
and goes on when no other socket is ready. Pure bookkeeping; the pump runs it.
"""

from collections.abc import Callable
from typing import Final

from iii_trio.net._readiness import READ, Watched

ALONE: Final = 64
IN_COMPANY: Final = 16
"""Requests of one connection at once. Few at a time cost 7 % of the rate (more, smaller
sends), so few it is only while somebody else asks briefly: 220 us for such a caller
beside one with 64 calls in flight, 390 us otherwise, 58 us alone."""

_REMEMBERED: Final = 64
"""Passes for which a brief connection counts as company."""


class Turns:
    """What was put off, and who is there.

    Attributes:
        put_off: watched sockets to what they will do at their turn, in order.
    """

    __slots__ = ("_brief_until", "_passes", "put_off")

    def __init__(self) -> None:
        self.put_off: dict[Watched, Callable[[], None]] = {}
        self._passes = 0
        self._brief_until = 0

    def next_pass(self) -> None:
        """Time, as far as this is concerned."""
        self._passes += 1

    def note_brief(self) -> None:
        """A connection that asks little at a time was heard."""
        self._brief_until = self._passes + _REMEMBERED

    def at_once(self) -> int:
        """How many requests of one connection to handle before the others."""
        return IN_COMPANY if self._passes < self._brief_until else ALONE

    def fresh(self, ready: list[tuple[Watched, int]]) -> list[tuple[Watched, int]]:
        """Of the ready sockets, those that do not wait for a turn."""
        if not self.put_off:
            return ready
        return [one for one in ready if one[1] != READ or one[0] not in self.put_off]

    def take(self) -> tuple[Watched, Callable[[], None]]:
        """Whose turn it is, and what to do."""
        watched = next(iter(self.put_off))
        return watched, self.put_off.pop(watched)
