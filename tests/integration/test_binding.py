"""A port that is busy, and one that only a connection of a client holds."""

import errno
import logging
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing

from iii_trio.net._binding import HeldPortError, _is_listening, bind

RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Held:
    """A port that a client's connection holds: nobody listens there."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.port: int = client.getsockname()[1]

    def let_go(self) -> None:
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self.client.close()


@contextmanager
def held_port() -> Iterator[Held]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        bind_unasked(client)
        client.connect(server.getsockname())
        with server.accept()[0]:
            yield Held(client)


def bind_unasked(sock: socket.socket) -> None:
    """Bind to a port that no system gives to others, who would hold it in turn."""
    for port in random.sample(range(20_000, 30_000), 100):
        with suppress(OSError):  # it is in use
            sock.bind(("127.0.0.1", port))
            return
    pytest.fail("a hundred ports are in use")


async def test_a_port_held_by_a_client_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with held_port() as held, trio.fail_after(60):
        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            bound: list[socket.socket] = []

            async def listen() -> None:
                bound.extend(await bind("127.0.0.1", held.port))

            with caplog.at_level(logging.WARNING, "iii_trio.net"):
                nursery.start_soon(listen)
                while not caplog.records:  # the wait has begun
                    await trio.testing.wait_all_tasks_blocked()
            assert not bound
            held.let_go()
    assert f"Port {held.port}: nobody listens there" in caplog.text
    assert [sock.getsockname()[1] for sock in bound] == [held.port]
    bound[0].close()


async def test_the_wait_for_a_held_port_is_bounded_and_says_what_to_do() -> None:
    with held_port() as held:
        with pytest.raises(HeldPortError, match="nobody listens there") as caught:
            await bind("127.0.0.1", held.port, held_seconds=0)
    assert caught.value.errno == errno.EADDRINUSE
    assert f"net.ipv4.ip_local_reserved_ports={held.port}" in str(caught.value)


async def test_the_wait_for_a_held_port_can_be_cancelled() -> None:
    with held_port() as held, trio.CancelScope() as scope:
        scope.cancel(reason="enough")
        await bind("127.0.0.1", held.port)
    assert scope.cancelled_caught


class FromPort(trio.abc.SocketFactory):
    """Every socket comes from one port, as the system may choose by itself."""

    def __init__(self, port: int) -> None:
        self.port = port

    def socket(self, *args: Any, **kwargs: Any) -> trio.socket.SocketType:
        sock = socket.socket(*args, **kwargs)
        sock.bind(("127.0.0.1", self.port))
        return trio.socket.from_stdlib_socket(sock)


async def test_a_look_that_met_itself_does_not_hold_the_port() -> None:
    with socket.socket() as sock:
        bind_unasked(sock)
        port = sock.getsockname()[1]
    trio.socket.set_custom_socket_factory(FromPort(port))
    assert not await _is_listening(("127.0.0.1",), port)
    [bound] = await bind("127.0.0.1", port, held_seconds=0)
    bound.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_port_with_a_listener_is_busy_at_once(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(OSError, match=f"{port} is already in use") as caught:
            await bind(host, port)
        assert not isinstance(caught.value, HeldPortError)


@pytest.mark.parametrize(
    "host",
    ["192.168..7", ".example", "a" * 64, "€", "\ud800", "nobody.invalid"],
)
async def test_what_is_no_host_is_an_error_that_names_it(host: str) -> None:
    for port in (0, 80):
        with pytest.raises(OSError, match="host must be an address") as caught:
            await bind(host, port)
        assert repr(host) in str(caught.value)


async def test_a_listener_that_never_accepts_is_busy() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        with socket.create_connection(address):  # its backlog is full now
            with pytest.raises(OSError, match="is already in use"):
                await bind("127.0.0.1", address[1])
