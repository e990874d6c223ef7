"""The interfaces of stores. Contracts that ``iii_trio.testing.check_*`` verify.

All methods are async and checkpoints. A write returns only after it is durable, as far as
the backend can. A cancelled write either happened completely or not at all.
"""

from collections.abc import Callable
from typing import Protocol

import attrs


@attrs.frozen
class Change:
    """What a write did.

    Attributes:
        old: the value before, ``None`` if the key did not exist.
        new: the value after, ``None`` if the key does not exist.
    """

    old: bytes | None
    new: bytes | None


class KeyValueStore(Protocol):
    """Values (JSON bytes) by space and key. Spaces appear and vanish with their keys.

    Every method raises `AdapterError` when the backend fails; a failed write left
    nothing.
    """

    async def get(self, space: str, key: str) -> bytes | None:
        """The value, or ``None``."""

    async def set(self, space: str, key: str, value: bytes) -> Change:
        """Store a value. Overwriting keeps the key's place in `items`."""

    async def delete(self, space: str, key: str) -> Change:
        """Remove a key; an absent one is fine."""

    async def update(
        self, space: str, key: str, change: Callable[[bytes | None], bytes | None]
    ) -> Change:
        """Change a value in one atomic step.

        ``change`` gets the old value or ``None`` and gives the new one, or ``None`` to
        leave everything as it is. It is sync, pure and quick, may run in another
        thread, and its exceptions pass to the caller with nothing changed.
        """

    async def items(self, space: str) -> list[tuple[str, bytes]]:
        """All keys and values of a space, in the order of first insertion."""

    async def spaces(self) -> list[str]:
        """All spaces that hold a key, sorted."""
