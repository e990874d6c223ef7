"""Ends of channels as a worker holds them, and who makes channels without waiting."""

from collections.abc import Callable
from typing import Literal, Protocol

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


class NewChannel(Protocol):
    """A channel whose ends nobody holds yet, as its maker sees it."""

    def ref(self, direction: Literal["read", "write"]) -> ChannelRef:
        """How an end travels inside a payload."""

    def abort(self, reason: str) -> None:
        """Drop the channel with both ends, whoever has them. Idempotent."""


class ChannelMaker(Protocol):
    """Makes channels at once, where the engine is in this process."""

    def channel_with(self, content: bytes) -> NewChannel:
        """A channel to read all of ``content`` from; its writing end is taken."""

    def channel_for(self, on_writer: Callable[[], None]) -> NewChannel:
        """A channel to be written to; ``on_writer`` tells, once, that somebody does.

        It is called wherever the writer attaches: sync, brief.
        """
