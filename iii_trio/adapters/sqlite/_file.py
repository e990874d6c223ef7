"""Opening the file: its directory, the lock against a second engine, its schema.

Blocking code, run where `RunSync` says.
"""

import logging
from pathlib import Path
from typing import Any, Final, final

import apsw
import attrs

from iii_trio.adapters.sqlite import _schema
from iii_trio.adapters.sqlite._errors import adapter_error
from iii_trio.errors import AdapterError

logger = logging.getLogger("iii_trio.adapters.sqlite")

CREATE: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE


@final
class WriterConnection(apsw.Connection):
    """The connection that writes. Its SQL has ``note_replaced(value)``, always true.

    So that a statement that overwrites can tell what it overwrote: ``RETURNING`` sees
    only what is there afterwards, and a statement more per write costs as much again.

    Attributes:
        replaced: what the last ``note_replaced`` was given.
    """

    replaced: Any = None

    def __init__(self, path: str, flags: int, vfs: str | None) -> None:
        super().__init__(path, flags=flags, vfs=vfs)
        # Nothing stored in the file may use it: other programs could not open that.
        self.create_scalar_function(
            "note_replaced", self._note_replaced, 1, flags=apsw.SQLITE_DIRECTONLY
        )

    def _note_replaced(self, *values: Any) -> bool:  # noqa: ANN401 - what SQL has
        (self.replaced,) = values
        return True


@final
@attrs.define(eq=False, kw_only=True)
class DatabaseFile:
    """An open file that no other engine can open.

    Attributes:
        path: absolute, symbolic links followed.
        connection: the one that writes.
    """

    path: str
    connection: WriterConnection
    _lock: apsw.Connection
    _vfs: str | None

    def connect_reader(self) -> apsw.Connection:
        """Open one more connection, which cannot write."""
        flags = apsw.SQLITE_OPEN_READONLY
        connection = apsw.Connection(self.path, flags=flags, vfs=self._vfs)
        connection.set_busy_timeout(_schema.BUSY_TIMEOUT_MS)
        return connection

    def close(self) -> None:
        """Close the connection, which moves the log into the file; then unlock.

        A failure loses nothing: the next opening reads the log.
        """
        try:
            self.connection.close()
        except apsw.Error as exc:
            logger.warning("%s", adapter_error("Could not tidy up", self.path, exc))
        finally:
            self._lock.close()


def open_file(path: str | Path, vfs: str | None) -> DatabaseFile:
    """Open the file, or make it and its directories.

    Raises:
        AdapterError: it cannot be opened and written, is in use, or is not ours; the
            message says what to do.
    """
    where = _prepare_directory(Path(path))
    lock = _take_lock(where)
    try:
        connection = _open_connection(where, vfs)
    except BaseException:
        lock.close()
        raise
    return DatabaseFile(path=where, connection=connection, lock=lock, vfs=vfs)


def _prepare_directory(path: Path) -> str:
    try:
        path = path.expanduser().resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise AdapterError(
            f"Could not make the directory of {path}: {exc}. Make it writable for "
            "this user, or choose another path."
        ) from exc
    return str(path)


def _take_lock(path: str) -> apsw.Connection:
    """Hold an exclusive SQLite lock on an empty file beside the data.

    The operating system drops it when the process ends in any way, and SQLite makes it
    work on every platform. The data file itself cannot carry it: our readers are
    connections of their own.
    """
    lock_path = f"{path}.lock"
    try:
        lock = apsw.Connection(lock_path, flags=CREATE)
        try:
            lock.execute("PRAGMA journal_mode = off")
            lock.execute("BEGIN EXCLUSIVE")
        except BaseException:
            lock.close()
            raise
    except apsw.BusyError as exc:
        raise AdapterError(
            f"{path} is in use by another engine, which holds {lock_path}. Stop that "
            "engine, or give this one another path."
        ) from exc
    except apsw.Error as exc:
        raise adapter_error("Could not lock", lock_path, exc) from exc
    return lock


def _open_connection(path: str, vfs: str | None) -> WriterConnection:
    try:
        connection = WriterConnection(path, CREATE, vfs)
        try:
            version = _schema.read_version(connection, path)
            _schema.configure(connection)
            _schema.migrate(connection, version)
            # A read-only file is found out now, not by the first caller.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except BaseException:
            connection.close()
            raise
    except apsw.Error as exc:
        raise adapter_error("Could not open", path, exc) from exc
    return connection
