"""What a WebSocket tells, and whom."""

from collections.abc import Callable
from typing import Protocol

__all__ = ["OnOversize", "Outbox", "WebSocketSink"]


class Outbox(Protocol):
    """What waits for a peer.

    Attributes:
        outbox_bytes: bytes sent that the socket has not taken yet.
    """

    outbox_bytes: int

    def was_taken(self) -> bool:
        """Whether the peer took some of what waited for it at the last call."""


OnOversize = Callable[[int, bytes], None]
"""Gets the size of a message that was too large, and its begin and its end."""


class WebSocketSink(Protocol):
    """Who gets the messages of a WebSocket. All of it runs in the pump: sync, brief."""

    def on_text(self, data: bytes) -> bool | None:
        """A complete text message: valid UTF-8.

        Returns:
            True for a request, of which one peer gets only so many served in a row; so
            of binary messages and pings.
        """

    def on_binary(self, data: bytes) -> None:
        """A complete binary message."""

    def on_writable(self) -> None:
        """The outbox is below its low-water mark, and was above the high one."""

    def on_closed(self, reason: str) -> None:
        """The WebSocket is gone. Exactly once, never from inside a send."""
