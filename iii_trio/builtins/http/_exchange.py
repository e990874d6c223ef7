"""What the request core needs of an exchange: `iii_trio.net.HTTPExchange`, or a test's."""

from collections.abc import Callable, Sequence
from typing import Protocol

from iii_trio.net import HTTPRequest


class Exchange(Protocol):
    """One request and its response; see `iii_trio.net.HTTPExchange`."""

    on_gone: Callable[[str], None] | None

    @property
    def request(self) -> HTTPRequest:
        """The head of the request."""

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head."""

    def respond(
        self, status: int, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        """Send a complete response."""

    def start_response(
        self, status: int, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Send the head of a streamed response."""

    def write_nowait(self, data: bytes) -> None:
        """Send a piece of its body."""

    async def wait_writable(self) -> None:
        """Wait until the client has taken enough."""

    def finish(self) -> None:
        """End the streamed response."""

    def abort(self, reason: str) -> None:
        """Drop the connection, so that the client sees a truncated response."""

    async def receive_some(self) -> bytes:
        """Read the next piece of the body, ``b""`` at its end."""

    def take_body_nowait(self, max_bytes: int) -> bytes | None:
        """Take the whole body if it is here already."""

    async def read_body(self, max_bytes: int) -> bytes:
        """Read the whole body."""
