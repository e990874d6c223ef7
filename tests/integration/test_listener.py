"""The worker port on real sockets: its paths, its links, its channel sockets."""

import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, final

import attrs
import pytest
import trio
import trio.testing

from iii_trio.access import Access
from iii_trio.engine import Channel, Engine, open_engine, open_listener
from iii_trio.net import (
    OP_BINARY,
    OP_CLOSE,
    OP_PING,
    OP_PONG,
    OP_TEXT,
    FrontDoor,
    HTTPLimits,
    open_pump,
)
from iii_trio.protocol import WorkerDetached
from iii_trio.testing import EventRecorder
from iii_trio.worker import open_worker
from tests.integration.net_rig import UPGRADE, Client

STRANGER = "00000000-0000-4000-8000-00000000dead"


@final
@attrs.frozen(eq=False)
class Port:
    """An engine that listens, and what it heard."""

    engine: Engine
    events: EventRecorder
    telemetry: list[bytes]
    address: tuple[str, int]
    door: FrontDoor

    @asynccontextmanager
    async def client(self, *, receive_buffer: int = 0) -> AsyncIterator[Client]:
        sock = trio.socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await sock.connect(self.address)
        stream = trio.SocketStream(sock)
        try:
            yield Client(stream)
        finally:
            stream.socket.close()

    @asynccontextmanager
    async def socket(
        self, target: str, *, receive_buffer: int = 0
    ) -> AsyncIterator[Client]:
        async with self.client(receive_buffer=receive_buffer) as client:
            yield await client.upgrade(target)

    @asynccontextmanager
    async def peer(self, name: str | None = None) -> AsyncIterator[Client]:
        """A worker's socket that was greeted and is announced."""
        async with self.socket("/") as client:
            assert (await frame(client))["type"] == "workerregistered"
            if name is not None:
                await announce(client, name)
            yield client

    def channel(self, buffer_frames: int | None = None) -> Channel:
        return self.engine.channels.create(None, buffer_frames)


@asynccontextmanager
async def open_port(
    *, ping_every: float = 3600, access: Access | None = None, **limits: float
) -> AsyncIterator[Port]:
    events, telemetry = EventRecorder(), list[bytes]()
    async with (
        open_pump() as pump,
        open_engine(on_event=events, on_telemetry=telemetry.append) as engine,
        open_listener(
            engine,
            pump,
            port=0,
            limits=HTTPLimits(**limits),  # type: ignore[arg-type]
            ping_every=ping_every,
            access=access,
        ) as door,
    ):
        with trio.fail_after(45):  # so that a hang is a failure
            await trio.lowlevel.checkpoint()
            yield Port(engine, events, telemetry, door.addresses[0], door)


CALL = b"11111111-1111-4111-8111-111111111111"


async def frame(client: Client) -> Any:
    """The next message, which must be a text one."""
    opcode, data = await client.event()
    assert opcode == OP_TEXT
    return json.loads(data)


async def send(client: Client, **fields: object) -> None:
    await client.text(json.dumps(fields).encode())


async def announce(client: Client, name: str, **more: str) -> None:
    await send(
        client,
        type="invokefunction",
        invocation_id=STRANGER,
        function_id="engine::workers::register",
        data={"name": name, **more},
    )
    assert (await frame(client))["result"] == {"success": True}


async def is_served(client: Client) -> None:
    """Check that everything sent before was read, and that nothing came of it."""
    await send(client, type="ping")
    assert await frame(client) == {"type": "pong"}


def target(channel: Channel, direction: str, **more: str) -> str:
    key = more.get("key", channel.access_key)
    return f"/ws/channels/{channel.channel_id}?key={key}&dir={direction}"


# Paths


@pytest.mark.parametrize(
    ("method", "path", "status", "header"),
    [
        ("GET", "/", 426, ("upgrade", "websocket")),
        ("GET", "/?token=x", 426, ("upgrade", "websocket")),
        ("GET", "/otel", 426, ("upgrade", "websocket")),
        ("GET", "/ws/channels/x?key=k&dir=read", 426, ("upgrade", "websocket")),
        ("POST", "/", 405, ("allow", "GET")),
        ("HEAD", "/otel", 405, ("allow", "GET")),
        ("DELETE", "/ws/channels/x", 405, ("allow", "GET")),
        ("GET", "/nothing", 404, None),
        ("POST", "/otel/v1/traces", 404, None),
        ("GET", "/ws/channels", 404, None),
    ],
)
async def test_plain_http_is_told_what_this_port_is(
    method: str, path: str, status: int, header: tuple[str, str] | None
) -> None:
    async with open_port() as port, port.client() as client:
        await client.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        response = await client.response(head_only=method == "HEAD")
        assert response.status == status
        assert header is None or response.headers[header[0]] == header[1]
        assert port.engine.statistics().workers == 0


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("?key={key}", 400),
        ("?dir=read", 400),
        ("?key={key}&dir=both", 400),
        ("?key={key}&dir=read&dir=write", 400),
        ("?key={key}&key={key}&dir=read", 400),
        ("?key=&dir=read", 400),
        (f"?key={STRANGER}&dir=read", 404),
    ],
)
async def test_a_channel_socket_needs_its_key_and_a_direction(
    query: str, status: int
) -> None:
    async with open_port() as port, port.client() as client:
        channel = port.channel()
        path = f"/ws/channels/{channel.channel_id}" + query.format(
            key=channel.access_key
        )
        await client.send(UPGRADE.format(target=path))
        assert (await client.response()).status == status
        assert channel.reader is None


async def test_an_unknown_path_or_channel_is_404_before_the_upgrade() -> None:
    async with open_port() as port:
        for path, text in (
            ("/nothing", b"Not Found\n"),
            (f"/ws/channels/{STRANGER}?key=k&dir=read", b"Channel not found\n"),
        ):
            async with port.client() as client:
                await client.send(UPGRADE.format(target=path))
                response = await client.response()
                assert (response.status, response.body) == (404, text)


# Links


async def test_a_link_is_greeted_whatever_its_query() -> None:
    async with open_port() as port, port.socket("/?token=%zz&&a=b=c") as client:
        greeting = await frame(client)
        assert list(greeting) == ["type", "worker_id", "reattach_token"]
        await is_served(client)


async def test_a_protocol_message_may_be_binary_and_blank_text_is_nothing() -> None:
    async with open_port() as port, port.peer() as client:
        await client.text(b"")
        await client.text(b" \r\n\t")
        await client.frame(OP_BINARY, b'{"type":"ping"}')
        assert await frame(client) == {"type": "pong"}
        assert port.engine.statistics().bad_frames == 0


@pytest.mark.parametrize(
    "row",
    [
        b"{",
        b"nonsense",
        b"[]",
        b"null",
        b"{}",
        b'{"type":1}',
        b'{"type":"nobody"}',
        b'{"type":"registerfunction"}',
        b'{"type":"registerfunction","id":1}',
        b'{"type":"invokefunction","function_id":"f","invocation_id":"no uuid"}',
        b'{"type":"invokefunction","data":{}}',
        b'{"type":"invocationresult","function_id":"f"}',
        b'{"type":"registertrigger","id":"t","function_id":"f"}',
        b'{"type":"reattach"}',
        b'{"type":"ping","x":NaN}',
        b"[" * 100_000,
    ],
)
async def test_a_bad_frame_is_dropped_and_the_connection_lives(
    row: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_port() as port, port.peer() as client:
        await client.text(row)
        await is_served(client)
        assert port.engine.statistics().bad_frames == 1
        assert "frame of <LinkPort" in caplog.text


async def test_binary_rubbish_is_dropped_and_the_connection_lives() -> None:
    async with open_port() as port, port.peer() as client:
        await client.frame(OP_BINARY, b"\xff\xfe")
        await client.frame(OP_BINARY, b"\0" * 10)
        await is_served(client)


async def test_wrong_registrations_are_answered_and_the_connection_lives() -> None:
    async with open_port() as port, port.peer("a") as a, port.peer("b") as b:
        await send(a, type="registerfunction", id="f::f")
        await is_served(a)
        await send(b, type="registerfunction", id="f::f")
        answer = await frame(b)
        assert answer["type"] == "registrationrejected"
        assert answer["code"] == "FUNCTION_NAMESPACE_CONFLICT"
        await send(b, type="registerfunction", id="engine::mine")
        answer = await frame(b)
        assert (answer["function_id"], answer["owner_worker_id"]) == (
            "engine::mine",
            "",
        )
        await send(
            b,
            type="registertrigger",
            id="t",
            trigger_type="x",
            function_id="f",
            namespace="",
        )
        assert (await frame(b))["error"]["code"] == "INVALID_NAMESPACE"
        await is_served(b)


async def test_a_taken_name_is_told_and_then_closed() -> None:
    async with open_port() as port, port.peer("a") as a, port.peer() as b:
        await send(
            b,
            type="invokefunction",
            function_id="engine::workers::register",
            data={"name": "a"},
            action={"type": "void"},
        )
        assert (await frame(b))["code"] == "WORKER_NAMESPACE_CONFLICT"
        assert await b.close_code() is None
        await is_served(a)


@pytest.mark.parametrize("fragmented", [True, False])
async def test_a_call_over_64_mib_is_answered_and_the_connection_lives(
    fragmented: bool,
) -> None:
    async with open_port() as port, port.peer() as large:
        head = b'{"type":"invokefunction","invocation_id":"%s",' % CALL
        head += b'"function_id":"f","data":"'
        # An endless row of letters; the mask of zeros changes nothing.
        piece, pieces = b"x" * 2**20, 66
        first = 0x01 if fragmented else 0x81
        whole = len(head) if fragmented else len(head) + pieces * len(piece) + 2
        await large.send(bytes([first]) + frame_size(whole) + head)
        for _ in range(pieces):
            await large.send(b"\0" + frame_size(len(piece)) if fragmented else b"")
            await large.send(piece)
        await large.send((b"\x80" + frame_size(2) if fragmented else b"") + b'"}')
        answer = await frame(large)
        assert answer["invocation_id"] == CALL.decode()
        assert answer["error"]["code"] == "payload_too_large"
        await is_served(large)
        assert port.door.statistics().large_messages == 1


async def test_a_void_call_over_64_mib_is_counted_as_dropped() -> None:
    async with open_port() as port, port.peer() as large:
        head = b'{"type":"invokefunction","function_id":"x::y","data":"'
        await large.send(b"\x81" + frame_size(len(head) + 64 * 2**20 + 2) + head)
        for _ in range(64):
            await large.send(b"x" * 2**20)
        await large.send(b'"}')
        await is_served(large)
        assert port.engine.statistics().dropped_fires == 1


async def test_a_message_of_a_channel_over_16_mib_closes_that_end_alone() -> None:
    async with open_port() as port, port.peer() as other:
        async with port.socket(target(port.channel(), "write")) as writer:
            await writer.send(b"\x82" + frame_size(16 * 2**20 + 1) + b"x")
            assert await writer.close_code() == 1009
        await is_served(other)
        assert port.door.statistics().large_messages == 1


def frame_size(size: int) -> bytes:
    """The rest of a masked frame's header, with a mask of zeros."""
    if size < 126:
        return struct.pack("!BI", 0x80 | size, 0)
    if size < 0x10000:
        return struct.pack("!BHI", 0x80 | 126, size, 0)
    return struct.pack("!BQI", 0x80 | 127, size, 0)


async def test_a_message_over_1_gib_ends_that_connection_alone() -> None:
    async with open_port() as port, port.peer() as large, port.peer() as other:
        await large.send(b"\x81" + frame_size(2**30 + 1) + b"x")
        await large.send(b"x" * 10)
        assert await large.close_code() == 1009
        await port.events.wait_for(WorkerDetached)
        await is_served(other)
        assert port.engine.statistics().workers == 1


async def test_a_close_is_answered_and_the_worker_is_gone() -> None:
    async with open_port() as port, port.peer("w") as client:
        await client.frame(OP_CLOSE, b"\x03\xe8")
        assert await client.close_code() == 1000
        assert await client.at_end()
        assert port.engine.roster.holder("default", "w") is None


async def test_a_silent_peer_is_dropped_and_one_that_answers_is_kept() -> None:
    async with (
        open_port(ping_every=0.5) as port,
        port.peer("silent"),
        port.peer("alive") as alive,
        port.socket("/otel"),
    ):
        silent = port.engine.roster.holder("default", "silent")
        assert silent is not None
        while not (gone := port.events.of(WorkerDetached)):
            opcode, data = await alive.event()
            assert opcode == OP_PING
            await alive.frame(OP_PONG, data)
        assert gone[0].worker_id == silent.worker_id
        assert "silent for 2 pings" in gone[0].reason
        await is_served(alive)


async def test_a_peer_is_kept_while_it_takes_a_large_message() -> None:
    async with (
        open_port(ping_every=0.5) as port,
        open_worker(port.engine, name="giver") as giver,
        port.peer() as slow,
        port.peer("alive") as alive,
    ):
        await announce(slow, "slow", runtime="go", version="0.25.0")  # takes 64 MiB

        @giver.function("give")
        async def give(_: object) -> str:
            await trio.lowlevel.checkpoint()
            return "x" * 40 * 2**20

        await send(
            slow,
            type="invokefunction",
            invocation_id=CALL.decode(),
            function_id="give",
            data={},
        )

        async def next_ping() -> None:
            opcode, data = await alive.event()
            assert opcode == OP_PING
            await alive.frame(OP_PONG, data)

        for _ in range(5):
            await next_ping()
            taken = 0
            while taken < 4 * 2**20:
                piece = await slow.receive()
                assert piece, "dropped while it read"
                taken += len(piece)
        while not (gone := port.events.of(WorkerDetached)):
            await next_ping()
        assert "silent for 2 pings" in gone[0].reason


# Handshakes that do not end


async def test_half_a_handshake_disturbs_nobody() -> None:
    async with open_port() as port, port.peer() as other:
        half = UPGRADE.format(target="/").encode()
        for length in (1, len(half) // 2, len(half) - 1):
            async with port.client() as client:
                await client.send(half[:length])
            await is_served(other)
        assert port.engine.statistics().workers == 1


async def test_slow_handshakes_and_silent_connections_are_closed_in_time() -> None:
    async with open_port(handshake_timeout=0.5) as port, port.peer() as other:
        async with trio.open_nursery() as nursery:

            async def dawdle(sent: str) -> None:
                async with port.client() as client:
                    await client.send(sent)
                    assert await client.at_end()

            nursery.start_soon(dawdle, UPGRADE.format(target="/")[:-2])
            for _ in range(200):
                nursery.start_soon(dawdle, "")
            await is_served(other)
        await is_served(other)
        assert port.engine.statistics().workers == 1


# Telemetry


async def test_otel_takes_telemetry_and_is_never_a_worker() -> None:
    async with open_port() as port, port.socket("/otel") as client:
        await client.text(b'{"type":"ping"}')
        await client.frame(OP_BINARY, b'OTLP{"a":1}')
        await client.frame(OP_BINARY, b"nonsense")
        await client.frame(OP_BINARY, b"MTRC{}")
        await client.frame(OP_BINARY, b"LOGS{}")
        await client.answers_ping()
        assert port.telemetry == [b'OTLP{"a":1}', b"MTRC{}", b"LOGS{}"]
        assert len(port.engine.roster) == 1
        assert not port.events.events


async def test_telemetry_may_come_over_a_link() -> None:
    async with open_port() as port, port.peer() as client:
        await client.frame(OP_BINARY, b"LOGS{}")
        await is_served(client)
        assert port.telemetry == [b"LOGS{}"]


# Channels


Order = Literal["writer first", "reader first"]


@asynccontextmanager
async def both_ends(
    port: Port, channel: Channel, order: Order
) -> AsyncIterator[tuple[Client, Client]]:
    first, second = ("write", "read") if order == "writer first" else ("read", "write")
    async with (
        port.socket(target(channel, first)) as a,
        port.socket(target(channel, second)) as b,
    ):
        yield (a, b) if first == "write" else (b, a)


@pytest.mark.parametrize("order", ["writer first", "reader first"])
async def test_frames_keep_their_kind_and_order_until_the_end(order: Order) -> None:
    async with open_port() as port:
        channel = port.channel()
        async with both_ends(port, channel, order) as (writer, reader):
            await writer.text(b"text")
            await writer.frame(OP_BINARY, b"\0bytes")
            await writer.frame(OP_PING, b"no data")
            await writer.text(b"")
            await writer.frame(OP_CLOSE, b"\x03\xe8done")
            assert await reader.event() == (OP_TEXT, b"text")
            assert await reader.event() == (OP_BINARY, b"\0bytes")
            assert await reader.event() == (OP_TEXT, b"")
            assert await reader.close_code() is None
            assert await writer.event() == (OP_PONG, b"no data")
            assert await writer.close_code() == 1000
        assert port.engine.statistics().channels == 0


async def test_a_writer_may_be_gone_before_the_reader_comes() -> None:
    async with open_port() as port:
        channel = port.channel()
        async with port.socket(target(channel, "write")) as writer:
            await writer.text(b"early")
            await writer.frame(OP_CLOSE)
            await writer.close_code()
        async with port.socket(target(channel, "read")) as reader:
            assert await reader.event() == (OP_TEXT, b"early")
            assert await reader.close_code() is None


async def test_a_slow_reader_gets_everything_and_the_end() -> None:
    async with open_port(close_timeout=0.001) as port:
        channel, other = port.channel(), port.channel()
        async with (
            port.socket(target(channel, "read"), receive_buffer=4096) as slow,
            port.socket(target(other, "read")),
        ):
            channel.put(b"x" * 12 * 2**20, text=False)
            channel.end("")
            async with port.socket(target(other, "read")) as late:  # it is taken
                await late.at_end()  # so the time to answer a Close is over for slow
            assert await slow.event() == (OP_BINARY, b"x" * 12 * 2**20)
            assert await slow.close_code() is None


async def test_a_writer_that_is_lost_ends_the_stream_too() -> None:
    async with open_port() as port:
        channel = port.channel()
        async with both_ends(port, channel, "reader first") as (writer, reader):
            await writer.text(b"last")
            await writer.answers_ping()
            writer.reset()
            assert await reader.event() == (OP_TEXT, b"last")
            assert await reader.close_code() is None


async def test_a_reader_that_is_lost_drops_the_writer_without_a_close() -> None:
    async with open_port() as port:
        channel = port.channel()
        async with both_ends(port, channel, "writer first") as (writer, reader):
            await writer.text(b"x")
            assert await reader.event() == (OP_TEXT, b"x")
            reader.reset()
            assert await writer.at_end()
        assert port.engine.statistics().channels == 0


@pytest.mark.parametrize("direction", ["read", "write"])
async def test_an_end_that_is_taken_is_upgraded_and_closed(direction: str) -> None:
    async with open_port() as port:
        path = target(port.channel(), direction)
        async with port.socket(path) as first, port.socket(path) as second:
            assert await second.close_code() is None
            await first.answers_ping()
        assert port.engine.statistics().workers == 0


async def test_a_reader_that_talks_is_not_listened_to() -> None:
    async with open_port() as port:
        channel = port.channel()
        async with both_ends(port, channel, "reader first") as (writer, reader):
            await reader.text(b'{"type":"ping"}')
            await reader.frame(OP_BINARY, b"x")
            await reader.answers_ping()
            await writer.text(b"x")
            assert await reader.event() == (OP_TEXT, b"x")


async def test_a_full_channel_holds_its_writer_back() -> None:
    async with open_port() as port:
        channel = port.channel(buffer_frames=2)
        async with (
            port.socket(target(channel, "write")) as writer,
            trio.open_nursery() as nursery,
        ):
            piece, count = bytes(2**16), 1000  # more than the kernel's buffers take
            sent: list[int] = []

            async def write() -> None:
                await trio.lowlevel.checkpoint()
                for n in range(count):
                    await writer.frame(OP_BINARY, piece)
                    sent.append(n)

            nursery.start_soon(write)
            while not channel.is_full:
                await trio.testing.wait_all_tasks_blocked(0.01)
            await trio.testing.wait_all_tasks_blocked(0.1)
            assert len(sent) < count
            async with port.socket(target(channel, "read")) as reader:
                for _ in range(count):
                    assert await reader.event() == (OP_BINARY, piece)


async def test_the_garbage_query_of_old_sdks_finds_its_channel() -> None:
    async with open_port() as port:
        channel = port.channel()
        async with (
            port.socket("/?token=x" + target(channel, "read")) as reader,
            port.socket(target(channel, "write")) as writer,
        ):
            await writer.text(b"found")
            assert await reader.event() == (OP_TEXT, b"found")
        assert port.engine.statistics().workers == 0
