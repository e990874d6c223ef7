"""A SQLite VFS that fails on demand, for fault tests."""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

_serial = iter(range(1_000_000))


class FaultyVFS(apsw.VFS):
    """Counts writes and syncs; from number ``fail_at`` on, ``failures`` of them fail.

    Attributes:
        name: to open files with.
        operations: writes and syncs so far.
        fail_at: number of the first one to fail, ``None``: none.
        failures: how many fail in a row.
        error: the driver error to fail with.
    """

    def __init__(self) -> None:
        self.name = f"faulty-{next(_serial)}"
        self.operations = 0
        self.fail_at: int | None = None
        self.failures = 1
        self.error: type[apsw.Error] = apsw.IOError
        super().__init__(self.name, "")

    def xOpen(  # noqa: N802
        self, name: "str | apsw.URIFilename | None", flags: list[int]
    ) -> "_FaultyFile":
        return _FaultyFile(self, name, flags)

    def count(self) -> None:
        """One more operation; fails if it is its turn."""
        number = self.operations
        self.operations += 1
        if self.fail_at is None:
            return
        if self.fail_at <= number < self.fail_at + self.failures:
            raise self.error(f"operation {number} fails by design")


class _FaultyFile(apsw.VFSFile):
    def __init__(
        self, vfs: FaultyVFS, name: "str | apsw.URIFilename | None", flags: list[int]
    ) -> None:
        super().__init__("", name, flags)
        self._vfs = vfs

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._vfs.count()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._vfs.count()
        super().xSync(flags)


@contextmanager
def open_faulty_vfs() -> Iterator[FaultyVFS]:
    """Register a VFS for the length of a block."""
    vfs = FaultyVFS()
    try:
        yield vfs
    finally:
        vfs.unregister()
