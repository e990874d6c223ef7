"""Listening sockets: which addresses a host name means, and binding them together.

A port somebody listens on is busy, and that is final. One that only a connection of a
client holds is waited for: the standard ports of iii lie in the range from which Linux
takes the local ports of clients, where such a connection rests for a minute after its end.
"""

import errno
import logging
import os
import socket
import struct
import sys
from typing import Final

import trio

__all__ = ["HeldPortError", "bind"]

_logger = logging.getLogger("iii_trio.net")

_LOOPBACK: Final = ("127.0.0.1", "::1")

_BACKLOG: Final = 4096
"""Connections the kernel keeps until we accept; it cuts this to its own maximum."""

_PORT_TRIES: Final = 32
"""For port 0 on two families: one may be taken where the other was free."""

_HELD_SECONDS: Final = 70.0
"""Wait for a port that a client's connection holds: TIME_WAIT is 60 s on Linux."""

_RETRY_SECONDS: Final = 0.25

_ANSWER_SECONDS: Final = 2.0
"""Whoever listens and answers no connect within this is taken for busy all the same."""

_RESET_AT_CLOSE: Final = struct.pack("HH" if os.name == "nt" else "ii", 1, 0)

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to connect to

_NO_SUCH_FAMILY: Final = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))


class HeldPortError(OSError):
    """The port is in use, but nobody listens on it: a client's connection holds it."""


async def bind(
    host: str | None, port: int, *, held_seconds: float = _HELD_SECONDS
) -> list[socket.socket]:
    """Listen on every address that ``host`` means, all with the same port.

    Args:
        host: a name or address; ``None`` and ``localhost`` are both loopback addresses,
            of which a missing IPv6 is forgiven.
        port: 0 chooses a free one.
        held_seconds: how long to wait for a port on which nobody listens, but which a
            connection of a client holds.

    Returns:
        Non-blocking listening sockets.

    Raises:
        HeldPortError: the port was held for longer than that.
        OSError: an address is in use, or is not ours, or ``host`` means none; the
            message names it.
    """
    if host is None or host == "localhost":
        await trio.lowlevel.checkpoint()
        hosts: tuple[str, ...] = _LOOPBACK
    else:
        hosts = await _addresses_of(host, port)
    if port:
        return await _bind_when_free(hosts, port, held_seconds)
    for _ in range(_PORT_TRIES - 1):
        try:
            return _bind_all(hosts, port)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
    return _bind_all(hosts, port)


async def _addresses_of(host: str, port: int) -> tuple[str, ...]:
    try:
        found = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, ValueError) as exc:  # the latter: it cannot be a name at all
        reason = exc.strerror if isinstance(exc, OSError) else "not a host name"
        text = (
            f"cannot listen on {host!r}: {reason}. host must be an address of this "
            "machine, or a name of one"
        )
        raise OSError(errno.EADDRNOTAVAIL, text) from exc
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


async def _bind_when_free(
    hosts: tuple[str, ...], port: int, seconds: float
) -> list[socket.socket]:
    """Bind, at the latest when a client's connection has let go of the port."""
    deadline = trio.current_time() + seconds
    waiting = False
    while True:
        await trio.lowlevel.checkpoint()
        try:
            return _bind_all(hosts, port)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            failure = exc
        if await _is_listening(hosts, port):
            raise failure
        if trio.current_time() >= deadline:
            text = (
                f"port {port} is in use, though nobody listens there: a client's "
                f"connection holds it (TIME_WAIT lasts a minute). Try again, choose "
                f"another port, or reserve it: sysctl -w "
                f"net.ipv4.ip_local_reserved_ports={port}"
            )
            raise HeldPortError(failure.errno, text) from failure
        if not waiting:
            waiting = True
            _logger.warning(
                "Port %d: nobody listens there, but a client's connection holds it. "
                "Waiting for it, at most %g s.",
                port,
                seconds,
            )
        await trio.sleep(_RETRY_SECONDS)


async def _is_listening(hosts: tuple[str, ...], port: int) -> bool:
    """Whether a connect to any of the addresses is answered, or hangs."""
    await trio.lowlevel.checkpoint()
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            sock = trio.socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue  # no such family here
        with sock, trio.move_on_after(_ANSWER_SECONDS) as scope:
            await trio.lowlevel.checkpoint()
            try:
                await sock.connect((_EVERYWHERE.get(host, host), port))
            except OSError:
                continue
            if sock.getsockname() != sock.getpeername():
                return True
            # The port was let go just now, and the system connected us to ourselves.
            # Closed in order, that connection would hold the port for a minute.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        if scope.cancelled_caught:
            return True
    return False


def _bind_all(hosts: tuple[str, ...], port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for host in hosts:
            try:
                sock = _bind_one(host, port)
            except OSError as exc:
                if not (bound and hosts == _LOOPBACK and exc.errno in _NO_SUCH_FAMILY):
                    raise
            else:
                bound.append(sock)
                port = sock.getsockname()[1]
    except OSError:
        for sock in bound:
            sock.close()
        raise
    return bound


def _bind_one(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as exc:
        raise OSError(exc.errno, f"cannot listen on {where}: {exc.strerror}") from exc
    try:
        sock.setblocking(False)
        if sys.platform != "win32":  # there it would share the port with anybody
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as exc:
        sock.close()
        text = (
            f"{where} is already in use"
            if exc.errno == errno.EADDRINUSE
            else f"cannot listen on {where}: {os.strerror(exc.errno or 0)}"
        )
        raise OSError(exc.errno, text) from exc
    return sock
