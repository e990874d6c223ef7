"""The front door over real sockets: WebSockets. Every test runs with both drivers."""

import math
import os

import pytest
import trio
import trio.testing

from iii_trio.errors import LocalProtocolError
from iii_trio.net import (
    OP_BINARY,
    OP_CLOSE,
    OP_PING,
    OP_PONG,
    OP_TEXT,
    _connection,
    close_payload,
)
from iii_trio.net._turns import ALONE, IN_COMPANY
from tests.integration.net_rig import (
    DRIVERS,
    UPGRADE,
    Driver,
    Ear,
    Host,
    Rig,
    frame,
    open_rig,
)

each_driver = pytest.mark.parametrize("driver", DRIVERS)
MIB = 1024 * 1024


def echo(ear: Ear) -> None:
    # Its WebSocket is made after it.
    ear.reply = lambda data: ear.websocket.send_text_nowait(data)  # noqa: PLW0108


def text_frame(payload: bytes) -> bytes:
    return frame(OP_TEXT, payload)


def echoing() -> Host:
    host = Host()
    host.prepare = echo
    return host


@each_driver
async def test_messages_are_echoed_in_order(driver: Driver) -> None:
    async with (
        open_rig(driver, host=echoing()) as rig,
        rig.websocket() as (client, ear),
    ):
        for size in (0, 1, 125, 126, 65535, 65536, 3 * MIB):
            await client.echo(b"x" * size)
        await client.send(b"".join(frame(OP_TEXT, b"%d" % i) for i in range(1000)))
        for i in range(1000):
            assert await client.event() == (OP_TEXT, b"%d" % i)
        assert ear.websocket.heard
        assert ear.websocket.outbox_bytes == 0
        host, port = client.stream.socket.getsockname()
        assert ear.websocket.peer == f"{host}:{port}"


@each_driver
async def test_binary_messages_and_fragments_arrive(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        await client.frame(OP_TEXT, b"one ", fin=False)
        await client.frame(OP_PING, b"between")
        await client.frame(0, b"two")
        await client.frame(OP_BINARY, b"\x00\xff")
        assert await client.event() == (OP_PONG, b"between")
        await ear.until(lambda: ear.binaries)
        assert (ear.texts, ear.binaries) == ([b"one two"], [b"\x00\xff"])
        ear.websocket.send_binary_nowait(b"\xff" * 2 * MIB)
        assert await client.event() == (OP_BINARY, b"\xff" * 2 * MIB)


@each_driver
async def test_what_comes_with_the_handshake_is_delivered_after_it(
    driver: Driver,
) -> None:
    async with open_rig(driver, host=echoing()) as rig, rig.client() as client:
        early = frame(OP_TEXT, b"early") + frame(OP_TEXT, b"bird")
        await client.send(UPGRADE.format(target="/ws").encode() + early)
        assert (await client.response()).status == 101
        assert await client.event() == (OP_TEXT, b"early")
        assert await client.event() == (OP_TEXT, b"bird")


@each_driver
async def test_a_websocket_may_be_accepted_later(driver: Driver) -> None:
    async with open_rig(driver, host=echoing()) as rig, rig.client() as client:
        rig.host.on_path["/later"] = lambda exchange: None
        await client.send(UPGRADE.format(target="/later"))
        exchange = await rig.host.came(1)
        count = 3000  # more than is kept before the WebSocket is accepted
        async with trio.open_nursery() as nursery:
            data = b"".join(frame(OP_TEXT, b"%60d" % i) for i in range(count))
            nursery.start_soon(client.send, data)
            await trio.testing.wait_all_tasks_blocked()
            rig.host.accept(exchange)
            assert (await client.response()).status == 101
            for i in range(count):
                assert await client.event() == (OP_TEXT, b"%60d" % i)


@each_driver
async def test_a_websocket_accepted_too_late_is_closed_at_once(driver: Driver) -> None:
    async with open_rig(driver) as rig:
        rig.host.on_path["/later"] = lambda exchange: None
        async with rig.client() as client:
            await client.send(UPGRADE.format(target="/later"))
            exchange = await rig.host.came(1)
        await rig.until_connections(0)
        websocket = rig.host.accept(exchange)
        assert websocket.closed
        websocket.send_text_nowait(b"nobody")
        ear = rig.host.ears[0]
        assert not ear.closed  # never from inside the call
        assert await ear.lost() == "the client hung up"


@each_driver
async def test_a_refused_upgrade_closes_the_connection(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/no"] = lambda exchange: exchange.respond(404)
        await client.send(UPGRADE.format(target="/no").encode() + frame(OP_TEXT, b"x"))
        assert (await client.response()).status == 404
        assert await client.at_end()


@each_driver
async def test_a_chosen_subprotocol_is_named(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/sub"] = lambda exchange: exchange.accept_websocket(
            Ear(), subprotocol="iii"
        )
        await client.send(UPGRADE.format(target="/sub"))
        response = await client.response()
        assert response.headers["sec-websocket-protocol"] == "iii"
        assert "sec-websocket-extensions" not in response.headers


# Backpressure.


@each_driver
async def test_a_held_websocket_keeps_what_it_decoded_and_goes_on_in_order(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        ear.reply = lambda data: ear.websocket.hold() if data == b"1" else None
        await client.send(b"".join(frame(OP_TEXT, b"%d" % i) for i in range(4)))
        await ear.heard(2)
        await client.text(b"4")
        await trio.testing.wait_all_tasks_blocked()
        assert ear.texts == [b"0", b"1"]
        ear.websocket.resume()
        ear.websocket.resume()
        assert ear.texts == [b"0", b"1"]  # never from inside the call
        assert await ear.heard(5) == [b"0", b"1", b"2", b"3", b"4"]


@each_driver
async def test_hold_and_resume_at_every_message_lose_nothing(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        ear.reply = lambda _: ear.websocket.hold()
        count = 200
        await client.send(b"".join(frame(OP_TEXT, b"%d" % i) for i in range(count)))
        for i in range(1, count + 1):
            await ear.heard(i)
            ear.websocket.resume()
        assert ear.texts == [b"%d" % i for i in range(count)]


@each_driver
async def test_a_websocket_lost_while_held_is_told_after_resume(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        ear.reply = lambda _: ear.websocket.hold()
        await client.send(frame(OP_TEXT, b"1") + frame(OP_TEXT, b"2"))
        await ear.heard(1)
        await client.stream.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        assert not ear.closed
        ear.websocket.resume()
        await ear.heard(2)
        ear.websocket.resume()
        assert "end of input" in await ear.lost()


def hold_and_watch(ear: Ear, *texts: bytes) -> None:
    """Let a sink hold its WebSocket at these messages, and watch it."""

    def reply(data: bytes) -> None:
        if data in texts:
            ear.websocket.hold(watch=True)

    ear.reply = reply


@pytest.mark.parametrize("how", ["end of input", "reset", "closed by the peer: 1000"])
@each_driver
async def test_the_end_of_a_held_websocket_is_told_at_once_if_it_is_watched(
    driver: Driver, how: str
) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        hold_and_watch(ear, b"1")
        await client.text(b"1")
        await ear.heard(1)
        await client.answers_ping()
        if how == "end of input":
            await client.stream.send_eof()
        elif how == "reset":
            client.reset()
        else:
            await client.frame(OP_CLOSE, close_payload(1000))
            assert await client.close_code() == 1000
        assert how in await ear.lost()
        ear.websocket.resume()
        assert ear.texts == [b"1"]


@each_driver
async def test_a_websocket_that_is_held_at_each_message_takes_no_more_than_it_serves(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        ear.reply = lambda _data: ear.websocket.hold(watch=True)
        burst = frame(OP_TEXT, b"x") * 100
        await client.send(burst)
        for n in range(1, 50):
            await ear.heard(n)
            await client.send(burst)
            await trio.testing.wait_all_tasks_blocked()
            assert len(ear.websocket._events) == 100
            ear.websocket.resume()


@each_driver
async def test_an_end_after_messages_waits_for_them_also_if_it_is_watched(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        hold_and_watch(ear, b"1", b"2")
        await client.text(b"1")
        await ear.heard(1)
        await client.send(frame(OP_TEXT, b"2") + frame(OP_PING, b"?"))
        await client.text(b"3")
        await client.stream.send_eof()
        await trio.testing.wait_all_tasks_blocked()  # nobody reads the end again
        assert not ear.closed
        assert ear.texts == [b"1"]
        ear.websocket.resume()
        await ear.heard(2)
        await trio.testing.wait_all_tasks_blocked()
        assert not ear.closed
        ear.websocket.resume()
        assert "end of input" in await ear.lost()
        assert ear.texts == [b"1", b"2", b"3"]


@each_driver
async def test_a_reset_is_the_end_of_messages_that_wait(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        hold_and_watch(ear, b"1")
        await client.send(frame(OP_TEXT, b"1") + frame(OP_TEXT, b"2"))
        await ear.heard(1)
        client.reset()
        assert "reset" in await ear.lost()
        ear.websocket.resume()
        await trio.testing.wait_all_tasks_blocked()
        assert ear.texts == [b"1"]


@each_driver
async def test_a_watched_websocket_is_read_within_bounds(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        hold_and_watch(ear, b"1")
        await client.text(b"1")
        await ear.heard(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.text, b"x" * 32 * MIB)
            await trio.testing.wait_all_tasks_blocked()
            assert nursery.child_tasks, "it was all taken"
            ear.websocket.resume()
        assert await ear.heard(2) == [b"1", b"x" * 32 * MIB]


@each_driver
async def test_a_watched_websocket_that_breaks_the_protocol_is_closed(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        hold_and_watch(ear, b"1")
        await client.text(b"1")
        await ear.heard(1)
        await client.send(b"\xff\xff")
        assert await client.close_code() == 1002
        assert "1002" in await ear.lost()


@each_driver
async def test_a_watched_websocket_that_is_closed_hears_the_answer(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        hold_and_watch(ear, b"1")
        await client.text(b"1")
        await ear.heard(1)
        ear.websocket.close(4000)
        assert await client.close_code() == 4000
        await client.send(frame(OP_BINARY, b"x" * 20_000) * 4)
        await client.frame(OP_CLOSE, close_payload(4000))
        assert "closed by the peer: 4000" in await ear.lost()


@each_driver
async def test_the_sink_hears_when_a_full_outbox_was_emptied(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        size = 16 * MIB
        ear.websocket.send_binary_nowait(b"x" * size)
        assert ear.websocket.outbox_bytes > size
        assert ear.writable == 0
        assert await client.event() == (OP_BINARY, b"x" * size)
        await ear.until(lambda: ear.writable)
        ear.websocket.send_binary_nowait(b"small")
        await client.event()
        assert ear.writable == 1
        assert ear.websocket.outbox_bytes == 0


@each_driver
async def test_a_client_that_never_reads_is_dropped_alone(driver: Driver) -> None:
    async with (
        open_rig(driver, host=echoing()) as rig,
        rig.websocket() as (client, _),
        rig.websocket() as (_, deaf),
    ):
        pieces = 0
        while not deaf.closed and pieces < 200:
            deaf.websocket.send_binary_nowait(b"x" * MIB)
            pieces += 1
            assert deaf.websocket.outbox_bytes <= 97 * MIB
            await trio.lowlevel.checkpoint()
        assert 90 < pieces < 200
        assert "does not read" in await deaf.lost()
        assert deaf.websocket.closed
        assert deaf.websocket.outbox_bytes == 0
        assert rig.pump.statistics().unread == 1
        await client.echo(b"still here")


@each_driver
async def test_pongs_that_nobody_reads_are_one(driver: Driver) -> None:
    async with (
        open_rig(driver) as rig,
        rig.websocket(receive_buffer=4096) as (client, ear),
    ):
        ear.websocket.send_binary_nowait(b"x" * 16 * MIB)
        pings = [frame(OP_PING, b"%d" % number) for number in range(10_000)]
        await client.send(b"".join(pings) + frame(OP_TEXT, b"here"))
        await ear.heard(1)
        assert len(ear.websocket._connection.outbox) < 200
        assert (await client.event())[0] == OP_BINARY
        payload = b""
        while payload != b"9999":
            opcode, payload = await client.event()
            assert opcode == OP_PONG
        await client.send(b"".join(pings[:10]))
        for number in range(10):
            assert await client.event() == (OP_PONG, b"%d" % number)


# Closing.


@each_driver
async def test_the_peers_close_is_answered_and_told(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        await client.frame(OP_CLOSE, close_payload(1001, "going"))
        assert await client.close_code() == 1001
        assert await client.at_end()
        assert await ear.lost() == "closed by the peer: 1001 going"
        ear.websocket.send_text_nowait(b"late")
        ear.websocket.close()
        ear.websocket.drop("late")


@each_driver
@pytest.mark.parametrize("code", [1000, 1001, None])
async def test_our_close_comes_after_what_was_sent_and_waits_for_the_answer(
    driver: Driver, code: int | None
) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        ear.websocket.send_text_nowait(b"last words")
        ear.websocket.close(code, "bye")
        ear.websocket.close()
        ear.websocket.send_text_nowait(b"too late")
        assert ear.websocket.closed
        assert await client.event() == (OP_TEXT, b"last words")
        assert await client.close_code() == code
        await client.text(b"not heard")
        assert not ear.closed
        await client.frame(OP_CLOSE, close_payload(code))
        assert await client.at_end()
        assert (await ear.lost()).startswith("closed by the peer")
        assert ear.texts == []


@each_driver
async def test_a_peer_that_does_not_answer_our_close_is_dropped(driver: Driver) -> None:
    async with (
        open_rig(driver, close_timeout=0.001) as rig,
        rig.websocket() as (client, ear),
    ):
        ear.websocket.close()
        assert await client.close_code() == 1000
        assert await ear.lost() == "the peer did not answer our Close"


@each_driver
async def test_a_slow_reader_gets_everything_and_our_close(driver: Driver) -> None:
    async with (
        open_rig(driver, close_timeout=0.001) as rig,
        rig.websocket(receive_buffer=4096) as (slow, ear),
        rig.websocket() as (_, other),
    ):
        ear.websocket.send_binary_nowait(b"x" * 16 * MIB)
        ear.websocket.close(patient=True)
        other.websocket.close()
        await other.lost()  # so the time to answer would be over for the slow one
        assert not ear.closed
        assert await slow.event() == (OP_BINARY, b"x" * 16 * MIB)
        assert await slow.close_code() == 1000
        assert await ear.lost() == "the peer did not answer our Close"


@each_driver
async def test_a_peer_that_takes_nothing_never_gets_our_close(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connection, "_WRITE_STALL_SECONDS", 0.01)
    async with open_rig(driver) as rig, rig.websocket(receive_buffer=4096) as (_, ear):
        ear.websocket.send_binary_nowait(b"x" * 16 * MIB)
        ear.websocket.close(patient=True)
        assert await ear.lost() == "the peer does not read"


@each_driver
async def test_a_held_websocket_can_be_closed(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        ear.reply = lambda _: ear.websocket.hold()
        close = frame(OP_CLOSE, close_payload(1000))
        await client.send(frame(OP_TEXT, b"1") + frame(OP_TEXT, b"2") + close)
        await ear.heard(1)
        ear.websocket.close()
        assert await client.close_code() == 1000
        await ear.lost()
        assert ear.texts == [b"1"]


@each_driver
async def test_drop_sends_what_it_can_and_closes_without_a_close(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        ear.websocket.send_text_nowait(b"last words")
        ear.websocket.drop("evicted")
        assert ear.websocket.closed
        assert not ear.closed
        assert await client.event() == (OP_TEXT, b"last words")
        assert await client.at_end()
        assert await ear.lost() == "evicted"


@each_driver
async def test_a_sink_may_close_drop_or_send_from_its_own_callbacks(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        ear.reply = lambda _: ear.websocket.drop("had enough")
        await client.send(frame(OP_TEXT, b"1") + frame(OP_TEXT, b"2"))
        assert await ear.lost() == "had enough"
        assert ear.texts == [b"1"]
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        ear.reply = lambda _: ear.websocket.close()
        await client.send(frame(OP_TEXT, b"1") + frame(OP_TEXT, b"2"))
        assert await client.close_code() == 1000
        await client.frame(OP_CLOSE, close_payload(1000))
        await ear.lost()
        assert ear.texts == [b"1"]


@each_driver
async def test_pings_are_sent_and_too_long_ones_refused(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        ear.websocket.heard = False
        ear.websocket.ping_nowait(b"?")
        assert await client.event() == (OP_PING, b"?")
        await client.frame(OP_PONG, b"?")
        await client.answers_ping()
        assert ear.websocket.heard
        with pytest.raises(LocalProtocolError):
            ear.websocket.ping_nowait(b"x" * 126)


# Faults of ours.


def fail(_: object) -> None:
    msg = "a bug of ours"
    raise ZeroDivisionError(msg)


@each_driver
@pytest.mark.parametrize("where", ["text", "request", "gone", "task"])
async def test_a_bug_in_a_callback_ends_its_connection_alone_in_a_served_engine(
    driver: Driver, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_rig(driver, host=echoing(), crash_on_bug=False) as rig,
        rig.websocket() as (other, _),
    ):
        await provoke(rig, where)
        await other.echo(b"unharmed")
        assert rig.pump.statistics().faults == 1
        assert "a bug of ours" in caplog.text
        assert "ZeroDivisionError" in caplog.text


async def provoke(rig: Rig, where: str) -> None:
    """Let a callback raise, and wait until its connection has ended."""
    rig.host.on_path["/bug"] = fail
    async with rig.client() as client:
        if where == "request":
            await client.send("GET /bug HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await client.at_end()
        elif where == "gone":
            rig.host.on_path["/gone"] = lambda exchange: setattr(
                exchange, "on_gone", fail
            )
            count = len(rig.host.exchanges)
            await client.send("GET /gone HTTP/1.1\r\nHost: x\r\n\r\n")
            await rig.host.came(count + 1)
            await client.stream.send_eof()
            assert await client.at_end()
        else:
            await client.upgrade()
            ear = rig.host.ears[-1]
            ear.reply = fail
            if where == "text":
                await client.text(b"x")
                assert await ear.lost() == "internal error"
            else:
                ear.reply = lambda _: ear.websocket.hold()
                await client.send(frame(OP_TEXT, b"1") + frame(OP_TEXT, b"2"))
                await ear.heard(1)
                ear.reply = fail
                ear.websocket.resume()
                assert await ear.lost() == "internal error"
            assert await client.at_end()


@each_driver
@pytest.mark.parametrize("where", ["text", "request", "gone", "task"])
async def test_a_bug_in_a_callback_crashes_the_pump_in_tests(
    driver: Driver, where: str
) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError, match="a bug of ours")):
        async with open_rig(driver) as rig:
            await provoke(rig, where)
            await trio.sleep_forever()


@pytest.mark.parametrize("rate", [math.inf, 1e6])
@pytest.mark.parametrize("in_company", [True, False])
async def test_one_peer_gets_only_so_many_requests_served_in_a_row(
    in_company: bool, rate: float
) -> None:
    order: list[bytes] = []
    async with (
        open_rig(messages_per_second=rate) as rig,
        rig.websocket() as (many, busy),
        rig.websocket() as (few, brief),
    ):
        rig.pump.turns._clock = lambda: 0.0  # a turn is not cut short by time
        for ear in (busy, brief):
            ear.asks = True
            ear.reply = order.append
        if in_company:
            await few.text(b"here")
            await brief.heard(1)
        # Both are in their sockets before the pump looks at either.
        for client, texts in ((many, [b"%d" % i for i in range(200)]), (few, [b"me"])):
            assert isinstance(client.stream, trio.SocketStream)
            os.write(client.stream.socket.fileno(), b"".join(map(text_frame, texts)))
        await busy.heard(200)
        await brief.until(lambda: b"me" in brief.texts)
    assert busy.texts == [b"%d" % i for i in range(200)]
    in_a_row = order.index(b"me") - order.index(b"0")
    assert in_a_row == (IN_COMPANY if in_company else ALONE)


@each_driver
async def test_requests_that_were_put_off_are_served_though_the_peer_closes(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        ear.asks = True
        frames = [text_frame(b"%d" % i) for i in range(500)]
        await client.send(b"".join(frames) + frame(OP_CLOSE, b"\x03\xe8"))
        await ear.lost()
        assert ear.texts == [b"%d" % i for i in range(500)]
        assert await client.close_code() == 1000


@each_driver
async def test_hold_among_requests_that_were_put_off_keeps_their_order(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.websocket() as (client, ear):
        ear.asks = True
        ear.reply = lambda data: ear.websocket.hold() if int(data) % 50 == 7 else None
        await client.send(b"".join(text_frame(b"%d" % i) for i in range(300)))
        for held in range(7, 300, 50):
            await ear.heard(held + 1)
            ear.websocket.resume()
        assert await ear.heard(300) == [b"%d" % i for i in range(300)]
