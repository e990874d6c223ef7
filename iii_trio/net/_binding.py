"""Listening sockets: which addresses a host name means, and binding them together."""

import errno
import os
import socket
import sys
from typing import Final

import trio

__all__ = ["bind"]

_LOOPBACK: Final = ("127.0.0.1", "::1")

_BACKLOG: Final = 4096
"""Connections the kernel keeps until we accept; it cuts this to its own maximum."""

_PORT_TRIES: Final = 32
"""For port 0 on two families: one may be taken where the other was free."""

_NO_SUCH_FAMILY: Final = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))


async def bind(host: str | None, port: int) -> list[socket.socket]:
    """Listen on every address that ``host`` means, all with the same port.

    Args:
        host: a name or address; ``None`` and ``localhost`` are both loopback addresses,
            of which a missing IPv6 is forgiven.
        port: 0 chooses a free one.

    Returns:
        Non-blocking listening sockets.

    Raises:
        OSError: an address is in use, or is not ours; the message names it.
    """
    if host is None or host == "localhost":
        await trio.lowlevel.checkpoint()
        hosts: tuple[str, ...] = _LOOPBACK
    else:
        found = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        hosts = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    for _ in range(_PORT_TRIES - 1):
        try:
            return _bind_all(hosts, port)
        except OSError as exc:
            if port or exc.errno != errno.EADDRINUSE:
                raise
    return _bind_all(hosts, port)


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
