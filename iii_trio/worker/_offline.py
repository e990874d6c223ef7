"""Void calls of a worker that is not connected: a bounded queue, until it is again."""

from collections import deque
from collections.abc import Iterator
from typing import Final, final

from iii_trio.protocol import ErrorBody, refused
from iii_trio.worker._frames import too_large

OFFLINE_FIRES: Final = 1000
"""Void calls that wait for a connection; as in the public SDKs."""

OFFLINE_BYTES: Final = 8 * 2**20
"""Bytes that they may have together."""


@final
class OfflineFires:
    """Frames of void calls, oldest first."""

    def __init__(self) -> None:
        self._texts: deque[bytes] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._texts)

    def room_for(self, size: int) -> ErrorBody | None:
        """Tell why a frame of so many bytes may not wait here, if so."""
        if size > OFFLINE_BYTES:
            return too_large(size)
        full = len(self._texts) >= OFFLINE_FIRES
        if full or self._bytes + size > OFFLINE_BYTES:
            return refused(
                f"not connected, and {len(self._texts)} void calls wait already"
            )
        return None

    def put(self, text: bytes) -> None:
        """Keep a frame for which there is room."""
        self._texts.append(text)
        self._bytes += len(text)

    def take(self) -> Iterator[bytes]:
        """Give the frames away, one by one."""
        while self._texts:
            text = self._texts.popleft()
            self._bytes -= len(text)
            yield text
