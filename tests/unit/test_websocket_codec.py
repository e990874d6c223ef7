"""The WebSocket codec: frames in, frames out, and what a peer must not send."""

import pytest

from iii_trio.net import (
    OP_BINARY,
    OP_CLOSE,
    OP_PING,
    OP_PONG,
    OP_TEXT,
    FrameReader,
    accept_key,
    close_payload,
    encode_frame,
    encode_message,
    parse_close,
)
from iii_trio.net._handshake import is_valid_key
from iii_trio.net._websocket import OP_OVERSIZE
from iii_trio.net._websocket_frames import is_control

MASK = b"\x11\xaa\x33\xfe"
MIB = 1024 * 1024


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A client's frame."""
    return encode_frame(opcode, payload, fin=fin, mask=MASK)


def read(data: bytes, *, limit: int = MIB) -> list[tuple[int, bytes]]:
    reader = FrameReader("server", max_message_bytes=limit)
    events = reader.feed(data)
    assert reader.failure is None
    return events


def failure(data: bytes, *, limit: int = MIB) -> int:
    """The close code that ``data`` earns; the same for every cut into single bytes."""
    whole = FrameReader("server", max_message_bytes=limit)
    events = whole.feed(data)
    assert whole.failure is not None
    bytewise = FrameReader("server", max_message_bytes=limit)
    seen = [event for i in range(len(data)) for event in bytewise.feed(data[i : i + 1])]
    assert bytewise.failure == whole.failure
    assert seen == events
    assert whole.feed(frame(OP_TEXT, b"deaf")) == []
    return whole.failure[0]


LENGTHS = [0, 1, 125, 126, 127, 65535, 65536, 70000]


@pytest.mark.parametrize("length", LENGTHS)
def test_messages_of_every_length_form_arrive_whole(length: int) -> None:
    payload = b"x" * length
    assert read(frame(OP_TEXT, payload)) == [(OP_TEXT, payload)]
    assert read(frame(OP_BINARY, payload)) == [(OP_BINARY, payload)]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_client_reads_what_a_server_sends(length: int) -> None:
    payload = b"y" * length
    data = b"".join(encode_message(OP_TEXT, payload))
    assert FrameReader("client").feed(data) == [(OP_TEXT, payload)]
    reader = FrameReader("client")
    assert reader.feed(data[:-1]) + reader.feed(data[-1:]) == [(OP_TEXT, payload)]


def test_every_cut_gives_the_same_messages() -> None:
    data = frame(OP_TEXT, b"a" * 200) + frame(OP_PING, b"p") + frame(OP_BINARY, b"b")
    whole = read(data)
    for cut in range(len(data)):
        reader = FrameReader("server")
        assert reader.feed(data[:cut]) + reader.feed(data[cut:]) == whole


def test_fragments_are_joined_and_may_have_control_frames_between_them() -> None:
    data = (
        frame(OP_TEXT, b"one ", fin=False)
        + frame(OP_PING, b"hi")
        + frame(0, b"", fin=False)
        + frame(OP_PONG)
        + frame(0, b"two")
        + frame(OP_TEXT, b"three")
    )
    assert read(data) == [
        (OP_PING, b"hi"),
        (OP_PONG, b""),
        (OP_TEXT, b"one two"),
        (OP_TEXT, b"three"),
    ]


def test_many_tiny_fragments_are_joined() -> None:
    count = 5000
    data = frame(OP_BINARY, b"a", fin=False)
    data += frame(0, b"bc", fin=False) * count + frame(0, b"d")
    assert read(data) == [(OP_BINARY, b"a" + b"bc" * count + b"d")]


def test_a_frame_in_tiny_reads_is_joined() -> None:
    payload = bytes(range(256)) * 40
    data = frame(OP_BINARY, payload)
    reader = FrameReader("server")
    events = [e for i in range(0, len(data), 3) for e in reader.feed(data[i : i + 3])]
    assert events == [(OP_BINARY, payload)]


def test_missing_counts_what_the_frame_under_way_still_wants() -> None:
    reader = FrameReader("server")
    data = frame(OP_BINARY, b"x" * 1000)
    reader.feed(data[:-10])
    assert reader.missing == 10
    reader.feed(data[-10:])
    assert reader.missing == 0


def test_the_size_limit_holds_for_each_message_not_for_all() -> None:
    data = frame(OP_TEXT, b"x" * 60, fin=False) + frame(0, b"y" * 40)
    assert len(read(data * 3, limit=100)) == 3


@pytest.mark.parametrize(
    "data",
    [
        frame(OP_TEXT, b"x" * 101),
        frame(OP_BINARY, b"x" * 101),
        frame(OP_TEXT, b"x" * 60, fin=False) + frame(0, b"y" * 41),
        frame(OP_TEXT, b"x" * 101)[:8],  # before any of its payload is there
    ],
)
def test_a_message_over_the_limit_is_1009(data: bytes) -> None:
    assert failure(data, limit=100) == 1009


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode_frame(OP_TEXT, b"hi"), id="unmasked"),
        pytest.param(b"\xc1\x80" + MASK, id="reserved bit 1"),
        pytest.param(b"\xa1\x80" + MASK, id="reserved bit 2"),
        pytest.param(b"\x91\x80" + MASK, id="reserved bit 3"),
        *(pytest.param(frame(op), id=f"opcode {op}") for op in (3, 7, 11, 15)),
        pytest.param(frame(OP_PING, fin=False), id="fragmented ping"),
        pytest.param(frame(OP_PING, b"x" * 126), id="long ping"),
        pytest.param(frame(0, b"x"), id="nothing to continue"),
        pytest.param(
            frame(OP_TEXT, b"a", fin=False) + frame(OP_TEXT, b"b"), id="new message"
        ),
        pytest.param(b"\x81\xfe\x00\x7d" + MASK, id="16-bit length not shortest"),
        pytest.param(b"\x81\xff" + b"\0" * 6 + b"\xff\xff" + MASK, id="64-bit length"),
        pytest.param(b"\x81\xff\x80" + b"\0" * 7 + MASK, id="length with top bit"),
        pytest.param(frame(OP_CLOSE, b"\x03"), id="close code cut short"),
        *(
            pytest.param(frame(OP_CLOSE, code.to_bytes(2, "big")), id=f"close {code}")
            for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
        ),
    ],
)
def test_broken_frames_are_1002(data: bytes) -> None:
    assert failure(frame(OP_TEXT, b"before") + data) == 1002


@pytest.mark.parametrize("text", [b"\xff", b"\xce\xba\xed\xa0\x80", b"\xc3"])
def test_text_that_is_no_utf8_is_1007(text: bytes) -> None:
    assert failure(frame(OP_TEXT, text)) == 1007
    assert failure(frame(OP_TEXT, b"ok", fin=False) + frame(0, text)) == 1007
    assert failure(frame(OP_CLOSE, b"\x03\xe8" + text)) == 1007


def test_bad_utf8_in_a_fragment_fails_before_the_message_ends() -> None:
    begun = frame(OP_TEXT, "κό".encode(), fin=False)
    assert failure(begun + frame(0, b"\xf4\x90\x80\x80", fin=False)) == 1007


def test_a_character_may_be_cut_between_fragments() -> None:
    text = "κόσμε 🎉".encode()
    data = frame(OP_TEXT, text[:1], fin=False)
    data += b"".join(frame(0, text[i : i + 1], fin=False) for i in range(1, len(text)))
    assert read(data + frame(0)) == [(OP_TEXT, text)]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999])
def test_close_frames_carry_code_and_reason(code: int) -> None:
    payload = close_payload(code, "bye: ok, ü")
    assert read(frame(OP_CLOSE, payload)) == [(OP_CLOSE, payload)]
    assert parse_close(payload) == (code, "bye: ok, ü")


def test_a_close_without_code_is_empty() -> None:
    assert close_payload(None, "unused") == b""
    assert parse_close(b"") == (None, "")
    assert read(frame(OP_CLOSE)) == [(OP_CLOSE, b"")]


def test_nothing_is_read_after_a_close() -> None:
    reader = FrameReader("server")
    events = reader.feed(frame(OP_CLOSE) + frame(OP_TEXT, b"late"))
    assert events == [(OP_CLOSE, b"")]
    assert reader.feed(frame(OP_TEXT, b"later")) == []
    assert reader.failure is None


def test_a_long_close_reason_is_cut_at_a_character() -> None:
    payload = close_payload(1000, "ü" * 100)
    assert len(payload) <= 125
    assert parse_close(payload) == (1000, "ü" * 61)


@pytest.mark.parametrize(
    ("size", "fragments"), [(MIB, 1), (MIB + 1, 2), (2 * MIB, 2), (2 * MIB + 5, 3)]
)
def test_messages_over_one_mebibyte_leave_as_fragments(
    size: int, fragments: int
) -> None:
    payload = b"z" * size
    pieces = encode_message(OP_BINARY, payload)
    assert len(pieces) == 2 * fragments
    reader = FrameReader("client", max_message_bytes=size)
    assert reader.feed(b"".join(pieces)) == [(OP_BINARY, payload)]


def test_a_client_refuses_masked_frames() -> None:
    reader = FrameReader("client")
    assert reader.feed(frame(OP_TEXT, b"x")) == []
    assert reader.failure == (1002, "incorrect masking")


def test_the_accept_key_is_that_of_the_rfc() -> None:
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("key", "valid"),
    [
        ("dGhlIHNhbXBsZSBub25jZQ==", True),
        ("dGhlIHNhbXBsZQ==", False),
        ("", False),
        ("not base64 at all!", False),
        ("é" * 24, False),
    ],
)
def test_keys_are_the_base64_of_sixteen_bytes(key: str, *, valid: bool) -> None:
    assert is_valid_key(key) is valid


def test_a_close_a_ping_and_a_pong_are_control() -> None:
    assert all(is_control((one, b"")) for one in (OP_CLOSE, OP_PING, OP_PONG))
    others = (b"text", (OP_TEXT, b""), (OP_BINARY, b""), (OP_OVERSIZE, b"9\n"))
    assert not any(is_control(one) for one in others)
