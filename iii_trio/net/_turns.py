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

_PATIENCE: Final = 16
"""Passes after which a turn comes though other sockets are ready all the time."""


class Turns:
    """What was put off, and who is there.

    Attributes:
        put_off: watched sockets to what they will do at their turn, in order.
    """

    __slots__ = ("_brief_until", "_passes", "_waiting_since", "put_off")

    def __init__(self) -> None:
        self.put_off: dict[Watched, Callable[[], None]] = {}
        self._passes = 0
        self._brief_until = 0
        self._waiting_since = 0

    def next_pass(self) -> None:
        """Time, as far as this is concerned."""
        self._passes += 1

    def note_brief(self) -> None:
        """A connection that asks little at a time was heard."""
        self._brief_until = self._passes + _REMEMBERED

    def at_once(self) -> int:
        """How many requests of one connection to handle before the others."""
        return IN_COMPANY if self._passes < self._brief_until else ALONE

    def later(self, watched: Watched, callback: Callable[[], None]) -> None:
        """Put off what a socket is to do."""
        if not self.put_off:
            self._waiting_since = self._passes
        self.put_off[watched] = callback

    @property
    def overdue(self) -> bool:
        """Whether the next turn may wait no more for other sockets."""
        return bool(self.put_off) and self._passes - self._waiting_since >= _PATIENCE

    def fresh(self, ready: list[tuple[Watched, int]]) -> list[tuple[Watched, int]]:
        """Of the ready sockets, those that do not wait for a turn.

        A hang-up, too, is only seen after what came before it.
        """
        if not self.put_off:
            return ready
        return [one for one in ready if not one[1] & READ or one[0] not in self.put_off]

    def take(self) -> tuple[Watched, Callable[[], None]]:
        """Whose turn it is, and what to do."""
        self._waiting_since = self._passes
        watched = next(iter(self.put_off))
        return watched, self.put_off.pop(watched)
