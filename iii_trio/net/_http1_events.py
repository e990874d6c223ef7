"""What a request parser gives: heads, bodies, failures. Pure."""

from typing import Final

import attrs

from iii_trio.errors import RemoteProtocolError
from iii_trio.net._peer_certificate import PeerCertificate

__all__ = ["END", "BodyTooLargeError", "Event", "HTTPFailure", "HTTPRequest"]


class BodyTooLargeError(RemoteProtocolError):
    """A request body is larger than its reader takes."""


@attrs.frozen(kw_only=True)
class HTTPRequest:
    """The head of a request.

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
Event = HTTPRequest | bytes | HTTPFailure | None
"""A head; a piece of its body; the end of its body (`END`); or a failure, the last."""
