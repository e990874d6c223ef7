"""Turns the sockets of a front door into links, channel ends and telemetry.

Paths (protocol, section 1.1): ``/`` is a worker's link, ``/otel`` telemetry only,
``/ws/channels/<id>?key=..&dir=..`` one end of a channel; everything else is 404. Who is
behind a link, and which channels exist, only the `ListenerHandler` knows.
"""

import logging
from typing import Final, Protocol, final
from urllib.parse import parse_qs

from iii_trio.net import HTTPExchange, HTTPRequest, WebSocket, WebSocketSink
from iii_trio.protocol import MAX_MESSAGE_BYTES
from iii_trio.transport._deliver import deliver_binary
from iii_trio.transport._link import Link, LinkSink
from iii_trio.transport._oversize import judge_oversize

MAX_CHANNEL_MESSAGE_BYTES: Final = 16 * 2**20
_CHANNELS: Final = "/ws/channels/"

_log: Final = logging.getLogger("iii_trio.transport")


class ChannelSocket(WebSocketSink, Protocol):
    """The sink of one channel end's socket."""

    def attach(self, socket: WebSocket) -> bool:
        """The socket is up; false if that end of the channel is taken."""


class ListenerHandler(Protocol):
    """What a listener needs from an engine."""

    @property
    def admits_workers(self) -> bool:
        """False while the engine ends: no new workers, but ends of channels."""

    def attach(self, link: Link, request: HTTPRequest) -> object:
        """A worker connected; start its link."""

    def attach_telemetry(self, link: Link, request: HTTPRequest) -> None:
        """Somebody connected who sends nothing but telemetry; start the link."""

    def void_call_dropped(self) -> None:
        """A worker sent a void call that is too large to be read."""

    def channel_end(
        self, channel_id: str, access_key: str, direction: str
    ) -> ChannelSocket | None:
        """The sink for one end of a channel; ``None``: not known, or a wrong key."""


@final
class WebSocketLink:
    """A `Link` over a WebSocket of a front door."""

    __slots__ = (
        "_listener",
        "_reason",
        "_sink",
        "on_text",
        "outbox",
        "send_nowait",
        "socket",
    )

    def __init__(self, listener: "Listener") -> None:
        self._listener = listener
        self._reason = ""  # why this side closed it
        self._sink: LinkSink
        self.socket: WebSocket

    def attach(self, socket: WebSocket) -> None:
        """The socket is up."""
        self.socket = socket
        self.outbox = socket.outbox
        self.send_nowait = socket.send_text_nowait
        socket.skip_oversize(self._on_oversize)

    @property
    def peer(self) -> str:
        """Host and port of the peer."""
        return self.socket.peer

    @property
    def outbox_bytes(self) -> int:
        """Bytes that the peer has not taken yet."""
        return self.outbox.outbox_bytes

    def limit_outbox(self, size: int) -> None:
        """Let no more wait than this."""
        self.socket.limit_outbox(size)

    def start(self, sink: LinkSink) -> None:
        """Deliver to ``sink`` from now on."""
        self._sink = sink
        self.on_text = sink.on_frame

    def hold(self) -> None:
        """Stop reading, but for a little, to see the connection end."""
        self.socket.hold(watch=True)

    def resume(self) -> None:
        """Read on; a link that was held could not answer pings."""
        self.socket.heard = True
        self.socket.resume()

    def close(self, reason: str, *, polite: bool) -> None:
        """Close with a Close frame, or drop TCP."""
        self._reason = self._reason or reason
        if polite:
            self.socket.close(None)
        else:
            self.socket.drop(reason)

    # As the sink of its socket

    def on_binary(self, data: bytes) -> None:
        """Telemetry, or a frame that was sent as binary."""
        deliver_binary(self._sink, data, peer=self.peer)

    def _on_oversize(self, size: int, excerpt: bytes) -> None:
        """A message was too large: whoever waits for it learns that."""
        verdict = judge_oversize(size, excerpt)
        _log.warning(
            "message of %d bytes from %s dropped: the limit is %d%s",
            *(size, self.peer, MAX_MESSAGE_BYTES),
            "" if verdict else ", and nobody is known who waits for it",
        )
        match verdict:
            case "answer", text:
                self.send_nowait(text)
            case "result", text:
                self.on_text(text)
            case "void", _:
                self._listener.handler.void_call_dropped()
            case _:
                assert verdict is None

    def on_writable(self) -> None:
        """Nobody waits for that: overload is answered, not queued."""

    def on_closed(self, reason: str) -> None:
        """The worker is gone."""
        self._listener.links.pop(self, None)
        self._sink.on_closed(self._reason or reason)


@final
class Listener:
    """The request handler of a worker port.

    Attributes:
        handler: the engine.
        links: the links that are up, for keepalive.
    """

    def __init__(self, handler: ListenerHandler) -> None:
        self.handler = handler
        self.links: dict[WebSocketLink, None] = {}

    def on_request(self, exchange: HTTPExchange) -> None:
        """Decide what a connection becomes."""
        request = exchange.request
        if request.path not in {"/", "/otel"} and not request.path.startswith(
            _CHANNELS
        ):
            _answer(exchange, 404, "Not Found")
        elif request.method != "GET":
            _answer(exchange, 405, "Method Not Allowed", ("allow", "GET"))
        elif not request.is_websocket_upgrade:
            _answer(exchange, 426, "Upgrade Required", ("upgrade", "websocket"))
        else:
            self._upgrade(exchange)

    def _upgrade(self, exchange: HTTPExchange) -> None:
        request = exchange.request
        is_telemetry = request.path == "/otel"
        wanted = None if is_telemetry else _channel_request(request)
        if wanted is not None:
            self._join_channel(exchange, *wanted)
        elif not self.handler.admits_workers:
            _answer(exchange, 503, "The engine is shutting down")
        elif is_telemetry:
            # Its silence says nothing: some workers never read from it.
            self.handler.attach_telemetry(self._link(exchange), request)
        else:
            link = self._link(exchange)
            self.links[link] = None
            self.handler.attach(link, request)

    def _join_channel(
        self, exchange: HTTPExchange, channel_id: str, query: dict[str, list[str]]
    ) -> None:
        keys, directions = query.get("key", []), query.get("dir", [])
        if len(keys) != 1 or directions not in (["read"], ["write"]):
            _answer(exchange, 400, "key and dir=read|write are needed")
            return
        end = self.handler.channel_end(channel_id, keys[0], directions[0])
        if end is None:
            _answer(exchange, 404, "Channel not found")
            return
        socket = exchange.accept_websocket(
            end, max_message_bytes=MAX_CHANNEL_MESSAGE_BYTES
        )
        if not end.attach(socket):
            socket.close(None)

    def _link(self, exchange: HTTPExchange) -> WebSocketLink:
        link = WebSocketLink(self)
        link.attach(
            exchange.accept_websocket(link, max_message_bytes=MAX_MESSAGE_BYTES)
        )
        return link


def _channel_request(request: HTTPRequest) -> tuple[str, dict[str, list[str]]] | None:
    """The channel that a request asks for, or ``None`` for a worker's link.

    Some SDKs append the path after the query of their address (protocol, section 6), so
    it is looked for there too.
    """
    target = request.target
    start = target.find(_CHANNELS)
    if start < 0:
        return None
    channel_id, _, query = target[start + len(_CHANNELS) :].partition("?")
    return channel_id, parse_qs(query)


def _answer(
    exchange: HTTPExchange, status: int, text: str, *headers: tuple[str, str]
) -> None:
    exchange.respond(
        status,
        [("content-type", "text/plain; charset=utf-8"), *headers],
        f"{text}\n".encode(),
    )
