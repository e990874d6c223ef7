"""HTTP requests that should not be: smuggling, splits, lengths that lie, odd heads.

Each comes with the statuses that may answer it. ``/smuggled`` must never be reached.
"""

import json
import random
from collections.abc import Callable
from typing import Final

import attrs

SMUGGLED: Final = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
END: Final = "Connection: close\r\n\r\n"

BAD: Final = frozenset((400,))
REFUSED: Final = frozenset((400, 404, 405, 413, 414, 417, 426, 431, 501, 505))


@attrs.frozen
class Request:
    """Bytes of a connection, and what may come back.

    Attributes:
        statuses: of the first answer.
        silent: the connection may also be closed without one.
    """

    data: bytes
    statuses: frozenset[int]
    silent: bool = False


def hostile_request(rng: random.Random) -> Request:
    """One more of them."""
    return rng.choice(_KINDS)(rng)


def _text(
    text: str, statuses: frozenset[int] | set[int], *, silent: bool = False
) -> Request:
    return Request(text.encode("latin-1"), frozenset(statuses), silent)


def _both_lengths(rng: random.Random) -> Request:
    coding = rng.choice(("chunked", "Chunked", "identity, chunked", "chunked, chunked"))
    fields = ["Content-Length: 6", f"Transfer-Encoding: {coding}"]
    rng.shuffle(fields)
    head = f"POST /echo HTTP/1.1\r\nHost: x\r\n{fields[0]}\r\n{fields[1]}\r\n\r\n"
    return _text(f"{head}0\r\n\r\n{SMUGGLED}", BAD)


def _two_lengths(rng: random.Random) -> Request:
    first, second = rng.choice((("0", "5"), ("5", "0"), ("3, 5", "3"), ("1", "10")))
    head = (
        "POST /echo HTTP/1.1\r\nHost: x\r\n"
        f"Content-Length: {first}\r\nContent-Length: {second}\r\n\r\n"
    )
    return _text(head + SMUGGLED, BAD)


def _odd_length(rng: random.Random) -> Request:
    length = rng.choice(
        ("+5", "-5", "0x5", "5 5", "5,", "1e1", "\xb2", "9" * 30, "5;", "''", "5\x00")
    )
    head = f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    return _text(head + SMUGGLED, BAD)


def _odd_coding(rng: random.Random) -> Request:
    coding = rng.choice(
        ("xchunked", "chunked\x0b", "gzip, x", "\x00chunked", "chunked; q=1", "cow")
    )
    head = f"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n\r\n"
    return _text(f"{head}0\r\n\r\n{SMUGGLED}", {400, 501})


def _odd_field(rng: random.Random) -> Request:
    field = rng.choice(
        (
            "Transfer-Encoding : chunked",
            " Transfer-Encoding: chunked",
            "Content-Length : 30",
            "X: a\r\n folded: b",
            "X\x00: y",
            "X: y\x00",
            ": nameless",
            "no colon",
            "X: a\rY: b",
            "X\x7f: a",
            "(x): y",
        )
    )
    return _text(f"GET /echo HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n{SMUGGLED}", BAD)


def _bare_lines(rng: random.Random) -> Request:
    head = "GET /echo HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n"
    at = rng.choice([i for i in range(len(head)) if head.startswith("\r\n", i)])
    wrong = rng.choice(("\n", "\r", "\n\r", "\r\r\n"))
    return _text(head[:at] + wrong + head[at + 2 :] + SMUGGLED, BAD)


def _hosts(rng: random.Random) -> Request:
    hosts = rng.choice(("", "Host: x\r\nHost: y\r\n", "Host: x\r\nhost: x\r\n"))
    return _text(f"GET /echo HTTP/1.1\r\n{hosts}\r\n{SMUGGLED}", BAD)


def _request_line(rng: random.Random) -> Request:
    line = rng.choice(
        (
            "GET /echo HTTP/1.1 HTTP/1.1",
            "GET  /echo HTTP/1.1",
            "GET /e cho HTTP/1.1",
            "GET\t/echo\tHTTP/1.1",
            "get /echo HTTP/1.1",
            "G\x00T /echo HTTP/1.1",
            "/echo HTTP/1.1",
            "GET /echo",
            "GET /echo HTTP/9.9",
            "GET /echo HTTP/2.0",
            "GET /echo HTPT/1.1",
            "GET /echo HTTP/1.11",
            "GET echo HTTP/1.1",
            "GET /\x00 HTTP/1.1",
            "HELO mail.example",
            "PRI * HTTP/2.0\r\n\r\nSM",
            "CONNECT x:80 HTTP/1.1",
            "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        )
    )
    return _text(f"{line}\r\nHost: x\r\n{END}", {*REFUSED, 200}, silent=True)


def _chunks(rng: random.Random) -> Request:
    body = rng.choice(
        (
            "5\r\nhelloX\r\n0\r\n\r\n",
            "fffffffffffffffff\r\nx",
            "-1\r\nx\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "5\nhello\n0\n\n",
            "\r\n",
            "z\r\n",
            "5;\x00\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n0\r\nContent-Length : 5\r\n\r\n",
        )
    )
    head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    return _text(head + body + SMUGGLED, BAD)


def _large_head(rng: random.Random) -> Request:
    match rng.randrange(4):
        case 0:
            return _text(
                f"GET /{'x' * 9000} HTTP/1.1\r\nHost: x\r\n{END}", {414}, silent=True
            )
        case 1:
            fields = "".join(f"X{i}: y\r\n" for i in range(150))
        case 2:
            fields = f"X: {'y' * 70_000}\r\n"
        case _:
            fields = f"{'X' * 70_000}: y\r\n"
    return _text(f"GET /echo HTTP/1.1\r\nHost: x\r\n{fields}{END}", {431}, silent=True)


def _endless_chunk_extension(rng: random.Random) -> Request:
    head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;"
    return _text(head + "x" * rng.randint(70_000, 90_000), {400, 431}, silent=True)


def _large_body(rng: random.Random) -> Request:
    size = rng.choice((17 * 2**20, 2**40, 2**62))
    head = (
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {size}\r\n\r\n"
    )
    return _text(head + '{"a":', {413})


def _bad_json(rng: random.Random) -> Request:
    """A body that is no JSON: the handler gets ``null``, as in the reference."""
    body = rng.choice(
        (
            b"{",
            b'{"a":\xff}',
            b"[" * 100_000,
            b"[" * 5000 + b"]" * 5000,
            b"\xef\xbb\xbf{}",
            b"1e400",
            b'"\xed\xa0\x80"',
            b"NaN",
            b"\x00",
        )
    )
    head = (
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{END}"
    )
    return Request(head.encode() + body, frozenset((200, 400)))


def _odd_target(rng: random.Random) -> Request:
    target = rng.choice(
        (
            "/%",
            "/%zz",
            "/../../etc/passwd",
            "/%2e%2e/%00",
            "//echo",
            "http://[::1/x",
            "http://evil.example/echo",
            "*",
            "?",
            "/echo?" + "a=b&" * 1500,
            "/echo#fragment",
            "/\xff",
        )
    )
    method = rng.choice(("GET", "POST", "OPTIONS", "HEAD", "PATCH", "DELETE"))
    text = f"{method} {target} HTTP/1.1\r\nHost: x\r\n{END}"
    return _text(text, {*REFUSED, 200, 204})


def _bad_upgrade(rng: random.Random) -> Request:
    field = rng.choice(
        (
            "Sec-WebSocket-Version: 12",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + "A" * 24,
            "X: y",
        )
    )
    head = f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{field}"
    return _text(f"{head}\r\n\r\n{SMUGGLED}", {400, 404, 426})


def _cut(rng: random.Random) -> Request:
    text = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123456789"
    cut = rng.randrange(1, len(text))
    return Request(text[:cut].encode(), BAD, silent=True)


def _noise(rng: random.Random) -> Request:
    return Request(rng.randbytes(rng.randint(1, 400)), REFUSED, silent=True)


def _mutated(rng: random.Random) -> Request:
    body = json.dumps({"a": [1, 2, 3]}).encode()
    text = bytearray(
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    )
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(text))
        if rng.random() < 0.5:
            text[at] = rng.randrange(256)
        else:
            text[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
    return Request(bytes(text), REFUSED | {200, 204, 408}, silent=True)


_KINDS: Final[tuple[Callable[[random.Random], Request], ...]] = (
    _both_lengths,
    _two_lengths,
    _odd_length,
    _odd_coding,
    _odd_field,
    _bare_lines,
    _hosts,
    _request_line,
    _chunks,
    _large_head,
    _endless_chunk_extension,
    _large_body,
    _bad_json,
    _odd_target,
    _bad_upgrade,
    _cut,
    _noise,
    _mutated,
    _mutated,
)
