"""HTTP/1.1 on one connection: requests in, one exchange at a time, answers in order.

Decides when a request is handed to the handler, when the socket is read, which deadline
runs and whether the connection stays. How bytes become events is `_http1`'s business, how
a response looks `_exchange`'s.
"""

import math
from collections import deque
from functools import partial
from typing import Final

from iii_trio.net._connection import Connection
from iii_trio.net._door_counts import DoorCounts
from iii_trio.net._exchange import HTTPExchange
from iii_trio.net._handshake import accept_key
from iii_trio.net._http1 import RequestParser
from iii_trio.net._http1_events import (
    Event,
    HTTPFailure,
    HTTPRequest,
    WholeRequest,
)
from iii_trio.net._http1_response import content_length, response_head, upgrade_response
from iii_trio.net._http_host import HTTPHost
from iii_trio.net._http_phases import Phase, seconds_of
from iii_trio.net._throttle import CountingSink, throttled
from iii_trio.net._websocket import Piece
from iii_trio.net._websocket_connection import WebSocket
from iii_trio.net._websocket_sink import WebSocketSink

__all__ = ["HTTPConnection"]

_DISCARD_BYTES: Final = 256 * 1024
"""Of a body that nobody reads: swallowed to keep the connection, else it is closed."""

_SLICE_BYTES: Final = 1024
_CHUNKED_SLICE_BYTES: Final = 32 * 1024
_TURN_REQUESTS: Final = 16
"""A longer read is parsed in slices, and after so many requests others have their turn:
256 KiB can be ten thousand heads, which take 0.1 s. Bodies of known length are one slice."""

_UPGRADE_BYTES: Final = 64 * 1024
"""Kept of what a client sends before its WebSocket is accepted."""


class HTTPConnection:
    """HTTP/1.1 on one connection.

    Args:
        connection: of which this becomes the handler.
        host: see `HTTPHost`.
        peer: address and port of the client.
    """

    __slots__ = (
        "_advancing",
        "_discarded",
        "_exchange",
        "_full",
        "_host",
        "_last",
        "_parser",
        "_peer",
        "_phase",
        "_rest",
        "_unfed",
        "_waiting",
        "connection",
    )

    def __init__(
        self, connection: Connection, host: HTTPHost, peer: tuple[str, int]
    ) -> None:
        self.connection = connection
        self._host = host
        self._peer = peer
        self._parser: RequestParser | None = None
        self._exchange: HTTPExchange | None = None
        self._waiting: deque[Event] | None = None
        self._unfed: Piece = b""  # was read and is not parsed yet
        self._rest: bytes | None = None  # what came after the head of an upgrade
        self._last = False  # no request is taken after the current one
        self._advancing = False
        self._full = False  # more than there is room for: nothing is read
        self._discarded = 0
        self._phase = Phase.HEAD
        connection.handler = self
        connection.expire_in(host.limits.handshake_timeout)

    # Bytes in.

    def on_bytes(self, data: Piece) -> None:
        """Parse and go on."""
        data = bytes(data)
        if self._unfed or len(data) > _SLICE_BYTES:
            self._unfed = bytes(self._unfed) + data
            self._take_turn()
        else:
            self._feed(data)

    def _take_turn(self) -> None:
        """Parse as much of what was read as is fair; the rest has its turn later."""
        begun = 0
        while self._unfed and begun < _TURN_REQUESTS and not self._is_full():
            parser, size = self._parser, _SLICE_BYTES
            if parser is not None and parser.in_body:
                size = parser.body_left or _CHUNKED_SLICE_BYTES
            unfed = memoryview(self._unfed)
            self._unfed = unfed[size:]
            begun += self._feed(bytes(unfed[:size]))
        self._regulate()

    def _feed(self, data: bytes) -> int:
        """Parse and go on; gives how many requests, or pieces of one, there were."""
        if self._rest is not None:
            self._rest += data
            self._regulate()
            return 0
        if self._last and (
            self._exchange is None or self._exchange.body.state != "open"
        ):
            return 0  # what follows the last request is not for us
        parser = self._parser
        if parser is None:
            parser = self._parser = RequestParser(
                self._host.limits, self._peer, self.connection.peer_certificate
            )
        events = parser.feed(data)
        self._rest = parser.upgrade_rest
        if self._waiting is None:
            self._waiting = deque(events)
        else:
            self._waiting += events
        if self._phase is Phase.BODY and events:
            self._phase = Phase.NEW
        begun = len(events)
        self._advance()
        return begun

    def _advance(self) -> None:
        """Handle what waits, as far as the current exchange lets us."""
        waiting = self._waiting
        if self._advancing or waiting is None:
            return
        self._advancing = True
        try:
            while (
                waiting and self._phase is not Phase.OVER and self._is_due(waiting[0])
            ):
                self._take(waiting.popleft())
        finally:
            self._advancing = False
        if not waiting:
            self._waiting = None
        self._regulate()

    def _is_due(self, event: Event) -> bool:
        """Whether an event may be handled yet: heads wait for the last answer."""
        exchange = self._exchange
        if exchange is None or type(event) is bytes or event is None:
            return True
        return isinstance(event, HTTPFailure) and exchange.body.state == "open"

    def _take(self, event: Event) -> None:
        exchange = self._exchange
        if isinstance(event, WholeRequest):
            self._begin(event.request, event.body)
        elif isinstance(event, HTTPRequest):
            self._begin(event)
        elif isinstance(event, HTTPFailure):
            self._refuse(event)
        elif exchange is not None and event is not None:
            self._take_body(exchange, event)
        elif exchange is not None:
            exchange.body.end()
            if exchange.done:
                self._exchange = None

    def _begin(self, request: HTTPRequest, body: bytes | None = None) -> None:
        """Hand a request out, with its whole body or, if that is not here, without."""
        self._discarded = 0
        if self._phase is Phase.IDLE:
            self._phase = Phase.BUSY  # with the time that it has, which is as long
        else:
            self._phase = Phase.NEW
        # A refused upgrade is the last too: what follows it may be WebSocket frames.
        self._last = not request.keep_alive or request.is_websocket_upgrade
        exchange = HTTPExchange._create(request, self, body)
        self._exchange = exchange
        self._host.handler.on_request(exchange)

    def _take_body(self, exchange: HTTPExchange, piece: bytes) -> None:
        if not exchange.done:
            exchange.body.add(piece)
            return
        self._discarded += len(piece)
        if self._discarded > _DISCARD_BYTES:
            self._end("closed: the rest of the body is too large to skip")

    def _refuse(self, failure: HTTPFailure) -> None:
        """Answer what is no request, or whose body broke, if that is still possible."""
        self._host.counts.bad_requests += 1
        exchange = self._exchange
        text = f"HTTP {failure.status}: {failure.message}"
        if exchange is not None and exchange.answered and not exchange.done:
            self.connection.drop(text)
            return
        if exchange is None or not exchange.answered:
            body = f"{failure.message}\n".encode()
            headers = (("content-type", "text/plain; charset=utf-8"), *failure.headers)
            head = response_head(
                failure.status,
                headers,
                framing=content_length(len(body)),
                keep_alive=False,
                date=self._host.date_line(),
            )
            self.connection.write(head, body)
        self._lose_exchange(text)
        self._end(text)

    def on_eof(self) -> None:
        """The client is gone, or cannot be told from one that is."""
        exchange = self._exchange
        if exchange is not None and exchange.body.state == "open":
            self._refuse(HTTPFailure(400, "the body was cut short"))
        elif exchange is None and not self._waiting and self.connection.outbox_bytes:
            # Its last answer is under way: it may still read.
            self.connection.set_reading(wanted=False)
            self.connection.end("closed by the client", linger=0)
        else:
            self.connection.lose("the client hung up")

    # What the exchange asks for.

    def may_keep_alive(self, exchange: HTTPExchange) -> bool:
        """Whether the connection can stay after this exchange."""
        return not (self._last or self._host.draining or exchange.body.expecting)

    def date_line(self) -> bytes:
        """The Date header line."""
        return self._host.date_line()

    @property
    def counts(self) -> DoorCounts:
        """Those of the door."""
        return self._host.counts

    def on_body_wanted(self) -> None:
        """The reader took everything, or begins to wait: read on."""
        self._regulate()

    def on_response_complete(self, *, keep_alive: bool) -> None:
        """The response is queued: on to the next request, or to the end."""
        exchange = self._exchange
        assert exchange is not None
        exchange.body.discard()
        if not keep_alive or self._host.draining:
            self._exchange = None
            self._end("closed after the response")
        elif exchange.body.state == "whole":
            self._exchange = None
            if self._waiting and not self._advancing:
                self.connection.defer(self._advance)
        if not self._advancing:
            self._regulate()

    def upgrade(
        self,
        exchange: HTTPExchange,
        sink: WebSocketSink,
        subprotocol: str | None,
        max_message_bytes: int,
    ) -> WebSocket:
        """Answer 101 and hand the connection to a WebSocket."""
        connection = self.connection
        key = exchange.request.header("sec-websocket-key") or ""
        head = upgrade_response(accept_key(key), subprotocol)
        counter = CountingSink(sink) if self._host.limits.throttles else None
        websocket = WebSocket._create(
            connection,
            counter or sink,
            peer="{}:{}".format(*self._peer),
            max_message_bytes=max_message_bytes,
            close_timeout=self._host.limits.close_timeout,
            counts=self._host.counts,
        )
        if exchange is not self._exchange or connection.closed:
            websocket.closed = True
            connection.defer(partial(websocket.on_lost, "the client hung up"))
            return websocket
        rest = (self._rest or b"") + bytes(self._unfed)
        self._over()
        handler = throttled(self._host, connection, websocket, counter)
        connection.handler = handler
        connection.write(head)
        connection.expire_in(math.inf)
        connection.set_reading(wanted=True)
        self._host.on_http_over()
        if rest:
            connection.defer(partial(handler.on_bytes, rest))
        return websocket

    # Flow and time.

    def _regulate(self) -> None:
        """Read only what there is room for, and run the right deadline."""
        if self._phase is Phase.OVER:
            return
        exchange = self._exchange
        full = self._is_full()
        if self._unfed and not full:
            self.connection.put_off(self._take_turn)
            full = True
        if full is not self._full:
            self._full = full
            self.connection.set_reading(wanted=not full)
        if exchange is None:
            begun = self._phase is Phase.HEAD or (
                self._parser is not None and self._parser.in_head
            )
            phase = Phase.HEAD if begun else Phase.IDLE
        elif full or exchange.body.state != "open" or exchange.body.expecting:
            phase = Phase.BUSY
        else:
            phase = Phase.BODY
        if phase is not self._phase:
            self._phase = phase
            self.connection.expire_in(seconds_of(phase, self._host.limits))

    def _is_full(self) -> bool:
        """Whether there is no room for more."""
        limits = self._host.limits
        exchange, waiting, rest = self._exchange, self._waiting, self._rest
        return (
            (exchange is not None and exchange.body.size > limits.body_buffer)
            or (waiting is not None and len(waiting) >= limits.pipelined)
            or (rest is not None and len(rest) > _UPGRADE_BYTES)
        )

    def on_deadline(self) -> None:
        """The time for what we wait for is over."""
        if self._phase is Phase.BODY:
            self._refuse(HTTPFailure(408, "no more of the body came in time"))
        elif self._phase is Phase.HEAD:
            self._host.counts.late += 1
            self.connection.lose("no request in time")
        elif self.connection.is_stalled():
            self.connection.lose("the client does not read")
        elif self._phase is Phase.IDLE and not self.connection.outbox_bytes:
            self.connection.lose("idle for too long")
        else:
            self.connection.expire_in(seconds_of(self._phase, self._host.limits))

    def on_writable(self) -> None:
        """A streamed response may go on."""
        if self._exchange is not None:
            self._exchange.on_writable()

    # The end.

    @property
    def idle(self) -> bool:
        """Whether no request is being read or answered."""
        return self._exchange is None and not self._waiting and not self._unfed

    def _end(self, reason: str) -> None:
        self._last = True
        self._over()
        self.connection.set_reading(wanted=True)
        self.connection.end(reason, linger=self._host.limits.linger_timeout)

    def _over(self) -> None:
        """Nothing is parsed any more: release what that needs."""
        self._phase = Phase.OVER
        self._exchange = None
        self._waiting = None
        self._parser = None
        self._rest = None
        self._unfed = b""

    def close_if_idle(self) -> None:
        """Drain: a connection between two requests ends now."""
        if self.idle:
            self._end("drained")

    def _lose_exchange(self, reason: str) -> None:
        """The client of the current exchange is gone: tell whoever works for it."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.break_off(reason)
            # Whoever has its turn before may answer, and then nobody is told.
            self.connection.defer(exchange.tell_gone)

    def on_lost(self, reason: str) -> None:
        """The connection is gone."""
        self._lose_exchange(reason)
        self._over()
        self._host.on_http_over()
