"""Tallies: calls that ended without anybody being told, counted by function id.

Two integers per id, so that counting costs next to nothing. A tally belongs to the id and
outlives what is registered by it. Pure.
"""

from typing import Final, final

MAX_IDS: Final = 10_000
OTHERS: Final = "(others)"
"""Ids that are counted one by one; further ones are counted together, as this."""


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
        if len(self._by_id) >= MAX_IDS:
            function_id = OTHERS
        return self._by_id.setdefault(function_id, Tally())

    def counts(self) -> dict[str, tuple[int, int]]:
        """Calls that ended, and those of them that failed, by function id."""
        return {one: (tally.ended, tally.failed) for one, tally in self._by_id.items()}
