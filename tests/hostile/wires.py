"""What breaks WebSocket itself: the connection ends, with a Close that says why."""

import random
from collections.abc import Callable
from typing import Final

import attrs

from iii_trio.net import OP_BINARY, OP_CLOSE, OP_PING, OP_PONG, OP_TEXT, encode_frame

PROTOCOL: Final = frozenset((1002,))
UTF8: Final = frozenset((1007,))
SIZE: Final = frozenset((1009,))
ANY: Final = frozenset((1002, 1007, 1009))


@attrs.frozen
class Wire:
    """Bytes after the handshake, and the codes of the Close that is due.

    Attributes:
        codes: empty: they may also leave us waiting for more.
    """

    data: bytes
    codes: frozenset[int]


def hostile_wire(rng: random.Random) -> Wire:
    """One more of them."""
    return rng.choice(_KINDS)(rng)


def _frame(
    rng: random.Random, opcode: int, payload: bytes = b"", *, fin: bool = True
) -> bytes:
    return encode_frame(opcode, payload, fin=fin, mask=rng.randbytes(4))


def _unmasked(rng: random.Random) -> Wire:
    return Wire(encode_frame(OP_TEXT, rng.randbytes(rng.randint(0, 50))), PROTOCOL)


def _reserved_bits(rng: random.Random) -> Wire:
    data = bytearray(_frame(rng, OP_TEXT, b"x"))
    data[0] |= rng.choice((0x10, 0x20, 0x40, 0x70))
    return Wire(bytes(data), PROTOCOL)


def _unknown_opcode(rng: random.Random) -> Wire:
    return Wire(_frame(rng, rng.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15))), PROTOCOL)


def _long_control(rng: random.Random) -> Wire:
    opcode = rng.choice((OP_PING, OP_PONG, OP_CLOSE))
    return Wire(_frame(rng, opcode, b"\x03\xe8" + b"x" * 200), PROTOCOL)


def _cut_control(rng: random.Random) -> Wire:
    return Wire(_frame(rng, rng.choice((OP_PING, OP_CLOSE)), fin=False), PROTOCOL)


def _stray_continuation(rng: random.Random) -> Wire:
    return Wire(_frame(rng, 0, b"x"), PROTOCOL)


def _text_in_text(rng: random.Random) -> Wire:
    first = _frame(rng, OP_TEXT, b"x", fin=False)
    return Wire(first + _frame(rng, rng.choice((OP_TEXT, OP_BINARY)), b"y"), PROTOCOL)


def _bad_utf8(rng: random.Random) -> Wire:
    bad = rng.choice(
        (
            b"\xff",
            b"\xc0\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xe2\x82",
            b"\x80",
        )
    )
    payload = b'{"type":"ping","x":"' + bad + b'"}'
    if rng.random() < 0.5:
        return Wire(_frame(rng, OP_TEXT, payload), UTF8)
    cut = rng.randrange(len(payload))
    data = _frame(rng, OP_TEXT, payload[:cut], fin=False)
    return Wire(data + _frame(rng, 0, payload[cut:]), UTF8)


def _bad_close(rng: random.Random) -> Wire:
    payload = rng.choice(
        (b"\x03", b"\x03\xed", b"\x00\x00", b"\x03\xe8\xff", b"\xff\xff")
    )
    return Wire(_frame(rng, OP_CLOSE, payload), PROTOCOL | UTF8)


def _whale(rng: random.Random) -> Wire:
    """A length that is not served, announced; nothing of it comes."""
    size = rng.choice((2**32, 2**40, 2**62))
    head = bytes((0x80 | OP_BINARY, 0xFF)) + size.to_bytes(8, "big")
    return Wire(head + rng.randbytes(4), SIZE)


def _negative_length(rng: random.Random) -> Wire:
    head = bytes((0x81, 0xFF)) + (2**63 + rng.randrange(2**62)).to_bytes(8, "big")
    return Wire(head + rng.randbytes(4), PROTOCOL | SIZE)


def _wasteful_length(rng: random.Random) -> Wire:
    """More bytes for the length than it needs: not minimal."""
    head = bytes((0x81, 0xFF)) + (5).to_bytes(8, "big") + b"\0" * 4
    return Wire(head + b"hello", frozenset())


def _half(rng: random.Random) -> Wire:
    data = _frame(rng, OP_TEXT, rng.randbytes(300))
    return Wire(data[: rng.randrange(1, 14)], frozenset())


def _noise(rng: random.Random) -> Wire:
    return Wire(rng.randbytes(rng.randint(1, 300)), frozenset())


_KINDS: Final[tuple[Callable[[random.Random], Wire], ...]] = (
    _unmasked,
    _reserved_bits,
    _unknown_opcode,
    _long_control,
    _cut_control,
    _stray_continuation,
    _text_in_text,
    _bad_utf8,
    _bad_utf8,
    _bad_close,
    _whale,
    _negative_length,
    _wasteful_length,
    _half,
    _noise,
)
