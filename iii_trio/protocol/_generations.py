"""What each generation of each SDK can take. Pure.

One message is one frame of the worker link, as JSON text. Engines take up to
`MAX_MESSAGE_BYTES`, whole or in fragments. What a worker takes depends on its SDK.
Source: the iii worker protocol, sections 1.5 and 1.6.
"""

import re
from collections.abc import Container
from typing import Final

LARGE_MESSAGES_FEATURE: Final = "large-messages.v1"
"""Announced by workers that take messages of up to `MAX_MESSAGE_BYTES` in fragments."""

MAX_MESSAGE_BYTES: Final = 64 * 2**20
"""The largest message of the protocol, in either direction."""

SMALL_MESSAGE_BYTES: Final = 2**20
"""What everybody takes; larger messages travel as fragments of this size."""

_BROWSER_BYTES: Final = 16 * 2**20
_FULL_SIZE: Final = frozenset({"node", "rust", "go"})
"""Runtimes whose SDKs take the largest message in every generation."""

_PYTHON_GREW: Final = (0, 24, 5)
"""Until then the Python SDK closed its connection on more than 1 MiB."""

_PYTHON_KNOWS_REJECTION: Final = (0, 23, 0)
"""Until then the Python SDK does not know ``registrationrejected``."""

_VERSION: Final = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})$")


def receive_limit(
    runtime: str | None, version: str | None, features: Container[str]
) -> int:
    """The largest message that a worker takes, in bytes.

    Nothing that a worker leaves unsaid is assumed in its favour: one that is not known
    gets `SMALL_MESSAGE_BYTES`, because too large a message costs it its connection.

    Args:
        runtime: as announced: ``python``, ``node``, ``rust``, ``go``, ``browser``.
        version: of its SDK; a pre-release counts as older than every release.
        features: as announced.
    """
    if LARGE_MESSAGES_FEATURE in features or runtime in _FULL_SIZE:
        return MAX_MESSAGE_BYTES
    if runtime == "browser":
        return _BROWSER_BYTES
    if runtime == "python" and _release(version) >= _PYTHON_GREW:
        return MAX_MESSAGE_BYTES
    return SMALL_MESSAGE_BYTES


def ends_at_close(runtime: str | None, version: str | None) -> bool:
    """Whether a worker that is refused, and hears a Close, is silent for ever.

    The Python SDK did not reconnect after a Close without a code. That is right for one
    that knows why it was refused; an older one may be refused because of its own former
    connection, and has to come again. It does when TCP is dropped.

    Args:
        runtime: as announced.
        version: of its SDK.
    """
    return runtime == "python" and _release(version) < _PYTHON_KNOWS_REJECTION


def _release(version: str | None) -> tuple[int, ...]:
    found = _VERSION.match(version or "")
    return () if found is None else tuple(int(part) for part in found.groups())
