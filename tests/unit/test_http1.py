"""HTTP/1.1 requests and responses, without a socket."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.errors import LocalProtocolError
from iii_trio.net._http1 import RequestParser
from iii_trio.net._http1_events import (
    END,
    Event,
    HTTPFailure,
    HTTPRequest,
    WholeRequest,
)
from iii_trio.net._http1_response import (
    FixedHeaders,
    carries_body,
    chunk_head,
    content_length,
    encode_fields,
    response_head,
    upgrade_response,
)
from iii_trio.net._limits import HTTPLimits

PEER = ("127.0.0.1", 5)
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    "GET /ws?key=1 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
    f"Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
)


def parse(data: bytes | str, limits: HTTPLimits | None = None) -> list[Event]:
    raw = data.encode("latin-1") if isinstance(data, str) else data
    return in_parts(RequestParser(limits or HTTPLimits(), PEER).feed(raw))


def in_parts(events: list[Event]) -> list[Event]:
    """Events with whole requests as head, body and end."""
    out: list[Event] = []
    for event in events:
        if not isinstance(event, WholeRequest):
            out.append(event)
        elif event.body:
            out += [event.request, event.body, END]
        else:
            out += [event.request, END]
    return out


def head(data: bytes | str) -> HTTPRequest:
    event = parse(data)[0]
    assert isinstance(event, HTTPRequest)
    return event


def joined(events: list[Event]) -> list[Event]:
    """Events with neighbouring body pieces put together."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, bytes) and isinstance(last, bytes):
            out[-1] = last + event
        else:
            out.append(event)
    return out


def failure(data: bytes | str, limits: HTTPLimits | None = None) -> int:
    """The status of the failure, the same for every cut into single bytes."""
    raw = data.encode("latin-1") if isinstance(data, str) else data
    last = parse(raw, limits)[-1]
    assert isinstance(last, HTTPFailure)
    bytewise = RequestParser(limits or HTTPLimits(), PEER)
    events = [e for i in range(len(raw)) for e in bytewise.feed(raw[i : i + 1])]
    again = events[-1]
    assert isinstance(again, HTTPFailure)
    assert again.status == last.status
    assert bytewise.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == []
    return last.status


def test_a_request_is_taken_apart() -> None:
    request = head(
        "GET /a%20b/c?x=1&y=%32 HTTP/1.1\r\nHost: h\r\nX-A: one\r\nx-a:  two \r\n"
        "Empty:\r\nLatin: \xe9\r\n\r\n"
    )
    assert request == HTTPRequest(
        method="GET",
        target="/a%20b/c?x=1&y=%32",
        path="/a%20b/c",
        query="x=1&y=%32",
        headers=(
            ("host", "h"),
            ("x-a", "one"),
            ("x-a", "two"),
            ("empty", ""),
            ("latin", "\xe9"),
        ),
        peer=PEER,
    )
    assert request.header("x-a") == "two"
    assert request.header("none") is None


def test_tokens_come_from_all_lines_of_a_header() -> None:
    request = head("GET / HTTP/1.1\r\nHost: h\r\nA: x, Y\r\nA: z\r\n\r\n")
    assert request.tokens("a") == {"x", "y", "z"}


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/?", "/", ""),
        ("/a?b?c", "/a", "b?c"),
        ("*", "*", ""),
        ("http://h/p?q", "/p", "q"),
        ("http://h", "/", ""),
        ("http://h?q=/x", "/", "q=/x"),
        ("/to?next=http://h/p", "/to", "next=http://h/p"),
    ],
)
def test_targets_are_split_into_path_and_query(
    target: str, path: str, query: str
) -> None:
    request = head(f"OPTIONS {target} HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (request.target, request.path, request.query) == (target, path, query)


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        ("1.1", "", True),
        ("1.1", "close", False),
        ("1.0", "", False),
        ("1.0", "keep-alive", True),
    ],
)
def test_the_client_decides_whether_the_connection_is_used_again(
    version: str, connection: str, *, keep_alive: bool
) -> None:
    line = f"Connection: {connection}\r\n" if connection else ""
    request = head(f"GET / HTTP/{version}\r\nHost: h\r\n{line}\r\n")
    assert request.keep_alive is keep_alive
    assert request.http10 is (version == "1.0")


LENGTH_BODY = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED_BODY = (
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    "2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\nTrailer: x\r\n\r\n"
)
PLAIN = "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(("data", "length"), [(LENGTH_BODY, 5), (CHUNKED_BODY, None)])
def test_bodies_come_in_pieces_and_end(data: str, length: int | None) -> None:
    events = joined(parse(data))
    assert isinstance(events[0], HTTPRequest)
    assert events[0].content_length == length
    assert events[1:] == [b"hello", END]


@given(st.data())
def test_every_cut_of_a_pipeline_gives_the_same_events(data: st.DataObject) -> None:
    requests = st.lists(st.sampled_from([LENGTH_BODY, CHUNKED_BODY, PLAIN]), max_size=4)
    raw = "".join(data.draw(requests)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    parser = RequestParser(HTTPLimits(), PEER)
    pieces = [
        raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if a < b
    ]
    events = [event for piece in pieces for event in in_parts(parser.feed(piece))]
    assert joined(events) == joined(parse(raw))
    assert not parser.in_head
    assert not parser.in_body


def test_a_request_that_comes_at_once_is_one_event() -> None:
    for data, body in ((LENGTH_BODY, b"hello"), (CHUNKED_BODY, b"hello"), (PLAIN, b"")):
        (event,) = RequestParser(HTTPLimits(), PEER).feed(data.encode())
        assert event == WholeRequest(head(data), body)


def test_the_same_head_again_is_the_same_request() -> None:
    parser = RequestParser(HTTPLimits(), PEER)
    first, second, third, fourth = (
        parser.feed(LENGTH_BODY.replace("hello", body).encode())[0]
        for body in ("hello", "world", "hell\n", "o\r\n\r\n")
    )
    assert isinstance(first, WholeRequest)
    assert second == WholeRequest(first.request, b"world")
    assert third == WholeRequest(first.request, b"hell\n")
    assert fourth == WholeRequest(first.request, b"o\r\n\r\n")
    assert isinstance(second, WholeRequest)
    assert second.request is first.request
    other = parser.feed(PLAIN.encode())[0]
    assert isinstance(other, WholeRequest)
    assert other.request == head(PLAIN)


LAST = PLAIN.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
LONG = PLAIN.replace("\r\n\r\n", f"\r\nX: {'x' * 2048}\r\n\r\n")


@given(
    st.lists(
        st.sampled_from(
            [
                *(LENGTH_BODY, LENGTH_BODY.replace("hello", "GET /"), LENGTH_BODY[:-1]),
                *(LENGTH_BODY[:-5], LENGTH_BODY + "x", LENGTH_BODY * 2, CHUNKED_BODY),
                *(PLAIN, PLAIN * 2, PLAIN + LENGTH_BODY, "\r\n" + PLAIN, PLAIN[:20]),
                *(PLAIN[20:], "o", "hello", LAST, LONG, UPGRADE, "nonsense"),
                *(LENGTH_BODY + "\r\n", PLAIN + "\r\n", PLAIN + "GE"),
            ]
        ),
        max_size=6,
    )
)
def test_heads_that_repeat_are_no_other_requests(reads: list[str]) -> None:
    remembering = RequestParser(HTTPLimits(), PEER)
    parsing = RequestParser(HTTPLimits(), PEER)
    for text in reads:
        parsing._known = None
        found = remembering.feed(text.encode())
        assert found == parsing.feed(text.encode())
        assert remembering.in_head is parsing.in_head
        assert remembering.in_body is parsing.in_body
        assert remembering.body_left == parsing.body_left
        assert remembering.upgrade_rest == parsing.upgrade_rest
        if remembering.upgrade_rest is not None or any(
            isinstance(event, HTTPFailure) for event in found
        ):
            break


def test_what_follows_a_request_is_no_part_of_its_head() -> None:
    old_client = RequestParser(HTTPLimits(), PEER)  # they end bodies with a line
    for body in ("hello", "hella"):
        data = LENGTH_BODY.replace("hello", body) + "\r\n"
        assert old_client.feed(data.encode())[0] == WholeRequest(
            head(LENGTH_BODY), body.encode()
        )
    cut = RequestParser(HTTPLimits(), PEER)
    for status in (None, 400):  # the second time, a method GEGET
        found = cut.feed((PLAIN + "GE").encode())[0]
        assert getattr(found, "status", None) == status


BAD = {
    "bare LF": "GET / HTTP/1.1\nHost: a\n\n",
    "bare LF after a field": "GET / HTTP/1.1\r\nHost: a\n\r\n",
    "no Host": "GET / HTTP/1.1\r\nX: y\r\n\r\n",
    "two Hosts": "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "two Hosts in 1.0": "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
    "length and chunks": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    "Content-Length: 1\r\n\r\n0\r\n\r\n",
    "two lengths": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
    "Content-Length: 1\r\n\r\nx",
    "negative length": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "length of zeros": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: "
    + "0" * 5000
    + "\r\n\r\n",
    "not chunked last": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    "a coding in a line of its own": "POST / HTTP/1.1\r\nHost: a\r\n"
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in 1.0": "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before the colon": "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "folded field": "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    "control character": "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
    "HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00",
    "unknown method": "FROB / HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad chunk": CHUNKED_BODY.replace("2\r\nhe", "zz\r\nhe"),
    "chunk without its end": CHUNKED_BODY.replace("he\r\n", "he!\r\n"),
    "bad key": UPGRADE.replace(KEY, "short"),
    "no key": UPGRADE.replace(f"Sec-WebSocket-Key: {KEY}\r\n", ""),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_malformed_requests_are_400(data: str) -> None:
    assert failure(data) == 400


def test_other_versions_and_methods_have_their_own_status() -> None:
    assert failure("GET / HTTP/2.0\r\nHost: a\r\n\r\n") == 505
    assert failure("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n") == 501
    assert failure(CHUNKED_BODY.replace(": chunked", ": gzip, chunked")) == 501
    assert failure(UPGRADE.replace("Version: 13", "Version: 12")) == 426


def test_a_wrong_websocket_version_is_told_the_right_one() -> None:
    last = parse(UPGRADE.replace("Version: 13", "Version: 8"))[-1]
    assert isinstance(last, HTTPFailure)
    assert last.headers == (
        ("sec-websocket-version", "13"),
        ("upgrade", "websocket"),  # RFC 9110 section 15.5.22 demands it
    )


def fields(count: int, size: int = 1) -> str:
    lines = "".join(f"x{i}: {'v' * size}\r\n" for i in range(count))
    return f"GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"


def test_limits_of_the_head_are_exact() -> None:
    assert len(head(fields(99)).headers) == 100
    assert failure(fields(100)) == 431
    assert head(f"GET /{'x' * 8191} HTTP/1.1\r\nHost: a\r\n\r\n").target
    assert failure(f"GET /{'x' * 8192} HTTP/1.1\r\nHost: a\r\n\r\n") == 414
    assert len(head(fields(6, 10_000)).headers) == 7
    assert failure(fields(7, 10_000)) == 431


def test_a_field_that_never_ends_is_cut_off() -> None:
    parser = RequestParser(HTTPLimits(), PEER)
    parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
    fed = 0
    events: list[Event] = []
    while not events and fed < 200_000:
        events = parser.feed(b"v" * 1000)
        fed += 1000
    assert fed <= 66_000
    assert isinstance(events[0], HTTPFailure)
    assert events[0].status == 431


def test_a_long_head_in_many_pieces_is_not_counted_twice() -> None:
    raw = fields(60, 1000).encode()
    parser = RequestParser(HTTPLimits(), PEER)
    events = [
        e
        for i in range(0, len(raw), 9000)
        for e in in_parts(parser.feed(raw[i : i + 9000]))
    ]
    assert isinstance(events[0], HTTPRequest)


def test_a_long_pipeline_is_no_long_head() -> None:
    pipeline = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    parser = RequestParser(HTTPLimits(head_bytes=1024), PEER)
    events: list[Event] = []
    for start in range(0, len(pipeline), 1000):  # most cuts are in a head
        events += in_parts(parser.feed(pipeline[start : start + 1000]))
    assert len(events) == 2000
    assert all(isinstance(event, HTTPRequest) for event in events[::2])


def test_a_trailer_or_chunk_extension_that_never_ends_is_cut_off() -> None:
    begun = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for end in ("0\r\nTrailer: ", "5;"):
        parser = RequestParser(HTTPLimits(), PEER)
        parser.feed((begun + end).encode())
        events = [e for _ in range(70) for e in parser.feed(b"v" * 1000)]
        assert isinstance(events[-1], HTTPFailure)
        assert events[-1].status == 431


def test_events_before_a_failure_are_kept() -> None:
    events = parse(PLAIN + "nonsense\r\n\r\n")
    assert isinstance(events[0], HTTPRequest)
    assert events[1] is END
    assert isinstance(events[2], HTTPFailure)


def test_a_websocket_upgrade_hands_over_what_follows_it() -> None:
    parser = RequestParser(HTTPLimits(), PEER)
    events = in_parts(parser.feed(UPGRADE.encode() + b"\x81\x80"))
    assert isinstance(events[0], HTTPRequest)
    assert events[0].is_websocket_upgrade
    assert parser.upgrade_rest == b"\x81\x80"


@pytest.mark.parametrize(
    "data",
    [
        UPGRADE.replace("GET", "PUT"),
        UPGRADE.replace("HTTP/1.1", "HTTP/1.0"),
        UPGRADE.replace("Upgrade: websocket", "Upgrade: h2c"),
        UPGRADE.replace("keep-alive, Upgrade", "keep-alive"),
    ],
)
def test_what_is_no_websocket_handshake_is_an_ordinary_request(data: str) -> None:
    request = head(data)
    assert not request.is_websocket_upgrade
    assert (request.path, request.query) == ("/ws", "key=1")


@pytest.mark.parametrize(("connection", "keep_alive"), [("", True), (", close", False)])
def test_an_unknown_upgrade_with_a_body_is_served_as_if_not_asked(
    connection: str, *, keep_alive: bool
) -> None:
    data = (
        "POST / HTTP/1.1\r\nHost: a\r\nX: kept\r\nUpgrade: h2c\r\n"
        f"Connection: Upgrade{connection}\r\nContent-Length: 5\r\n\r\nhello"
    )
    request, *rest = joined(parse(data))
    assert isinstance(request, HTTPRequest)
    assert request.header("x") == "kept"
    assert request.keep_alive is keep_alive
    assert rest == [b"hello", END]


def test_a_pipeline_of_unknown_upgrades_is_served() -> None:
    one = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    assert len(parse(one * 800)) == 1600


def test_a_bug_in_a_callback_is_not_taken_for_the_clients() -> None:
    parser = RequestParser(None, PEER)  # type: ignore[arg-type]
    with pytest.raises(httptools.HttpParserCallbackError):
        parser.feed(PLAIN.encode())


# Responses.


def test_heads_carry_only_our_framing() -> None:
    headers = [
        ("Content-Type", "text/plain"),
        ("Content-Length", "7"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("X-Two", "a"),
        ("X-Two", "\xe9"),
    ]
    assert response_head(
        404, headers, framing=content_length(3), keep_alive=True, date=b"date: d\r\n"
    ) == (
        b"HTTP/1.1 404 Not Found\r\ndate: d\r\ncontent-type: text/plain\r\n"
        b"x-two: a\r\nx-two: \xe9\r\ncontent-length: 3\r\n\r\n"
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["X-A", "date", "Content-Length", "content-type"]),
            st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0")),
        ),
        max_size=4,
    )
)
def test_fixed_headers_are_what_they_were_made_of(
    headers: list[tuple[str, str]],
) -> None:
    fixed = FixedHeaders(headers)
    assert list(fixed) == headers
    for date in (b"", b"date: d\r\n"):
        heads = [
            response_head(200, one, framing=b"", keep_alive=True, date=date)
            for one in (fixed, headers)
        ]
        assert heads[0] == heads[1]


def test_fixed_headers_are_checked_at_once() -> None:
    with pytest.raises(LocalProtocolError):
        FixedHeaders([("x", "a\nb")])


def test_only_a_426_says_which_protocol_is_wanted() -> None:
    headers = [("Upgrade", "websocket")]
    assert response_head(426, headers, framing=b"", keep_alive=True) == (
        b"HTTP/1.1 426 Upgrade Required\r\n"
        b"upgrade: websocket\r\nconnection: Upgrade\r\n\r\n"
    )
    assert b"upgrade" not in response_head(200, headers, framing=b"", keep_alive=True)
    assert b"connection" not in response_head(426, [], framing=b"", keep_alive=True)


def test_heads_say_what_becomes_of_the_connection() -> None:
    def tail(*, keep_alive: bool, http10: bool) -> bytes:
        raw = response_head(200, (), framing=b"", keep_alive=keep_alive, http10=http10)
        return raw.removeprefix(b"HTTP/1.1 200 OK\r\n")

    assert tail(keep_alive=True, http10=False) == b"\r\n"
    assert tail(keep_alive=True, http10=True) == b"connection: keep-alive\r\n\r\n"
    assert tail(keep_alive=False, http10=False) == b"connection: close\r\n\r\n"
    assert tail(keep_alive=False, http10=True) == b"connection: close\r\n\r\n"


def test_a_handlers_own_date_wins() -> None:
    raw = response_head(
        200, [("Date", "mine")], framing=b"", keep_alive=True, date=b"date: d\r\n"
    )
    assert raw == b"HTTP/1.1 200 OK\r\ndate: mine\r\n\r\n"


def test_unknown_statuses_have_no_phrase_and_impossible_ones_are_refused() -> None:
    raw = response_head(799, (), framing=b"", keep_alive=True)
    assert raw.startswith(b"HTTP/1.1 799 \r\n")
    for status in (0, 99, 1000):
        with pytest.raises(LocalProtocolError, match="no HTTP status"):
            response_head(status, (), framing=b"", keep_alive=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", "a\r\nset-cookie: b"),
        ("x", "a\nb"),
        ("x", "a\0"),
        ("x", "\u20ac"),
        ("", "a"),
        ("x y", "a"),
        ("x:", "a"),
        ("\xe9", "a"),
    ],
)
def test_headers_that_would_break_the_head_are_refused(name: str, value: str) -> None:
    with pytest.raises(LocalProtocolError):
        encode_fields([(name, value)])


def test_only_some_statuses_carry_a_body() -> None:
    assert [s for s in (101, 200, 204, 205, 304, 404) if carries_body(s)] == [
        200,
        205,
        404,
    ]


def test_an_accepted_upgrade_names_the_subprotocol_if_there_is_one() -> None:
    assert upgrade_response("k", None) == (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
        b"connection: Upgrade\r\nsec-websocket-accept: k\r\n\r\n"
    )
    assert b"\r\nsec-websocket-protocol: iii\r\n" in upgrade_response("k", "iii")


def test_chunk_heads_are_hexadecimal() -> None:
    assert chunk_head(255) == b"ff\r\n"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([("upgrade", "websocket")], b"upgrade: websocket\r\nconnection: Upgrade\r\n"),
        ([("x", "y")], b"x: y\r\n"),
    ],
)
def test_a_426_names_the_protocol_if_its_maker_does(
    headers: list[tuple[str, str]], said: bytes
) -> None:
    head = response_head(426, headers, framing=b"", keep_alive=True)
    assert said in head
    assert (b"connection: Upgrade" in head) is (headers[0][0] == "upgrade")
