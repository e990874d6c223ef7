"""Bytes that come in pieces and are wanted as one. Pure."""

from typing import Final


class Pieces:
    """Chunks that are joined once; many tiny ones cost no more than their bytes."""

    __slots__ = ("_bulk", "_parts")

    _MANY: Final = 1024

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._bulk: bytearray | None = None

    def add(self, piece: bytes) -> None:
        """Append; an empty piece leaves no trace."""
        if not piece:
            return
        self._parts.append(piece)
        if len(self._parts) == self._MANY:
            if self._bulk is None:
                self._bulk = bytearray()
            self._bulk += b"".join(self._parts)
            self._parts.clear()

    def join(self) -> bytes:
        """All of it."""
        if self._bulk is None:
            return b"".join(self._parts)
        return b"".join((self._bulk, *self._parts))
