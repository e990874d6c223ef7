"""Telling a loop of forwarded calls from calls that merely pass often. Pure.

Each call that crosses to another engine gets an id, which travels in its W3C baggage with
those of the crossings that it is nested in. An engine that sees too many of its *own*
crossings, still under way, above one call is in a loop: two engines forward the function
to each other. Calls side by side, and chains of jobs that go to and fro and end, never
have that, however long they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, final

KEY: Final = "iii.bridge"
"""The baggage entry."""

MAX_NESTED: Final = 16
"""Own crossings above a call; a recursion across engines may be that deep."""

MAX_IDS: Final = 128
"""Ids that travel; those of other engines are forgotten first come, first gone."""


class LoopError(Exception):
    """A call crosses for the so-manieth time within itself."""


@final
class Crossings:
    """The crossings of one connection to another engine.

    Args:
        prefix: begins the ids; letters and digits, unique among engines.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}-"
        self._counter = 0
        self._under_way: set[str] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    @contextmanager
    def crossing(self, baggage: str | None) -> Iterator[str]:
        """Let a call cross for the length of the block.

        Args:
            baggage: of the invocation that makes it.

        Yields:
            The baggage that it takes along.

        Raises:
            LoopError: it is nested in itself too often.
        """
        others, ids = _split(baggage)
        mine = [one for one in ids if one in self._under_way]
        if len(mine) >= MAX_NESTED:
            raise LoopError(
                f"the call crossed {len(mine)} times without an answer: engines that "
                "forward a function to each other form a loop"
            )
        # Own ones that have ended say nothing any more.
        known = [one for one in ids if one in mine or self._prefix not in one]
        self._counter += 1
        this = f"{self._prefix}{self._counter}"
        self._under_way.add(this)
        try:
            yield ",".join((*others, f"{KEY}={'.'.join([*known, this][-MAX_IDS:])}"))
        finally:
            self._under_way.discard(this)


def _split(baggage: str | None) -> tuple[list[str], list[str]]:
    """The entries of others, and the ids in ours."""
    others: list[str] = []
    ids: list[str] = []
    for entry in (baggage or "").split(","):
        key, _, value = entry.partition("=")
        if key.strip() == KEY:
            ids += filter(None, value.partition(";")[0].strip().split("."))
        elif entry.strip():
            others.append(entry)
    return others, ids
