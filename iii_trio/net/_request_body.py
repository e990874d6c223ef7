"""The body of one request: a small buffer between the pump and one reading task.

Back-pressure: `RequestBody.size` tells the carrier how much waits; the carrier takes the
socket out of the readiness set while it is too much.
"""

from typing import Final, Literal, Protocol

import trio

from iii_trio.net._connection import Connection
from iii_trio.net._door_counts import DoorCounts
from iii_trio.net._http1_events import BodyTooLargeError, HTTPRequest
from iii_trio.net._http1_response import CONTINUE

__all__ = ["BodySource", "RequestBody"]

_MANY_PIECES: Final = 1024


class BodySource(Protocol):
    """Where a body comes from."""

    connection: Connection

    @property
    def counts(self) -> DoorCounts:
        """Those of the door."""

    def on_body_wanted(self) -> None:
        """The reader took everything, or begins to wait."""


class RequestBody:
    """The body of one request.

    Args:
        request: its head.
        source: where more comes from.
        whole: all of it, if it is here already.

    Attributes:
        size: bytes that came and were not taken.
        state: ``whole``: nothing more comes; ``broken``: it never will.
        expecting: the client waits for ``100 Continue``.
        answered: it waits in vain, since the response has begun.
    """

    __slots__ = (
        "_event",
        "_pieces",
        "_reason",
        "_source",
        "answered",
        "expecting",
        "size",
        "state",
    )

    def __init__(
        self, request: HTTPRequest, source: BodySource, whole: bytes | None = None
    ) -> None:
        self.size = 0
        self.state: Literal["open", "whole", "broken"] = "open"
        self.expecting = False
        self.answered = False
        self._pieces: list[bytes] = []
        if whole is not None or request.content_length == 0:
            self.state = "whole"
            if whole:
                self._pieces.append(whole)
                self.size = len(whole)
        else:
            self.expecting = (
                not request.http10
                and (request.header("expect") or "").lower() == "100-continue"
            )
        self._source = source
        self._event: trio.Event | None = None
        self._reason = ""

    # For the carrier.

    def add(self, piece: bytes) -> None:
        """More of the body came."""
        self.expecting = False
        self._pieces.append(piece)
        self.size += len(piece)
        if len(self._pieces) > _MANY_PIECES:  # tiny ones cost more than their bytes
            self._pieces = [b"".join(self._pieces)]
        self._wake()

    def end(self) -> None:
        """Nothing more comes."""
        self.state = "whole"
        self.expecting = False
        self._wake()

    def break_off(self, reason: str) -> None:
        """The rest will never come."""
        if self.state == "open":
            self.state = "broken"
            self._reason = reason
            self._wake()

    def discard(self) -> None:
        """Nobody reads any more."""
        self._pieces.clear()
        self.size = 0

    def _wake(self) -> None:
        if self._event is not None:
            self._event.set()

    # For the reader.

    async def receive_some(self) -> bytes:
        """See ``HTTPExchange.receive_some``."""
        await trio.lowlevel.checkpoint()
        while not self._pieces and self.state == "open":
            if self._event is not None:
                raise trio.BusyResourceError("another task reads this body")
            if self.expecting:
                self.expecting = False
                if not self.answered:
                    self._source.connection.write(CONTINUE)
            self._source.on_body_wanted()
            self._event = trio.Event()
            try:
                await self._event.wait()
            finally:
                self._event = None
        if self._pieces:
            data = b"".join(self._pieces)
            self.discard()
            self._source.on_body_wanted()
            return data
        if self.state == "broken":
            raise trio.BrokenResourceError(self._reason)
        return b""

    def take_whole_nowait(self, max_bytes: int) -> bytes | None:
        """See ``HTTPExchange.take_body_nowait``."""
        if self.state != "whole" or self.size > max_bytes:
            return None
        data = b"".join(self._pieces)
        if self.size:
            self.discard()
            self._source.on_body_wanted()
        return data

    async def read_all(self, max_bytes: int, length: int | None) -> bytes:
        """See ``HTTPExchange.read_body``."""
        if length is not None and length > max_bytes:
            await trio.lowlevel.checkpoint()
            raise self._too_large(max_bytes)
        pieces = []
        size = 0
        while piece := await self.receive_some():
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                raise self._too_large(max_bytes)
            if self.state == "whole" and not self.size:
                break  # it was taken as a whole: spare the wait for the end
        return b"".join(pieces)

    def _too_large(self, max_bytes: int) -> BodyTooLargeError:
        self._source.counts.large_bodies += 1
        return BodyTooLargeError(f"request body over {max_bytes} bytes")
