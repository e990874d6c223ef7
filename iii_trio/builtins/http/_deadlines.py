"""When requests without a task and scope of their own are too late."""

from collections.abc import Callable
from typing import Generic, TypeVar, final

import trio

T = TypeVar("T")


@final
class Deadlines(Generic[T]):
    """Everybody has the same time; one task, while anybody is here, sees to all.

    Args:
        nursery: that task lives in it.
        seconds: how long one may be here.
        on_late: called with who has been, and is not here any more.
    """

    def __init__(
        self, nursery: trio.Nursery, seconds: float, on_late: Callable[[T], None]
    ) -> None:
        self._nursery = nursery
        self._seconds = seconds
        self._on_late = on_late
        self._due: dict[T, float] = {}  # in the order of their time
        self._is_watched = False

    def __len__(self) -> int:
        return len(self._due)

    def items(self) -> list[T]:
        """Everybody who is here."""
        return list(self._due)

    def add(self, item: T) -> float:
        """Let the time of somebody begin; gives when it ends."""
        due = self._due[item] = trio.current_time() + self._seconds
        if not self._is_watched:
            self._is_watched = True
            self._nursery.start_soon(self._watch, name="http deadlines")
        return due

    def discard(self, item: T) -> None:
        """Somebody was in time, or is gone."""
        self._due.pop(item, None)

    async def _watch(self) -> None:
        await trio.lowlevel.checkpoint()
        while self._due:
            item, due = next(iter(self._due.items()))
            await trio.sleep_until(due)
            if self._due.get(item) == due:
                del self._due[item]
                self._on_late(item)
        self._is_watched = False
