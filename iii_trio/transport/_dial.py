"""Dial a WebSocket with trio-websocket, without what its own dialling gets wrong.

Its ``open_websocket_url`` leaves the TCP socket open when the handshake fails, and when
the server hangs up before answering it waits for the whole timeout. So the stream is
opened, watched and closed here, and only then wrapped.
"""

import ssl
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio
from trio_websocket import (
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from iii_trio._util import (
    open_background_nursery,
    require_real_time,
    url_without_secrets,
)

RECEIVE_LIMIT_BYTES: Final = 64 * 2**20
"""What public SDKs may send as one message (protocol, section 1.5)."""

CLOSE_GRACE: Final = 2.0
"""Seconds for what is queued, and for the closing handshake, each."""

_PORTS: Final = {"ws": 80, "wss": 443}

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


@attrs.define(eq=False)
class _Reader:
    """Stands in for the nursery of trio-websocket's reader, to see it end early."""

    nursery: trio.Nursery
    handshake: trio.CancelScope
    failure: HandshakeError | None = None

    def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
        self.nursery.start_soon(self._run, reader, name="WebSocket reader")

    async def _run(self, reader: Callable[[], Awaitable[None]]) -> None:
        await trio.lowlevel.checkpoint()
        try:
            await reader()
        except HandshakeError as exc:
            self.failure = exc
        finally:
            self.handshake.cancel(reason="the peer hung up")


def _refusal(failure: HandshakeError) -> str:
    if not isinstance(failure, ConnectionRejected):
        return str(failure)
    told = (failure.body or b"").decode(errors="replace").strip()
    return f"HTTP {failure.status_code}: {told[:200]}".rstrip(": ")


@asynccontextmanager
async def open_trio_websocket(
    url: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    connect_timeout: float = 10.0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[WebSocketConnection]:
    """Dial with our limits, and with one kind of error for whatever went wrong.

    Args:
        url: ``ws://`` or ``wss://``.
        headers: further request headers.
        connect_timeout: seconds for TCP, TLS and the handshake together.
        tls: for ``wss://``: whom to trust, and our own certificate. Default: the
            authorities of the system, or those that ``SSL_CERT_FILE`` names.

    Raises:
        trio.BrokenResourceError: no connection, or the peer refused the handshake.
        RuntimeError: the clock of this Trio run jumps.
        ValueError: the URL is none of a WebSocket.
    """
    require_real_time("a socket that is dialled", "use memory links, or a real clock")
    host, port, resource = _parts(url)
    if urllib.parse.urlsplit(url).scheme != "wss":
        tls = None
    elif tls is None:
        tls = ssl.create_default_context()
    deadline = trio.current_time() + connect_timeout
    stream = await _open_stream(url, host, port, tls=tls, deadline=deadline)
    try:
        async with open_background_nursery("the WebSocket was closed") as nursery:
            handshake = trio.CancelScope(deadline=deadline)
            reader = _Reader(nursery, handshake)
            connection = None
            with handshake:
                connection = await wrap_client_stream(
                    reader,  # type: ignore[arg-type]  # only start_soon is used
                    stream,
                    _host_header(host, port),
                    resource,
                    extra_headers=[(n.encode(), v.encode()) for n, v in headers],
                    max_message_size=RECEIVE_LIMIT_BYTES,
                    receive_buffer_size=None,
                )
            if connection is None:
                late = trio.current_time() >= deadline
                why = "no answer" if late else "the peer hung up"
                if reader.failure is not None:
                    why = _refusal(reader.failure)
                msg = f"cannot connect to {url_without_secrets(url)}: {why}"
                raise trio.BrokenResourceError(msg) from reader.failure
            try:
                yield connection
            finally:
                # A peer that said Close but keeps TCP open must not keep us.
                with trio.move_on_after(CLOSE_GRACE):
                    await connection.aclose()
    finally:
        await trio.aclose_forcefully(stream)


def _parts(url: str) -> tuple[str, int, str]:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        msg = f"not the URL of a WebSocket: {url_without_secrets(url)!r}"
        raise ValueError(msg)
    resource = parts.path or "/"
    if parts.query:
        resource += f"?{parts.query}"
    port = _PORTS[parts.scheme] if parts.port is None else parts.port
    return parts.hostname, port, resource


def _host_header(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port in _PORTS.values() else f"{name}:{port}"


async def _open_stream(
    url: str, host: str, port: int, *, tls: ssl.SSLContext | None, deadline: float
) -> Stream:
    try:
        with trio.fail_at(deadline):
            tcp = await trio.open_tcp_stream(host, port)
            if tls is None:
                return tcp
            stream = trio.SSLStream(
                tcp, tls, server_hostname=host, https_compatible=True
            )
            try:
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(tcp)
                raise
            return stream
    except (OSError, ssl.SSLError, trio.BrokenResourceError) as exc:
        msg = f"cannot connect to {url_without_secrets(url)}: {exc.__cause__ or exc}"
        raise trio.BrokenResourceError(msg) from exc
    except trio.TooSlowError as exc:
        raise trio.BrokenResourceError(
            f"cannot connect to {url_without_secrets(url)}: no answer"
        ) from exc
