"""HTTP/1.1 responses: heads and chunks. Pure: values in, bytes out.

One rule: framing fields (`Content-Length`, `Transfer-Encoding`, `Connection`, `Upgrade`)
are written by this module alone, whatever a handler passes; only a 426 says what the
handler's `Upgrade` names.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Final, Self, final

from iii_trio.errors import LocalProtocolError

__all__ = [
    "CHUNKED",
    "CONTINUE",
    "LAST_CHUNK",
    "FixedHeaders",
    "carries_body",
    "chunk_head",
    "content_length",
    "encode_fields",
    "response_head",
    "upgrade_response",
]

_FRAMING: Final = frozenset(
    ("connection", "content-length", "transfer-encoding", "keep-alive", "upgrade")
)
_TOKEN: Final = frozenset(
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)
_UPGRADE_REQUIRED: Final = HTTPStatus.UPGRADE_REQUIRED.value
_CLOSE: Final = b"connection: close\r\n"
_KEEP: Final = b"connection: keep-alive\r\n"


def carries_body(status: int) -> bool:
    """Whether a response with this status may have a body (RFC 9110 section 6.4.1)."""
    return status >= 200 and status not in {204, 304}


@lru_cache(maxsize=128)
def _status_line(status: int) -> bytes:
    if not 100 <= status <= 999:
        msg = f"no HTTP status: {status}"
        raise LocalProtocolError(msg)
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


@lru_cache(maxsize=256)
def _field_name(name: str) -> str:
    """The name in lower case, ``""`` for a field that is not the handler's to set."""
    if not name or not _TOKEN.issuperset(name):
        msg = f"no HTTP header name: {name!r}"
        raise LocalProtocolError(msg)
    lower = name.lower()
    return "" if lower in _FRAMING else lower


def encode_fields(headers: Iterable[tuple[str, str]]) -> bytes:
    """Header lines without the framing fields.

    Raises:
        LocalProtocolError: a name that is no token, or a value that would break the
            line or has characters beyond latin-1.
    """
    lines = []
    for name, value in headers:
        if "\n" in value or "\r" in value or "\0" in value:
            msg = f"line break or NUL in the value of header {name!r}"
            raise LocalProtocolError(msg)
        if lower := _field_name(name):
            lines.append(f"{lower}: {value}\r\n")
    try:
        return "".join(lines).encode("latin-1")
    except UnicodeEncodeError as exc:
        msg = f"header values must be latin-1: {exc.object[exc.start : exc.end]!r}"
        raise LocalProtocolError(msg) from None


@final
class FixedHeaders(tuple[tuple[str, str], ...]):
    """Headers of many responses, checked and encoded once.

    Attributes:
        encoded: their lines.
        has_date: one of them is the date.

    Raises:
        LocalProtocolError: see `encode_fields`.
    """

    encoded: bytes
    has_date: bool

    def __new__(cls, headers: Iterable[tuple[str, str]]) -> Self:
        """Check and encode them."""
        self = super().__new__(cls, headers)
        self.encoded = encode_fields(self)
        self.has_date = _has_date(self)
        return self


def _has_date(headers: Sequence[tuple[str, str]]) -> bool:
    return any(name.lower() == "date" for name, _ in headers)


def response_head(
    status: int,
    headers: Sequence[tuple[str, str]],
    *,
    framing: bytes,
    keep_alive: bool,
    http10: bool = False,
    date: bytes = b"",
) -> bytes:
    """The head of a response.

    Args:
        status: 100..999.
        headers: the handler's; its framing fields are dropped.
        framing: a complete framing line, or ``b""``.
        keep_alive: whether the connection stays.
        http10: the client must be told to keep the connection.
        date: a complete Date line, or ``b""``; left out if the handler sets its own.

    Raises:
        LocalProtocolError: see `encode_fields`; or the status is no status.
    """
    connection = b"" if keep_alive else _CLOSE
    if keep_alive and http10:
        connection = _KEEP
    if isinstance(headers, FixedHeaders):
        fields, has_date = headers.encoded, headers.has_date
    else:
        fields, has_date = encode_fields(headers), _has_date(headers)
    if status == _UPGRADE_REQUIRED:
        fields += _upgrade_wanted(headers)
    if has_date:
        date = b""
    return b"".join((_status_line(status), date, fields, framing, connection, b"\r\n"))


def _upgrade_wanted(headers: Sequence[tuple[str, str]]) -> bytes:
    """What a 426 must say: to which protocol (RFC 9110 section 7.8)."""
    protocols = [value for name, value in headers if name.lower() == "upgrade"]
    if not protocols:
        return b""
    return f"upgrade: {', '.join(protocols)}\r\nconnection: Upgrade\r\n".encode(
        "latin-1"
    )


def content_length(size: int) -> bytes:
    """The framing line for a body of ``size`` bytes."""
    return b"content-length: %d\r\n" % size


CHUNKED: Final = b"transfer-encoding: chunked\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def chunk_head(size: int) -> bytes:
    """What goes before a chunk of ``size`` bytes; a CRLF goes after it."""
    return b"%x\r\n" % size


def upgrade_response(accept: str, subprotocol: str | None) -> bytes:
    """The 101 that accepts a WebSocket."""
    extra = () if subprotocol is None else (("sec-websocket-protocol", subprotocol),)
    return b"".join(
        (
            b"HTTP/1.1 101 Switching Protocols\r\n",
            b"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ",
            accept.encode(),
            b"\r\n",
            encode_fields(extra),
            b"\r\n",
        )
    )
