"""Dialling a WebSocket: every way to fail is one kind of error, at once, and leaks none.

A socket left open would be a ResourceWarning, which fails the test.
"""

import socket

import pytest
import trio

from iii_trio.transport import open_trio_websocket


async def hang_up(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.aclose()


async def refuse(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


async def babble(stream: trio.SocketStream) -> None:
    await stream.send_all(b"220 mail.example ESMTP\r\n")
    await stream.receive_some()


@pytest.mark.parametrize(
    ("server", "why"), [(hang_up, "hung up"), (refuse, "403"), (babble, "connect")]
)
async def test_peer_that_is_no_websocket_is_a_broken_resource(
    server: object, why: str
) -> None:
    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(trio.serve_tcp, server, 0)
        port = listener.socket.getsockname()[1]
        with pytest.raises(trio.BrokenResourceError, match=why):
            async with open_trio_websocket(f"ws://127.0.0.1:{port}"):
                pytest.fail("connected")
        nursery.cancel_scope.cancel()


async def test_closed_port_is_a_broken_resource() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(trio.BrokenResourceError, match="cannot connect"):
        async with open_trio_websocket(f"ws://127.0.0.1:{port}"):
            pytest.fail("connected")


async def test_silent_peer_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = f"ws://127.0.0.1:{port}"
        with pytest.raises(trio.BrokenResourceError, match="no answer"):
            async with open_trio_websocket(url, connect_timeout=0.01):
                pytest.fail("connected")


@pytest.mark.parametrize("url", ["http://x", "ws://", "x", "ws://h:port"])
async def test_what_is_no_url_of_a_websocket_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        async with open_trio_websocket(url):
            pytest.fail("connected")
