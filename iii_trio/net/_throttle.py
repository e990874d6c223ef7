"""Slow a WebSocket down that sends more than it may: it is read less often.

Only a door with such a limit has throttles; the sockets of others know nothing of them.
"""

import math
from typing import Final, Protocol

from iii_trio.net._byte_handler import ByteHandler
from iii_trio.net._connection import Connection
from iii_trio.net._door_counts import DoorCounts
from iii_trio.net._limits import HTTPLimits
from iii_trio.net._pump import Pump
from iii_trio.net._token_bucket import TokenBucket
from iii_trio.net._websocket import Piece
from iii_trio.net._websocket_sink import WebSocketSink

__all__ = ["CountingSink", "ThrottleHost", "throttled"]

_LONGEST_PAUSE: Final = 10.0
"""Seconds; what is owed after that is still owed. Pings must be answered meanwhile."""

_UNSEEN_SECONDS: Final = 1 / 64
"""What may come in this time is only added up: to ask two buckets after each read costs
a tenth of the rate of small calls."""


class ThrottleHost(Protocol):
    """What throttles need of their door."""

    limits: HTTPLimits
    counts: DoorCounts

    @property
    def pump(self) -> Pump:
        """Tells the time, ends pauses."""


class _Pause:
    """The time that a connection is not read."""

    __slots__ = ("_connection", "due", "timer")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.due = math.inf
        self.timer = math.inf

    @property
    def closed(self) -> bool:
        """Whether there is nothing to end any more."""
        return self._connection.closed

    def on_deadline(self) -> None:
        """Read on."""
        self._connection.set_paused(False)

    def on_fault(self) -> None:
        """It did not work: give up."""
        self._connection.on_fault()


class CountingSink:
    """Stands between a WebSocket and its sink and counts the messages.

    Args:
        sink: gets them.

    Attributes:
        seen: messages since it was last set to 0.
    """

    __slots__ = ("_sink", "seen")

    def __init__(self, sink: WebSocketSink) -> None:
        self._sink = sink
        self.seen = 0

    def on_text(self, data: bytes) -> bool | None:
        """Count and pass on, and back whether it is a request."""
        self.seen += 1
        return self._sink.on_text(data)

    def on_binary(self, data: bytes) -> None:
        """Count and pass on."""
        self.seen += 1
        self._sink.on_binary(data)

    def on_writable(self) -> None:
        """Pass on."""
        self._sink.on_writable()

    def on_closed(self, reason: str) -> None:
        """Pass on."""
        self._sink.on_closed(reason)


class Throttle:
    """Stands between a connection and its WebSocket and pauses who is too fast.

    Args:
        host: see `ThrottleHost`.
        connection: paused when its peer is too fast.
        handler: the WebSocket.
        sink: counts its messages.
    """

    __slots__ = (
        "_bytes",
        "_connection",
        "_few_bytes",
        "_few_messages",
        "_handler",
        "_host",
        "_messages",
        "_pause",
        "_seen",
        "_sink",
    )

    def __init__(
        self,
        host: ThrottleHost,
        connection: Connection,
        handler: ByteHandler,
        sink: CountingSink,
    ) -> None:
        now, limits = host.pump.now(), host.limits
        self._few_bytes = limits.bytes_per_second * _UNSEEN_SECONDS
        self._few_messages = limits.messages_per_second * _UNSEEN_SECONDS
        self._seen = 0  # bytes that were not taken from the bucket yet
        self._host = host
        self._connection = connection
        self._handler = handler
        self._sink = sink
        self._bytes = TokenBucket(limits.bytes_per_second, now)
        self._messages = TokenBucket(limits.messages_per_second, now)
        self._pause = _Pause(connection)

    def on_bytes(self, data: Piece) -> None:
        """Pass on, count, and pause when it was too much."""
        self._seen += len(data)  # before it is used up
        self._handler.on_bytes(data)
        sink = self._sink
        if self._seen < self._few_bytes and sink.seen < self._few_messages:
            return
        now = self._host.pump.now()
        wait = max(
            self._bytes.take(self._seen, now), self._messages.take(sink.seen, now)
        )
        self._seen = sink.seen = 0
        if wait:
            self._host.counts.throttled += 1
            self._connection.set_paused(True)
            self._host.pump.schedule(self._pause, now + min(wait, _LONGEST_PAUSE))

    def on_eof(self) -> None:
        """Pass on."""
        self._handler.on_eof()

    def on_writable(self) -> None:
        """Pass on."""
        self._handler.on_writable()

    def on_lost(self, reason: str) -> None:
        """Pass on."""
        self._handler.on_lost(reason)

    def on_deadline(self) -> None:
        """Pass on."""
        self._handler.on_deadline()


def throttled(
    host: ThrottleHost,
    connection: Connection,
    handler: ByteHandler,
    sink: CountingSink | None,
) -> ByteHandler:
    """A throttle around a WebSocket, or the WebSocket itself if nobody counts."""
    return handler if sink is None else Throttle(host, connection, handler, sink)
