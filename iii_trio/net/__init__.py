"""Bytes and sockets: one pump for all connections. Nothing here knows iii."""

from iii_trio._listening import (
    EngineLimits,
    LimitsConfig,
    SocketLimitsConfig,
    TLSConfig,
)
from iii_trio.net._connection import HIGH_WATER
from iii_trio.net._door_counts import FrontDoorStatistics
from iii_trio.net._exchange import HTTPExchange
from iii_trio.net._front_door import FrontDoor, open_front_door
from iii_trio.net._handshake import accept_key
from iii_trio.net._http1_events import BodyTooLargeError, HTTPRequest
from iii_trio.net._http1_response import FixedHeaders
from iii_trio.net._http_host import RequestHandler
from iii_trio.net._kept_door import KeptDoor, start_front_door
from iii_trio.net._limits import HTTPLimits, limits_of
from iii_trio.net._peer_certificate import PeerCertificate
from iii_trio.net._pump import Pump, open_pump
from iii_trio.net._pump_statistics import PumpStatistics
from iii_trio.net._websocket import (
    OP_BINARY,
    OP_CLOSE,
    OP_PING,
    OP_PONG,
    OP_TEXT,
    FrameReader,
    parse_close,
)
from iii_trio.net._websocket_connection import WebSocket
from iii_trio.net._websocket_frames import (
    close_payload,
    encode_frame,
    encode_message,
)
from iii_trio.net._websocket_sink import WebSocketSink

__all__ = [
    "HIGH_WATER",
    "OP_BINARY",
    "OP_CLOSE",
    "OP_PING",
    "OP_PONG",
    "OP_TEXT",
    "BodyTooLargeError",
    "EngineLimits",
    "FixedHeaders",
    "FrameReader",
    "FrontDoor",
    "FrontDoorStatistics",
    "HTTPExchange",
    "HTTPLimits",
    "HTTPRequest",
    "KeptDoor",
    "LimitsConfig",
    "PeerCertificate",
    "Pump",
    "PumpStatistics",
    "RequestHandler",
    "SocketLimitsConfig",
    "TLSConfig",
    "WebSocket",
    "WebSocketSink",
    "accept_key",
    "close_payload",
    "encode_frame",
    "encode_message",
    "limits_of",
    "open_front_door",
    "open_pump",
    "parse_close",
    "start_front_door",
]
