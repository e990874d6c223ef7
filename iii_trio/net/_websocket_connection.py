"""A WebSocket of the front door: frames become calls of a sink, sends become frames.

One rule: no method of `WebSocket` calls its sink. The sink is called by the pump alone,
and hears ``on_closed`` once, last.
"""

from collections.abc import Iterator
from operator import length_hint
from typing import Any, final

from iii_trio._util import NoPublicConstructor
from iii_trio.errors import LocalProtocolError
from iii_trio.net._connection import HIGH_WATER, Connection
from iii_trio.net._door_counts import DoorCounts
from iii_trio.net._websocket import (
    FRAGMENT_BYTES,
    OP_BINARY,
    OP_CLOSE,
    OP_OVERSIZE,
    OP_PING,
    OP_PONG,
    OP_TEXT,
    FrameReader,
    Piece,
    parse_close,
)
from iii_trio.net._websocket_frames import (
    SHORT_BYTES,
    SHORT_TEXT,
    Event,
    close_payload,
    encode_frame,
    encode_message,
    frame_header,
    is_control,
)
from iii_trio.net._websocket_sink import OnOversize, Outbox, WebSocketSink

__all__ = ["WebSocket"]

_FIN_TEXT = 0x80 | OP_TEXT
_FIN_BINARY = 0x80 | OP_BINARY

_NEAR_HIGH = HIGH_WATER - 2 * SHORT_BYTES  # waiting: a short message is not too much

_BRIEF = 4  # requests in one read, up to which a connection is brief,
_TALKATIVE = 64  # but not for so many reads after a longer one

_LARGE = b"\xff"  # second byte of the header of a masked frame of 64 KiB or more

_WATCH_BYTES = 16 * 1024  # are read, and one read more, of a peer that is on hold
_FAILURE_LINGER_SECONDS = 2.0  # to read our Close for a broken protocol


@final
class WebSocket(metaclass=NoPublicConstructor):
    """One accepted WebSocket; made by ``HTTPExchange.accept_websocket``.

    Sends never wait and never fail: on a WebSocket that is closed they do nothing, and
    one whose peer does not read is dropped at ``HTTPLimits.outbox_bytes`` (96 MiB).

    Attributes:
        peer: ``127.0.0.1:51234``.
        heard: set by every read; whoever keeps watch over silence resets it.
        closed: no more can be sent: `close` or `drop` was called, or it is lost.
        close_received: the peer said goodbye; a lost connection never does.
    """

    __slots__ = (
        "_close_seconds",
        "_connection",
        "_counts",
        "_ended",
        "_events",
        "_held",
        "_on_oversize",
        "_pong",
        "_reader",
        "_rest",
        "_sink",
        "_talkative",
        "_turns",
        "_watching",
        "close_received",
        "closed",
        "heard",
        "peer",
    )

    def __init__(
        self,
        connection: Connection,
        sink: WebSocketSink,
        *,
        peer: str,
        max_message_bytes: int,
        close_timeout: float,
        counts: DoorCounts,
    ) -> None:
        self._connection = connection
        self._counts = counts
        self._sink = sink
        self._reader = FrameReader("server", max_message_bytes=max_message_bytes)
        self._close_seconds = close_timeout
        self._held = False
        self._watching = 0  # bytes that may be read while it is held
        self._ended = False  # the end of input came, and what was kept comes first
        self._turns = connection.turns
        self._talkative = 0  # reads until it may be brief again
        self._events: list[Event] = []
        self._rest: Iterator[Event] | None = None  # those that wait, if any do
        self._on_oversize: OnOversize | None = None
        self._pong: Piece = b""  # the last one
        self.peer = peer
        self.heard = True
        self.closed = False
        self.close_received = False

    @property
    def outbox(self) -> Outbox:
        """Tells how many bytes wait, for whoever asks very often."""
        return self._connection

    @property
    def outbox_bytes(self) -> int:
        """Bytes sent that the socket has not taken yet."""
        return self._connection.outbox_bytes

    def limit_outbox(self, size: int) -> None:
        """Drop it from now on when more bytes wait than this, at least 1 MiB."""
        self._connection.limit_outbox(size)

    def skip_oversize(self, on_oversize: OnOversize) -> None:
        """Read on over messages that are too large, and tell of each.

        Without this one is answered with a Close of code 1009, as it still is above
        1 GiB.

        Args:
            on_oversize: gets the size, and 4 KiB of the begin and of the end, with a
                line feed between them.
        """
        self._on_oversize = on_oversize
        self._reader.skips = True

    # Sending.

    def send_text_nowait(self, data: bytes) -> None:
        """Send one text message.

        Args:
            data: UTF-8; more than 1 MiB goes out as fragments of 1 MiB.
        """
        connection, size = self._connection, len(data)
        if self.closed or connection.closed:
            return
        if size < SHORT_BYTES and connection.outbox_bytes < _NEAR_HIGH:
            # By far the most: `write` in place. One piece is cheaper than two.
            data = SHORT_TEXT[size] + data
            connection.outbox.append(data)
            connection.outbox_bytes += len(data)
            if not connection.dirty:
                connection.pump.touch(connection)
        elif size > FRAGMENT_BYTES:
            self._send_fragments(OP_TEXT, data)
        else:
            connection.write(frame_header(_FIN_TEXT, size), data)

    def send_binary_nowait(self, data: bytes) -> None:
        """Send one binary message; more than 1 MiB goes out as fragments of 1 MiB."""
        size = len(data)
        if size > FRAGMENT_BYTES:
            self._send_fragments(OP_BINARY, data)
        elif not self.closed:
            self._connection.write(frame_header(_FIN_BINARY, size), data)

    def _send_fragments(self, opcode: int, data: bytes) -> None:
        pieces = iter(() if self.closed else encode_message(opcode, data))
        for head in pieces:
            self._connection.write(head, next(pieces))

    def ping_nowait(self, payload: bytes = b"") -> None:
        """Send a ping.

        Args:
            payload: comes back in the pong.

        Raises:
            LocalProtocolError: a payload over 125 bytes.
        """
        if len(payload) > 125:
            raise LocalProtocolError("the payload of a ping is at most 125 bytes")
        if not self.closed:
            self._connection.write(encode_frame(OP_PING, payload))

    # Receiving.

    def hold(self, *, watch: bool = False) -> None:
        """Stop reading, so that TCP holds the peer back; no message comes until `resume`.

        Nor does the loss of the connection, unless a send or a time limit finds out.

        Args:
            watch: if nothing waits, read some 16 KiB on, to tell of a reset or an end.
        """
        if not self.closed:
            self._held = True
            self._watching = _WATCH_BYTES if watch else 0
            self._connection.set_reading(watch)

    def resume(self) -> None:
        """Go on; messages that were already decoded come first, in order."""
        if not self._held:
            return
        self._held = False
        if not self.closed:
            self._connection.set_reading(True)
            if self._rest is not None:
                self._connection.put_off(self._go_on)

    def on_bytes(self, data: Piece) -> None:
        """Decode and deliver what one read gave."""
        self.heard = True
        if not isinstance(data, bytes) and not self._reader.missing:
            # The end of a bulk; but a large frame is copied piece by piece instead.
            data = data if data[1:2] == _LARGE else bytes(data)
        if self._held or self._rest is not None or not isinstance(data, bytes):
            self._feed(data)
            return
        texts: list[Any] = []  # of bytes, which all are events
        used = self._reader.cut_texts(data, texts.append)
        if len(texts) == 1:
            if not self.closed and self._sink.on_text(texts[0]):
                self._note(1)
        elif texts:
            self._serve(texts, iter(texts))
        if used < len(data):
            self._feed(data[used:] if used else data)

    def _feed(self, data: Piece) -> None:
        """The general case: anything but short texts, and what is held back."""
        reader = self._reader
        waiting: list[Event] = [*reader.feed(data)]
        watching = self._held and self._watching and self._rest is None
        while watching and waiting and is_control(waiting[0]):
            self._on_other(*waiting[0])
            del waiting[0]
        if self._rest is not None:
            self._events += waiting
        elif self._held and (waiting or not watching):
            self._events, self._rest = waiting, iter(waiting)
        elif waiting or reader.failure is not None:
            self._serve(waiting, iter(waiting))
            self._conclude()
        self._connection.bulky = reader.missing > 0
        if self._held and self._watching:
            self._watching = max(0, self._watching - len(data))
            self._connection.set_reading(self._watching > 0)

    def _serve(self, events: list[Event], rest: Iterator[Event]) -> None:
        """Deliver as many of ``rest`` of ``events`` as one turn allows."""
        on_text = self._sink.on_text
        asked, most = 0, self._turns.begin()
        for event in rest:
            if type(event) is not bytes:
                asked += self._on_message(*event)
            elif not self.closed and on_text(event):
                asked += 1
            if self._held and length_hint(rest):
                self._events, self._rest = events, rest
                self._watching = 0  # or each hold would let more come than it serves
                self._connection.set_reading(False)
                break
            if asked == most:
                most = self._turns.extend(asked)
                if asked == most and length_hint(rest):
                    self._events, self._rest = events, rest
                    self._connection.put_off(self._go_on)
                    break
        if asked:
            self._note(asked)

    def _note(self, asked: int) -> None:
        """So many requests came at once."""
        if asked > _BRIEF:
            self._talkative = _TALKATIVE
        elif self._talkative:
            self._talkative -= 1
        else:
            self._turns.note_brief()

    def _go_on(self) -> None:
        """Its turn has come, or it is not held any more."""
        if self._rest is not None and not self._held and not self._connection.closed:
            rest, self._rest = self._rest, None
            self._serve(self._events, rest)
            self._conclude()

    def _conclude(self) -> None:
        """After all that came: what ends the connection, if something does."""
        if self._rest is not None:
            return
        if self._reader.failure is not None:
            self._fail(*self._reader.failure)
        if self._ended and not self._connection.ending:
            self.on_eof()

    def _on_message(self, opcode: int, payload: bytes) -> bool:
        """Give whether it counts as a request."""
        if opcode != OP_TEXT:
            self._on_other(opcode, payload)
            return True
        return not self.closed and bool(self._sink.on_text(payload))

    def _on_other(self, opcode: int, payload: bytes) -> None:
        if opcode == OP_BINARY:
            if not self.closed:
                self._sink.on_binary(payload)
        elif opcode == OP_PING:
            if not self.closed:
                pong = encode_frame(OP_PONG, payload)
                self._pong = self._connection.write_newer(pong, self._pong)
        elif opcode == OP_CLOSE:
            self._on_close(payload)
        elif opcode == OP_OVERSIZE and self._on_oversize is not None:
            self._counts.large_messages += 1
            size, _, excerpt = payload.partition(b"\n")
            self._on_oversize(int(size), excerpt)

    def _on_close(self, payload: bytes) -> None:
        code, reason = parse_close(payload)
        self.close_received = True
        if not self.closed:
            self.closed = True
            self._connection.write(encode_frame(OP_CLOSE, close_payload(code)))
        text = f"closed by the peer: {code or 'no code'} {reason}".rstrip()
        self._connection.end(text, linger=0)

    def _fail(self, code: int, reason: str) -> None:
        """The peer broke the protocol: say so, and end."""
        self._counts.large_messages += code == 1009
        if not self.closed:
            self.closed = True
            payload = close_payload(code, reason)
            self._connection.write(encode_frame(OP_CLOSE, payload))
        text = f"failed with {code}: {reason}"
        self._connection.end(text, linger=_FAILURE_LINGER_SECONDS)

    def on_eof(self) -> None:
        """The peer is gone without a Close: deliver what is kept, and end."""
        if self._rest is not None:
            self._ended = True
            self._connection.set_reading(not self._held)
            return
        self._connection.lose("connection lost: end of input without a Close")

    def on_writable(self) -> None:
        """Pass it on."""
        if not self.closed:
            self._sink.on_writable()

    def on_deadline(self) -> None:
        """Our Close was not answered in time."""
        self._connection.lose("the peer did not answer our Close")

    def on_lost(self, reason: str) -> None:
        """The end."""
        self.closed = True
        self._rest = None
        self._sink.on_closed(reason)

    # Ending.

    def close(
        self, code: int | None = 1000, reason: str = "", *, patient: bool = False
    ) -> None:
        """Say goodbye after what was sent, wait (bounded) for the peer's Close, close.

        Messages that come meanwhile are dropped.

        Args:
            code: ``None`` sends a Close without one.
            reason: UTF-8, cut at 123 bytes.
            patient: wait for a slow peer to take what was sent; see `Connection`.
        """
        if self.closed:
            return
        self._connection.write(encode_frame(OP_CLOSE, close_payload(code, reason)))
        self.closed = True
        self._connection.expire_in(self._close_seconds, when_sent=patient)
        self._held = False
        self._connection.set_reading(True)
        if self._rest is not None:
            self._connection.put_off(self._go_on)

    def drop(self, reason: str) -> None:
        """Send what the socket takes at once, then close TCP without a Close."""
        self.closed = True
        self._connection.drop(reason)
