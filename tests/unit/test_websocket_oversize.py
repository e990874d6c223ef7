"""A reader that skips reads on over what is too large, and keeps an excerpt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.net import OP_BINARY, OP_PING, OP_TEXT, FrameReader
from iii_trio.net._pieces import Excerpt
from iii_trio.net._websocket import MAX_SKIPPED_BYTES, OP_OVERSIZE
from tests.unit.test_websocket_codec import frame

LIMIT = 10
LONG = bytes(range(256)) * 40


def skipping() -> FrameReader:
    reader = FrameReader("server", max_message_bytes=LIMIT)
    reader.skips = True
    return reader


def oversize(message: bytes) -> tuple[int, bytes]:
    """The event that a message becomes."""
    excerpt = message[:4096] + b"\n" + message[-4096:]
    return OP_OVERSIZE, b"%d\n" % len(message) + excerpt


WIRE = b"".join(
    (
        frame(OP_TEXT, b"before"),
        frame(OP_TEXT, LONG),
        frame(OP_PING, b"p"),
        # One that is too large only in its second fragment, with a ping inside.
        frame(OP_BINARY, b"12345678", fin=False),
        frame(OP_PING, b"between"),
        frame(0, LONG, fin=False),
        frame(OP_PING, b"again"),
        frame(0, b"", fin=False),
        frame(0, b"end"),
        # One whose first fragment is too large, and its rest small.
        frame(OP_TEXT, b"\xff" * 11, fin=False),
        frame(0, b"."),
        # The limit is what it was.
        frame(OP_TEXT, b"1234567890"),
        frame(OP_TEXT, b"12345", fin=False),
        frame(0, b"67890"),
    )
)
EVENTS = [
    (OP_TEXT, b"before"),
    oversize(LONG),
    (OP_PING, b"p"),
    (OP_PING, b"between"),
    (OP_PING, b"again"),
    oversize(b"12345678" + LONG + b"end"),
    oversize(b"\xff" * 11 + b"."),
    (OP_TEXT, b"1234567890"),
    (OP_TEXT, b"1234567890"),
]


def test_what_is_too_large_becomes_an_excerpt_and_the_rest_arrives() -> None:
    reader = skipping()
    assert reader.feed(WIRE) == EVENTS
    assert reader.failure is None


@given(st.lists(st.integers(0, len(WIRE)), max_size=40))
def test_every_cut_gives_the_same_events(cuts: list[int]) -> None:
    reader = skipping()
    seen: list[tuple[int, bytes]] = []
    start = 0
    for cut in [*sorted(cuts), len(WIRE)]:
        seen += reader.feed(WIRE[start:cut])
        start = cut
    assert seen == EVENTS


@pytest.mark.parametrize("opcode", [OP_TEXT, OP_BINARY])
def test_more_than_a_gibibyte_is_1009_all_the_same(opcode: int) -> None:
    header = bytes([0x80 | opcode, 0xFF])
    header += (MAX_SKIPPED_BYTES + 1).to_bytes(8, "big") + bytes(4)
    reader = skipping()
    assert reader.feed(header) == []
    assert reader.failure == (1009, "message too big")


def test_a_gibibyte_in_fragments_is_1009_all_the_same() -> None:
    reader = skipping()
    reader.feed(frame(OP_TEXT, LONG, fin=False))
    header = b"\0\xff" + (MAX_SKIPPED_BYTES - 1).to_bytes(8, "big") + bytes(4)
    assert reader.feed(header) == []
    assert reader.failure == (1009, "message too big")
    assert reader.feed(frame(OP_TEXT, b"deaf")) == []


@pytest.mark.parametrize("piece", [1, 100, 4096, 5000, 10**6])
def test_an_excerpt_is_the_begin_and_the_end(piece: int) -> None:
    excerpt = Excerpt()
    for start in range(0, len(LONG), piece):
        excerpt.add(LONG[start : start + piece])
    assert excerpt.size == len(LONG)
    assert excerpt.join() == LONG[:4096] + b"\n" + LONG[-4096:]
