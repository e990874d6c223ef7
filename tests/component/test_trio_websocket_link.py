"""The link over trio-websocket where time matters, over memory streams."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio_websocket
import wsproto
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from iii_trio.testing import cancel_at_every_step
from iii_trio.transport import TrioWebSocketLink, open_link_over


class Ear:
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed: list[str] = []

    def on_frame(self, text: bytes) -> None:
        self.frames.append(text)

    def on_telemetry(self, data: bytes) -> None:
        raise AssertionError(data)

    def on_closed(self, reason: str) -> None:
        self.closed.append(reason)


class Wire:
    """A link whose peer is a plain trio-websocket client connection."""

    def __init__(
        self,
        link: TrioWebSocketLink,
        peer: trio_websocket.WebSocketConnection,
        to_link: trio.testing.MemorySendStream,
    ) -> None:
        self.link = link
        self.peer = peer
        self.to_link = to_link
        self.ear = Ear()

    def silence_the_peer(self) -> None:
        """What the peer sends from now on gets lost, without TCP being closed."""
        self.to_link.send_all_hook = None
        self.to_link.close_hook = None


@asynccontextmanager
async def open_wire() -> AsyncIterator[Wire]:
    near, far = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        accepted: list[trio_websocket.WebSocketConnection] = []

        @nursery.start_soon
        async def _() -> None:
            request = await trio_websocket.wrap_server_stream(nursery, far)
            accepted.append(await request.accept())

        peer = await trio_websocket.wrap_client_stream(
            nursery,
            near,  # type: ignore[arg-type]  # any stream will do
            "memory",
            "/",
        )
        await wait_all_tasks_blocked()
        async with open_link_over(accepted[0]) as link:
            yield Wire(link, peer, near.send_stream)
        with trio.move_on_after(1):
            await peer.aclose()
        nursery.cancel_scope.cancel()


async def test_last_words_are_heard_though_a_send_after_them_fails() -> None:
    async with open_wire() as wire, trio.open_nursery() as nursery:
        await wire.peer.send_message("not welcome")
        nursery.start_soon(wire.peer.aclose)
        await wait_all_tasks_blocked()
        wire.link.send_nowait(b"hello")
        await wait_all_tasks_blocked()
        wire.link.start(wire.ear)
        await wire.link.wait_closed()
        assert wire.ear.frames == [b"not welcome"]
        assert len(wire.ear.closed) == 1


async def test_a_peer_that_answers_pings_is_kept(autojump_clock: MockClock) -> None:
    async with open_wire() as wire:
        wire.link.start(wire.ear)
        await trio.sleep(3600)
        assert wire.ear.closed == []
        await wire.peer.send_message("late")
        await wait_all_tasks_blocked()
        assert wire.ear.frames == [b"late"]


async def test_a_peer_that_does_not_answer_is_dropped(
    autojump_clock: MockClock,
) -> None:
    async with open_wire() as wire:
        wire.link.start(wire.ear)
        wire.silence_the_peer()
        with trio.fail_after(41):
            await wire.link.wait_closed()
        assert wire.ear.closed == ["no answer to a ping"]


async def test_a_held_link_is_not_dropped_and_loses_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_wire() as wire:
        wire.link.start(wire.ear)
        wire.link.hold()
        wire.link.hold()
        for number in range(3):
            await wire.peer.send_message(str(number))
        await trio.sleep(300)
        assert wire.ear.frames == []
        assert wire.ear.closed == []
        wire.link.resume()
        await wait_all_tasks_blocked()
        assert wire.ear.frames == [b"0", b"1", b"2"]


async def test_the_end_of_the_block_sends_what_is_queued_then_says_goodbye(
    autojump_clock: MockClock,
) -> None:
    got: list[str | bytes] = []
    reasons = []
    async with trio.open_nursery() as nursery, open_wire() as wire:
        wire.link.start(wire.ear)

        @nursery.start_soon
        async def _() -> None:
            await trio.lowlevel.checkpoint()
            try:
                while True:
                    got.append(await wire.peer.get_message())
            except trio_websocket.ConnectionClosed as exc:
                reasons.append(exc.reason)

        for number in range(100):
            wire.link.send_nowait(str(number).encode())
        assert wire.link.outbox_bytes == 190
    assert got == [str(number) for number in range(100)]
    assert wire.link.outbox_bytes == 0
    [reason] = reasons
    assert reason is not None
    assert reason.code == 1000


async def test_an_impolite_close_drops_tcp_without_a_goodbye(
    autojump_clock: MockClock,
) -> None:
    async with open_wire() as wire:
        wire.link.start(wire.ear)
        wire.link.close("evicted", polite=False)
        wire.link.send_nowait(b"too late")
        await wire.link.wait_closed()
        assert wire.ear.closed == ["evicted"]
    with pytest.raises(trio_websocket.ConnectionClosed) as caught:
        await wire.peer.get_message()
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1006


async def test_an_outbox_that_is_too_full_ends_the_link_later_not_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_wire() as wire:
        wire.link.start(wire.ear)
        piece = b"x" * 2**20
        for _ in range(97):
            wire.link.send_nowait(piece)
        assert wire.ear.closed == []
        await wire.link.wait_closed()
        assert wire.ear.closed == ["the peer does not read: outbox is full"]


def test_a_link_can_be_cancelled_at_every_step() -> None:
    async def scenario() -> None:
        ear = Ear()
        try:
            async with open_wire() as wire:
                wire.ear = ear
                wire.link.start(ear)
                wire.link.send_nowait(b"hello")
                assert await wire.peer.get_message() == "hello"
        finally:
            assert len(ear.closed) <= 1

    assert cancel_at_every_step(scenario) > 5


async def receive_fragments(stream: trio.abc.Stream) -> list[bytes]:
    """Accept a WebSocket and read the frames of its first message."""
    server = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    fragments = [b""]
    while True:
        server.receive_data(bytes(await stream.receive_some()))
        for event in server.events():
            if isinstance(event, wsproto.events.Request):
                accept = wsproto.events.AcceptConnection()
                await stream.send_all(server.send(accept))
            elif isinstance(event, wsproto.events.TextMessage):
                fragments[-1] += event.data.encode()
                if event.message_finished:
                    return fragments
                if event.frame_finished:
                    fragments.append(b"")


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600"])
async def test_a_large_message_leaves_in_fragments_of_at_most_a_mebibyte(
    letter: str, autojump_clock: MockClock
) -> None:
    near, far = memory_stream_pair()
    text = (letter * 2_500_000).encode()
    fragments: list[bytes] = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            fragments.extend(await receive_fragments(far))
            nursery.cancel_scope.cancel()

        connection = await trio_websocket.wrap_client_stream(
            nursery,
            near,  # type: ignore[arg-type]  # any stream will do
            "memory",
            "/",
        )
        async with open_link_over(connection) as link:
            link.send_nowait(text)
            await link.wait_closed()
    assert b"".join(fragments) == text
    assert len(fragments) > 2
    assert max(map(len, fragments)) <= 2**20
