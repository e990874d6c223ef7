"""A front door on a real port, handlers and sinks that remember, and raw clients."""

import math
import secrets
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal, Self, final

import attrs
import httptools
import trio
import trio.testing

from iii_trio.net import (
    OP_CLOSE,
    OP_PING,
    OP_PONG,
    OP_TEXT,
    FrameReader,
    FrontDoor,
    HTTPExchange,
    HTTPLimits,
    Pump,
    TLSConfig,
    WebSocket,
    accept_key,
    encode_frame,
    open_front_door,
    open_pump,
    parse_close,
)
from tests.integration.tls_rig import TLSStream, over_tls, shared_config

Driver = Literal["auto", "tasks", "tls"]
"""How a rig moves its bytes: ``tls`` is ``auto`` with TLS on the door."""
DRIVERS: tuple[Driver, ...] = ("auto", "tasks", "tls")

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Ear:
    """A sink that keeps what it hears, and whose listener can wait for more.

    Attributes:
        texts, binaries: messages in order.
        writable: calls of ``on_writable``.
        closed: the reasons of ``on_closed``.
        reply: called with each text.
        asks: what each text is: a request.
    """

    def __init__(self) -> None:
        self.websocket: WebSocket
        self.texts: list[bytes] = []
        self.binaries: list[bytes] = []
        self.writable = 0
        self.closed: list[str] = []
        self.reply: Callable[[bytes], None] = lambda _: None
        self.asks = False
        self._changed = trio.Event()

    def on_text(self, data: bytes) -> bool:
        self.texts.append(data)
        self._tell()
        self.reply(data)
        return self.asks

    def on_binary(self, data: bytes) -> None:
        self.binaries.append(data)
        self._tell()

    def on_writable(self) -> None:
        self.writable += 1
        self._tell()

    def on_closed(self, reason: str) -> None:
        self.closed.append(reason)
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition: Callable[[], object]) -> None:
        await trio.lowlevel.checkpoint()
        while not condition():
            await self._changed.wait()

    async def heard(self, count: int) -> list[bytes]:
        await self.until(lambda: len(self.texts) >= count)
        return self.texts

    async def lost(self) -> str:
        await self.until(lambda: self.closed)
        assert len(self.closed) == 1
        return self.closed[0]


@final
class Host:
    """A handler: routes by path, keeps exchanges for the test, accepts WebSockets.

    Attributes:
        ears: of the WebSockets that were accepted, in order.
        exchanges: requests, in order.
        on_path: what to do for a path; others are answered with it as the body.
        prepare: called with each ear before its WebSocket is accepted.
    """

    def __init__(self) -> None:
        self.ears: list[Ear] = []
        self.exchanges: list[HTTPExchange] = []
        self.on_path: dict[str, Callable[[HTTPExchange], object]] = {}
        self.prepare: Callable[[Ear], object] = lambda _: None
        self.max_message_bytes = 64 * 1024 * 1024
        self._came = trio.Event()

    def on_request(self, exchange: HTTPExchange) -> None:
        self.exchanges.append(exchange)
        self._came.set()
        self._came = trio.Event()
        path = exchange.request.path
        if path in self.on_path:
            self.on_path[path](exchange)
        elif exchange.request.is_websocket_upgrade:
            self.accept(exchange)
        else:
            exchange.respond(200, (), path.encode())

    def accept(self, exchange: HTTPExchange) -> WebSocket:
        ear = Ear()
        self.prepare(ear)
        ear.websocket = exchange.accept_websocket(
            ear, max_message_bytes=self.max_message_bytes
        )
        self.ears.append(ear)
        return ear.websocket

    async def came(self, count: int) -> HTTPExchange:
        """Wait for the ``count``-th request."""
        await trio.lowlevel.checkpoint()
        while len(self.exchanges) < count:
            await self._came.wait()
        return self.exchanges[count - 1]


@attrs.frozen
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


class _ResponseReader:
    """The callbacks of httptools."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


@final
class Client:
    """A raw TCP client."""

    def __init__(self, stream: trio.SocketStream | TLSStream) -> None:
        self.stream = stream
        self.pending = b""
        self._reader = FrameReader("client", max_message_bytes=1 << 40)
        self._events: list[tuple[int, bytes]] = []

    async def send(self, data: bytes | str) -> Self:
        await self.stream.send_all(data.encode() if isinstance(data, str) else data)
        return self

    async def get(self, path: str, *, head: str = "") -> Response:
        await self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n")
        return await self.response()

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.pending:
            data, self.pending = self.pending, b""
            return data
        try:
            return bytes(await self.stream.receive_some())
        except trio.BrokenResourceError:
            return b""

    async def response(self, *, head_only: bool = False) -> Response:
        """The next response; its body ends where it says, or at the end of input."""
        await trio.lowlevel.checkpoint()
        raw = b""
        while b"\r\n\r\n" not in raw:
            more = await self.receive()
            assert more, f"no response, but {raw!r}"
            raw += more
        end = raw.index(b"\r\n\r\n") + 4
        status = int(raw[9:12])
        if head_only or status in {100, 101, 204, 304}:
            self.pending = raw[end:]
            return Response(status, _headers(raw[:end]), b"")
        reader = _ResponseReader()
        parser = httptools.HttpResponseParser(reader)
        length = _headers(raw[:end]).get("content-length")
        if length is not None:
            body = bytearray(raw[end:])
            while len(body) < int(length):
                more = await self.receive()
                assert more, "response cut short"
                body += more
            self.pending = bytes(body[int(length) :])
            return Response(status, _headers(raw[:end]), bytes(body[: int(length)]))
        parser.feed_data(raw)
        while not reader.complete:
            more = await self.receive()
            if not more:
                assert "transfer-encoding" not in reader.headers, "chunks cut short"
                break
            parser.feed_data(more)
        return Response(status, reader.headers, bytes(reader.body))

    async def at_end(self) -> bool:
        """Wait for the end of input; whether nothing came before it."""
        rest = b""
        while data := await self.receive():
            rest += data
        return not rest

    async def upgrade(self, target: str = "/ws") -> Self:
        await self.send(UPGRADE.format(target=target))
        response = await self.response()
        assert response.status == 101
        assert response.headers["sec-websocket-accept"] == accept_key(KEY)
        return self

    async def frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True
    ) -> None:
        await self.send(frame(opcode, payload, fin=fin))

    async def text(self, payload: bytes) -> None:
        await self.frame(OP_TEXT, payload)

    async def event(self) -> tuple[int, bytes]:
        """The next message or control frame."""
        event = await self.receive_event()
        assert event is not None, "the connection ended"
        return event

    async def receive_event(self) -> tuple[int, bytes] | None:
        """The next message or control frame; ``None``: the connection ended."""
        await trio.lowlevel.checkpoint()
        while not self._events:
            data = await self.receive()
            if not data:
                return None
            self._events += self._reader.feed(data)
            assert self._reader.failure is None
        return self._events.pop(0)

    async def echo(self, payload: bytes) -> None:
        """Check that our text comes back."""
        await self.text(payload)
        assert await self.event() == (OP_TEXT, payload)

    async def close_code(self) -> int | None:
        """The code of the Close that is next."""
        opcode, payload = await self.event()
        assert opcode == OP_CLOSE
        return parse_close(payload)[0]

    async def answers_ping(self) -> None:
        """Check that all our earlier frames were handled."""
        await self.frame(OP_PING, b"?")
        assert await self.event() == (OP_PONG, b"?")

    def reset(self) -> None:
        """Hang up with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.stream.socket.close()


def _headers(raw: bytes) -> dict[str, str]:
    lines = raw.decode("latin-1").split("\r\n")[1:-2]
    pairs = (line.partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in pairs}


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A masked frame."""
    return encode_frame(opcode, payload, fin=fin, mask=secrets.token_bytes(4))


@final
@attrs.define(eq=False)
class Rig:
    """A pump, a front door, its handler."""

    pump: Pump
    door: FrontDoor
    host: Host

    async def until_connections(self, count: int) -> None:
        """Wait until the front door has this many, by what its clients did."""
        await trio.lowlevel.checkpoint()
        while self.door.connections != count:
            await trio.testing.wait_all_tasks_blocked()

    @asynccontextmanager
    async def client(
        self, *, receive_buffer: int = 0, context: ssl.SSLContext | None = None
    ) -> AsyncIterator[Client]:
        sock = trio.socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await sock.connect(self.door.addresses[0])
        stream = trio.SocketStream(sock)
        try:
            secure = self.door.tls is not None
            yield Client(over_tls(stream, context) if secure else stream)
        finally:
            stream.socket.close()

    @asynccontextmanager
    async def websocket(
        self, *, receive_buffer: int = 0
    ) -> AsyncIterator[tuple[Client, Ear]]:
        async with self.client(receive_buffer=receive_buffer) as client:
            await client.upgrade()
            yield client, self.host.ears[-1]


@asynccontextmanager
async def open_rig(
    driver: Driver = "auto",
    *,
    crash_on_bug: bool = True,
    host: Host | None = None,
    seconds: float = 30,
    tls: TLSConfig | None = None,
    outboxes_bytes: float = math.inf,
    **limits: float,
) -> AsyncIterator[Rig]:
    """Open it on 127.0.0.1; time limits are infinite unless given."""
    times = (
        "handshake_timeout",
        "keep_alive_timeout",
        "body_timeout",
        "close_timeout",
        "linger_timeout",
    )
    chosen = HTTPLimits(**{**dict.fromkeys(times, math.inf), **limits})  # type: ignore[arg-type]
    host = host or Host()
    async with (
        open_pump(
            driver="tasks" if driver == "tasks" else "auto",
            crash_on_bug=crash_on_bug,
            outboxes_bytes=outboxes_bytes,
        ) as pump,
        open_front_door(
            pump,
            host,
            host="127.0.0.1",
            limits=chosen,
            tls=shared_config() if driver == "tls" else tls,
        ) as door,
    ):
        with trio.fail_after(seconds):  # so that a hang is a failure
            await trio.lowlevel.checkpoint()
            yield Rig(pump, door, host)
