"""Ends of channels as a worker holds them, and who makes channels without waiting."""

from collections.abc import Callable
from typing import Protocol

from iii_trio.protocol import ChannelRef


class ChannelEnd(Protocol):
    """One end of a channel, frames as units. For one task at a time."""

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """Send one frame; waits while the buffer (64 frames) is full.

        Raises:
            trio.BrokenResourceError: the other end is gone.
            trio.ClosedResourceError: this end was closed.
        """

    async def receive(self) -> tuple[bytes, bool] | None:
        """The next frame and whether it is text; ``None`` at the end of the stream.

        Raises:
            trio.BrokenResourceError: the channel was aborted, or (in process) its writer
                was lost before it ended the stream.
        """

    async def wait_peer(self) -> None:
        """Wait until the other end is attached."""

    def close(self) -> None:
        """End this side: a reader gets what is buffered, then the end."""

    def abort(self, reason: str) -> None:
        """Drop the channel with both ends, now."""


class ChannelPromise(Protocol):
    """Two channels that have names, and are made when somebody asks for one.

    Attributes:
        with_content: how the reading end of the one with content travels in a payload.
        to_write: how the writing end of the other one does.
        to_read: the other end of that.
    """

    @property
    def with_content(self) -> ChannelRef:
        """To read the content."""

    @property
    def to_write(self) -> ChannelRef:
        """To write."""

    @property
    def to_read(self) -> ChannelRef:
        """To read what is written."""

    def abort_writing(self, reason: str) -> None:
        """Drop the one that is written to, whoever has its ends. Idempotent."""

    def abort(self, reason: str) -> None:
        """Drop both, whoever has their ends. Idempotent."""


class ChannelMaker(Protocol):
    """Promises channels, where the engine is in this process."""

    def promise(self, content: bytes, on_writer: Callable[[], None]) -> ChannelPromise:
        """Two channels: one to read ``content`` from, one to be written to.

        Args:
            content: all of it.
            on_writer: told, once, that somebody writes: sync, brief, wherever the
                writer attaches.
        """
