"""What a connection stands between: the bytes of a socket and whoever understands them."""

from typing import Final, Protocol

from iii_trio.net._websocket import Piece

__all__ = ["NOBODY", "ByteHandler", "ByteSocket"]


class ByteSocket(Protocol):
    """A connected, non-blocking socket, or a filter on one."""

    def fileno(self) -> int:
        """What is watched."""

    def recv(self, bufsize: int, /) -> bytes:
        """Read; ``b""`` is the end of input."""

    def recv_into(self, buffer: memoryview, nbytes: int, /) -> int:
        """Read; 0 is the end of input."""

    def send(self, data: Piece, /) -> int:
        """Send; gives how many bytes were taken."""

    def sendmsg(self, buffers: list[Piece], /) -> int:
        """Send from several pieces."""

    def shutdown(self, how: int, /) -> None:
        """Send nothing more."""

    def close(self) -> None:
        """Release it."""


class ByteHandler(Protocol):
    """What the bytes of a connection mean. All of it runs in the pump."""

    def on_bytes(self, data: Piece) -> None:
        """What one read gave; a view is into a buffer that the next read overwrites."""

    def on_eof(self) -> None:
        """The peer will send nothing more."""

    def on_writable(self) -> None:
        """The outbox is below the low mark, and was above the high one."""

    def on_deadline(self) -> None:
        """The deadline set by `Connection.expire_in` has come."""

    def on_lost(self, reason: str) -> None:
        """The connection is gone or as good as gone."""


class _Nobody:
    """Hears what comes after the end."""

    def on_bytes(self, data: Piece) -> None:
        """Swallow."""

    def on_eof(self) -> None:
        """Ignore."""

    def on_writable(self) -> None:
        """Ignore."""

    def on_deadline(self) -> None:
        """Ignore."""

    def on_lost(self, reason: str) -> None:
        """Ignore."""


NOBODY: Final = _Nobody()
