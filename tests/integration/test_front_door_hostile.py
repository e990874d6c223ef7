"""The front door against clients that are slow, silent, broken or hostile.

In most tests a well-behaved WebSocket is open beside the bad client, and must not notice.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from iii_trio.net import (
    OP_BINARY,
    OP_CLOSE,
    OP_PING,
    OP_TEXT,
    HTTPExchange,
    encode_frame,
)
from tests.integration.net_rig import (
    DRIVERS,
    UPGRADE,
    Client,
    Driver,
    Ear,
    Host,
    Rig,
    frame,
    open_rig,
)

each_driver = pytest.mark.parametrize("driver", DRIVERS)
MIB = 1024 * 1024
TINY = 0.001


def echoing() -> Host:
    def echo(ear: Ear) -> None:
        # Its WebSocket is made after it.
        ear.reply = lambda data: ear.websocket.send_text_nowait(data)  # noqa: PLW0108

    host = Host()
    host.prepare = echo
    return host


@asynccontextmanager
async def open_witnessed(driver: Driver, **limits: Any) -> AsyncIterator[Rig]:
    """A rig with a well-behaved WebSocket, which must be alive at the end."""
    async with (
        open_rig(driver, host=echoing(), seconds=60, **limits) as rig,
        rig.websocket() as (witness, ear),
    ):
        yield rig
        await witness.echo(b"unharmed")
        assert not ear.closed


# Time.


@each_driver
@pytest.mark.parametrize("sent", ["", "GET / HT", UPGRADE.format(target="/ws")[:-2]])
async def test_a_handshake_that_does_not_end_is_closed_without_a_word(
    driver: Driver, sent: str
) -> None:
    async with (
        open_witnessed(driver, handshake_timeout=0.05) as rig,
        rig.client() as client,
    ):
        if sent:
            await client.send(sent)
        assert await client.at_end()


@each_driver
async def test_a_handshake_byte_by_byte_does_not_gain_time(driver: Driver) -> None:
    async with (
        open_witnessed(driver, handshake_timeout=0.05) as rig,
        rig.client() as client,
    ):
        await client.send("GET / HTTP/1.1\r\nHost: x\r\nX: ")
        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever(client, b"y")
        assert len(rig.host.exchanges) == 1  # the witness


async def send_for_ever(client: Client, data: bytes) -> None:
    while True:
        await client.send(data)
        await trio.testing.wait_all_tasks_blocked()


@each_driver
async def test_a_further_request_must_also_end_in_time(driver: Driver) -> None:
    async with (
        open_rig(driver, handshake_timeout=0.05) as rig,
        rig.client() as client,
    ):
        await client.get("/x")
        await client.send("GET / HT")
        assert await client.at_end()


@each_driver
async def test_an_idle_connection_is_closed(driver: Driver) -> None:
    async with (
        open_witnessed(driver, keep_alive_timeout=TINY) as rig,
        rig.client() as client,
    ):
        await client.get("/x")
        assert await client.at_end()


@each_driver
async def test_a_response_in_the_making_is_not_idle(driver: Driver) -> None:
    async with (
        open_rig(driver, keep_alive_timeout=TINY) as rig,
        rig.client() as slow,
        rig.client() as idle,
    ):
        rig.host.on_path["/slow"] = lambda exchange: None
        await slow.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        exchange = await rig.host.came(1)
        await idle.get("/x")
        assert await idle.at_end()
        exchange.respond(200, (), b"in the end")
        assert (await slow.response()).body == b"in the end"


@each_driver
async def test_a_body_that_does_not_come_is_408(driver: Driver) -> None:
    async with (
        open_witnessed(driver, body_timeout=TINY) as rig,
        rig.client() as client,
    ):
        rig.host.on_path["/body"] = lambda exchange: None
        await client.send(
            "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"
        )
        exchange = await rig.host.came(2)
        with pytest.raises(trio.BrokenResourceError, match="in time"):
            await exchange.read_body(9)
        assert (await client.response()).status == 408
        assert await client.at_end()


@each_driver
async def test_a_client_that_does_not_read_its_response_is_dropped(
    driver: Driver,
) -> None:
    async with (
        open_witnessed(driver, keep_alive_timeout=TINY) as rig,
        rig.client() as client,
    ):
        gone = trio.Event()

        def handle(exchange: HTTPExchange) -> None:
            exchange.on_gone = lambda reason: gone.set()
            exchange.start_response(200)
            exchange.write_nowait(b"x" * 32 * MIB)

        rig.host.on_path["/big"] = handle
        await client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        await gone.wait()


@each_driver
async def test_a_closing_connection_lingers_for_a_while_only(driver: Driver) -> None:
    async with (
        open_witnessed(driver, linger_timeout=TINY) as rig,
        rig.client() as client,
    ):
        await client.send("nonsense\r\n\r\n")
        assert (await client.response()).status == 400
        await rig.until_connections(1)


# Broken frames.


BROKEN = {
    "unmasked": (encode_frame(OP_TEXT, b"x"), 1002),
    "reserved bit": (b"\xc1\x80\0\0\0\0", 1002),
    "unknown opcode": (frame(7, b""), 1002),
    "long ping": (frame(OP_PING, b"x" * 200), 1002),
    "bad text": (frame(OP_TEXT, b"\xff"), 1007),
    "bad close": (frame(OP_CLOSE, b"\x03\xed"), 1002),
    "oversize": (frame(OP_BINARY, b"x" * 2000), 1009),
    "oversize in fragments": (
        frame(OP_BINARY, b"x" * 900, fin=False) + frame(0, b"x" * 900),
        1009,
    ),
    "a whale announced": (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"\0" * 4, 1009),
}


@each_driver
@pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_frame_closes_its_connection_alone(
    driver: Driver, data: bytes, code: int
) -> None:
    async with open_witnessed(driver) as rig:
        rig.host.max_message_bytes = 1000
        async with rig.websocket() as (client, ear):
            await client.send(
                frame(OP_TEXT, b"before") + data + frame(OP_TEXT, b"after")
            )
            assert await client.event() == (OP_TEXT, b"before")
            assert await client.close_code() == code
            assert await client.at_end()
            assert (await ear.lost()).startswith(f"failed with {code}")
            assert ear.texts == [b"before"]
        assert rig.door.statistics().large_messages == (code == 1009)


@each_driver
@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_cut_inside_any_byte_of_a_frame_is_lost_alone(
    driver: Driver, *, reset: bool
) -> None:
    data = frame(OP_TEXT, b"first") + frame(OP_TEXT, b"x" * 200)
    async with open_witnessed(driver) as rig:
        for cut in range(len(data)):
            async with rig.websocket() as (client, ear):
                await client.send(data[:cut])
                if reset:
                    await trio.testing.wait_all_tasks_blocked()
                    client.reset()
                else:
                    await client.stream.send_eof()
                assert "connection lost" in await ear.lost()
                assert ear.texts == ([b"first"] if cut >= 11 else [])
        await rig.until_connections(1)


@each_driver
async def test_a_connection_cut_inside_any_byte_of_a_request_is_no_request(
    driver: Driver,
) -> None:
    data = UPGRADE.format(target="/ws")
    async with open_witnessed(driver) as rig:
        for cut in range(len(data)):
            async with rig.client() as client:
                await client.send(data[:cut])
                await client.stream.send_eof()
                assert await client.at_end()
        assert len(rig.host.exchanges) == 1


@each_driver
async def test_a_reset_before_anything_was_read_is_nothing(driver: Driver) -> None:
    async with open_witnessed(driver) as rig:
        for _ in range(20):
            async with rig.client() as client:
                client.reset()
        await rig.until_connections(1)


# Floods.


@each_driver
async def test_a_flood_does_not_starve_others(driver: Driver) -> None:
    async with open_witnessed(driver) as rig, trio.open_nursery() as nursery:
        for _ in range(3):
            client = await nursery.start(flooded, rig)
            nursery.start_soon(pour, client)
        async with rig.websocket() as (calm, _):
            for i in range(20):
                await calm.echo(b"%d" % i)
        nursery.cancel_scope.cancel(reason="survived")


async def flooded(rig: Rig, *, task_status: trio.TaskStatus[object]) -> None:
    """A client whose texts go nowhere."""
    async with rig.websocket() as (client, ear):
        ear.reply = lambda _: ear.texts.clear()
        task_status.started(client.stream)
        await trio.sleep_forever()


async def pour(stream: trio.SocketStream) -> None:
    data = frame(OP_TEXT, b"x" * 100) * 1000
    while True:
        await stream.send_all(data)


@each_driver
async def test_a_flood_of_pings_whose_answers_nobody_reads_costs_no_memory(
    driver: Driver,
) -> None:
    async with (
        open_witnessed(driver, outbox_bytes=MIB) as rig,
        rig.websocket(receive_buffer=4096) as (client, ear),
    ):
        for _ in range(16):
            await client.send(frame(OP_PING, b"x" * 125) * 8000)
        assert ear.websocket.outbox_bytes < MIB / 16
        assert not ear.closed
