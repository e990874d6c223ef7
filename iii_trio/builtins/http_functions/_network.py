"""Connections: names are resolved once, and what was judged is connected to.

A backend for the connection pool of httpcore2. The pool names hosts; here they become
addresses, every one of them is judged, and the connection goes to one of those. So a
name that answers differently a moment later (DNS rebinding) gains nothing. TLS still
checks the certificate of the name.
"""

import functools
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, final

import httpcore2
import trio

from iii_trio._util import require_real_time
from iii_trio.builtins.http_functions._config import SecurityConfig
from iii_trio.builtins.http_functions._policy import (
    Address,
    URLRefusedError,
    check_address,
)

Resolve = Callable[[str], Awaitable[Sequence[Address]]]
"""Gives the addresses of a name, best first; raises ``OSError`` if it has none."""

ATTEMPT_PATIENCE: Final = 3.0
"""Seconds for a connection to an address, while there is another one to try."""

LOOKUPS: Final = 40
"""Names that are resolved at a time; further ones wait, within their timeout."""

CLOSE_GRACE: Final = 1.0
"""Seconds for the goodbye of TLS; then a connection is dropped."""

WRITE_BUFFER: Final = 65_536
"""Bytes of a request that wait for more of it: a small one leaves in one write."""


_lookups: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("lookups")


def lookup_limiter() -> trio.CapacityLimiter:
    """What `resolve_by_system` runs its threads under.

    A thread stays with a name server that does not answer, also when nobody waits for
    it any more: no other work of the process shares these.
    """
    try:
        return _lookups.get()
    except LookupError:
        limiter = trio.CapacityLimiter(LOOKUPS)
        _lookups.set(limiter)
        return limiter


async def resolve_by_system(name: str) -> list[Address]:
    """A `Resolve` that asks the resolver of the operating system."""
    try:
        found = await trio.to_thread.run_sync(
            functools.partial(socket.getaddrinfo, name, None, type=socket.SOCK_STREAM),
            abandon_on_cancel=True,
            limiter=lookup_limiter(),
        )
    except UnicodeError as exc:
        raise OSError(str(exc)) from exc
    return [ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in found]


@final
class JudgingBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections for a pool.

    Args:
        security: which addresses may be connected to.
        resolve: resolves names; never asked for an address.
        sockets: connects to addresses.
    """

    def __init__(
        self,
        security: SecurityConfig,
        resolve: Resolve,
        sockets: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._security = security
        self._resolve = resolve
        self._sockets = sockets or httpcore2.TrioBackend()
        self._is_real = sockets is None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore2
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Resolve, judge, connect.

        Raises:
            URLRefusedError: the name has no address, or one that is blocked.
            httpcore2.ConnectError: no address takes the connection.
            RuntimeError: the clock of this Trio run jumps.
        """
        if self._is_real:
            require_real_time("an HTTP request", "use a real clock")
        addresses = await self._judged(host)
        *first, last = addresses
        for address in first:
            with trio.move_on_after(ATTEMPT_PATIENCE):
                try:
                    return await self._connect(address, port)
                except httpcore2.ConnectError:
                    await trio.lowlevel.checkpoint()
        return await self._connect(last, port)

    async def _connect(
        self, address: Address, port: int
    ) -> httpcore2.AsyncNetworkStream:
        return OneWriteStream(await self._sockets.connect_tcp(str(address), port))

    async def _judged(self, host: str) -> list[Address]:
        try:
            addresses = [ipaddress.ip_address(host)]
            await trio.lowlevel.checkpoint()
        except ValueError:
            try:
                addresses = list(dict.fromkeys(await self._resolve(host)))
            except OSError:
                raise URLRefusedError("DNS lookup failed") from None
        if not addresses:
            raise URLRefusedError("DNS lookup failed")
        # One private address is enough: which one is tried is not the name's choice.
        for address in addresses:
            check_address(address, self._security)
        return addresses


@final
class OneWriteStream(httpcore2.AsyncNetworkStream):
    """Keeps what is written until the answer is read, within a bound.

    The pool writes the head of a request and its body one after the other. Sent apart,
    the second one waits in some servers for an acknowledgement of the first.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore2
    ) -> bytes:
        """Send what was written, then read."""
        try:
            await self._flush(timeout)
        except httpcore2.WriteError:
            # A server may answer and close before it has read everything.
            await trio.lowlevel.checkpoint()
        return await self._stream.read(max_bytes, timeout)

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore2
    ) -> None:
        """Keep it, or send all that is kept if that is much."""
        self._unsent.append(buffer)
        self._unsent_bytes += len(buffer)
        if self._unsent_bytes > WRITE_BUFFER:
            await self._flush(timeout)
        else:
            await trio.lowlevel.checkpoint()

    async def _flush(self, seconds: float | None) -> None:
        unsent, self._unsent, self._unsent_bytes = self._unsent, [], 0
        if unsent:
            await self._stream.write(b"".join(unsent), seconds)
        else:
            await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close within a bound: the pool closes in a shield without one."""
        with trio.move_on_after(CLOSE_GRACE):
            await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore2
    ) -> httpcore2.AsyncNetworkStream:
        """Begin TLS; nothing was written yet."""
        return OneWriteStream(
            await self._stream.start_tls(ssl_context, server_hostname, timeout)
        )

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - of httpcore2
        """What the stream below knows."""
        return self._stream.get_extra_info(info)
