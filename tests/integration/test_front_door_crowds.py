"""The front door with many connections at once, and with too many."""

import errno
import resource
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, final

import pytest
import trio
import trio.testing

from iii_trio.net import HTTPExchange
from iii_trio.net._readiness import READ
from tests.integration.net_rig import DRIVERS, UPGRADE, Driver, Ear, Rig, open_rig

each_driver = pytest.mark.parametrize("driver", DRIVERS)


@pytest.mark.parametrize("driver", ["auto", "tasks"])  # its clients are plain sockets
async def test_a_burst_of_connections_is_accepted(driver: Driver) -> None:
    count = 300
    async with open_rig(driver) as rig:
        with many_clients(rig, count) as clients:
            for client in clients:
                client.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            await rig.host.came(count)
            assert rig.door.connections == count
        await rig.until_connections(0)


@pytest.mark.skipif(sys.platform != "linux", reason="epoll is Linux's")
async def test_a_connection_that_cannot_be_watched_is_lost_alone() -> None:
    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(epoll, name)

        def register(self, fileno: int, mask: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    async with open_rig() as rig, rig.client() as before:
        assert (await before.get("/x")).status == 200
        readiness: Any = rig.pump._readiness
        epoll, readiness._epoll = readiness._epoll, Full()
        try:
            refused = trio.socket.socket()
            await refused.connect(rig.door.addresses[0])
            rig.door._listeners[0].on_ready(READ)
        finally:
            readiness._epoll = epoll
        with refused:
            assert await refused.recv(1) == b""
        assert (await before.get("/x")).status == 200
        assert rig.door.connections == 1


@contextmanager
def many_clients(rig: Rig, count: int) -> Iterator[list[socket.socket]]:
    """Plain sockets; the kernel connects them before we accept."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = 2 * count + 200
    if hard != resource.RLIM_INFINITY and hard < need:
        pytest.skip(f"needs {need} file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need), hard))
    clients: list[socket.socket] = []
    try:
        for _ in range(count):
            client = socket.socket()
            clients.append(client)
            client.connect(rig.door.addresses[0])
        yield clients
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


CROWD = """
import resource, socket, sys
address, count, request = ("127.0.0.1", int(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
crowd = []
for _ in range(count):
    crowd.append(socket.create_connection(address))
    crowd[-1].sendall(request.encode())
for one in crowd if request else ():
    one.recv(1000)
print("ready", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def open_crowd(rig: Rig, count: int, request: str) -> AsyncIterator[None]:
    """Many clients in a process of their own, each answered once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 200:
        pytest.skip(f"needs {count + 200} file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    port = str(rig.door.addresses[0][1])
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", CROWD, port, str(count), request],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.receive_some() == b"ready\n"
        yield
    finally:
        process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()
            await rig.until_connections(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@final
class Terse:
    """Answers, and remembers nothing."""

    def __init__(self) -> None:
        self.ear = Ear()

    def on_request(self, exchange: HTTPExchange) -> None:
        if exchange.request.is_websocket_upgrade:
            exchange.accept_websocket(self.ear)
        else:
            exchange.respond(200)


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "request_text",
    ["", "GET /x HTTP/1.1\r\nHost: x\r\n\r\n", UPGRADE.format(target="/ws")],
    ids=["silent", "idle HTTP", "idle WebSocket"],
)
async def test_thousands_of_idle_connections_cost_less_than_4_kb_each(
    count: int, request_text: str
) -> None:
    async with open_rig("auto", seconds=120) as rig:
        rig.door.handler = Terse()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            async with open_crowd(rig, count, request_text):
                await rig.until_connections(count)
                used = tracemalloc.get_traced_memory()[0] - before
                assert used / count < 4096
                async with rig.client() as client:
                    await client.send("GET /y HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert (await client.response()).status == 200
        finally:
            tracemalloc.stop()


def fill(hoard: list[socket.socket]) -> None:
    for _ in range(300):
        hoard.append(socket.socket())  # noqa: PERF401 - kept when one fails


async def test_a_refused_accept_does_not_spin_and_is_tried_again() -> None:
    async with open_rig("auto") as rig:
        async with rig.client() as client:
            await client.get("/warm")  # opens whatever is opened lazily
        await rig.until_connections(0)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        waiting = socket.socket()
        hoard: list[socket.socket] = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
            with pytest.raises(OSError, match="Too many open files"):
                fill(hoard)
            waiting.connect(rig.door.addresses[0])
            waiting.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            while not rig.door.counts.refused:
                await trio.testing.wait_all_tasks_blocked()
            before = rig.pump.statistics().passes
            for _ in range(100):
                await trio.testing.wait_all_tasks_blocked()
            assert rig.pump.statistics().passes - before < 50
        finally:
            for sock in hoard:
                sock.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with waiting:
            await rig.host.came(2)


@each_driver
async def test_timers_of_connections_that_are_gone_are_swept_out(
    driver: Driver,
) -> None:
    count = 400
    async with open_rig(driver, handshake_timeout=1000) as rig:
        for _ in range(3):
            with many_clients(rig, count):
                await rig.until_connections(count)
            await rig.until_connections(0)
        assert rig.pump.statistics().timers <= 1025
