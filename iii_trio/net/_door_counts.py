"""What a front door tells of itself in numbers."""

import attrs

__all__ = ["DoorCounts", "FrontDoorStatistics"]


@attrs.define
class DoorCounts:
    """Counts that go on; see `FrontDoorStatistics`."""

    accepted: int = 0
    refused: int = 0
    crowded: int = 0
    throttled: int = 0
    late: int = 0
    bad_requests: int = 0
    large_bodies: int = 0
    large_messages: int = 0


@attrs.frozen(kw_only=True)
class FrontDoorStatistics:
    """What came through a front door so far.

    Attributes:
        connections: open now, WebSockets included.
        accepted: connections so far.
        refused: times that a connection could not be accepted.
        crowded: connections closed because their address had too many.
        throttled: times that a WebSocket which sent too much was not read for a while.
        late: connections closed because a request head, or TLS before it, took too long.
        bad_requests: requests answered with an error before any handler saw them.
        large_bodies: request bodies that were larger than their reader takes.
        large_messages: messages of WebSockets that were larger than their reader takes:
            read over, or closed with 1009.
        tls_handshakes: completed so far.
        tls_failures: handshakes that failed, and connections that broke TLS later.
    """

    connections: int
    accepted: int
    refused: int
    crowded: int
    throttled: int
    late: int
    bad_requests: int
    large_bodies: int
    large_messages: int
    tls_handshakes: int
    tls_failures: int
