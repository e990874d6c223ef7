"""One request and its response, as a handler sees them.

An exchange decides what goes on the wire for its response; when the next request may be
read is its `Carrier`'s business. None of the methods calls back into the handler.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, final

import trio

from iii_trio._util import NoPublicConstructor
from iii_trio.errors import LocalProtocolError
from iii_trio.net._connection import LOW_WATER
from iii_trio.net._http1_events import HTTPRequest
from iii_trio.net._http1_response import (
    CHUNKED,
    LAST_CHUNK,
    carries_body,
    chunk_head,
    content_length,
    response_head,
)
from iii_trio.net._request_body import BodySource, RequestBody
from iii_trio.net._websocket import DEFAULT_MAX_MESSAGE_BYTES
from iii_trio.net._websocket_connection import WebSocket
from iii_trio.net._websocket_sink import WebSocketSink

__all__ = ["Carrier", "HTTPExchange"]

State = Literal["fresh", "streaming", "done", "upgraded"]


class Carrier(BodySource, Protocol):
    """The HTTP side of a connection, as its current exchange sees it."""

    def may_keep_alive(self, exchange: "HTTPExchange") -> bool:
        """Whether the connection can stay after this exchange."""

    def date_line(self) -> bytes:
        """The Date header line."""

    def on_response_complete(self, *, keep_alive: bool) -> None:
        """The response is queued as a whole."""

    def upgrade(
        self,
        exchange: "HTTPExchange",
        sink: WebSocketSink,
        subprotocol: str | None,
        max_message_bytes: int,
    ) -> WebSocket:
        """Answer 101 and hand the connection to a WebSocket."""


@final
class HTTPExchange(metaclass=NoPublicConstructor):
    """One request and its response. Made by the front door.

    Once the client is gone, what is written goes nowhere, without an error.

    Attributes:
        request: the head of the request.
        on_gone: set it to hear, once, that the client is gone (hung up, end of input, a
            broken body) before the response was complete. Called in the pump.
        body: for the carrier; handlers use `receive_some` and `read_body`.
    """

    __slots__ = (
        "_carrier",
        "_chunked",
        "_gone",
        "_keep_alive",
        "_left",
        "_silent",
        "_state",
        "_writable_event",
        "body",
        "on_gone",
        "request",
    )

    def __init__(
        self, request: HTTPRequest, carrier: Carrier, body: bytes | None = None
    ) -> None:
        self.request = request
        self.on_gone: Callable[[str], None] | None = None
        self.body = RequestBody(request, carrier, body)
        self._carrier = carrier
        self._state: State = "fresh"
        self._gone = ""  # why nobody hears us any more
        self._keep_alive = False
        self._chunked = False
        self._silent = False  # what is written is not sent: HEAD, 204, 304
        self._left: int | None = None  # bytes that the promised length still wants
        self._writable_event: trio.Event | None = None

    @property
    def answered(self) -> bool:
        """Whether a response was begun."""
        return self._state != "fresh"

    @property
    def done(self) -> bool:
        """Whether the response is complete, or was aborted."""
        return self._state == "done"

    # The response.

    def respond(
        self,
        status: int,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        """Send a complete response.

        Args:
            status: 200..999.
            headers: any but the framing ones, which are dropped.
            body: not sent for HEAD, 204 and 304.

        Raises:
            LocalProtocolError: already answered, or a status or header that cannot be
                sent.
        """
        framing = content_length(len(body)) if carries_body(status) else b""
        if not framing or self.request.method == "HEAD":
            body = b""
        self._send_head(status, headers, framing, body)
        self._complete()

    def start_response(
        self,
        status: int,
        headers: Sequence[tuple[str, str]] = (),
        *,
        length: int | None = None,
    ) -> None:
        """Begin a response whose body follows by `write_nowait` and `finish`.

        Args:
            status: 200..999.
            headers: any but the framing ones, which are dropped.
            length: bytes of the body if they are known, else it is sent in chunks (to
                an HTTP/1.0 client: until the connection closes).

        Raises:
            LocalProtocolError: as `respond`.
        """
        framing = b""
        if carries_body(status):
            if length is not None:
                framing = content_length(length)
            elif not self.request.http10:
                framing = CHUNKED
        unframed = carries_body(status) and not framing
        self._send_head(status, headers, framing, close=unframed)
        self._state = "streaming"
        self._silent = self.request.method == "HEAD" or not carries_body(status)
        self._chunked = framing is CHUNKED and not self._silent
        self._left = None if self._silent else length

    def _send_head(
        self,
        status: int,
        headers: Sequence[tuple[str, str]],
        framing: bytes,
        body: bytes = b"",
        *,
        close: bool = False,
    ) -> None:
        if self._state != "fresh":
            raise LocalProtocolError("this request was already answered")
        if not 200 <= status <= 999:
            msg = f"not the status of a final response: {status}"
            raise LocalProtocolError(msg)
        keep_alive = not close and self._carrier.may_keep_alive(self)
        head = response_head(
            status,
            headers,
            framing=framing,
            keep_alive=keep_alive,
            http10=self.request.http10,
            date=self._carrier.date_line(),
        )
        self._keep_alive = keep_alive
        if self.body.expecting:
            self.body.answered = True
        if not self._gone:
            self._carrier.connection.write(head, body)

    def write_nowait(self, data: bytes) -> None:
        """Queue a piece of the body; see `wait_writable`.

        Raises:
            LocalProtocolError: not between `start_response` and `finish`, or more than
                the promised length.
        """
        if self._state != "streaming":
            raise LocalProtocolError("no response is being streamed")
        if self._gone or self._silent or not data:
            return
        connection = self._carrier.connection
        if self._chunked:
            connection.write(chunk_head(len(data)), data)
            connection.write(b"\r\n")
            return
        if self._left is not None:
            if len(data) > self._left:
                raise LocalProtocolError("more than the promised length")
            self._left -= len(data)
        connection.write(data)

    async def wait_writable(self) -> None:
        """Wait until the outbox is below its low-water mark (256 KiB).

        Raises:
            trio.BrokenResourceError: the client is gone.
            trio.BusyResourceError: another task waits here.

        Cancellation: nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        connection = self._carrier.connection
        while not self._gone and connection.outbox_bytes >= LOW_WATER:
            if self._writable_event is not None:
                raise trio.BusyResourceError("another task waits")
            connection.above_high = True  # so that the pump tells
            self._writable_event = trio.Event()
            try:
                await self._writable_event.wait()
            finally:
                self._writable_event = None
        if self._gone:
            raise trio.BrokenResourceError(self._gone)

    def finish(self) -> None:
        """End a streamed response; one shorter than promised is cut off instead.

        Raises:
            LocalProtocolError: no response is being streamed.
        """
        if self._state != "streaming":
            raise LocalProtocolError("no response is being streamed")
        if self._left:
            self.abort("the response is shorter than promised")
            return
        if self._chunked and not self._gone:
            self._carrier.connection.write(LAST_CHUNK)
        self._complete()

    def _complete(self) -> None:
        self._state = "done"
        self.on_gone = None
        if not self._gone:
            self._carrier.on_response_complete(keep_alive=self._keep_alive)

    def abort(self, reason: str) -> None:
        """Drop the connection: the client sees that the response is cut short."""
        if self._state not in {"done", "upgraded"}:
            self._state = "done"
            self.on_gone = None
            self._carrier.connection.drop(reason)
            self.break_off(reason)

    def accept_websocket(
        self,
        sink: WebSocketSink,
        *,
        subprotocol: str | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> WebSocket:
        """Answer 101; from now on the connection is a WebSocket.

        Args:
            sink: gets the messages, not before this returns.
            subprotocol: one that the client offered, to be named in the answer.
            max_message_bytes: a larger message closes with 1009.

        Raises:
            LocalProtocolError: not an upgrade request, or already answered.
        """
        if not self.request.is_websocket_upgrade or self._state != "fresh":
            raise LocalProtocolError("no WebSocket handshake to accept")
        self._state = "upgraded"
        self.on_gone = None
        return self._carrier.upgrade(self, sink, subprotocol, max_message_bytes)

    # The body of the request.

    @property
    def has_body(self) -> bool:
        """Whether the request announced a body."""
        return self.request.content_length != 0

    async def receive_some(self) -> bytes:
        """The next piece of the request's body, ``b""`` at its end.

        A client that waits for ``100 Continue`` gets it by the first call, unless the
        response has begun: then it sends its body of its own accord, or never.

        Raises:
            trio.BrokenResourceError: the client is gone, or the body was cut short or
                badly chunked.
            trio.BusyResourceError: another task reads.

        Cancellation: nothing is lost.
        """
        return await self.body.receive_some()

    def take_body_nowait(self, max_bytes: int) -> bytes | None:
        """The whole body, if it is here already; ``None``: use `read_body`.

        A small body comes with its head. Taking it costs no wait, and asks nobody to
        continue.

        Args:
            max_bytes: a longer body is not taken.
        """
        return self.body.take_whole_nowait(max_bytes)

    async def read_body(self, max_bytes: int) -> bytes:
        """The whole body of the request.

        Args:
            max_bytes: a longer body is not read.

        Raises:
            BodyTooLargeError: it is longer; the connection is still good for a 413.
            trio.BrokenResourceError: as `receive_some`.
        """
        return await self.body.read_all(max_bytes, self.request.content_length)

    # For the carrier.

    def break_off(self, reason: str) -> None:
        """The client is gone: wake who waits; see `tell_gone`."""
        if not self._gone:
            self._gone = reason
        self.body.break_off(reason)
        if self._writable_event is not None:
            self._writable_event.set()

    def tell_gone(self) -> None:
        """Tell who wants to know that the client is gone, unless it is over by now."""
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None and not self.done:
            on_gone(self._gone)

    def on_writable(self) -> None:
        """The outbox is below its low-water mark."""
        if self._writable_event is not None:
            self._writable_event.set()
