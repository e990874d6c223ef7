"""Requests that one client sends at once: others are served in between, none is lost."""

import math
from collections.abc import Callable

import pytest
import trio

from iii_trio.net import HTTPExchange, HTTPLimits
from iii_trio.net._connection import Connection
from iii_trio.net._door_counts import DoorCounts
from iii_trio.net._http_connection import HTTPConnection
from iii_trio.net._http_host import RequestHandler
from iii_trio.net._outboxes import Outboxes
from iii_trio.net._pump import Pump
from iii_trio.net._readiness import READ, Watched
from iii_trio.net._websocket import Piece

PLAIN = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
BULK = 256 * 1024


class Socket:
    """A socket with something to read."""

    def __init__(self, data: bytes) -> None:
        self.unread = data
        self.sent = b""
        self.closed = False

    def fileno(self) -> int:
        return -1

    def recv(self, size: int, /) -> bytes:
        if not self.unread:
            raise BlockingIOError
        data, self.unread = self.unread[:size], self.unread[size:]
        return data

    def recv_into(self, buffer: memoryview, size: int, /) -> int:
        data = self.recv(size)
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: Piece, /) -> int:
        self.sent += data
        return len(data)

    def sendmsg(self, buffers: list[Piece], /) -> int:
        return self.send(b"".join(buffers))

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None:
        self.closed = True


class Sockets:
    """A readiness set: who is watched and has something to read is ready."""

    def __init__(self) -> None:
        self.watched: dict[Watched, Socket] = {}
        self.masks: dict[Watched, int] = {}

    def poll(self) -> list[tuple[Watched, int]]:
        return [
            (one, READ)
            for one, sock in self.watched.items()
            if sock.unread and self.masks.get(one, 0) & READ
        ]

    def change(self, watched: Watched, old: int, new: int) -> None:
        self.masks[watched] = new

    def fileno(self) -> int | None: ...

    def close(self) -> None: ...


class Handler:
    """Who answers.

    Attributes:
        order: the paths of the requests, in the order in which they were handed out.
        answer: what is done with each.
    """

    def __init__(self) -> None:
        self.order: list[str] = []
        self.answer: Callable[[HTTPExchange], object] = lambda exchange: (
            exchange.respond(200, (), exchange.request.path.encode())
        )

    def on_request(self, exchange: HTTPExchange) -> None:
        self.order.append(exchange.request.path)
        self.answer(exchange)


class Door:
    """A front door whose sockets are objects of the test."""

    draining = False

    def __init__(self, limits: HTTPLimits | None = None) -> None:
        self.sockets = Sockets()
        self.pump = Pump._create(
            crash_on_bug=True, wall_clock=lambda: 0.0, outboxes=Outboxes(math.inf)
        )
        self.pump._readiness = self.sockets
        self.memory = Handler()
        self.handler: RequestHandler = self.memory
        self.limits = limits or HTTPLimits()
        self.counts = DoorCounts()
        self.order = self.memory.order

    def date_line(self) -> bytes:
        return b""

    def on_http_over(self) -> None: ...

    def connect(self, data: bytes) -> Socket:
        sock = Socket(data)
        connection = Connection(self.pump, sock, 2**30, lambda _: None)
        self.sockets.watched[connection] = sock
        HTTPConnection(connection, self, ("127.0.0.1", 1))
        connection.set_reading(wanted=True)
        return sock

    def turn(self) -> None:
        """What the pump does when something is ready."""
        self.pump.handle_ready(self.sockets)

    def run(self, until: Callable[[], bool]) -> None:
        for _ in range(10_000):
            if until():
                return
            self.turn()
        raise AssertionError("it never came")


def pipeline(count: int) -> bytes:
    return b"".join(PLAIN % b"many" for _ in range(count))


async def test_one_read_full_of_heads_lets_others_be_served_in_between(
    autojump_clock: trio.abc.Clock,
) -> None:
    await trio.lowlevel.checkpoint()
    count = BULK // len(PLAIN)
    door = Door()
    flood = door.connect(pipeline(count))
    door.run(lambda: len(door.order) > 2000)  # reads are large by now
    assert len(door.order) < count
    for number in range(5):
        before = len(door.order)
        door.connect(PLAIN % b"one")
        door.run(lambda: "/one" in door.order)
        between = door.order[before:].index("/one")
        assert between <= 64, f"client {number}"
        door.order.remove("/one")
    door.run(lambda: len(door.order) == count)
    assert flood.sent.count(b"HTTP/1.1 200 OK") == count
    assert not flood.closed


async def test_requests_that_are_answered_later_are_not_parsed_ahead(
    autojump_clock: trio.abc.Clock,
) -> None:
    await trio.lowlevel.checkpoint()
    door = Door(HTTPLimits(pipelined=4))
    waiting: list[HTTPExchange] = []
    door.memory.answer = waiting.append
    sock = door.connect(pipeline(3000))
    for served in range(3000):
        door.run(lambda served=served: len(door.order) == served + 1)  # type: ignore[misc]
        door.turn()
        assert len(waiting) == 1, "one after the other"
        waiting.pop().respond(200)
        door.pump.settle()
    assert sock.sent.count(b"HTTP/1.1 200 OK") == 3000


BODY = bytes(range(256)) * 1200  # longer than one read and than the buffer
POST = (
    b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
)
CHUNKED = b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED += b"".join(
    b"%x\r\n%b\r\n" % (len(piece), piece)
    for piece in (BODY[at : at + 100] for at in range(0, len(BODY), 100))
)
CHUNKED += b"0\r\n\r\n"


@pytest.mark.parametrize("request_text", [POST, CHUNKED], ids=["length", "chunked"])
async def test_large_bodies_among_pipelined_requests_arrive_whole(
    autojump_clock: trio.abc.Clock, request_text: bytes
) -> None:
    await trio.lowlevel.checkpoint()
    door = Door(HTTPLimits(body_buffer=2**20))
    bodies: list[bytes] = []
    waiting: list[HTTPExchange] = []
    door.memory.answer = waiting.append
    sock = door.connect(pipeline(50) + request_text + pipeline(50) + request_text)
    for served in range(102):
        door.run(lambda served=served: len(door.order) == served + 1)  # type: ignore[misc]
        exchange = waiting.pop()
        body: list[bytes] = []

        def taken(exchange: HTTPExchange = exchange, into: list[bytes] = body) -> bool:
            found = exchange.take_body_nowait(2**20)
            into += [] if found is None else [found]
            return found is not None

        door.run(taken)
        bodies += body
        exchange.respond(200)
        door.pump.settle()
    assert [body for body in bodies if body] == [BODY, BODY]
    assert sock.sent.count(b"HTTP/1.1 200 OK") == 102


async def test_a_bad_head_in_a_long_read_is_answered_after_those_before_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    await trio.lowlevel.checkpoint()
    door = Door()
    sock = door.connect(pipeline(200) + b"nonsense\r\n\r\n" + pipeline(200))
    door.run(lambda: b"400" in sock.sent)
    assert len(door.order) == 200
    for _ in range(20):
        door.turn()
    assert len(door.order) == 200


async def test_what_was_read_and_not_parsed_goes_with_its_connection(
    autojump_clock: trio.abc.Clock,
) -> None:
    await trio.lowlevel.checkpoint()
    door = Door()
    door.connect(pipeline(5000))
    door.turn()
    (connection,) = door.sockets.watched
    assert isinstance(connection, Connection)
    seen = len(door.order)
    assert 0 < seen < 5000
    connection.lose("the test says so")
    for _ in range(20):
        door.turn()
    assert len(door.order) == seen


async def test_what_follows_an_upgrade_is_for_the_websocket(
    autojump_clock: trio.abc.Clock,
) -> None:
    await trio.lowlevel.checkpoint()

    class Ear:
        texts: list[bytes] = []  # noqa: RUF012 - of one test

        def on_text(self, data: bytes) -> bool:
            self.texts.append(data)
            return False

        def on_binary(self, data: bytes) -> None: ...

        def on_writable(self) -> None: ...

        def on_closed(self, reason: str) -> None: ...

    door = Door()
    ear = Ear()
    door.memory.answer = lambda exchange: (
        exchange.accept_websocket(ear)
        if exchange.request.is_websocket_upgrade
        else exchange.respond(200)
    )
    frames = b"".join(b"\x81\x85\0\0\0\0%05d" % number for number in range(1000))
    upgrade = (
        b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    door.connect(pipeline(100) + upgrade + frames)
    door.run(lambda: len(ear.texts) == 1000)
    assert ear.texts == [b"%05d" % number for number in range(1000)]


async def test_answers_at_once_begin_the_idle_time_anew(
    autojump_clock: trio.abc.Clock,
) -> None:
    door = Door(HTTPLimits(keep_alive_timeout=75))
    sock = door.connect(b"")
    for _ in range(5):
        sock.unread = PLAIN % b"x"
        door.run(lambda: not sock.unread)
        await trio.sleep(50)
        door.pump._run(door.pump._run_timers)
        assert not sock.closed
    await trio.sleep(30)
    door.pump._run(door.pump._run_timers)
    assert sock.closed
