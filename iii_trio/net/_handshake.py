"""The keys of the RFC 6455 handshake. Pure."""

import base64
import binascii
import hashlib
from typing import Final

__all__ = ["accept_key", "is_valid_key"]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(key: str) -> str:
    """The ``Sec-WebSocket-Accept`` that answers a ``Sec-WebSocket-Key``."""
    # SHA-1 is what the RFC asks for; nothing here is secret.
    digest = hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False)
    return base64.b64encode(digest.digest()).decode()


def is_valid_key(key: str) -> bool:
    """Whether a ``Sec-WebSocket-Key`` is the base64 of 16 bytes."""
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
