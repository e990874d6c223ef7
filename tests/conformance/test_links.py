"""Every link keeps the contract of `iii_trio.transport.Link`."""

import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

import pytest
import trio
import trio_websocket

from iii_trio.testing import check_link
from iii_trio.transport import (
    FaultPlan,
    Link,
    LinkSink,
    MemoryLink,
    open_memory_network,
    serve_trio_websocket,
)


@asynccontextmanager
async def open_memory_pair(
    plan: FaultPlan = FaultPlan(),  # noqa: B008 - frozen
) -> AsyncIterator[tuple[Link, Link]]:
    async with open_memory_network() as network:
        connection = network.connect(to_server=plan, to_client=plan)
        yield connection.client, connection.server


@asynccontextmanager
async def open_trio_websocket_pair() -> AsyncIterator[tuple[Link, Link]]:
    near, far = trio.testing.memory_stream_pair()
    wrap_server = partial(
        trio_websocket.wrap_server_stream,
        max_message_size=64 * 2**20,
        receive_buffer_size=None,
    )
    wrap_client: Callable[..., Any] = partial(
        trio_websocket.wrap_client_stream,
        max_message_size=64 * 2**20,
        receive_buffer_size=None,
    )
    async with trio.open_nursery() as nursery:
        links: dict[str, Link] = {}

        async def serve_server() -> None:
            request = await wrap_server(nursery, far)
            await serve_link("server", await request.accept())

        async def serve_client() -> None:
            await serve_link("client", await wrap_client(nursery, near, "test", "/"))

        async def serve_link(
            role: str, connection: trio_websocket.WebSocketConnection
        ) -> None:
            await serve_trio_websocket(
                connection, lambda link: links.__setitem__(role, link)
            )

        nursery.start_soon(serve_server)
        nursery.start_soon(serve_client)
        await trio.testing.wait_all_tasks_blocked()
        yield links["client"], links["server"]
        nursery.cancel_scope.cancel(reason="the pair is not needed any more")


async def test_memory_links_keep_the_contract(
    autojump_clock: trio.testing.MockClock,
) -> None:
    await check_link(open_memory_pair)


async def test_slow_memory_links_in_small_pieces_keep_the_contract(
    autojump_clock: trio.testing.MockClock,
) -> None:
    await check_link(lambda: open_memory_pair(FaultPlan(delay=0.1, piece=4000)))


async def test_trio_websocket_links_keep_the_contract() -> None:
    await check_link(open_trio_websocket_pair)


# Links that break one rule each


class Broken:
    """A memory link that otherwise does what it should."""

    def __init__(self, link: MemoryLink, nursery: trio.Nursery) -> None:
        self._link = link
        self._nursery = nursery

    def __getattr__(self, name: str) -> object:
        return getattr(self._link, name)

    def start(self, sink: LinkSink) -> None:
        self._link.start(sink)

    def close(self, reason: str, *, polite: bool) -> None:
        self._link.close(reason, polite=polite)


class TellsAtOnce(Broken):
    """``on_closed`` is called from inside ``close``."""

    def start(self, sink: LinkSink) -> None:
        self._sink = Once(sink)
        self._link.start(self._sink)

    def close(self, reason: str, *, polite: bool) -> None:
        super().close(reason, polite=polite)
        self._sink.on_closed(reason)


class Once:
    """A sink that is told of the end only once."""

    def __init__(self, sink: LinkSink) -> None:
        self._told = False
        self._sink = sink
        self.on_frame, self.on_telemetry = sink.on_frame, sink.on_telemetry

    def on_closed(self, reason: str) -> None:
        if not self._told:
            self._told = True
            self._sink.on_closed(reason)


class HoldsNothing(Broken):
    def hold(self) -> None:
        pass


class NeverGivesUp(Broken):
    """A polite close waits for ever for the peer's Close."""

    def close(self, reason: str, *, polite: bool) -> None:
        super().close(reason, polite=polite)
        self._link._give_up_at = math.inf


class GoesOnAfterTheEnd(Broken):
    """The sink hears something after ``on_closed``; what it raises is swallowed."""

    def start(self, sink: LinkSink) -> None:
        nursery, go_on = self._nursery, self.go_on

        class Sink:
            on_frame = staticmethod(sink.on_frame)
            on_telemetry = staticmethod(sink.on_telemetry)

            @staticmethod
            def on_closed(reason: str) -> None:
                sink.on_closed(reason)
                nursery.start_soon(go_on, sink)

        self._link.start(Sink)

    async def go_on(self, sink: LinkSink) -> None:
        raise NotImplementedError


class FrameAtOnce(GoesOnAfterTheEnd):
    async def go_on(self, sink: LinkSink) -> None:
        await trio.lowlevel.checkpoint()
        with suppress(Exception):
            sink.on_frame(b"late")


class FrameLater(GoesOnAfterTheEnd):
    async def go_on(self, sink: LinkSink) -> None:
        await trio.sleep(0.05)
        with suppress(Exception):
            sink.on_frame(b"late")


class TellsTwice(GoesOnAfterTheEnd):
    async def go_on(self, sink: LinkSink) -> None:
        await trio.sleep(0.05)
        sink.on_closed("again")


class GivesText(Broken):
    """Frames come as something else than bytes."""

    def start(self, sink: LinkSink) -> None:
        class Sink:
            on_telemetry = staticmethod(sink.on_telemetry)
            on_closed = staticmethod(sink.on_closed)

            @staticmethod
            def on_frame(text: bytes) -> bool | None:
                return sink.on_frame(bytearray(text))  # type: ignore[arg-type]

        self._link.start(Sink)


@pytest.mark.parametrize(
    ("kind", "problem", "rule"),
    [
        (TellsAtOnce, "on_closed was called from inside close", "a polite close sends"),
        (HoldsNothing, "a frame came while the link was on hold", "no frame comes"),
        (NeverGivesUp, "there was no on_closed", "a polite close ends though"),
        (FrameAtOnce, "a message came after on_closed", "frames arrive in order"),
        (FrameLater, "a message came after on_closed", "dropped over the limit"),
        (TellsTwice, "on_closed was called again", "dropped over the limit"),
        (GivesText, "a message came as <class 'bytearray'>", "frames arrive in order"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
async def test_a_link_that_breaks_a_rule_is_found_out(
    autojump_clock: trio.testing.MockClock,
    kind: type[Broken],
    problem: str,
    rule: str,
    seed: int,
) -> None:
    async with trio.open_nursery() as nursery:

        @asynccontextmanager
        async def open_broken() -> AsyncIterator[tuple[Link, Link]]:
            async with open_memory_network(rng=random.Random(seed)) as network:
                ends = network.connect()
                client, server = (
                    cast("Link", kind(end, nursery))
                    for end in (ends.client, ends.server)
                )
                yield client, server

        with pytest.raises(AssertionError, match=problem) as raised:
            await check_link(open_broken)
    assert rule in raised.value.__notes__[0]


async def test_a_link_that_crashes_is_told_with_the_rule() -> None:
    @asynccontextmanager
    async def open_half_a_pair() -> AsyncIterator[tuple[Link, Link]]:
        async with open_memory_pair() as (client, _):
            yield client, cast("Link", None)

    with pytest.raises(AttributeError, match="order, both ways"):
        await check_link(open_half_a_pair)
