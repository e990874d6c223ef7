"""RFC 6455 frames, both roles. Pure: bytes in, tuples and bytes out.

Two rules. A reader never raises on what the peer sent: it hands out everything that came
before the error and then says in `FrameReader.failure` which close code is due. And the
common case, one whole unfragmented text frame inside one read, touches no buffer: it is
cut from the bytes as they came (our measurement: this doubles the rate of a relay).

No extension is spoken: a set reserved bit is an error.
"""

import codecs
from collections.abc import Callable
from typing import Final, Literal

from iii_trio.net._mask import apply_mask
from iii_trio.net._pieces import Excerpt, Pieces

Role = Literal["server", "client"]
Piece = bytes | memoryview

_CONTINUATION: Final = 0
OP_TEXT: Final = 1
OP_BINARY: Final = 2
OP_CLOSE: Final = 8
OP_PING: Final = 9
OP_PONG: Final = 10
OP_OVERSIZE: Final = 16
"""Of no frame: a message that was too large, see `FrameReader.skips`."""

FIN: Final = 0x80
FIN_TEXT: Final = FIN | OP_TEXT
_MASKED_16: Final = 0x80 | 126
_MASKED_64: Final = 0x80 | 127
_KNOWN_OPCODES: Final = frozenset((0, OP_TEXT, OP_BINARY, OP_CLOSE, OP_PING, OP_PONG))
_CONTROL_MAX: Final = 125

FRAGMENT_BYTES: Final = 1024 * 1024
"""Larger messages leave as fragments of this size: what iii SDKs do and accept."""

DEFAULT_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

MAX_SKIPPED_BYTES: Final = 1024 * 1024 * 1024
"""Of a message that is skipped because it is too large; more is close code 1009."""

# RFC 6455 section 7.4 and the IANA registry; 1005, 1006 and 1015 never travel.
_WIRE_CODES: Final = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))


class _PeerError(Exception):
    """The peer broke the protocol; carries the close code and the reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class FrameReader:
    """Turns the bytes of one peer into messages and control frames.

    Args:
        role: ours. A server wants masked frames, a client unmasked ones.
        max_message_bytes: of one message, fragments together; more is close code 1009.

    Attributes:
        skips: read on over larger messages instead, up to `MAX_SKIPPED_BYTES`. Each
            becomes an `OP_OVERSIZE` whose payload is its size, a line feed, and what
            an `Excerpt` keeps of it; its text is not checked.
        failure: ``(close code, reason)`` once the peer broke the protocol; everything
            after that is ignored.
        missing: payload bytes of a frame under way that have not come yet.
    """

    __slots__ = (
        "_buffer",
        "_chunks",
        "_excerpt",
        "_finished",
        "_first",
        "_fragments",
        "_limit",
        "_mask",
        "_masked",
        "_opcode",
        "_utf8",
        "failure",
        "missing",
        "skips",
    )

    def __init__(
        self, role: Role, *, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    ) -> None:
        self._masked = 0x80 if role == "server" else 0
        self._limit = max_message_bytes  # what the message under way may still take
        self._buffer = b""  # an incomplete frame header
        self._chunks: Pieces | Excerpt | None = None  # a payload under way
        self._excerpt: Excerpt | None = None  # of a message under way that is skipped
        self._first = 0  # its first byte
        self._mask = b""
        self._opcode = 0  # of a fragmented message under way, else 0
        self._fragments: Pieces | None = None
        self._utf8: codecs.IncrementalDecoder | None = None
        self._finished = False
        self.failure: tuple[int, str] | None = None
        self.missing = 0
        self.skips = False

    def feed(self, data: Piece) -> list[tuple[int, bytes]]:
        """Take what was read, give what is complete, in order.

        Args:
            data: the bytes of one read, any cut. A view saves a copy while a large
                frame is under way; it is not kept.

        Returns:
            ``(opcode, payload)`` of whole messages (`OP_TEXT`: valid UTF-8, `OP_BINARY`)
            and control frames (`OP_PING`, `OP_PONG`, `OP_CLOSE`: a payload that
            `parse_close` takes). Nothing follows an `OP_CLOSE`.
        """
        events: list[tuple[int, bytes]] = []
        if self._finished:
            return events
        texts: list[bytes] = []
        start = self.cut_texts(data, texts.append) if isinstance(data, bytes) else 0
        if start:
            events += [(OP_TEXT, text) for text in texts]
            data = data[start:]
        try:
            if self.missing:
                self._go_on(data, events)
            elif self._buffer:
                data = b"".join((self._buffer, data))
                self._buffer = b""
                self._parse(data, 0, events)
            elif data:
                self._parse(data, 0, events)
        except _PeerError as exc:
            self.failure = (exc.code, exc.reason)
            self._finish()
        return events

    def cut_texts(self, data: bytes, add: Callable[[bytes], object]) -> int:
        """Cut the common case from the front: whole masked frames of ASCII text.

        Nothing is cut unless a frame begins where ``data`` does and no message is under
        way; `feed` takes whatever is left.

        Args:
            data: the bytes of one read.
            add: gets the text of each message.

        Returns:
            How many bytes were used.
        """
        if self.missing or self._buffer or self._opcode or not self._masked:
            return 0
        pos, end, limit = 0, len(data), self._limit
        while pos + 8 <= end and data[pos] == FIN_TEXT:
            length = data[pos + 1]
            if length == _MASKED_16:
                length = data[pos + 2] << 8 | data[pos + 3]
                start = pos + 8
                if length < 126:
                    break  # not the shortest form: an error, for `feed` to tell
            elif 0x80 <= length < _MASKED_64:
                length -= 0x80
                start = pos + 6
            else:
                break
            stop = start + length
            if stop > end or length > limit:
                break
            text = apply_mask(data[start:stop], data[start - 4 : start])
            if not text.isascii():
                break
            add(text)
            pos = stop
        return pos

    def _finish(self) -> None:
        self._finished = True
        self._masked = 0  # so that nothing more is cut
        self.missing = 0
        self._buffer = b""
        self._chunks = self._fragments = self._excerpt = None
        self._utf8 = None

    def _go_on(self, data: Piece, events: list[tuple[int, bytes]]) -> None:
        """More of a frame whose header is known."""
        size = len(data)
        if size < self.missing:
            self._add(data)
            return
        end = self.missing
        self._add(data if size == end else data[:end])
        assert self._chunks is not None
        # What is skipped is in the excerpt already.
        payload = b"" if self._chunks is self._excerpt else self._chunks.join()
        self._chunks = None
        self._frame(self._first, payload, events)
        if size > end and not self._finished:
            self._parse(data, end, events)

    def _begin(self, first: int, data: Piece, start: int, length: int) -> None:
        """Keep what came of a frame; the rest goes through `_go_on`."""
        self._first = first
        self._mask = bytes(data[start - 4 : start])
        is_control = first & 0x0F >= OP_CLOSE
        self._chunks = (not is_control and self._excerpt) or Pieces()
        self.missing = length
        if start < len(data):
            self._add(data[start:])

    def _add(self, piece: Piece) -> None:
        """Unmask and keep more of the frame under way: the one copy of a large frame."""
        assert self._chunks is not None
        size = len(piece)
        if self._masked:
            self._chunks.add(apply_mask(piece, self._mask))
            turn = size & 3
            if turn:
                self._mask = self._mask[turn:] + self._mask[:turn]
        else:
            self._chunks.add(bytes(piece))
        self.missing -= size

    def _parse(self, data: Piece, pos: int, events: list[tuple[int, bytes]]) -> None:
        """Cut whole frames from ``data[pos:]`` and keep what is left."""
        size = len(data)
        while pos + 2 <= size:
            first = data[pos]
            start, length = self._measure(data, pos)
            if start > size:
                break
            plain = first == FIN_TEXT and not self._opcode and length <= self._limit
            if not plain:
                self._check_header(first, length)
            end = start + length
            if end > size:
                self._begin(first, data, start, length)
                return
            if self._masked:
                mask = bytes(data[start - 4 : start])
                payload = apply_mask(data[start:end], mask)
            else:
                payload = bytes(data[start:end])
            pos = end
            if plain and payload.isascii():
                events.append((OP_TEXT, payload))
                continue
            self._frame(first, payload, events)
            if self._finished:
                return
        if pos < size:
            # Refuse a bad first byte even before the rest of the header is there.
            self._check_header(data[pos], 0)
            self._buffer = bytes(data[pos:])

    def _measure(self, data: Piece, pos: int) -> tuple[int, int]:
        """Where the payload of the frame at ``pos`` starts, and its length.

        A start behind the end of ``data`` means that the header is not complete.
        """
        masked = self._masked
        length = data[pos + 1] ^ masked
        start = pos + 6 if masked else pos + 2
        if length < 126:
            return start, length
        if length > 127:
            raise _PeerError(1002, "incorrect masking")
        width = 2 if length == 126 else 8
        start += width
        if start > len(data):
            return start, 0
        length = int.from_bytes(data[pos + 2 : pos + 2 + width], "big")
        # Section 5.2: the shortest form must be used, and the top bit is 0.
        if length < (126 if width == 2 else 0x10000) or length >> 63:
            raise _PeerError(1002, "length not in its shortest form")
        return start, length

    def _check_header(self, first: int, length: int) -> None:
        opcode = first & 0x0F
        if first & 0x70:
            raise _PeerError(1002, "reserved bits set")
        if opcode not in _KNOWN_OPCODES:
            raise _PeerError(1002, f"unknown opcode {opcode}")
        if opcode >= OP_CLOSE:
            if not first & FIN:
                raise _PeerError(1002, "fragmented control frame")
            if length > _CONTROL_MAX:
                raise _PeerError(1002, "control frame too long")
            return
        if bool(opcode) == bool(self._opcode):
            reason = "expected a continuation" if opcode else "nothing to continue"
            raise _PeerError(1002, reason)
        excerpt = self._excerpt
        if excerpt is None and length > self._limit:
            excerpt = self._begin_to_skip()
        if excerpt is not None and excerpt.size + length > MAX_SKIPPED_BYTES:
            raise _PeerError(1009, "message too big")

    def _begin_to_skip(self) -> Excerpt:
        """The message under way is too large to keep."""
        if not self.skips:
            raise _PeerError(1009, "message too big")
        excerpt = self._excerpt = Excerpt()
        if self._fragments is not None:
            message = self._fragments.join()
            self._limit += len(message)
            excerpt.add(message)
            self._fragments = self._utf8 = None
        return excerpt

    def _frame(
        self, first: int, payload: bytes, events: list[tuple[int, bytes]]
    ) -> None:
        """One whole frame whose header was checked."""
        opcode = first & 0x0F
        final = bool(first & FIN)
        if opcode >= OP_CLOSE:
            if opcode == OP_CLOSE:
                parse_close(payload)
                self._finish()
            events.append((opcode, payload))
        elif self._excerpt is not None:
            self._excerpt.add(payload)
            self._opcode = opcode or self._opcode
            if final:
                head = b"%d\n" % self._excerpt.size
                events.append((OP_OVERSIZE, head + self._excerpt.join()))
                self._opcode, self._excerpt = 0, None
        elif final and not self._opcode:
            if opcode == OP_TEXT and not payload.isascii():
                _check_utf8(payload)
            events.append((opcode, payload))
        else:
            self._fragment(opcode, payload, events, final=final)

    def _fragment(
        self,
        opcode: int,
        payload: bytes,
        events: list[tuple[int, bytes]],
        *,
        final: bool,
    ) -> None:
        """Take one fragment; text is checked as it comes, as section 8.1 wants."""
        if self._fragments is None:
            self._fragments = Pieces()
        pieces = self._fragments
        if opcode:
            self._opcode = opcode
        pieces.add(payload)
        self._limit -= len(payload)
        if self._opcode == OP_TEXT:
            self._check_fragment(payload, final=final)
        if final:
            message = pieces.join()
            self._limit += len(message)
            events.append((self._opcode, message))
            self._opcode = 0
            self._fragments = None
            self._utf8 = None

    def _check_fragment(self, payload: bytes, *, final: bool) -> None:
        if self._utf8 is None:
            if payload.isascii():
                return
            self._utf8 = codecs.getincrementaldecoder("utf-8")()
        try:
            self._utf8.decode(payload, final)
        except UnicodeDecodeError:
            raise _PeerError(1007, "invalid UTF-8") from None


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise _PeerError(1007, "invalid UTF-8") from None


def parse_close(payload: bytes) -> tuple[int | None, str]:
    """Code and reason of a Close payload, ``(None, "")`` of an empty one.

    For payloads that a `FrameReader` gave: it has refused those with a code that must
    not travel (1002) or a reason that is no UTF-8 (1007).
    """
    if not payload:
        return None, ""
    if len(payload) == 1:
        raise _PeerError(1002, "close code cut short")
    code = int.from_bytes(payload[:2], "big")
    if code not in _WIRE_CODES and not 3000 <= code < 5000:
        raise _PeerError(1002, f"invalid close code {code}")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise _PeerError(1007, "invalid UTF-8 in the close reason") from None
