"""One accepted socket: its outbox, what it is watched for, and how it ends.

What the bytes mean is its `ByteHandler`'s business (HTTP first, perhaps a WebSocket
later). Two rules: nothing here calls the handler from inside a write, `drop` or `end`;
and ``on_lost`` is the last thing that a handler hears, exactly once.
"""

import math
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from iii_trio.net._byte_handler import NOBODY, ByteHandler, ByteSocket
from iii_trio.net._gathering import GATHERED, JOIN_BYTES, send_many
from iii_trio.net._peer_certificate import PeerCertificate
from iii_trio.net._pump import Pump
from iii_trio.net._readiness import READ, WRITE
from iii_trio.net._turns import Turns
from iii_trio.net._websocket import Piece

__all__ = [
    "HIGH_WATER",
    "LOW_WATER",
    "Connection",
]

HIGH_WATER: Final = 1024 * 1024
LOW_WATER: Final = 256 * 1024
"""Bytes waiting: above the high mark once, then below the low one, is ``on_writable``."""

READ_BYTES: Final = 32 * 1024
BULK_READ_BYTES: Final = 256 * 1024
"""A usual read, which makes its own bytes, and one that goes into the pump's buffer:
after a read that came out full, and while a large frame is under way."""

_MANY_PIECES: Final = GATHERED
"""No more wait than are written in a turn, unless the socket is full. Not fewer than one
send gathers: those TLS may have encrypted already."""

_WRITE_STALL_SECONDS: Final = 30.0
"""A connection that only waits for its outbox to empty must move within this."""


class Connection:
    """One accepted socket.

    Args:
        pump: watches and flushes it.
        sock: non-blocking.
        outbox_limit: bytes that may wait for a peer that does not read.
        on_gone: called with this connection, inside the pump, when it is closed.

    Attributes:
        handler: who gets the bytes.
        outbox: pieces accepted by `write`, for whoever does on the hot path what it does.
        outbox_bytes: accepted by `write` and not taken by the socket.
        closed: the socket is closed.
        ending: it is to be closed when the outbox is empty; writes are ignored.
        bulky: a large frame is under way, so that large reads are worth it.
    """

    __slots__ = (
        "_blocked",
        "_bulk",
        "_end_reason",
        "_grace",
        "_interest",
        "_linger",
        "_looked",
        "_on_gone",
        "_outbox_limit",
        "_paused",
        "_reading",
        "_seen",
        "_sent",
        "_weighed",
        "above_high",
        "bulky",
        "closed",
        "dirty",
        "due",
        "ending",
        "handler",
        "outbox",
        "outbox_bytes",
        "pump",
        "sock",
        "timer",
    )

    def __init__(
        self,
        pump: Pump,
        sock: ByteSocket,
        outbox_limit: int,
        on_gone: Callable[["Connection"], None],
    ) -> None:
        self.sock = sock
        self.handler: ByteHandler = NOBODY
        self.outbox_bytes = 0
        self.bulky = False
        self.above_high = False
        self.closed = False
        self.ending = False
        self.dirty = False
        self.due = math.inf
        self.timer = math.inf
        self.pump = pump
        self._on_gone = on_gone
        self.outbox: list[Piece] = []
        self._outbox_limit = outbox_limit
        self._interest = 0
        self._reading = False  # wanted, if not paused
        self._paused = False
        self._blocked = False
        self._bulk = False  # the last read came out full
        self._linger = 0.0
        self._grace = 0.0  # to the deadline, once the outbox is empty
        self._end_reason = "the peer does not read"
        self._sent = 0
        self._weighed = 0  # bytes that count among those of all outboxes
        self._seen = 0
        self._looked = -1

    @property
    def peer_certificate(self) -> PeerCertificate | None:
        """Without TLS nobody has one."""
        return None

    # Reading.

    def set_reading(self, wanted: bool) -> None:
        """Read from the socket, or leave what comes to the kernel."""
        self._reading = wanted
        if not self.closed:
            read = READ if wanted and not self._paused else 0
            self._watch(self._interest & WRITE | read)

    def set_paused(self, paused: bool) -> None:
        """Do not read for a while, whatever else wants it."""
        self._paused = paused
        self.set_reading(self._reading)

    def _watch(self, mask: int) -> None:
        if mask != self._interest:
            self.pump.change(self, self._interest, mask)
            self._interest = mask  # unless the readiness set is full

    def on_ready(self, mask: int) -> None:
        """Read once, or send once."""
        if mask & READ and self._interest & READ:
            try:
                if self._bulk or self.bulky:
                    data = self._read_bulk()
                else:
                    data = self.sock.recv(READ_BYTES)
                    self._bulk = len(data) == READ_BYTES
            except BlockingIOError:
                pass
            except OSError as exc:
                self.lose(f"connection lost: {exc.strerror or exc}")
            else:
                if data:
                    self.handler.on_bytes(data)
                elif self.ending:
                    self.lose(self._end_reason)
                else:
                    self.handler.on_eof()
        if mask & WRITE and self._interest & WRITE:
            self._blocked = False
            self.flush()

    def _read_bulk(self) -> Piece:
        """One read into the pump's buffer."""
        buffer = self.pump.read_buffer
        size = self.sock.recv_into(buffer, BULK_READ_BYTES)
        self._bulk = size > READ_BYTES
        return buffer[:size]

    # Writing.

    def write(self, head: Piece, body: Piece = b"") -> None:
        """Queue two pieces; going over the limit loses the connection.

        An empty outbox takes a single write of any size.
        """
        if self.closed or self.ending:
            return
        self.outbox.append(head)
        size = len(head)
        if body:
            self.outbox.append(body)
            size += len(body)
        self.outbox_bytes += size
        if not self.dirty:
            self.pump.touch(self)
        if self.outbox_bytes > HIGH_WATER:
            self.above_high = True
            if self._outbox_limit < self.outbox_bytes > size:
                self.pump.outboxes.overflown += 1
                self.lose(f"the peer does not read: {self.outbox_bytes} bytes waiting")

    def write_newer(self, piece: Piece, older: Piece) -> Piece:
        """Queue and give a piece; in the place of ``older`` if that is last of many.

        So a peer that reads none of them does not fill the memory with tiny pieces.
        """
        outbox = self.outbox
        if len(outbox) > _MANY_PIECES and outbox[-1] is older:
            outbox[-1] = piece
            self.outbox_bytes += len(piece) - len(older)
        else:
            self.write(piece)
        return piece

    def flush(self) -> None:
        """Send what is queued, one non-blocking send, unless the socket is full."""
        if self._blocked or self.closed:
            self._weigh()
            return
        outbox = self.outbox
        if not outbox:
            self._on_empty()
            return
        try:
            if self.outbox_bytes <= JOIN_BYTES:
                data = b"".join(outbox)
                outbox.clear()
                sent = self._send(data)
                if sent < len(data):
                    outbox.append(memoryview(data)[sent:])
            else:
                sent = send_many(self.sock, outbox)
        except OSError as exc:
            self.lose(f"connection lost: {exc.strerror or exc}")
            return
        self._sent += sent
        self.outbox_bytes -= sent
        if self.outbox_bytes:
            self._blocked = True
            self._watch(self._interest | WRITE)
            self._weigh()
        elif self.ending or self._interest & WRITE:
            self._on_empty()
        if self.above_high and self.outbox_bytes < LOW_WATER and not self.closed:
            self.above_high = False
            self.pump.defer(self, self._tell_writable)

    def _send(self, data: Piece) -> int:
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def _tell_writable(self) -> None:
        self.handler.on_writable()

    def _weigh(self) -> None:
        """Add what waits here to what waits for all; that may be too much."""
        old, self._weighed = self._weighed, self.outbox_bytes
        if not self.pump.outboxes.weigh(old, self.outbox_bytes):
            self.lose(
                f"the peer does not read: {self.outbox_bytes} bytes waiting, and too "
                "much waits for all peers together"
            )

    def limit_outbox(self, size: int) -> None:
        """From the next write on this much may wait; less than 1 MiB counts as that."""
        self._outbox_limit = size

    def _on_empty(self) -> None:
        if self._weighed:
            self._weigh()
        self._watch(self._interest & ~WRITE)
        if not self.ending:
            if self._grace:
                self.expire_in(self._grace)
                self._grace = 0.0
            return
        if not self._linger:
            self.lose(self._end_reason)
            return
        # Say that nothing more comes, and swallow what the peer still sends: closing
        # with unread bytes would be a reset, which destroys our last words.
        linger, self._linger = self._linger, 0.0
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.lose(self._end_reason)
            return
        self._farewell(self._end_reason)
        self.set_reading(True)
        self.expire_in(linger)

    # Time.

    def defer(self, callback: Callable[[], None]) -> None:
        """Call back in the pump, at the end of the pass or soon."""
        self.pump.defer(self, callback)

    def put_off(self, callback: Callable[[], None]) -> None:
        """Call back when no other socket is ready; nothing is read until then."""
        self.pump.put_off(self, callback)

    @property
    def turns(self) -> Turns:
        """How long a turn is."""
        return self.pump.turns

    def expire_in(self, seconds: float, *, when_sent: bool = False) -> None:
        """Set the deadline, ``math.inf`` for none.

        Args:
            seconds: from now on.
            when_sent: from when the outbox is empty instead; until then it must move.
        """
        if when_sent and not self.closed:
            self._grace = seconds
            self._watch(self._interest | WRITE)  # so that `_on_empty` is called
            self._expect_move()
            return
        due = math.inf if seconds == math.inf else self.pump.now() + seconds
        self.pump.schedule(self, due)

    def on_deadline(self) -> None:
        """Let the handler decide, or see whether what has to be sent still moves."""
        if not self.ending and not self._grace:
            self.handler.on_deadline()
        elif self.outbox_bytes and not self.is_stalled():
            self.expire_in(_WRITE_STALL_SECONDS)
        else:
            self.lose(self._end_reason)

    def is_stalled(self) -> bool:
        """Whether bytes wait for the peer and none were taken since the last call."""
        seen, self._seen = self._seen, self._sent
        return self.outbox_bytes > 0 and self._sent == seen

    def was_taken(self) -> bool:
        """Whether the peer took some of what waited for it at the last call.

        What the system alone takes, such as all that fits in its buffer, is none of it.
        """
        seen, self._looked = self._looked, self._sent if self._blocked else -1
        return seen not in {-1, self._sent}

    def _expect_move(self) -> None:
        self.is_stalled()
        self.expire_in(_WRITE_STALL_SECONDS)

    # The end.

    def end(self, reason: str, *, linger: float) -> None:
        """Close when the outbox is empty.

        Args:
            reason: for the handler's ``on_lost``, unless it is lost earlier.
            linger: seconds to go on swallowing input after that, 0 to close at once.
        """
        if self.closed or self.ending:
            return
        self.ending = True
        self._linger = linger
        self._end_reason = reason
        self._expect_move()
        if not self.dirty:
            self.pump.touch(self)

    def drop(self, reason: str) -> None:
        """Send what the socket takes at once, then close."""
        self.flush()
        self.lose(reason)

    def lose(self, reason: str) -> None:
        """Close the socket and put off telling the handler. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._watch(0)
        self.sock.close()
        self.outbox.clear()
        self.outbox_bytes = 0
        if self._weighed:
            self._weigh()
        self._on_gone(self)
        self._farewell(reason)

    def on_fault(self) -> None:
        """A callback raised."""
        self.lose("internal error")

    def _farewell(self, reason: str) -> None:
        handler, self.handler = self.handler, NOBODY
        if handler is not NOBODY:
            self.pump.defer(self, partial(handler.on_lost, reason))
