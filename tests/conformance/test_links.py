"""Every link keeps the contract of `iii_trio.transport.Link`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

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


async def test_memory_links_keep_the_contract() -> None:
    await check_link(open_memory_pair)


async def test_slow_memory_links_in_small_pieces_keep_the_contract(
    autojump_clock: trio.testing.MockClock,
) -> None:
    await check_link(lambda: open_memory_pair(FaultPlan(delay=0.1, piece=4000)))


async def test_trio_websocket_links_keep_the_contract() -> None:
    await check_link(open_trio_websocket_pair)


class Eager:
    """A link that breaks one rule of the contract: it repeats ``on_closed``."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link

    def __getattr__(self, name: str) -> object:
        return getattr(self._link, name)

    def start(self, sink: LinkSink) -> None:
        self._sink = sink
        self._link.start(sink)

    def close(self, reason: str, *, polite: bool) -> None:
        self._link.close(reason, polite=polite)
        self._sink.on_closed(reason)


async def test_a_link_that_breaks_a_rule_is_found_out() -> None:
    @asynccontextmanager
    async def open_eager() -> AsyncIterator[tuple[Link, Link]]:
        async with open_memory_network() as network:
            connection = network.connect()
            yield Eager(connection.client), connection.server  # type: ignore[misc]

    with pytest.RaisesGroup(
        AssertionError, allow_unwrapped=True, flatten_subgroups=True
    ):
        await check_link(open_eager)
