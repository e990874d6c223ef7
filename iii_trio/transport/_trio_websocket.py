"""A `Link` over any ``trio_websocket.WebSocketConnection``, dialled or host-owned.

Three tasks per link, all in one nursery: a reader, a writer and a keepalive. Only the
writer ever sends messages, so that no cancel scope of a user can cut a frame in half.

Some peers refuse frames above 16 MiB, so a larger message than 1 MiB leaves in
fragments. Users of this link keep to ``iii_trio.protocol.MAX_MESSAGE_BYTES``; here only
the hard limit of the outbox counts.
"""

import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.events import TextMessage

from iii_trio._util import NoPublicConstructor, open_background_nursery
from iii_trio.protocol import SMALL_MESSAGE_BYTES
from iii_trio.transport._deliver import deliver_binary, deliver_text
from iii_trio.transport._dial import CLOSE_GRACE, open_trio_websocket
from iii_trio.transport._link import Link, LinkSink

OUTBOX_LIMIT_BYTES: Final = 96 * 2**20
"""A peer that lets this much pile up is dropped."""

PING_EVERY: Final = 20.0
"""Seconds between pings, and to wait for a pong; as in the public SDKs."""


@final
class TrioWebSocketLink(metaclass=NoPublicConstructor):
    """One duplex of frames over a trio-websocket connection; satisfies `Link`."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection
        self._sink: LinkSink | None = None
        self._started = trio.Event()
        self._running = trio.Event()
        self._running.set()
        self._outbox: deque[bytes] = deque()
        self._outbox_bytes = 0
        self._outbox_limit = OUTBOX_LIMIT_BYTES
        self._wake_writer = trio.Event()
        self._flushed = trio.Event()
        self._closing: str | None = None
        self._polite = True
        self._close_asked = trio.Event()
        self._ended = trio.Event()

    @property
    def peer(self) -> str:
        """Where the peer is, for people."""
        remote = self._connection.remote
        return remote if isinstance(remote, str) else f"{remote.address}:{remote.port}"

    @property
    def outbox_bytes(self) -> int:
        """Bytes accepted by `send_nowait` that are not sent yet."""
        return self._outbox_bytes

    def limit_outbox(self, size: int) -> None:
        """Let no more wait than this."""
        self._outbox_limit = size

    def start(self, sink: LinkSink) -> None:
        """Begin to deliver to ``sink``. Called once."""
        assert self._sink is None
        self._sink = sink
        self._started.set()

    def send_nowait(self, text: bytes) -> None:
        """Queue one frame; over the limit of its outbox the link is dropped."""
        if self._closing is not None:
            return
        self._outbox.append(text)
        self._outbox_bytes += len(text)
        self._wake_writer.set()
        if self._outbox_bytes > self._outbox_limit:
            self.close("the peer does not read: outbox is full", polite=False)

    def hold(self) -> None:
        """Stop reading until `resume`."""
        if self._running.is_set():
            self._running = trio.Event()

    def resume(self) -> None:
        """Read on after `hold`."""
        self._running.set()

    def close(self, reason: str, *, polite: bool) -> None:
        """End the link after what is queued; polite: with a Close without a code."""
        if self._closing is not None:
            return
        self._closing = reason
        self._polite = polite
        self._wake_writer.set()
        self._close_asked.set()

    async def wait_closed(self) -> None:
        """Wait until the link has ended, whoever ended it."""
        await self._ended.wait()

    async def run(self) -> None:
        """Move frames until the link has ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, name=f"reader {self.peer}")
            nursery.start_soon(self._write, name=f"writer {self.peer}")
            nursery.start_soon(self._keep_alive, name=f"keepalive {self.peer}")
            nursery.start_soon(self._close_when_asked, name=f"closer {self.peer}")
            await self._ended.wait()
            nursery.cancel_scope.cancel(reason="link ended")

    def end(self, reason: str) -> None:
        """The link is gone: tell the sink, once. For `open_link_over` only."""
        if self._ended.is_set():
            return
        self._closing = self._closing or reason
        self._ended.set()
        self._outbox.clear()
        self._outbox_bytes = 0
        if self._sink is not None:
            self._sink.on_closed(self._closing)

    @contextmanager
    def _until_closed(self) -> Iterator[None]:
        try:
            yield
        except ConnectionClosed as exc:
            self.end(_why(exc))

    async def _read(self) -> None:
        await self._started.wait()
        sink = self._sink
        assert sink is not None
        with self._until_closed():
            while True:
                message = await self._connection.get_message()
                if not self._running.is_set():
                    await self._running.wait()
                if self._ended.is_set():
                    return
                if isinstance(message, str):
                    deliver_text(sink, message.encode())
                else:
                    deliver_binary(sink, message, peer=self.peer)

    async def _write(self) -> None:
        await trio.lowlevel.checkpoint()
        # What came before the end is still to be read: the reader tells of the end.
        with suppress(ConnectionClosed):
            while True:
                await self._wake_writer.wait()
                self._wake_writer = trio.Event()
                while self._outbox:
                    text = self._outbox[0]
                    await _send_text(self._connection, text)
                    if self._ended.is_set():
                        return
                    self._outbox.popleft()
                    self._outbox_bytes -= len(text)
                if self._closing is not None:
                    break
        self._flushed.set()

    async def _close_when_asked(self) -> None:
        """Its own task, because the writer may be stuck in a send."""
        await self._close_asked.wait()
        with trio.move_on_after(CLOSE_GRACE):
            await self._flushed.wait()
            if self._polite:
                await self._connection.aclose()
        self.end("closed")

    async def _keep_alive(self) -> None:
        """Drop the link when a ping is not answered in time."""
        with self._until_closed():
            while True:
                await trio.sleep(PING_EVERY)
                with trio.move_on_after(PING_EVERY) as scope:
                    await self._connection.ping()
                # A held link does not read, so a missing pong says nothing.
                if scope.cancelled_caught and self._running.is_set():
                    self.close("no answer to a ping", polite=False)


async def _send_text(connection: WebSocketConnection, text: bytes) -> None:
    """Send one message, in fragments of at most `SMALL_MESSAGE_BYTES`.

    trio-websocket sends whole messages only; wsproto below it can do more.
    """
    message = str(text, "utf-8")
    if len(text) <= SMALL_MESSAGE_BYTES:
        await connection.send_message(message)
        return
    # A character takes up to four bytes.
    step = SMALL_MESSAGE_BYTES if text.isascii() else SMALL_MESSAGE_BYTES // 4
    start = 0
    while True:
        if connection.closed:
            raise ConnectionClosed(connection.closed)
        piece = message[start : start + step]
        start += step
        finished = start >= len(message)
        await connection._send(  # noqa: SLF001 - see above
            TextMessage(data=piece, message_finished=finished)
        )
        if finished:
            return


def _why(exc: ConnectionClosed) -> str:
    reason = exc.reason
    if reason is None:
        return "closed"
    text = f"closed by the peer ({reason.code} {reason.name})"
    return f"{text}: {reason.reason}" if reason.reason else text


@asynccontextmanager
async def open_link_over(
    connection: WebSocketConnection,
) -> AsyncIterator[TrioWebSocketLink]:
    """Make a link of a connection for the length of the block.

    At the end of the block what is queued is sent, then the WebSocket is closed, both
    within `CLOSE_GRACE` seconds. When the block is cancelled, TCP is dropped at once.
    """
    link: TrioWebSocketLink = TrioWebSocketLink._create(connection)
    reason = "the link's block ended"
    try:
        async with open_background_nursery(reason) as nursery:
            nursery.start_soon(link.run, name=f"link {link.peer}")
            yield link
            link.close(reason, polite=True)
            await link.wait_closed()
    finally:
        link.end(reason)
        await trio.aclose_forcefully(connection)


@asynccontextmanager
async def open_trio_websocket_link(
    url: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    connect_timeout: float = 10.0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[TrioWebSocketLink]:
    """Dial a WebSocket and make a link of it for the length of the block.

    Args:
        url: ``ws://`` or ``wss://``.
        headers: further request headers.
        connect_timeout: seconds for TCP, TLS and the handshake together.
        tls: for ``wss://``; see `open_trio_websocket`.

    Raises:
        trio.BrokenResourceError: no connection, or the peer refused the handshake.
    """
    async with (
        open_trio_websocket(
            url, headers=headers, connect_timeout=connect_timeout, tls=tls
        ) as connection,
        open_link_over(connection) as link,
    ):
        yield link


async def serve_trio_websocket(
    connection: WebSocketConnection, attach: Callable[[Link], object]
) -> None:
    """Hand a connection of a host's trio-websocket server to an engine.

    Runs until the connection ends. Accept it with ``max_message_size=64 * 2**20`` and
    ``receive_buffer_size=None``: the defaults of trio-websocket are too small.

    Args:
        connection: accepted by the host.
        attach: such as ``engine.attach``; gets the link, not yet started.
    """
    async with open_link_over(connection) as link:
        attach(link)
        await link.wait_closed()
