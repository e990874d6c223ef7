"""Ends of channels that are held in this process."""

from collections.abc import Callable
from typing import Final, Literal, Self, final

import trio

from iii_trio.engine._channels import Channel, ChannelFrame, Channels
from iii_trio.protocol import ChannelRef

_CHUNK_BYTES: Final = 64 * 1024
"""Frames of content: SDK readers may have small limits."""


class _ContentSide:
    """The writing end of a channel whose content is all there: nothing to hear."""

    holder: object = None

    def on_room(self) -> None:
        """There is no more."""

    def on_broken(self, reason: str) -> None:
        """It was not read to the end."""


_CONTENT_SIDE: Final = _ContentSide()


@final
class LocalChannels:
    """Promises channels for one worker of this process; a `ChannelMaker`."""

    def __init__(self, channels: Channels, owner: object) -> None:
        self._channels = channels
        self._owner = owner

    def promise(
        self, content: bytes, on_writer: Callable[[], None]
    ) -> "PromisedChannels":
        """Two channels: one with ``content`` to be read, one to be written to."""
        return PromisedChannels(self._channels, self._owner, content, on_writer)


@final
class PromisedChannels:
    """Two channels, each made when somebody asks for it; see ``ChannelPromise``.

    Attributes:
        access_key: of both.
        with_content: how the reading end of the one with content travels.
        to_write: how the writing end of the other one travels.
    """

    __slots__ = (
        "_channels",
        "_content",
        "_made",
        "_on_writer",
        "_owner",
        "access_key",
        "to_write",
        "with_content",
    )

    def __init__(
        self,
        channels: Channels,
        owner: object,
        content: bytes,
        on_writer: Callable[[], None],
    ) -> None:
        self.access_key = channels.promises.new_key()
        self._channels = channels
        self._owner = owner
        self._content = content
        self._on_writer = on_writer
        self._made: list[Channel] = []
        self.with_content = self._ref(channels.promises.name(self), "read")
        self.to_write = self._ref(channels.promises.name(self), "write")

    def _ref(self, channel_id: str, direction: str) -> ChannelRef:
        return ChannelRef(
            channel_id=channel_id, access_key=self.access_key, direction=direction
        )

    @property
    def to_read(self) -> ChannelRef:
        """How the reading end of the one that is written to travels."""
        return self._ref(self.to_write.channel_id, "read")

    def keep(self, channel_id: str) -> Channel:
        """Make one of the two."""
        channel = self._channels.create(
            self._owner, expires=False, names=(channel_id, self.access_key)
        )
        self._made.append(channel)
        if channel_id == self.to_write.channel_id:
            channel.on_writer = self._on_writer
            return channel
        channel.attach_writer(_CONTENT_SIDE)
        content = self._content
        for start in range(0, len(content), _CHUNK_BYTES):
            channel.put(content[start : start + _CHUNK_BYTES], text=False)
        channel.end()
        return channel

    def abort_writing(self, reason: str) -> None:
        """Drop the one that is written to, whoever has it."""
        channel_id = self.to_write.channel_id
        self._channels.promises.withdraw([channel_id])
        for channel in self._made:
            if channel.channel_id == channel_id:
                channel.abort(reason)

    def abort(self, reason: str) -> None:
        """Drop both, whoever has them."""
        self._channels.promises.withdraw(
            (self.with_content.channel_id, self.to_write.channel_id)
        )
        for channel in self._made:
            channel.abort(reason)


@final
class LocalChannelEnd:
    """One end of a channel in this process; see ``iii_trio.transport.ChannelEnd``.

    Attributes:
        holder: the worker that took it; the end is lost with it.
    """

    def __init__(
        self,
        channel: Channel,
        direction: Literal["read", "write"],
        holder: object = None,
    ) -> None:
        self.holder = holder
        self._channel = channel
        self._peer: Literal["read", "write"] = (
            "write" if direction == "read" else "read"
        )
        self._direction = direction
        self._changed = trio.lowlevel.ParkingLot()
        self._closed = False
        taken = (
            channel.attach_reader(self)
            if direction == "read"
            else channel.attach_writer(self)
        )
        if not taken:
            msg = f"the {direction} end of channel {channel.channel_id} is taken"
            raise trio.BrokenResourceError(msg)

    @classmethod
    def take(cls, channels: Channels, ref: ChannelRef, holder: object) -> Self:
        """Take the end that ``ref`` names.

        Args:
            channels: of the engine.
            ref: which.
            holder: the end is lost with it, see `Channels.owner_gone`.

        Raises:
            trio.BrokenResourceError: no such channel, wrong key, or the end is taken.
        """
        channel = channels.find(ref.channel_id, ref.access_key)
        if channel is None:
            msg = f"channel {ref.channel_id} is not known, or its key is wrong"
            raise trio.BrokenResourceError(msg)
        return cls(channel, "read" if ref.direction == "read" else "write", holder)

    def on_room(self) -> None:
        """Wake a sender."""
        self._changed.unpark_all()

    def on_data(self) -> None:
        """Wake a receiver."""
        self._changed.unpark_all()

    def on_broken(self, reason: str) -> None:
        """Wake whoever waits; it sees that the channel is gone."""
        del reason  # the channel keeps it
        self._changed.unpark_all()

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """Send one frame; waits while the buffer is full."""
        await trio.lowlevel.checkpoint()
        while self._channel.is_full and not self._closed:
            self._check_whole()
            self._channel.promise_room()
            await self._changed.park()
        self._check_open()
        self._check_whole()
        self._channel.put(data, text=text)

    async def receive(self) -> ChannelFrame | None:
        """The next frame, or ``None`` at the end of the stream."""
        await trio.lowlevel.checkpoint()
        while True:
            self._check_open()
            frame = self._channel.take()
            if frame is not None:
                return frame
            if self._channel.is_finished:
                if not self._channel.broken:
                    self._channel.free()
                if self._channel.lost:
                    raise trio.BrokenResourceError(self._channel.lost)
                return None
            self._check_whole()
            await self._changed.park()

    async def wait_peer(self) -> None:
        """Wait until the other end was taken."""
        await self._channel.wait_taken(self._peer)
        if not self._channel.ended:
            self._check_whole()

    def close(self) -> None:
        """End this side: a writer ends the stream, a reader breaks it off."""
        if self._closed:
            return
        self._closed = True
        if self._direction == "write":
            self._channel.end()
        elif not self._channel.is_finished:
            self._channel.abort("the reader closed its end")
        elif not self._channel.broken:
            self._channel.free()
        self._changed.unpark_all()

    def abort(self, reason: str) -> None:
        """Drop the channel with both ends, now."""
        self._closed = True
        self._channel.abort(reason)
        self._changed.unpark_all()

    def _check_open(self) -> None:
        if self._closed:
            msg = "this end of the channel was closed"
            raise trio.ClosedResourceError(msg)

    def _check_whole(self) -> None:
        if self._channel.broken:
            raise trio.BrokenResourceError(self._channel.broken)
