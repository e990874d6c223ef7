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


class Excerpt:
    """The begin and the end of bytes that are too many to keep; used like `Pieces`.

    Attributes:
        size: of all of it.
    """

    __slots__ = ("_head", "_tail", "size")

    KEPT: Final = 4096
    """Bytes of the begin, and as many of the end."""

    def __init__(self) -> None:
        self.size = 0
        self._head = b""
        self._tail = b""

    def add(self, piece: bytes) -> None:
        """Append; what is in the middle in the end is forgotten."""
        self.size += len(piece)
        if len(self._head) < self.KEPT:
            self._head += piece[: self.KEPT - len(self._head)]
        if len(piece) < self.KEPT:
            piece = self._tail + piece
        self._tail = piece[-self.KEPT :]

    def join(self) -> bytes:
        """Begin and end, with a line feed between them."""
        return b"\n".join((self._head, self._tail))
