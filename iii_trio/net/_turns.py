"""Turns: how much one connection may ask for before the others are served.

Calls of a peer that sends many at a time would make everybody else wait for all of them.
So a connection that is asked for much keeps the rest for later, is not read meanwhile,
and goes on when no other socket is ready. Pure bookkeeping; the pump runs it.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Final

from iii_trio.net._readiness import READ, Watched

ALONE: Final = 64
IN_COMPANY: Final = 12
"""Requests of one connection at once. Few at a time cost rate (more, smaller sends), so
few it is only while somebody else asks briefly."""

_STEP: Final = 4
_TURN_SECONDS: Final = 40e-6
"""In company a turn also ends after this time, looked at after so many requests: some cost
ten times as much as others."""

_REMEMBERED: Final = 64
"""Passes for which a brief connection counts as company."""

_PATIENCE: Final = 16
"""Passes after which a turn comes though other sockets are ready all the time."""


class Turns:
    """What was put off, and who is there.

    Args:
        clock: seconds.

    Attributes:
        put_off: watched sockets to what they will do at their turn, in order.
    """

    __slots__ = (
        "_brief_until",
        "_clock",
        "_ends",
        "_passes",
        "_waiting_since",
        "put_off",
    )

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._ends = 0.0
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

    def begin(self) -> int:
        """A turn begins: give after how many requests to ask whether to `extend` it."""
        if self._passes >= self._brief_until:
            return ALONE
        self._ends = self._clock() + _TURN_SECONDS
        return _STEP

    def extend(self, asked: int) -> int:
        """After ``asked`` requests, give how many it may become; no more: it is over."""
        if asked >= IN_COMPANY or self._clock() >= self._ends:
            return asked
        return asked + _STEP

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
