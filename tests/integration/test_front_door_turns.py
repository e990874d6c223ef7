"""Requests that were put off, because one peer asks for much: none starve, none are lost."""

import os
import socket

import pytest
import trio

from iii_trio.net import OP_BINARY, OP_PING, OP_TEXT, open_pump
from iii_trio.net._readiness import READ, Watched
from iii_trio.net._turns import ALONE, IN_COMPANY, Turns
from tests.integration.net_rig import (
    DRIVERS,
    Client,
    Driver,
    Ear,
    Host,
    frame,
    open_rig,
)
from tests.integration.tls_rig import TLSStream

each_driver = pytest.mark.parametrize("driver", DRIVERS)


def text_frame(payload: bytes) -> bytes:
    return frame(OP_TEXT, payload)


class Socket:
    """Something that is watched, and counts what it hears."""

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.closed = False
        self.ready = 0

    def on_ready(self, mask: int) -> None:
        self.ready += 1

    def on_fault(self) -> None:
        raise AssertionError


class Flood:
    """A readiness set in which one socket always is ready."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def poll(self) -> list[tuple[Watched, int]]:
        return [(self._watched, READ)]

    def change(self, watched: Watched, old: int, new: int) -> None: ...

    def fileno(self) -> int | None: ...

    def close(self) -> None: ...


async def test_a_turn_comes_though_others_never_stop() -> None:
    flooding, patient = Socket(), Socket()
    done: list[int] = []
    with flooding.sock, patient.sock:
        async with open_pump() as pump:
            pump.put_off(patient, lambda: done.append(flooding.ready))
            for _ in range(100):
                pump.handle_ready(Flood(flooding))
    assert len(done) == 1
    assert done[0]


async def test_turns_outside_of_passes_let_tasks_run_between() -> None:
    left = 50_000
    patient = Socket()

    def again() -> None:
        nonlocal left
        left -= 1
        if left:
            pump.put_off(patient, again)

    with patient.sock:
        async with open_pump() as pump:
            pump.put_off(patient, again)
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            assert 0 < left < 50_000


def hold_first(ear: Ear) -> None:
    ear.asks = True
    ear.reply = lambda data: ear.websocket.hold() if data == b"0" else None


async def say_goodbye(client: Client) -> None:
    """End the input, as TLS does it if it is there."""
    if isinstance(client.stream, TLSStream):
        with trio.move_on_after(0.01):  # it waits for an answer
            await client.stream.tls.unwrap()
    else:
        await client.stream.send_eof()


class Hand:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def take_turn(turns: Turns, clock: Hand, cost: float) -> int:
    """How many requests that cost so many seconds each a turn has."""
    asked, most = 0, turns.begin()
    while asked < most:
        asked += 1
        clock.now += cost
        if asked == most:
            most = turns.extend(asked)
    return asked


def test_a_turn_is_long_until_somebody_asks_briefly() -> None:
    clock = Hand()
    turns = Turns(clock)
    assert take_turn(turns, clock, 0) == ALONE
    turns.note_brief()
    assert take_turn(turns, clock, 0) == IN_COMPANY


def test_what_costs_much_makes_a_turn_in_company_short() -> None:
    clock = Hand()
    turns = Turns(clock)
    assert take_turn(turns, clock, 1) == ALONE
    turns.note_brief()
    assert take_turn(turns, clock, 1) < IN_COMPANY / 2


@each_driver
async def test_requests_before_the_end_of_input_are_served(driver: Driver) -> None:
    host = Host()
    host.prepare = hold_first
    async with open_rig(driver, host=host) as rig, rig.websocket() as (client, ear):
        await client.text(b"0")
        await ear.heard(1)
        # All of it waits in the socket when it is read again.
        await client.send(b"".join(text_frame(b"%d" % i) for i in range(1, 500)))
        await say_goodbye(client)
        ear.websocket.resume()
        assert "end of input" in await ear.lost()
        assert ear.texts == [b"%d" % i for i in range(500)]


@pytest.mark.parametrize("driver", ["auto", "tasks"])
async def test_requests_before_a_reset_are_served(driver: Driver) -> None:
    host = Host()
    host.prepare = hold_first
    async with open_rig(driver, host=host) as rig, rig.websocket() as (client, ear):
        await client.text(b"0")
        await ear.heard(1)
        await client.send(b"".join(text_frame(b"%d" % i) for i in range(1, 500)))
        client.reset()
        ear.websocket.resume()
        await ear.lost()
        assert ear.texts == [b"%d" % i for i in range(500)]


@pytest.mark.parametrize("opcode", [OP_BINARY, OP_PING])
async def test_what_is_no_text_takes_turns_as_well(opcode: int) -> None:
    async with (
        open_rig() as rig,
        rig.websocket() as (many, busy),
        rig.websocket() as (few, brief),
    ):
        served: list[int] = []
        connection = busy.websocket._connection
        sent = connection._sent

        def note(_: bytes) -> None:
            pongs = (connection._sent - sent + connection.outbox_bytes) // 2
            served.append(len(busy.binaries) + pongs)

        brief.reply = note
        # Both are in their sockets before the pump looks at either.
        assert isinstance(many.stream, trio.SocketStream)
        assert isinstance(few.stream, trio.SocketStream)
        os.write(many.stream.socket.fileno(), frame(opcode) * 200)
        os.write(few.stream.socket.fileno(), text_frame(b"me"))
        await brief.heard(1)
        await busy.until(lambda: len(busy.binaries) == 200 or opcode == OP_PING)
    assert served == [ALONE]
