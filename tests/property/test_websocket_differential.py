"""Our frame codec against two others: the same messages, or the same failure.

Where the oracles are known to differ from us, on purpose, the tests say so: `websockets`
leaves UTF-8 to its caller, takes lengths that are not in their shortest form, refuses a
Close between fragments and counts a Ping between them as a part of the message; `wsproto` checks text before its frame is complete, knows no
size limit and does not know close code 1014.
"""

from typing import Literal, NamedTuple

from hypothesis import event, given
from hypothesis import strategies as st
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import CLIENT, OPEN, SERVER
from websockets.protocol import Protocol as WebsocketsProtocol
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from iii_trio.net import (
    OP_BINARY,
    OP_CLOSE,
    OP_PING,
    OP_PONG,
    OP_TEXT,
    FrameReader,
    close_payload,
    encode_frame,
    encode_message,
)

Role = Literal["server", "client"]

LIMIT = 400  # no message that is drawn comes near, even with a control frame inside
NO_LIMIT = 1 << 62
CONTROL = (OP_PING, OP_PONG, OP_CLOSE)


class Read(NamedTuple):
    """What a codec made of a byte stream."""

    events: list[tuple[int, bytes]]
    failure: int | None


class Wire(NamedTuple):
    """Frames, and whether a message is left open at the end."""

    data: bytes
    open: bool


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted(min(cut, len(data)) for cut in cuts)
    spans = zip([0, *ends], [*ends, len(data)], strict=True)
    return [data[a:b] for a, b in spans if a < b]


def ours(reads: list[bytes], role: Role, limit: int) -> Read:
    reader = FrameReader(role, max_message_bytes=limit)
    events = [item for read in reads for item in reader.feed(read)]
    viewer = FrameReader(role, max_message_bytes=limit)
    views = [item for read in reads for item in viewer.feed(memoryview(read))]
    assert (views, viewer.failure) == (events, reader.failure)
    assert all(type(payload) is bytes for _, payload in views)
    return Read(events, None if reader.failure is None else reader.failure[0])


def websockets(reads: list[bytes], role: Role, limit: int) -> Read:
    side = SERVER if role == "server" else CLIENT
    protocol = WebsocketsProtocol(side, state=OPEN, max_size=limit)
    for read in reads:
        protocol.receive_data(read)
    events: list[tuple[int, bytes]] = []
    opcode, parts = 0, b""
    for item in protocol.events_received():
        assert isinstance(item, TheirFrame)
        data = bytes(item.data)
        if item.opcode in CONTROL:
            events.append((int(item.opcode), data))
            continue
        opcode = int(item.opcode) or opcode
        parts += data
        if opcode == OP_TEXT and not is_text(parts, final=item.fin):
            return Read(events, 1007)
        if item.fin:
            events.append((opcode, parts))
            opcode, parts = 0, b""
    failed = protocol.parser_exc is not None
    sent = protocol.close_sent
    return Read(events, int(sent.code) if failed and sent is not None else None)


def is_text(data: bytes, *, final: bool) -> bool:
    """Whether this is, or may yet become, UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as exc:
        return not final and exc.reason == "unexpected end of data"
    return True


def wsproto(reads: list[bytes], role: Role) -> Read:
    protocol = FrameProtocol(client=role == "client", extensions=[])
    events: list[tuple[int, bytes]] = []
    parts = b""
    try:
        for read in reads:
            protocol.receive_bytes(read)
            for frame in protocol.received_frames():
                data = frame.payload
                if frame.opcode is Opcode.CLOSE:
                    assert isinstance(data, tuple)
                    code = None if data[0] == 1005 else int(data[0])
                    events.append((OP_CLOSE, close_payload(code, data[1])))
                    return Read(events, None)
                assert not isinstance(data, tuple)
                data = data.encode() if isinstance(data, str) else bytes(data)
                if frame.opcode.iscontrol():
                    events.append((int(frame.opcode), data))
                    continue
                parts += data
                if frame.message_finished:
                    events.append((int(frame.opcode), parts))
                    parts = b""
    except ParseFailed as exc:
        return Read(events, int(exc.code))
    return Read(events, None)


sizes = st.one_of(st.integers(0, 130), st.sampled_from([200, 250]))
texts = st.one_of(
    st.text(max_size=60).map(str.encode), sizes.map(lambda size: b"t" * size)
)
binaries = st.one_of(st.binary(max_size=130), sizes.map(lambda size: b"b" * size))
masks = st.binary(min_size=4, max_size=4)
cut_lists = st.lists(st.integers(0, 600), max_size=12)
close_codes = st.one_of(
    st.none(),
    st.sampled_from([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011]),
    st.integers(3000, 4999),
)


@st.composite
def conversations(draw: st.DrawFn, role: Role) -> Wire:
    """Valid frames: messages, fragments, control frames between them."""
    out: list[bytes] = []

    def put(opcode: int, payload: bytes, *, fin: bool = True) -> None:
        mask = draw(masks) if role == "server" else None
        out.append(encode_frame(opcode, payload, fin=fin, mask=mask))

    def control() -> None:
        if draw(st.booleans()):
            opcode = draw(st.sampled_from([OP_PING, OP_PONG]))
            put(opcode, draw(st.binary(max_size=125)))

    for _ in range(draw(st.integers(0, 4))):
        control()
        opcode = draw(st.sampled_from([OP_TEXT, OP_BINARY]))
        payload = draw(texts if opcode == OP_TEXT else binaries)
        parts = pieces(payload, draw(st.lists(st.integers(0, 250), max_size=3)))
        for part in parts[:-1]:
            put(opcode, part, fin=False)
            control()
            opcode = 0
        put(opcode, parts[-1] if parts else b"")
    left_open = draw(st.booleans())
    if left_open:
        put(OP_BINARY, b"begun", fin=False)
        control()
    return Wire(b"".join(out), left_open)


MASK = b"\x01\x02\x03\x04"


def faults(role: Role, *, left_open: bool) -> st.SearchStrategy[bytes]:
    """One frame, or more, that the peer must not send."""
    mask = MASK if role == "server" else None
    wrong_mask = None if mask else MASK
    first = 0 if left_open else OP_BINARY
    frames = {
        "masking": encode_frame(first, b"x", mask=wrong_mask),
        "reserved bit": encode_frame(first | 0x40, b"x", mask=mask),
        "opcode": encode_frame(5, b"", mask=mask),
        "control opcode": encode_frame(12, b"", mask=mask),
        "fragmented ping": encode_frame(OP_PING, b"", fin=False, mask=mask),
        "wrong begin": encode_frame(OP_TEXT if left_open else 0, b"", mask=mask),
        "close code": encode_frame(OP_CLOSE, b"\x03\xed", mask=mask),
        "short close": encode_frame(OP_CLOSE, b"\x03", mask=mask),
        "close reason": encode_frame(OP_CLOSE, b"\x03\xe8\xff", mask=mask),
    }
    if not left_open:
        frames["text"] = encode_frame(OP_TEXT, b"ab\xff", mask=mask)
        frames["fragment"] = encode_frame(OP_TEXT, b"\xce", fin=False, mask=mask)
        frames["fragment"] += encode_frame(0, b"\xff", fin=False, mask=mask)
    return st.sampled_from(sorted(frames)).map(lambda name: frames[name])


def both_roles() -> st.SearchStrategy[Role]:
    return st.sampled_from(["server", "client"])


@given(both_roles(), st.data(), cut_lists)
def test_valid_conversations_give_the_same_messages(
    role: Role, data: st.DataObject, cuts: list[int]
) -> None:
    wire = data.draw(conversations(role))
    mask = MASK if role == "server" else None
    stream = wire.data
    if not wire.open and data.draw(st.booleans()):
        payload = close_payload(data.draw(close_codes), "reason")
        stream += encode_frame(OP_CLOSE, payload, mask=mask)
    reads = pieces(stream, cuts)
    mine = ours(reads, role, LIMIT)
    assert mine.failure is None
    assert mine == websockets(reads, role, LIMIT)
    assert mine == wsproto(reads, role)


@given(both_roles(), st.data(), cut_lists)
def test_a_fault_gives_the_same_failure_after_the_same_messages(
    role: Role, data: st.DataObject, cuts: list[int]
) -> None:
    wire = data.draw(conversations(role))
    fault = data.draw(faults(role, left_open=wire.open))
    reads = pieces(wire.data + fault, cuts)
    mine = ours(reads, role, LIMIT)
    assert mine.failure is not None
    assert mine == websockets(reads, role, LIMIT)
    assert mine == wsproto(reads, role)


@given(both_roles(), st.data(), cut_lists, st.integers(LIMIT + 1, LIMIT + 50))
def test_oversize_gives_1009_after_the_same_messages(
    role: Role, data: st.DataObject, cuts: list[int], size: int
) -> None:
    wire = data.draw(conversations(role))
    mask = MASK if role == "server" else None
    opcode = 0 if wire.open else OP_BINARY
    reads = pieces(wire.data + encode_frame(opcode, b"x" * size, mask=mask), cuts)
    mine = ours(reads, role, LIMIT)
    assert mine.failure == 1009
    assert mine == websockets(reads, role, LIMIT)


@given(both_roles(), st.data(), cut_lists)
def test_a_flipped_byte_gives_the_same_messages(
    role: Role, data: st.DataObject, cuts: list[int]
) -> None:
    wire = data.draw(conversations(role))
    stream = bytearray(wire.data)
    if stream:
        position = data.draw(st.integers(0, len(stream) - 1))
        stream[position] ^= data.draw(st.integers(1, 255))
    compare_loosely(pieces(bytes(stream), cuts), role)


@given(both_roles(), st.binary(max_size=60), cut_lists)
def test_noise_gives_the_same_messages(
    role: Role, noise: bytes, cuts: list[int]
) -> None:
    compare_loosely(pieces(noise, cuts), role)


def compare_loosely(reads: list[bytes], role: Role) -> None:
    """As `wsproto`, but the side that sees an incomplete frame's fault first may fail."""
    mine = ours(reads, role, NO_LIMIT)
    theirs = wsproto(reads, role)
    event(f"failure {mine.failure}")
    assert without_1014(mine) == without_1014(theirs)
    if mine.failure is not None and theirs.failure is not None:
        assert mine.failure == theirs.failure


def without_1014(read: Read) -> list[tuple[int, bytes]]:
    return [item for item in read.events if item != (OP_CLOSE, b"\x03\xf6")]


@given(opcode=st.sampled_from([OP_TEXT, OP_BINARY]), size=sizes, fin=st.booleans())
def test_our_frames_are_byte_for_byte_those_of_websockets(
    opcode: int, size: int, *, fin: bool
) -> None:
    frame = TheirFrame(TheirOpcode(opcode), b"x" * size, fin)
    assert encode_frame(opcode, b"x" * size, fin=fin) == frame.serialize(mask=False)


@given(st.sampled_from([0, 1, 1024 * 1024, 1024 * 1024 + 1, 3 * 1024 * 1024]))
def test_our_large_messages_are_read_by_websockets(size: int) -> None:
    payload = b"y" * size
    data = b"".join(encode_message(OP_TEXT, payload))
    assert websockets([data], "client", 4 * 1024 * 1024).events == [(OP_TEXT, payload)]
