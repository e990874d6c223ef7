"""A ring of records, bounded by count, bytes and age. Pure: time is an argument."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class Ring(Generic[T]):
    """Keeps the newest records; the oldest go first when a bound is passed.

    Args:
        max_count: records.
        max_bytes: of all records together, as told by whoever adds them. A record larger
            than that is not kept at all.
        max_age: seconds; see `sweep`.

    Attributes:
        dropped: records that were lost to the bounds of count and bytes; those that
            became too old are not counted.
    """

    def __init__(self, *, max_count: int, max_bytes: int, max_age: float) -> None:
        self.max_count = max_count
        self.max_bytes = max_bytes
        self.max_age = max_age
        self.dropped = 0
        self._records: deque[tuple[float, int, T]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[T]:
        """Oldest first."""
        return (record for _, _, record in self._records)

    def __reversed__(self) -> Iterator[T]:
        """Newest first."""
        return (record for _, _, record in reversed(self._records))

    @property
    def bytes(self) -> int:
        """Of all records together."""
        return self._bytes

    def add(self, record: T, *, size: int, now: float) -> None:
        """Keep a record.

        Args:
            record: what to keep.
            size: its bytes.
            now: seconds; never less than at the last call.
        """
        self._records.append((now, size, record))
        self._bytes += size
        self.fit()

    def fit(self) -> None:
        """Drop what is over the bounds of count and bytes, also after they changed."""
        while len(self._records) > self.max_count or self._bytes > self.max_bytes:
            self._drop_oldest()
            self.dropped += 1

    def sweep(self, now: float) -> None:
        """Drop what is older than ``max_age``."""
        while self._records and now - self._records[0][0] > self.max_age:
            self._drop_oldest()

    def clear(self) -> None:
        """Drop everything."""
        self._records.clear()
        self._bytes = 0

    def _drop_oldest(self) -> None:
        _, size, _ = self._records.popleft()
        self._bytes -= size
