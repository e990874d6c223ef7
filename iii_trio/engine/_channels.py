"""Byte channels between two workers, with backpressure.

A channel moves frames one way and keeps them as units, text or binary. The writing end
and the reading end attach in any order, each once. Between them stands a small buffer:
when it is full the writer is told to wait, and told again when there is room.

Ends are sockets of link workers (``_channel_sockets.py``) or are held in this process
(``_channel_ends.py``).

A channel is freed when the reader took the end of the stream, when either end breaks off,
when the worker that made it is gone before anybody wrote, or when an end was not taken
in time.
"""

import hmac
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, Literal, Protocol, final

import attrs
import trio

from iii_trio._listening import EngineLimits
from iii_trio.engine._promises import Promises
from iii_trio.engine._timers import Timer, Timers
from iii_trio.protocol import ChannelRef, ErrorBody, refused

DEFAULT_BUFFER_FRAMES: Final = 64
MAX_BUFFER_FRAMES: Final = 1024
MAX_BUFFER_BYTES: Final = 4 * 2**20
"""A channel also counts as full above this, whatever the number of frames."""
ChannelFrame = tuple[bytes, bool]
"""Data, and whether it is a text frame."""


@attrs.frozen(kw_only=True)
class ChannelStatistics:
    """Counts of channels.

    Attributes:
        open: now.
        buffered_bytes: in all buffers, now.
        opened: ever.
        refused: not made, because their maker had too many.
        expired: removed, because an end was not taken in time.
    """

    open: int
    buffered_bytes: int
    opened: int
    refused: int
    expired: int


@attrs.define(eq=False)
class _Buffers:
    """The buffers of all channels together."""

    limits: EngineLimits
    used: int = 0


class WriterSide(Protocol):
    """What a channel tells its writing end.

    Attributes:
        holder: the worker of this process that took it, ``None`` for a socket.
    """

    holder: object

    def on_room(self) -> None:
        """The buffer was full and no longer is."""

    def on_broken(self, reason: str) -> None:
        """Nobody will read any more."""


class ReaderSide(Protocol):
    """What a channel tells its reading end.

    Attributes:
        holder: the worker of this process that took it, ``None`` for a socket.
    """

    holder: object

    def on_data(self) -> None:
        """There is a frame to `Channel.take`, or the end of the stream."""

    def on_broken(self, reason: str) -> None:
        """The channel was aborted; what was buffered is lost."""


@final
class Channel:
    """One channel; a plain buffer between two sides."""

    def __init__(
        self,
        channel_id: str,
        access_key: str,
        capacity: int,
        owner: object,
        on_freed: Callable[["Channel"], None],
        buffers: _Buffers,
    ) -> None:
        self.channel_id = channel_id
        self.access_key = access_key
        self.owner = owner
        self.writer: WriterSide | None = None
        self.reader: ReaderSide | None = None
        self.ended = False
        self.lost = ""
        self.broken = ""
        self.timer: Timer | None = None
        self.on_writer: Callable[[], None] | None = None
        self._frames: deque[ChannelFrame] = deque()
        self._bytes = 0
        self._capacity = capacity
        self._was_full = False
        self._on_freed = on_freed
        self._buffers = buffers
        self._taken = trio.lowlevel.ParkingLot()

    def ref(self, direction: Literal["read", "write"]) -> ChannelRef:
        """How an end of this channel travels inside a payload."""
        return ChannelRef(
            channel_id=self.channel_id,
            access_key=self.access_key,
            direction=direction,
        )

    @property
    def is_full(self) -> bool:
        """The writer should wait."""
        return (
            len(self._frames) >= self._capacity
            or self._bytes >= MAX_BUFFER_BYTES
            or (
                self._buffers.used >= self._buffers.limits.channels_bytes
                and bool(self._frames)
            )
        )

    @property
    def is_finished(self) -> bool:
        """The writer ended and everything was taken."""
        return self.ended and not self._frames

    def attach_writer(self, side: WriterSide) -> bool:
        """Take the writing end; false if it is taken."""
        if self.writer is not None or self.broken:
            return False
        self.writer = side
        self._taken.unpark_all()
        if self.on_writer is not None:
            self.on_writer()
        return True

    def attach_reader(self, side: ReaderSide) -> bool:
        """Take the reading end; false if it is taken. What waits is delivered."""
        if self.reader is not None or self.broken:
            return False
        self.reader = side
        self._taken.unpark_all()
        if self._frames or self.ended:
            side.on_data()
        return True

    async def wait_taken(self, direction: Literal["read", "write"]) -> None:
        """Wait until that end was taken, or the channel is gone."""
        await trio.lowlevel.checkpoint()
        while not self.broken and self._end(direction) is None:
            await self._taken.park()

    def put(self, data: bytes, *, text: bool) -> None:
        """The writer gives a frame; it should look at `is_full` afterwards."""
        if self.broken or self.ended:
            return
        self._frames.append((data, text))
        self._count(len(data))
        self._was_full = self._was_full or self.is_full
        if self.reader is not None:
            self.reader.on_data()

    def promise_room(self) -> None:
        """The writer waits: it is told when the channel is not full any more.

        What others keep may have made it full, since the last `put`.
        """
        self._was_full = True

    def take(self) -> ChannelFrame | None:
        """The reader takes a frame; ``None``: there is none now."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._count(-len(frame[0]))
        if self._was_full and not self.is_full:
            self._was_full = False
            if self.writer is not None:
                self.writer.on_room()
        return frame

    def end(self, lost: str = "") -> None:
        """The writer has no more; the reader gets what is buffered, then the end.

        Args:
            lost: why, if the writer did not say so itself: a link reader gets an
                ordinary end even so, as in the reference, a local one an error.
        """
        if self.broken or self.ended:
            return
        self.ended = True
        self.lost = lost
        if self.reader is not None:
            self.reader.on_data()

    def free(self) -> None:
        """The reader took the end of the stream."""
        self.broken = "the stream ended"
        self._on_freed(self)
        self._taken.unpark_all()

    def abort(self, reason: str) -> None:
        """Drop the channel with both ends, now."""
        if self.broken:
            return
        self.broken = reason
        if self._frames:
            self.lost = self.lost or reason  # what ended so did not arrive whole
            self._frames.clear()
        self._count(-self._bytes)
        self._on_freed(self)
        self._taken.unpark_all()
        if self.writer is not None:
            self.writer.on_broken(reason)
        if self.reader is not None:
            self.reader.on_broken(reason)

    def _count(self, size: int) -> None:
        self._bytes += size
        self._buffers.used += size

    def _end(self, direction: Literal["read", "write"]) -> object:
        return self.writer if direction == "write" else self.reader


@final
class Channels:
    """Every open channel, by id.

    Args:
        timers: for channels that nobody takes.
        new_id: makes UUID text; ids and access keys.
        limits: what channels may cost.

    Attributes:
        promises: channels that have names and are not made.
    """

    def __init__(
        self,
        timers: Timers,
        new_id: Callable[[], str],
        limits: EngineLimits | None = None,
    ) -> None:
        self._timers = timers
        self._new_id = new_id
        self._channels: dict[str, Channel] = {}
        self.promises: Promises[Channel] = Promises(new_id)
        self._limits = limits or EngineLimits()
        self._buffers = _Buffers(self._limits)
        self._made: Counter[object] = Counter()
        self._opened = self._refused = self._expired = 0

    def statistics(self) -> ChannelStatistics:
        """Counts at this moment."""
        return ChannelStatistics(
            open=len(self._channels),
            buffered_bytes=self._buffers.used,
            opened=self._opened,
            refused=self._refused,
            expired=self._expired,
        )

    def refuses(self, owner: object) -> ErrorBody | None:
        """Why a worker behind a link may make no further channel, if so."""
        if self._made[owner] < self._limits.channels_per_worker:
            return None
        self._refused += 1
        return refused(
            f"{owner} has {self._made[owner]} open channels, which is the limit "
            "(limits.channels_per_worker): finish some"
        )

    def __len__(self) -> int:
        return len(self._channels)

    def create(
        self,
        owner: object,
        buffer_frames: int | None = None,
        *,
        expires: bool = True,
        names: tuple[str, str] | None = None,
    ) -> Channel:
        """Make a channel.

        Args:
            owner: see `owner_gone`.
            buffer_frames: clamped to 1...`MAX_BUFFER_FRAMES`.
            expires: it is removed when an end is not taken in time.
            names: its id and its key; default: new ones.
        """
        wanted = DEFAULT_BUFFER_FRAMES if buffer_frames is None else buffer_frames
        capacity = min(max(wanted, 1), MAX_BUFFER_FRAMES)
        channel = Channel(
            *(names or (self._new_id(), self._new_id())),
            *(capacity, owner),
            self._forget,
            self._buffers,
        )
        self._channels[channel.channel_id] = channel
        self._made[owner] += 1
        self._opened += 1
        if expires:
            within = self._limits.channels_take_within_ms / 1000
            channel.timer = self._timers.call_after(
                within, lambda: self._expire(channel, within)
            )
        return channel

    def find(self, channel_id: str, access_key: str) -> Channel | None:
        """The channel, if the key is right."""
        channel = self._channels.get(channel_id)
        if channel is None:
            return self.promises.keep(channel_id, access_key)
        known = hmac.compare_digest(channel.access_key.encode(), access_key.encode())
        return channel if known else None

    def owner_gone(self, owner: object, *, holds_ends: bool) -> None:
        """A worker went away: what nobody can finish any more is aborted.

        A stream of its own that ended is left to its reader, also to one that comes
        later. Of the streams of others it breaks those that it read, and ends those that
        it wrote.

        Args:
            owner: the worker.
            holds_ends: what it took is lost with it. Otherwise a writing end that is
                taken has a socket of its own, which tells how it ends: perhaps politely,
                a moment later.
        """
        for channel in list(self._channels.values()):
            can_finish = channel.ended or (
                channel.writer is not None and not holds_ends
            )
            if channel.owner is owner and not can_finish:
                channel.abort("the worker that made the channel is gone")
            elif channel.reader is not None and channel.reader.holder is owner:
                channel.abort("the worker that read the channel is gone")
            elif channel.writer is not None and channel.writer.holder is owner:
                channel.end("the worker that wrote to the channel is gone")

    def _forget(self, channel: Channel) -> None:
        del self._channels[channel.channel_id]
        self._made[channel.owner] -= 1
        if not self._made[channel.owner]:
            del self._made[channel.owner]
        if channel.timer is not None:
            self._timers.cancel(channel.timer)

    def _expire(self, channel: Channel, within: float) -> None:
        if channel.writer is None or channel.reader is None:
            self._expired += 1
            channel.abort(f"an end was not taken within {within:g} s")
