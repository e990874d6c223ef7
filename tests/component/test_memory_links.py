"""Memory links under faults: what each end sees, and when."""

import random
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.transport import (
    FaultPlan,
    MemoryConnection,
    MemoryLink,
    open_memory_network,
)


@attrs.define(eq=False)
class Ear:
    """A sink that notes what it hears."""

    frames: list[bytes] = attrs.Factory(list)
    telemetry: list[bytes] = attrs.Factory(list)
    closed: list[str] = attrs.Factory(list)
    hold_after: int = -1
    link: MemoryLink | None = None

    def on_frame(self, text: bytes) -> None:
        assert not self.closed
        self.frames.append(text)
        if len(self.frames) == self.hold_after and self.link is not None:
            self.link.hold()

    def on_telemetry(self, data: bytes) -> None:
        self.telemetry.append(data)

    def on_closed(self, reason: str) -> None:
        self.closed.append(reason)


def listen(connection: MemoryConnection) -> tuple[Ear, Ear]:
    client, server = Ear(link=connection.client), Ear(link=connection.server)
    connection.client.start(client)
    connection.server.start(server)
    return client, server


async def test_frames_arrive_in_order_both_ways() -> None:
    async with open_memory_network() as network:
        connection = network.connect()
        client, server = listen(connection)
        for n in range(20):
            connection.client.send_nowait(b"c%d" % n)
            connection.server.send_nowait(b"s%d" % n)
        assert server.frames == []
        await wait_all_tasks_blocked()
        assert server.frames == [b"c%d" % n for n in range(20)]
        assert client.frames == [b"s%d" % n for n in range(20)]
        assert connection.client.outbox_bytes == connection.server.outbox_bytes == 0
    assert client.closed == server.closed == ["the memory network closed"]


async def test_a_direction_that_does_not_exist_is_named_with_those_that_do() -> None:
    refused = partial(pytest.raises, ValueError, match=r"'to_client' .* not 'to_peer'$")
    async with open_memory_network() as network:
        connection: Any = network.connect()
        for name in ("arrived_bytes", "end", "stall", "release"):
            with refused():
                getattr(connection, name)("to_peer")
        with refused():
            await connection.wait_delivered("to_peer")


async def test_a_cut_in_the_middle_of_a_frame_loses_that_frame_only() -> None:
    async with open_memory_network() as network:
        first = network.connect()
        _, ear = listen(first)
        first.client.send_nowait(b"one")
        await wait_all_tasks_blocked()
        size = first.arrived_bytes("to_server")
        second = network.connect(to_server=FaultPlan(cut_after=2 * size - 1))
        client, server = listen(second)
        for text in (b"one", b"two", b"six"):
            second.client.send_nowait(text)
        await wait_all_tasks_blocked()
        assert server.frames == [b"one"]
        assert client.closed == server.closed == ["cut"]
        assert ear.frames == [b"one"]
        assert not ear.closed


async def test_a_delay_is_virtual_time(autojump_clock: MockClock) -> None:
    async with open_memory_network() as network:
        connection = network.connect(to_client=FaultPlan(delay=3600))
        client, _ = listen(connection)
        start = trio.current_time()
        connection.server.send_nowait(b"late")
        await trio.sleep(3599)
        assert client.frames == []
        await trio.sleep(2)
        assert client.frames == [b"late"]
        assert trio.current_time() == start + 3601


async def test_a_stalled_peer_lets_bytes_pile_up_until_released() -> None:
    async with open_memory_network() as network:
        connection = network.connect()
        client, _ = listen(connection)
        connection.stall("to_client")
        connection.server.send_nowait(b"x" * 1000)
        await wait_all_tasks_blocked()
        assert client.frames == []
        assert connection.server.outbox_bytes >= 1000
        connection.release("to_client")
        await wait_all_tasks_blocked()
        assert client.frames == [b"x" * 1000]


async def test_one_can_wait_until_all_is_delivered(autojump_clock: MockClock) -> None:
    async with open_memory_network() as network:
        connection = network.connect(to_server=FaultPlan(delay=60))
        _, server = listen(connection)
        await connection.wait_delivered("to_server")  # nothing was sent
        connection.client.send_nowait(b"slow")
        with trio.move_on_after(59):
            await connection.wait_delivered("to_server")
        assert server.frames == []
        await connection.wait_delivered("to_server")
        assert server.frames == [b"slow"]
        connection.server.hold()
        connection.client.send_nowait(b"held")
        with trio.move_on_after(3600) as waiting:
            await connection.wait_delivered("to_server")
        assert waiting.cancelled_caught
        connection.cut()
        await connection.wait_delivered("to_server")
        assert server.frames == [b"slow"]


async def test_a_half_closed_peer_ends_the_link_after_what_it_sent() -> None:
    async with open_memory_network() as network:
        connection = network.connect()
        client, server = listen(connection)
        connection.client.send_nowait(b"last")
        connection.end("to_server")
        await wait_all_tasks_blocked()
        assert server.frames == [b"last"]
        assert server.closed == ["the peer hung up"]
        assert client.closed == ["the peer hung up"]


async def test_dropped_bytes_vanish_and_nobody_is_told() -> None:
    async with open_memory_network() as network:
        connection = network.connect(to_server=FaultPlan(drop_after=0))
        client, server = listen(connection)
        connection.client.send_nowait(b"lost")
        await wait_all_tasks_blocked()
        assert connection.client.outbox_bytes == 0
        assert (server.frames, server.closed, client.closed) == ([], [], [])


async def test_hold_keeps_decoded_frames_and_resume_delivers_them_in_order() -> None:
    async with open_memory_network() as network:
        connection = network.connect()
        _, server = listen(connection)
        server.hold_after = 1
        for n in range(4):
            connection.client.send_nowait(b"%d" % n)
        await wait_all_tasks_blocked()
        assert server.frames == [b"0"]
        server.hold_after = -1
        connection.server.resume()
        assert server.frames == [b"0"]
        await wait_all_tasks_blocked()
        assert server.frames == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("polite", [True, False])
async def test_close_sends_what_was_queued_and_tells_both_ends_once(
    polite: bool,
) -> None:
    async with open_memory_network() as network:
        connection = network.connect()
        client, server = listen(connection)
        connection.server.send_nowait(b"bye")
        connection.server.close("shutdown", polite=polite)
        connection.server.close("again", polite=polite)
        connection.server.send_nowait(b"too late")
        assert server.closed == []
        await wait_all_tasks_blocked()
        assert client.frames == [b"bye"]
        assert server.closed == ["shutdown"]
        assert client.closed == ["closed by the peer" if polite else "the peer hung up"]


async def test_a_polite_close_does_not_wait_for_ever(
    autojump_clock: MockClock,
) -> None:
    async with open_memory_network() as network:
        connection = network.connect(to_client=FaultPlan(stall_after=0))
        client, server = listen(connection)
        connection.server.close("shutdown", polite=True)
        await trio.sleep(4)
        assert server.closed == []
        await trio.sleep(2)
        assert server.closed == ["shutdown (the peer did not answer the Close)"]
        assert client.closed == []


async def test_blank_messages_are_ignored_and_binary_ones_told_apart() -> None:
    async with open_memory_network() as network:
        connection = network.connect()
        _, server = listen(connection)
        connection.client.send_nowait(b" ")
        for data in (b"OTLP{}", b"{}", b"\xff", b" "):
            connection.client.send_binary_nowait(data)
        await wait_all_tasks_blocked()
        assert (server.frames, server.telemetry) == ([b"{}"], [b"OTLP{}"])


async def test_bytes_that_are_no_frames_end_that_link_only() -> None:
    async with open_memory_network() as network:
        good, bad = network.connect(), network.connect()
        _, other = listen(good)
        _, server = listen(bad)
        bad.client.send_bytes_nowait(b"\x00\x00garbage")
        good.client.send_nowait(b"fine")
        await wait_all_tasks_blocked()
        assert len(server.closed) == 1
        assert (other.frames, other.closed) == ([b"fine"], [])


async def test_the_order_across_links_follows_the_seed() -> None:
    async def arrivals(seed: int) -> list[bytes]:
        async with open_memory_network(rng=random.Random(seed)) as network:
            ear = Ear()
            for name in (b"a", b"b", b"c", b"d"):
                connection = network.connect()
                connection.server.start(ear)
                connection.client.start(Ear())
                connection.client.send_nowait(name)
            await wait_all_tasks_blocked()
            return list(ear.frames)

    orders = [tuple(await arrivals(seed)) for seed in range(8)]
    assert len(set(orders)) > 1
    assert orders == [tuple(await arrivals(seed)) for seed in range(8)]


async def test_a_ping_is_answered() -> None:
    async with open_memory_network() as network:
        connection = network.connect()
        _, server = listen(connection)
        connection.client.send_bytes_nowait(b"\x89\x82\0\0\0\0hi")
        await wait_all_tasks_blocked()
        assert connection.arrived_bytes("to_client") == len(b"\x8a\x02hi")
        assert (server.frames, server.closed) == ([], [])


async def test_a_peer_that_never_reads_loses_its_link_above_the_hard_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("iii_trio.transport._memory_link.OUTBOX_LIMIT_BYTES", 1000)
    async with open_memory_network() as network:
        connection = network.connect(to_client=FaultPlan(stall_after=0))
        _, server = listen(connection)
        for _ in range(20):
            connection.server.send_nowait(b"x" * 100)
            assert server.closed == []
        await wait_all_tasks_blocked()
        assert server.closed == ["the peer does not read: outbox is full"]
