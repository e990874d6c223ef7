"""Tallies: calls that ended without anybody being told, counted by function id.

Two integers per id, so that counting costs next to nothing. A tally belongs to the id and
outlives what is registered by it. Pure.
"""

from typing import Final, final

MAX_IDS: Final = 10_000
MAX_ID_CHARACTERS: Final = 1024
OTHERS: Final = "(others)"
"""Ids that are counted one by one; further and longer ones are counted together, as this:
they are kept for ever, and workers choose them."""

STRIDES: Final = (17, 37, 79, 157)
"""One of so many calls is told of: to tell of every one would cost a third of relaying it.
Primes, so that of calls that come in a pattern, such as two in turn, not always the same
is told."""

BUSY_SECONDS: Final = 0.001
CALM_SECONDS: Final = 0.004
"""Between two that are told: below the first fewer are, above the second more."""


@final
class Tally:
    """Calls of one function.

    Attributes:
        ended: how many.
        failed: how many of them with an error.
    """

    __slots__ = ("ended", "failed")

    def __init__(self) -> None:
        self.ended = 0
        self.failed = 0


@final
class Tallies:
    """The tally of every function id that was called."""

    def __init__(self) -> None:
        self._by_id: dict[str, Tally] = {}

    def of(self, function_id: str) -> Tally:
        """The tally of an id, or that of all others."""
        known = self._by_id.get(function_id)
        if known is not None:
            return known
        if len(self._by_id) >= MAX_IDS or len(function_id) > MAX_ID_CHARACTERS:
            function_id = OTHERS
        return self._by_id.setdefault(function_id, Tally())

    def counts(self) -> dict[str, tuple[int, int]]:
        """Calls that ended, and those of them that failed, by function id."""
        return {one: (tally.ended, tally.failed) for one, tally in self._by_id.items()}


@final
class Pace:
    """Which of the calls that are only counted is told of all the same.

    Attributes:
        due: the next call whose number is at least this.
    """

    def __init__(self) -> None:
        self.due = 0
        self._stride = 0
        self._then = 0.0

    def told(self, number: int, now: float) -> None:
        """A call was told of.

        Args:
            number: of the call.
            now: seconds.
        """
        passed = now - self._then
        self._then = now
        if passed < BUSY_SECONDS:
            self._stride = min(self._stride + 1, len(STRIDES) - 1)
        elif passed > CALM_SECONDS:
            self._stride = max(self._stride - 1, 0)
        self.due = number + STRIDES[self._stride]
