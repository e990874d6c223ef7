"""Streams: live data for browsers, by stream, group and item."""

from iii_trio.builtins.stream._config import StreamConfig
from iii_trio.builtins.stream._server import StreamServer, StreamStatistics
from iii_trio.builtins.stream._worker import serve_bridged_stream, serve_stream

__all__ = [
    "StreamConfig",
    "StreamServer",
    "StreamStatistics",
    "serve_bridged_stream",
    "serve_stream",
]
