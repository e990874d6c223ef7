"""What a request parser gives: heads, bodies, failures. Pure."""

from typing import Any, Final

import attrs

from iii_trio.errors import RemoteProtocolError
from iii_trio.net._peer_certificate import PeerCertificate

__all__ = [
    "END",
    "BodyTooLargeError",
    "Event",
    "HTTPFailure",
    "HTTPRequest",
    "WholeRequest",
]


class BodyTooLargeError(RemoteProtocolError):
    """A request body is larger than its reader takes."""


@attrs.define(kw_only=True)
class HTTPRequest:
    """The head of a request; never changed once made, but for ``memo``.

    Not ``frozen``, which would double the cost of making one. Requests of one connection
    with the same head may share one.

    Attributes:
        target: as it stood in the request line.
        path: its path, raw: never percent-decoded. ``*`` for ``OPTIONS *``.
        query: what follows the ``?``, raw.
        headers: lower-case names and latin-1 values, in the order they came.
        peer: address and port of the client.
        is_websocket_upgrade: a complete RFC 6455 handshake that may be accepted.
        http10: the client speaks HTTP/1.0: no chunked responses, no upgrade.
        keep_alive: the client lets the connection be used again.
        content_length: bytes of the body, ``0`` without one, ``None`` if it is chunked.
        peer_certificate: the client's, if the door asks for certificates and it has one.
        memo: whatever the handler wants to remember of such a head.
    """

    method: str
    target: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    peer: tuple[str, int]
    is_websocket_upgrade: bool = False
    http10: bool = False
    keep_alive: bool = True
    content_length: int | None = 0
    peer_certificate: PeerCertificate | None = None
    memo: Any = attrs.field(default=None, eq=False, repr=False)

    def header(self, name: str) -> str | None:
        """The last value of a header.

        Args:
            name: in lower case.
        """
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None

    def tokens(self, name: str) -> set[str]:
        """The comma-separated elements of a header, all lines, in lower case."""
        values = (value for key, value in self.headers if key == name)
        return {part.strip().lower() for line in values for part in line.split(",")}


@attrs.define
class WholeRequest:
    """A request that came with all of its body.

    Attributes:
        request: its head.
        body: its body, ``b""`` without one.
    """

    request: HTTPRequest
    body: bytes


@attrs.frozen
class HTTPFailure:
    """A request that is answered without a handler; then the connection is closed.

    Attributes:
        status: the status of the answer.
        message: what was wrong, for the body.
        headers: extra headers of the answer.
    """

    status: int
    message: str
    headers: tuple[tuple[str, str], ...] = ()


END: Final = None
Event = WholeRequest | HTTPRequest | bytes | HTTPFailure | None
"""A whole request; or a head, then pieces of its body, then its end (`END`); or a failure,
the last."""
