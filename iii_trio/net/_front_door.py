"""The front door: listening sockets, the connections that came through them, drain.

What is sent and received is `_http_connection`'s and `_websocket_connection`'s business.
"""

import logging
import math
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NoReturn, final

import attrs
import trio

from iii_trio._listening import TLSConfig
from iii_trio._util import NoPublicConstructor, open_background_nursery
from iii_trio.net._addresses import client_of
from iii_trio.net._binding import bind
from iii_trio.net._certificates import Certificates
from iii_trio.net._connection import Connection
from iii_trio.net._door_counts import DoorCounts, FrontDoorStatistics
from iii_trio.net._http_connection import HTTPConnection
from iii_trio.net._http_host import RequestHandler
from iii_trio.net._limits import HTTPLimits
from iii_trio.net._pump import Pump
from iii_trio.net._readiness import READ
from iii_trio.net._tls import TLSSocket
from iii_trio.net._tls_connection import TLSConnection

__all__ = ["FrontDoor", "open_front_door"]

_logger = logging.getLogger("iii_trio.net")

_ACCEPTS: Final = 128
"""Connections accepted at one wake-up, so that a flood of them does not fill a pass."""

_REFUSED_PAUSE_SECONDS: Final = 0.1
"""After a refused accept (no descriptor left): the socket would be ready for ever."""

_KEEP_ALIVE: Final = {
    "TCP_KEEPIDLE": 60,
    "TCP_KEEPALIVE": 60,  # the same on macOS
    "TCP_KEEPINTVL": 15,
    "TCP_KEEPCNT": 4,
}
"""Seconds of silence before the system asks whether the peer is there, seconds between
two questions, and how many; where the platform lets us choose. Nobody else asks the peers
of channels and of telemetry."""

_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in _KEEP_ALIVE.items()
        if hasattr(socket, name)
    ),
)
"""Of every accepted socket."""


class Listener:
    """One listening socket.

    Args:
        pump: watches it.
        sock: non-blocking, listening.
        door: gets what is accepted.
    """

    __slots__ = ("_door", "_pump", "closed", "due", "sock", "timer")

    def __init__(self, pump: Pump, sock: socket.socket, door: "FrontDoor") -> None:
        self._pump = pump
        self._door = door
        self.sock = sock
        self.closed = False
        self.due = math.inf
        self.timer = math.inf
        pump.change(self, 0, READ)

    def on_ready(self, mask: int) -> None:
        """Accept what waits."""
        for _ in range(_ACCEPTS if mask else 0):
            if self.closed:
                return
            try:
                sock, peer = self.sock.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as exc:
                self._pause(exc)
                return
            self._door.admit(sock, peer)

    def _pause(self, exc: OSError) -> None:
        _logger.warning("Cannot accept: %s. Trying again soon.", exc.strerror)
        self._door.counts.refused += 1
        self._pump.change(self, READ, 0)
        self._pump.schedule(self, self._pump.now() + _REFUSED_PAUSE_SECONDS)

    def on_deadline(self) -> None:
        """Try again."""
        self._pump.change(self, 0, READ)

    def on_fault(self) -> None:
        """A connection could not be set up: it is closed, we go on."""

    def close(self) -> None:
        """Accept no more."""
        if not self.closed:
            self.closed = True
            self._pump.change(self, READ if self.due == math.inf else 0, 0)
            self.sock.close()


@final
@attrs.define(eq=False, kw_only=True, repr=False)
class FrontDoor(metaclass=NoPublicConstructor):
    """Listening sockets and their connections. Made by `open_front_door`.

    Attributes:
        addresses: host and port of each socket, as really bound.
        handler: answers the requests.
        limits: of each connection.
        draining: connections end after the response they are working on.
        pump: what moves their bytes.
        counts: what happened so far.
    """

    addresses: tuple[tuple[str, int], ...]
    handler: RequestHandler
    limits: HTTPLimits
    draining: bool = False
    pump: Pump
    counts: DoorCounts = attrs.Factory(DoorCounts)
    _certificates: Certificates | None
    _tls_changed: trio.Event = attrs.Factory(trio.Event)
    _listeners: list[Listener] = attrs.Factory(list)
    _connections: dict[Connection, str] = attrs.Factory(dict)
    _by_client: dict[str, int] = attrs.Factory(dict)
    _told_crowded: set[str] = attrs.Factory(set)
    _speaking_http: int = 0
    _quiet: trio.Event | None = None

    @property
    def connections(self) -> int:
        """Connections that are open now, WebSockets included."""
        return len(self._connections)

    @property
    def tls(self) -> TLSConfig | None:
        """What new connections speak TLS with."""
        return None if self._certificates is None else self._certificates.config

    def statistics(self) -> FrontDoorStatistics:
        """Counts, as of now."""
        tls = self._certificates
        return FrontDoorStatistics(
            connections=len(self._connections),
            accepted=self.counts.accepted,
            refused=self.counts.refused,
            crowded=self.counts.crowded,
            throttled=self.counts.throttled,
            late=self.counts.late,
            bad_requests=self.counts.bad_requests,
            large_bodies=self.counts.large_bodies,
            large_messages=self.counts.large_messages,
            tls_handshakes=0 if tls is None else tls.handshakes,
            tls_failures=0 if tls is None else tls.failures,
        )

    def stop_accepting(self) -> None:
        """Close the listening sockets; connections stay. Idempotent."""
        for listener in self._listeners:
            listener.close()

    async def drain(self, grace: float) -> None:
        """Stop accepting, let requests finish, close the idle. WebSockets stay.

        Args:
            grace: seconds to wait at most for responses; what is still open then is
                left to the end of the block.
        """
        self.stop_accepting()
        self.draining = True
        for connection in tuple(self._connections):
            if isinstance(connection.handler, HTTPConnection):
                connection.handler.close_if_idle()
        self._quiet = trio.Event()
        if not self._speaking_http:
            self._quiet.set()
        with trio.move_on_after(grace):
            await self._quiet.wait()
        await trio.lowlevel.checkpoint_if_cancelled()

    async def use_tls(self, config: TLSConfig | None) -> None:
        """Speak TLS with other certificates, or no more, on new connections.

        Raises:
            ConfigError: a file cannot be read or used; everything stays as it was.
        """
        loaded = None if config is None else await Certificates.load(config)
        if loaded is not None and self._certificates is not None:
            loaded.take_over(self._certificates)
        self._certificates = loaded
        self._tls_changed.set()
        self._tls_changed = trio.Event()
        await trio.lowlevel.checkpoint()

    # What listeners and connections tell.

    def admit(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        """Take an accepted socket."""
        self.counts.accepted += 1
        client = client_of(peer[0])
        if not self._has_room(client):
            sock.close()
            return
        sock.setblocking(False)
        pump, limit, on_gone = self.pump, self.limits.outbox_bytes, self._forget
        if self._certificates is None:
            connection = Connection(pump, sock, limit, on_gone)
        else:
            tls = TLSSocket(sock, self._certificates)
            connection = TLSConnection(pump, tls, limit, on_gone)
        self._connections[connection] = client
        self._by_client[client] = self._by_client.get(client, 0) + 1
        self._speaking_http += 1
        HTTPConnection(connection, self, peer[:2])
        try:
            for option in _OPTIONS:
                sock.setsockopt(*option)
            connection.set_reading(wanted=True)
        except OSError as exc:  # gone already, or the readiness set is full
            connection.lose(f"cannot be watched: {exc.strerror}")

    def _has_room(self, client: str) -> bool:
        if self._by_client.get(client, 0) < self.limits.connections_per_address:
            return True
        self.counts.crowded += 1
        if client not in self._told_crowded:
            self._told_crowded.add(client)
            _logger.warning(
                "%s has %d connections here; more of it are closed at once.",
                client,
                self._by_client[client],
            )
        return False

    def _forget(self, connection: Connection) -> None:
        client = self._connections.pop(connection)
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]
            self._told_crowded.discard(client)

    def date_line(self) -> bytes:
        """The Date header line."""
        return self.pump.date_line()

    def on_http_over(self) -> None:
        """One connection less that speaks HTTP."""
        self._speaking_http -= 1
        if self._quiet is not None and not self._speaking_http:
            self._quiet.set()

    @asynccontextmanager
    async def _open(self, socks: list[socket.socket]) -> AsyncIterator[None]:
        self._listeners += [Listener(self.pump, sock, self) for sock in socks]
        try:
            async with open_background_nursery("the front door closed") as nursery:
                nursery.start_soon(self._renew, name="renewal of certificates")
                yield
        finally:
            self.stop_accepting()
            for connection in tuple(self._connections):
                connection.drop("the front door closed")
            self.pump.settle()

    async def _renew(self) -> NoReturn:
        """Look at the certificate files from time to time, if there are any."""
        while True:
            changed, certificates = self._tls_changed, self._certificates
            pause = (
                math.inf if certificates is None else certificates.config.check_every
            )
            with trio.move_on_after(pause) as scope:
                await changed.wait()
            if certificates is not None and scope.cancelled_caught:
                await certificates.refresh()


@asynccontextmanager
async def open_front_door(
    pump: Pump,
    handler: RequestHandler,
    *,
    host: str | None = None,
    port: int = 0,
    limits: HTTPLimits | None = None,
    tls: TLSConfig | None = None,
) -> AsyncIterator[FrontDoor]:
    """Listen for HTTP and WebSocket clients for the length of a block.

    Leaving the block closes the listening sockets and drops all connections; every
    ``on_gone`` and ``on_closed`` has been called when it is left.

    Args:
        pump: moves the bytes; one for all front doors of an application.
        handler: answers the requests.
        host: address or name; ``None`` and ``localhost`` are 127.0.0.1 and ::1.
        port: 0 chooses a free one, the same for all addresses.
        limits: what one client may cost.
        tls: speak TLS, with these certificates; they are read again when they are
            renewed, for new connections.

    Raises:
        ConfigError: a certificate file cannot be read or used.
        OSError: the address is in use, or not ours; the message names it.
    """
    certificates = None if tls is None else await Certificates.load(tls)
    socks = await bind(host, port)
    addresses = tuple(sock.getsockname()[:2] for sock in socks)
    door = FrontDoor._create(
        addresses=addresses,
        handler=handler,
        limits=limits or HTTPLimits(),
        pump=pump,
        certificates=certificates,
    )
    async with door._open(socks):  # noqa: SLF001 - of this module
        yield door
