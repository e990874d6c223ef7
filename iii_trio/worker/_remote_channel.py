"""The ends of channels behind a URL: a WebSocket of their own each."""

import ssl
from collections.abc import Sequence
from typing import Final, final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from iii_trio.protocol import ChannelRef
from iii_trio.transport import open_trio_websocket

_ABNORMAL: Final = 1006  # RFC 6455: the connection was lost without a Close


def channel_url(address: str, ref: ChannelRef) -> str:
    """Where to dial an end; the address's own path and query are kept."""
    parts = urlsplit(address)
    path = f"{parts.path.rstrip('/')}/ws/channels/{quote(ref.channel_id, safe='')}"
    own = urlencode({"key": ref.access_key, "dir": ref.direction})
    query = f"{parts.query}&{own}" if parts.query else own
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


@final
class RemoteChannelEnd:
    """One end of a channel over a WebSocket; satisfies `ChannelEnd`."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection
        # Zero: a frame is taken when the one before is with the system.
        self._outbox, self._queue = trio.open_memory_channel[tuple[bytes, bool]](0)
        self._dropped = trio.Event()
        self._closed = False

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """Send one frame; TCP slows us down when the engine's buffer is full."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            msg = "this channel end was closed"
            raise trio.ClosedResourceError(msg)
        if self._connection.closed is not None:  # what is sent now would be lost
            await trio.lowlevel.checkpoint()
            msg = "the engine dropped this channel end: nobody reads any more"
            raise trio.BrokenResourceError(msg)
        await self._outbox.send((data, text))

    async def receive(self) -> tuple[bytes, bool] | None:
        """The next frame and whether it is text; ``None`` at the end."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            message = await self._connection.get_message()
        except ConnectionClosed as exc:
            self.close()  # whoever reads to the end need not close
            if exc.reason is not None and exc.reason.code == _ABNORMAL:
                msg = "the channel was dropped"
                raise trio.BrokenResourceError(msg) from exc
            return None
        if isinstance(message, str):
            return message.encode(), True
        return message, False

    async def wait_peer(self) -> None:
        """Behind a URL the other end cannot be seen: returns at once."""
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close the WebSocket after what was sent."""
        self._closed = True
        self._outbox.close()

    def abort(self, reason: str) -> None:
        """Drop TCP."""
        self._closed = True
        self._dropped.set()

    async def run(self) -> None:
        """Send what is queued, until closed, aborted, or the engine hung up."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drop_when_asked, nursery.cancel_scope)
            with self._queue:
                async for data, text in self._queue:
                    try:
                        await self._connection.send_message(
                            str(data, "utf-8") if text else data
                        )
                    except ConnectionClosed:
                        break
            nursery.cancel_scope.cancel(reason="channel end closed")

    async def _drop_when_asked(self, scope: trio.CancelScope) -> None:
        await self._dropped.wait()
        scope.cancel(reason="channel end aborted")
        await trio.aclose_forcefully(self._connection)


async def serve_channel_end(
    url: str,
    headers: Sequence[tuple[str, str]],
    tls: ssl.SSLContext | None,
    *,
    task_status: trio.TaskStatus[RemoteChannelEnd],
) -> None:
    """Hold an end open until it is closed.

    Raises:
        trio.BrokenResourceError: the engine does not know the channel, or the key.
    """
    async with open_trio_websocket(url, headers=headers, tls=tls) as connection:
        end = RemoteChannelEnd(connection)
        task_status.started(end)
        await end.run()
