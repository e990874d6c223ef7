"""Links over real sockets keep the contract of `iii_trio.transport.Link`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from iii_trio.net import HTTPRequest, open_front_door, open_pump
from iii_trio.testing import check_link
from iii_trio.transport import Link, Listener, open_trio_websocket_link


class Host:
    """Takes links, and nothing else."""

    admits_workers = True

    def __init__(self) -> None:
        self._send, self.links = trio.open_memory_channel[Link](1)

    def attach(self, link: Link, _request: HTTPRequest) -> None:
        self._send.send_nowait(link)

    def attach_telemetry(self, _link: Link, request: HTTPRequest) -> None:
        raise AssertionError(request)

    def void_call_dropped(self) -> None:
        raise AssertionError

    def channel_end(self, _channel_id: str, _key: str, _direction: str) -> None:
        return None


@asynccontextmanager
async def open_pair(*, listening_first: bool) -> AsyncIterator[tuple[Link, Link]]:
    host = Host()
    async with (
        open_pump() as pump,
        open_front_door(pump, Listener(host), host="127.0.0.1", port=0) as door,
        trio.open_nursery() as nursery,
    ):
        address, port = door.addresses[0]

        async def dial(task_status: trio.TaskStatus[Link]) -> None:
            url = f"ws://{address}:{port}/"
            async with open_trio_websocket_link(url) as link:
                task_status.started(link)
                await link.wait_closed()

        dialled = await nursery.start(dial)
        listening = await host.links.receive()
        yield (listening, dialled) if listening_first else (dialled, listening)
        nursery.cancel_scope.cancel(reason="the pair is not needed any more")


@pytest.mark.parametrize("listening_first", [True, False])
async def test_links_of_the_front_door_and_of_trio_websocket_keep_the_contract(
    listening_first: bool,
) -> None:
    await check_link(lambda: open_pair(listening_first=listening_first))
