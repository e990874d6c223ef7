"""The two ends of a byte channel between workers, as users hold them.

Text frames are messages and binary frames are pieces of a stream; both arrive as they
were sent. An end is opened when it is first used, so that a ref can be handed on unused.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, Self, final

import attrs
import msgspec
import trio

from iii_trio._util import ConflictDetector
from iii_trio.protocol import ChannelRef
from iii_trio.transport import ChannelEnd
from iii_trio.worker._json import JSON

CHUNK_BYTES: Final = 64 * 1024
"""Larger binary data is cut, as the public SDKs do: readers may have small limits."""

OpenEnd = Callable[[ChannelRef], Awaitable[ChannelEnd]]


def channel_ref(value: ChannelRef | Mapping[str, JSON]) -> ChannelRef:
    """A ref as it stands in a payload.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, ChannelRef):
        return value
    try:
        return msgspec.convert(dict(value), ChannelRef)
    except msgspec.ValidationError as exc:
        msg = f"not a channel ref: {exc}"
        raise ValueError(msg) from exc


class _LazyEnd:
    """What both ends share: opening late, closing once, one user at a time."""

    _direction: str

    def __init__(self, ref: ChannelRef, open_end: OpenEnd) -> None:
        if ref.direction != self._direction:
            msg = f"this is the {ref.direction!r} end, not {self._direction!r}"
            raise ValueError(msg)
        self._ref = ref
        self._open_end = open_end
        self._end: ChannelEnd | None = None
        self._closed = False
        self._failure = ""  # of the block around this end
        self._one_user = ConflictDetector("another task is using this channel end")

    @property
    def ref(self) -> ChannelRef:
        """The address of this end; whoever opens it first has it."""
        return self._ref

    async def _opened(self) -> ChannelEnd:
        self._check_open()
        if self._end is None:
            end = await self._open_end(self._ref)
            if self._closed:  # by another task, meanwhile
                end.close()
            self._check_open()
            self._end = end
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        return self._end

    def _check_open(self) -> None:
        if self._closed:
            msg = "this channel end was closed"
            raise trio.ClosedResourceError(msg)

    async def open(self) -> None:
        """Take this end now, rather than when it is first used.

        Raises:
            trio.BrokenResourceError: no such channel, or this end is taken.
            trio.ClosedResourceError: this end was closed.
        """
        await trio.lowlevel.checkpoint()
        with self._one_user:
            await self._opened()

    async def wait_peer(self) -> None:
        """Wait until the other end is attached.

        By URL that cannot be known, and this returns once our end is attached.

        Raises:
            trio.BrokenResourceError: no such channel, or this end is taken.
            trio.ClosedResourceError: this end was closed.
        """
        with self._one_user:
            await (await self._opened()).wait_peer()

    def abort(self, reason: str) -> None:
        """Drop the channel with both ends, now.

        An end that was never used has nothing to drop: it is only closed.
        """
        self._closed = True
        if self._end is not None:
            self._end.abort(reason)

    async def aclose(self) -> None:
        """Close this end, also one that was never used: the other side must learn it.

        Closing twice is fine. A channel that is already gone counts as closed.

        Cancellation drops the channel instead, as `abort` does: nobody shall take what
        a cancelled task wrote for the whole.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        try:
            await trio.lowlevel.checkpoint()
            if self._end is None and not self._closed:
                with suppress(trio.BrokenResourceError):  # gone, or another task has it
                    self._end = await self._open_end(self._ref)
        except BaseException:
            if not self._closed:  # by another task, meanwhile
                self.abort(self._failure or "the task that used this end was cancelled")
            raise
        self._closed = True
        if self._end is not None:
            if self._failure:
                self._end.abort(self._failure)
            else:
                self._end.close()

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._failure = f"the task that used this end failed: {kind.__name__}"
        await self.aclose()


@final
class ChannelReader(_LazyEnd):
    """The reading end: ``async for piece in reader``. For one task at a time."""

    _direction = "read"

    async def receive(self) -> bytes | str | None:
        """The next frame, ``str`` for a text one; ``None`` at the end.

        Cancellation loses nothing.

        Raises:
            trio.BrokenResourceError: the channel was aborted, or cannot be opened.
            trio.ClosedResourceError: this end was closed.
            trio.BusyResourceError: another task is using it.
        """
        with self._one_user:
            frame = await (await self._opened()).receive()
        if frame is None:
            self._check_open()  # by URL, closing it here looks like the end
            return None
        data, is_text = frame
        return str(data, "utf-8") if is_text else data

    def __aiter__(self) -> AsyncIterator[bytes | str]:
        return self

    async def __anext__(self) -> bytes | str:
        frame = await self.receive()
        if frame is None:
            raise StopAsyncIteration
        return frame

    async def read_all(self) -> bytes:
        """Everything until the end, joined; text as UTF-8.

        Raises:
            trio.BrokenResourceError: the channel was aborted, or cannot be opened.
        """
        pieces = [
            piece.encode() if isinstance(piece, str) else piece async for piece in self
        ]
        return b"".join(pieces)


@final
class ChannelWriter(_LazyEnd):
    """The writing end. For one task at a time."""

    _direction = "write"

    async def send(self, data: bytes | str) -> None:
        """Send text as one message, bytes in pieces of at most `CHUNK_BYTES`.

        Waits while the reader is behind by more than the channel's buffer. Cancelled
        in the middle of large bytes, some pieces have been sent.

        Raises:
            trio.BrokenResourceError: the reader is gone, or the end cannot be opened.
            trio.ClosedResourceError: this end was closed.
            trio.BusyResourceError: another task is using it.
        """
        with self._one_user:
            end = await self._opened()
            if isinstance(data, str):
                await end.send(data.encode(), text=True)
                return
            await end.send(data[:CHUNK_BYTES])
            for start in range(CHUNK_BYTES, len(data), CHUNK_BYTES):
                await end.send(data[start : start + CHUNK_BYTES])


@attrs.frozen(kw_only=True)
class Channel:
    """A new channel: use one end here and hand the ref of the other to a worker."""

    reader: ChannelReader
    writer: ChannelWriter
    reader_ref: ChannelRef
    writer_ref: ChannelRef
