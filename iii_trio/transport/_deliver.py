"""What a message of a worker socket means to a `LinkSink`: one rule for every link.

Blank messages are ignored; a binary one is telemetry or, failing that, JSON. Source: the
iii worker protocol, section 1.3.
"""

import logging
from typing import Final

from iii_trio.transport._link import LinkSink

logger = logging.getLogger(__name__)

TELEMETRY: Final = (b"OTLP", b"MTRC", b"LOGS")


def deliver_text(sink: LinkSink, data: bytes) -> None:
    """Hand on a text message; ``data`` is valid UTF-8."""
    if data and not data.isspace():
        sink.on_frame(data)


def deliver_binary(sink: LinkSink, data: bytes, *, peer: str) -> None:
    """Hand on a binary message; what is neither telemetry nor UTF-8 is ignored."""
    if data.startswith(TELEMETRY):
        sink.on_telemetry(data)
        return
    try:
        data.decode()
    except UnicodeDecodeError:
        logger.warning("binary message from %s is not UTF-8: ignored", peer)
        return
    deliver_text(sink, data)
