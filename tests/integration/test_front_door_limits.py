"""What one client of a front door may not do: open too much, send too fast."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from iii_trio.net import OP_TEXT, BodyTooLargeError
from tests.integration.net_rig import DRIVERS, Driver, Ear, Host, frame, open_rig

MIB = 1024 * 1024

each_driver = pytest.mark.parametrize("driver", DRIVERS)


@each_driver
async def test_an_address_gets_so_many_connections_and_no_more(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_rig(driver, connections_per_address=2) as rig:
        async with rig.client() as one, rig.client() as two:
            await one.get("/x")
            await two.get("/x")
            for _ in range(3):
                async with rig.client() as three:
                    with pytest.raises(trio.BrokenResourceError):
                        await until_lost(three.stream.send_all)
            assert (await one.get("/x")).status == 200
            assert rig.door.statistics().crowded == 3
        await rig.until_connections(0)
        async with rig.client() as again:
            assert (await again.get("/x")).status == 200
    told = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert told == ["127.0.0.1 has 2 connections here; more of it are closed at once."]


async def until_lost(send: Callable[[bytes], Awaitable[None]]) -> None:
    while True:
        await send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")


@each_driver
@pytest.mark.parametrize(
    "limits", [{"messages_per_second": 10_000}, {"bytes_per_second": 500_000}]
)
async def test_a_websocket_that_sends_too_fast_is_read_less_often(
    driver: Driver, limits: dict[str, Any]
) -> None:
    async with (
        open_rig(driver, seconds=60, **limits) as rig,
        rig.websocket() as (calm, witness),
        rig.websocket() as (eager, ear),
    ):
        count = 15_000
        data = frame(OP_TEXT, b"x" * 40) * count
        async with trio.open_nursery() as nursery:
            nursery.start_soon(eager.send, data)
            await ear.heard(1)
            await calm.text(b"one in between")
            await witness.heard(1)
            assert len(await ear.heard(count)) == count
        assert rig.door.statistics().throttled > 0
        await eager.answers_ping()
        assert not ear.closed


@each_driver
async def test_a_pause_does_not_undo_a_hold(driver: Driver) -> None:
    host = Host()

    def hold_first(ear: Ear) -> None:
        def reply(_: bytes) -> None:
            if len(ear.texts) == 1:
                ear.websocket.hold()

        ear.reply = reply

    host.prepare = hold_first
    async with (
        open_rig(driver, host=host, messages_per_second=1000) as rig,
        rig.websocket() as (client, ear),
        rig.websocket() as (other, other_ear),
    ):
        await client.send(frame(OP_TEXT, b"x") * 1100)
        await ear.heard(1)
        # The other's pause, which began later, is over: the first one's is too.
        await other.send(frame(OP_TEXT, b"x") * 1100)
        await other_ear.heard(1)
        other_ear.websocket.resume()
        await other_ear.heard(1100)
        await other.answers_ping()
        assert len(ear.texts) == 1
        ear.websocket.resume()
        assert len(await ear.heard(1100)) == 1100
        await client.answers_ping()


@each_driver
async def test_a_throttled_websocket_that_is_lost_is_told_once(driver: Driver) -> None:
    async with (
        open_rig(driver, messages_per_second=1) as rig,
        rig.websocket() as (client, ear),
    ):
        await client.send(frame(OP_TEXT, b"x") * 5)
        await ear.heard(5)
        assert rig.door.statistics().throttled == 1
        ear.websocket.drop("enough")
        assert await ear.lost() == "enough"
        await rig.until_connections(0)


async def test_bad_requests_are_counted() -> None:
    async with open_rig() as rig:
        async with rig.client() as client:
            await client.send("nonsense\r\n\r\n")
            assert (await client.response()).status == 400
        assert rig.door.statistics().bad_requests == 1


@each_driver
async def test_what_waits_for_all_peers_together_has_a_cap(driver: Driver) -> None:
    """Those that are far behind are dropped, one that is a little behind is not."""
    cap = 8 * MIB
    async with (
        open_rig(driver, outboxes_bytes=cap) as rig,
        rig.websocket(receive_buffer=4096) as (_, first),
        rig.websocket(receive_buffer=4096) as (_, second),
        rig.websocket(receive_buffer=4096) as (slow, modest),
        rig.websocket() as (good, fine),
    ):
        heard: list[bool] = []
        with rig.pump.outboxes.telling(heard.append):
            modest.websocket.send_text_nowait(b"m" * 6 * MIB)  # the kernel takes some
            for ear in (first, second):
                while not ear.closed:
                    ear.websocket.send_text_nowait(b"x" * MIB)
                    await trio.testing.wait_all_tasks_blocked()
            assert "waits for all peers together" in first.closed[0] + second.closed[0]
            assert rig.pump.statistics().overflows == 2
            fine.websocket.send_text_nowait(b"still served")
            assert await good.event() == (OP_TEXT, b"still served")
            assert await slow.event() == (OP_TEXT, b"m" * 6 * MIB)
            while rig.pump.statistics().waiting_bytes:
                await trio.testing.wait_all_tasks_blocked()
        assert heard[:3] == [False, True, False]
        assert not heard[-1]


@each_driver
async def test_a_late_head_is_counted(driver: Driver) -> None:
    async with (
        open_rig(driver, handshake_timeout=0.05) as rig,
        rig.client() as client,
    ):
        await client.send("GET / HT")
        assert await client.at_end()
        assert rig.door.statistics().late == 1


@pytest.mark.parametrize(
    "body",
    ["Content-Length: 9\r\n\r\n123456789", "Transfer-Encoding: chunked\r\n\r\n9\r\n"],
)
async def test_a_body_over_its_limit_is_counted(body: str) -> None:
    async with open_rig() as rig, rig.client() as client:
        rig.host.on_path["/body"] = lambda exchange: None
        await client.send(f"POST /body HTTP/1.1\r\nHost: x\r\n{body}")
        await client.send("123456789")
        exchange = await rig.host.came(1)
        with pytest.raises(BodyTooLargeError):
            await exchange.read_body(8)
        assert rig.door.statistics().large_bodies == 1
