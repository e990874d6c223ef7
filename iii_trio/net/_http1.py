"""HTTP/1.1 requests: limits, heads and bodies. Pure: bytes in, events out.

Parsing is llhttp's (httptools) with no leniency switched on; what it does not check, the
limits, the Host rule and the WebSocket handshake, is checked here. One rule: a parser
never raises on what the peer sent, its last event is then an `HTTPFailure`.

Clients that keep their connection say nearly the same each time. A request whose head is,
byte for byte, that of the one before is not parsed again: it is the same `HTTPRequest`.
"""

from functools import lru_cache
from typing import Final

import httptools

from iii_trio.net._handshake import is_valid_key
from iii_trio.net._http1_events import (
    END,
    Event,
    HTTPFailure,
    HTTPRequest,
    WholeRequest,
)
from iii_trio.net._limits import HTTPLimits
from iii_trio.net._peer_certificate import PeerCertificate

__all__ = ["RequestParser"]


class _Refused(Exception):  # noqa: N818 - a way out of a callback
    """Leaves a parser callback; the failure is kept in the parser."""


_LENGTH_DIGITS: Final = 19  # of a 64-bit number

KNOWN_HEAD_BYTES: Final = 2048
"""A longer head is parsed each time, so that idle connections keep little."""


class RequestParser:
    """The requests of one connection.

    Args:
        limits: see `HTTPLimits`.
        peer: goes into every `HTTPRequest`.
        peer_certificate: so does this.

    Attributes:
        in_head: a head has begun and is not complete.
        in_body: a head is complete and its body is not.
        body_left: bytes of it that are still to come; 0 if that is not known.
        upgrade_rest: what followed the head of a WebSocket upgrade; ``None`` before. No
            more may be fed after one.
    """

    __slots__ = (
        "_begun_at",
        "_events",
        "_failure",
        "_fed",
        "_head_bytes",
        "_headers",
        "_known",
        "_limits",
        "_parser",
        "_peer",
        "_peer_certificate",
        "_raw_headers",
        "_silent",
        "_target",
        "_upgrading",
        "body_left",
        "in_body",
        "in_head",
        "upgrade_rest",
    )

    def __init__(
        self,
        limits: HTTPLimits,
        peer: tuple[str, int],
        peer_certificate: PeerCertificate | None = None,
    ) -> None:
        self._limits = limits
        self._peer = peer
        self._peer_certificate = peer_certificate
        self._failure: HTTPFailure | None = None
        self._raw_headers: list[tuple[bytes, bytes]] = []
        self._headers: list[tuple[str, str]] = []
        self._target = b""
        self._head_bytes = 0
        self._fed = 0
        self._silent = 0
        self._upgrading = False
        self._events: list[Event] = []
        self._begun_at = -1  # the place of the current head among the events
        self._known: tuple[bytes, HTTPRequest] | None = None  # only between requests
        self.in_head = False
        self.in_body = False
        self.body_left = 0
        self.upgrade_rest: bytes | None = None
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read, any cut, and give what it completes, in order."""
        if self._known is not None:
            head, request = self._known
            if len(data) == len(head) + (
                request.content_length or 0
            ) and data.startswith(head):
                return [WholeRequest(request, data[len(head) :])]
        events: list[Event] = []
        self._events = events
        self._begun_at = -1
        in_head = self.in_head
        is_fresh = not (in_head or self.in_body)
        rest = data
        while rest and self._failure is None:
            rest = self._feed(rest)
        self._known = None
        if is_fresh and len(events) == 1:
            self._remember(data, events[0])
        if not events and ((in_head and self.in_head) or self.in_body):
            # The callbacks are silent about a field that has not ended.
            self._count_silent(self._fed)
        else:
            self._silent = 0
        return events

    def _remember(self, data: bytes, event: Event) -> None:
        """Keep the head of a request that came whole and alone."""
        if type(event) is not WholeRequest:
            return
        request = event.request
        size = data.find(b"\r\n\r\n") + 4
        if (
            request.content_length == len(data) - size  # and nothing behind it
            and request.keep_alive
            and not self._upgrading
            and size <= KNOWN_HEAD_BYTES
        ):
            self._known = data[:size], request

    def _feed(self, data: bytes) -> bytes:
        """Feed llhttp; gives what is to be fed next, if an upgrade stopped it."""
        self._fed = len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._on_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as exc:
            if self._failure is None and isinstance(
                exc, httptools.HttpParserCallbackError
            ):
                raise  # a bug of ours, not the peer's
            self._fail(400, str(exc) or "malformed request")
        return b""

    def _count_silent(self, size: int) -> None:
        """Bound what llhttp collects without a callback: fields, chunk extensions."""
        self._silent += size
        if self._silent > self._limits.head_bytes:
            self._fail(431, f"head over {self._limits.head_bytes} bytes")

    def _on_upgrade(self, rest: bytes) -> bytes:
        if self._upgrading:
            self.upgrade_rest = rest
            return b""
        if self._parser.get_method() == b"CONNECT":
            self._fail(501, "CONNECT is not supported")
            return b""
        return self._without_upgrade() + rest

    def _without_upgrade(self) -> bytes:
        """The head again, without its wish for a protocol that we do not know (h2c).

        llhttp takes what follows such a head for the new protocol, but we serve the
        request as if it had not asked, with its body.
        """
        lines = []
        for name, value in self._headers:
            if name == "connection" and "close" in value.lower():
                lines.append("connection: close\r\n")
            elif name not in {"connection", "upgrade"}:
                lines.append(f"{name}: {value}\r\n")
        method = self._parser.get_method().decode()
        version = self._parser.get_http_version()
        target = self._target.decode("latin-1")
        self._parser = httptools.HttpRequestParser(self)
        head = f"{method} {target} HTTP/{version}\r\n"
        return "".join((head, *lines, "\r\n")).encode("latin-1")

    def _fail(
        self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """End here; the first failure wins."""
        if self._failure is None:
            self._failure = HTTPFailure(status, message, headers)
        self.in_head = self.in_body = False
        self.body_left = 0
        self._events.append(self._failure)

    def _refuse(
        self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Leave a callback with a failure."""
        self._failure = HTTPFailure(status, message, headers)
        raise _Refused

    # The callbacks of httptools.

    def on_message_begin(self) -> None:
        """A request begins."""
        self.in_head = True
        self._target = b""
        self._raw_headers = []
        self._head_bytes = 0

    def on_url(self, piece: bytes) -> None:
        """A piece of the request target."""
        self._target += piece
        if len(self._target) > self._limits.target_bytes:
            self._refuse(414, f"target over {self._limits.target_bytes} bytes")
        self._head_bytes += len(piece)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field, of the head or of the trailer."""
        fields = self._raw_headers
        fields.append((name, value))
        self._head_bytes = size = self._head_bytes + len(name) + len(value) + 4
        if len(fields) > self._limits.head_fields:
            self._refuse(431, f"more than {self._limits.head_fields} header fields")
        if size > self._limits.head_bytes:
            self._refuse(431, f"head over {self._limits.head_bytes} bytes")

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self.in_head = False
        version = self._parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            self._refuse(505, "HTTP/1.1 is spoken here")
        request = self._request(version == "1.0")
        self._upgrading = request.is_websocket_upgrade
        if self._upgrading:
            self._check_handshake(request)
        elif self._parser.should_upgrade():
            return  # not handed out: see `_on_upgrade`
        self.in_body = True
        self.body_left = request.content_length or 0
        self._begun_at = len(self._events)
        self._events.append(request)

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        self._events.append(piece)
        if self.body_left:
            self.body_left -= len(piece)

    def on_message_complete(self) -> None:
        """The body is complete."""
        if not self.in_body:
            return
        self.in_body = False
        events, begun_at = self._events, self._begun_at
        if begun_at < 0:  # in an earlier read
            events.append(END)
            return
        request, *pieces = events[begun_at:]
        events[begun_at:] = [WholeRequest(request, b"".join(pieces))]  # type: ignore[arg-type]
        self._begun_at = -1

    def _request(self, http10: bool) -> HTTPRequest:
        target = self._target.decode("latin-1")
        path, _, query = _origin_form(target).partition("?")
        length: int | None = 0
        hosts, upgrade = 0, False
        self._headers = headers = []
        for raw_name, raw_value in self._raw_headers:
            name, value = (
                _lower_name(raw_name),
                raw_value.decode("latin-1").rstrip(" \t"),
            )
            headers.append((name, value))
            if name == "host":
                hosts += 1
            elif name == "content-length":
                if len(value) > _LENGTH_DIGITS:
                    self._refuse(400, "Content-Length has too many digits")
                length = int(value)
            elif name == "transfer-encoding":
                self._check_coding(value.lower(), http10)
                length = None
            elif name == "upgrade":
                upgrade = "websocket" in value.lower()
        if hosts > 1 or (hosts == 0 and not http10):
            self._refuse(400, "exactly one Host field is due")
        method = self._parser.get_method().decode()
        return HTTPRequest(
            method=method,
            target=target,
            path=path,
            query=query,
            headers=tuple(headers),
            peer=self._peer,
            peer_certificate=self._peer_certificate,
            http10=http10,
            keep_alive=self._parser.should_keep_alive(),
            content_length=length,
            is_websocket_upgrade=upgrade
            and method == "GET"
            and not http10
            and length == 0
            and self._parser.should_upgrade(),
        )

    def _check_coding(self, coding: str, http10: bool) -> None:
        """Only chunks are understood, and not in 1.0 (RFC 9112 section 6.1)."""
        if http10:
            self._refuse(400, "HTTP/1.0 has no Transfer-Encoding")
        if coding != "chunked":
            status = 501 if coding.rpartition(",")[2].strip() == "chunked" else 400
            self._refuse(status, f"Transfer-Encoding {coding[:40]!r} is not understood")

    def _check_handshake(self, request: HTTPRequest) -> None:
        if request.header("sec-websocket-version") != "13":
            wanted = (("sec-websocket-version", "13"), ("upgrade", "websocket"))
            self._refuse(426, "WebSocket version 13 is spoken here", wanted)
        if not is_valid_key(request.header("sec-websocket-key") or ""):
            self._refuse(400, "Sec-WebSocket-Key is not the base64 of 16 bytes")


@lru_cache(maxsize=256)
def _lower_name(name: bytes) -> str:
    return name.decode("latin-1").lower()


def _origin_form(target: str) -> str:
    """``/path?query`` of an absolute target, others unchanged."""
    if target.startswith(("/", "*")) or "://" not in target:
        return target
    rest = target.partition("://")[2]
    cut = min((i for i in map(rest.find, "/?") if i >= 0), default=len(rest))
    origin = rest[cut:]
    return origin if origin.startswith("/") else f"/{origin}"
