"""RFC 6455 frames, mostly the writing side. Pure: messages in, bytes out."""

import struct
from typing import Final, TypeGuard

from iii_trio.net._mask import apply_mask
from iii_trio.net._websocket import (
    FIN,
    FIN_TEXT,
    FRAGMENT_BYTES,
    OP_CLOSE,
    OP_PONG,
    Piece,
)

_REASON_MAX: Final = 123
"""A control frame carries 125 bytes, and a Close spends two on its code."""

_pack_16 = struct.Struct("!BBH").pack
_pack_64 = struct.Struct("!BBQ").pack

SHORT_BYTES: Final = 4096
SHORT_TEXT: Final = tuple(
    bytes((FIN_TEXT, n)) if n < 126 else _pack_16(FIN_TEXT, 126, n)
    for n in range(SHORT_BYTES)
)
"""Headers of short text messages, by their length: to make one costs twice a look-up."""

Event = bytes | tuple[int, bytes]
"""What a reader gives: a short text message, or opcode and payload of anything."""


def is_control(event: Event) -> TypeGuard[tuple[int, bytes]]:
    """Whether it is a Close, a ping or a pong."""
    return isinstance(event, tuple) and OP_CLOSE <= event[0] <= OP_PONG


def close_payload(code: int | None, reason: str = "") -> bytes:
    """The payload of a Close frame; a reason over 123 bytes is cut at a character."""
    if code is None:
        return b""
    text = reason.encode()[:_REASON_MAX].decode(errors="ignore").encode()
    return code.to_bytes(2, "big") + text


def frame_header(first: int, length: int) -> bytes:
    """The header of an unmasked frame.

    Args:
        first: FIN bit and opcode.
        length: payload bytes.
    """
    if length < 126:
        return bytes((first, length))
    if length < 0x10000:
        return _pack_16(first, 126, length)
    return _pack_64(first, 127, length)


def encode_frame(
    opcode: int, payload: Piece, *, fin: bool = True, mask: bytes | None = None
) -> bytes:
    """One frame.

    Args:
        opcode: one of the ``OP_`` constants, 0 for a continuation.
        payload: at most 125 bytes for control frames.
        fin: the last frame of its message.
        mask: four bytes for a client's frame, ``None`` for a server's.
    """
    header = frame_header(opcode | FIN if fin else opcode, len(payload))
    if mask is None:
        return b"".join((header, payload))
    header = bytes((header[0], header[1] | 0x80)) + header[2:]
    return b"".join((header, mask, apply_mask(payload, mask)))


def encode_message(opcode: int, data: bytes) -> list[Piece]:
    """One unmasked message as pieces to be written, fragments of 1 MiB if it is larger."""
    size = len(data)
    if size <= FRAGMENT_BYTES:
        return [frame_header(FIN | opcode, size), data]
    view = memoryview(data)
    pieces: list[Piece] = []
    for start in range(0, size, FRAGMENT_BYTES):
        piece = view[start : start + FRAGMENT_BYTES]
        last = FIN if start + FRAGMENT_BYTES >= size else 0
        pieces += (frame_header(last | (0 if start else opcode), len(piece)), piece)
    return pieces
