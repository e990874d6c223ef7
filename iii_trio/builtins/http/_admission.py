"""How many requests run at once: some run, as many again wait, the others go (pure)."""

from collections.abc import Hashable, Iterator
from enum import Enum
from typing import Generic, TypeVar, final

T = TypeVar("T", bound=Hashable)


class Admitted(Enum):
    """What becomes of a request that arrives."""

    RUN = "run"
    WAIT = "wait"
    REFUSED = "refused"


@final
class Admission(Generic[T]):
    """Counts what runs and queues what waits, first come, first served.

    Attributes:
        limit: how many may run at once, and how many may wait.
        running: how many run.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0
        self._waiting: dict[T, None] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def admit(self, item: T) -> Admitted:
        """Decide about a newcomer; one that may run is counted at once."""
        if self.running < self.limit and not self._waiting:
            self.running += 1
            return Admitted.RUN
        if len(self._waiting) < self.limit:
            self._waiting[item] = None
            return Admitted.WAIT
        return Admitted.REFUSED

    def forget(self, item: T) -> bool:
        """Take one that waits out of the queue; false if it does not wait."""
        if item not in self._waiting:
            return False
        del self._waiting[item]
        return True

    def leave(self) -> None:
        """Note that one that ran has ended; see `ready`."""
        self.running -= 1

    def ready(self) -> Iterator[T]:
        """Give those whose turn it is now; each is counted as running."""
        while self._waiting and self.running < self.limit:
            item = next(iter(self._waiting))
            del self._waiting[item]
            self.running += 1
            yield item
