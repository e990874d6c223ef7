"""One send from a long outbox: large pieces as they are, small ones joined."""

import socket
from typing import Final

from iii_trio.net._byte_handler import ByteSocket
from iii_trio.net._websocket import Piece

__all__ = ["GATHERED", "JOIN_BYTES", "send_many"]

JOIN_BYTES: Final = 32 * 1024
"""Up to this, the outbox is joined for one send."""

_COPY_BYTES: Final = 2048
"""Pieces that are larger on average are gathered by the kernel instead: joining 64 KB
costs more than the call."""

GATHERED: Final = 64
"""Pieces in one gathering send; systems take at least 16, Linux and macOS 1024."""

_HAS_SENDMSG: Final = hasattr(socket.socket, "sendmsg")  # not on Windows


def send_many(sock: ByteSocket, outbox: list[Piece]) -> int:
    """Send what one call may take from the front of the outbox, and take that off.

    Returns:
        Bytes that were sent, 0 when the socket is full.

    Raises:
        OSError: the connection is lost.
    """
    pieces = outbox[:GATHERED]
    try:
        if _HAS_SENDMSG and sum(map(len, pieces)) >= len(pieces) * _COPY_BYTES:
            sent = sock.sendmsg(pieces)
        else:
            size = count = 0
            while count < len(outbox) and size < JOIN_BYTES:
                size += len(outbox[count])
                count += 1
            data = b"".join(outbox[:count])
            outbox[:count] = [data]
            sent = sock.send(data)
    except BlockingIOError:
        return 0
    _take_off(outbox, sent)
    return sent


def _take_off(outbox: list[Piece], sent: int) -> None:
    done = 0
    while sent and sent >= len(outbox[done]):
        sent -= len(outbox[done])
        done += 1
    del outbox[:done]
    if sent:
        outbox[0] = memoryview(outbox[0])[sent:]
