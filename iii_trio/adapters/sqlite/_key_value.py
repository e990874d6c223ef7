"""Key-value collections as SQL. The contract is in ``KeyValueStore``."""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, final

import apsw
import attrs

from iii_trio.adapters import Change
from iii_trio.adapters.sqlite._file import WriterConnection
from iii_trio.adapters.sqlite._readers import Readers
from iii_trio.adapters.sqlite._writer import Writer

GET: Final = (
    "SELECT value FROM key_value WHERE collection = ? AND space = ? AND key = ?"
)
FIND: Final = (
    "SELECT place, value FROM key_value WHERE collection = ? AND space = ? AND key = ?"
)
SET: Final = """
    INSERT INTO key_value (collection, space, key, value) VALUES (?, ?, ?, ?)
    ON CONFLICT (collection, space, key)
    DO UPDATE SET value = excluded.value WHERE note_replaced(value)
"""
DELETE: Final = "DELETE FROM key_value WHERE place = ?"
ITEMS: Final = (
    "SELECT key, value FROM key_value WHERE collection = ? AND space = ? ORDER BY place"
)
SPACES: Final = (
    "SELECT DISTINCT space FROM key_value WHERE collection = ? ORDER BY space"
)

Place = tuple[str, str, str]
"""Collection, space, key."""

Row = tuple[str, str, str, bytes]
"""Collection, space, key, value."""


@final
@attrs.define(eq=False, kw_only=True)
class SQLiteKeyValue:
    """One named collection of a file, a `KeyValueStore`."""

    _collection: str
    _writer: Writer
    _readers: Readers

    async def get(self, space: str, key: str) -> bytes | None:
        """The value, or ``None``."""
        place = (self._collection, space, key)
        value: bytes | None = await self._readers.read(
            lambda connection: connection.execute(GET, place).get
        )
        return value

    def set(self, space: str, key: str, value: bytes) -> Coroutine[Any, Any, Change]:
        """Store a value."""
        row = (self._collection, space, key, value)
        return self._writer.submit_to(_set_all, row)

    async def delete(self, space: str, key: str) -> Change:
        """Remove a key."""
        place = (self._collection, space, key)
        return await self._writer.submit(lambda connection: _delete(connection, place))

    async def update(
        self, space: str, key: str, change: Callable[[bytes | None], bytes | None]
    ) -> Change:
        """Change a value in one transaction."""
        place = (self._collection, space, key)
        return await self._writer.submit(
            lambda connection: _update(connection, place, change)
        )

    async def items(self, space: str) -> list[tuple[str, bytes]]:
        """All keys and values, by rowid: in the order of first insertion."""
        rows: list[Any] = await self._readers.read(
            lambda connection: connection.execute(
                ITEMS, (self._collection, space)
            ).fetchall()
        )
        return rows

    async def spaces(self) -> list[str]:
        """All spaces, sorted by code point, as Python sorts strings."""
        rows: list[Any] = await self._readers.read(
            lambda connection: connection.execute(
                SPACES, (self._collection,)
            ).fetchall()
        )
        return [space for (space,) in rows]


def _find(connection: apsw.Connection, place: Place) -> tuple[int | None, bytes | None]:
    row: Any = connection.execute(FIND, place).fetchone()
    return (None, None) if row is None else row


def _set_all(connection: WriterConnection, rows: Sequence[Row]) -> list[Change]:
    """One call for all of them; each row is asked for when the last one is written."""
    changes: list[Change] = []

    def written() -> Iterator[Row]:
        for row in rows:
            connection.replaced = None
            yield row
            changes.append(Change(connection.replaced, row[3]))

    connection.executemany(SET, written())
    return changes


def _update(
    connection: WriterConnection,
    place: Place,
    change: Callable[[bytes | None], bytes | None],
) -> Change:
    _, old = _find(connection, place)
    new = change(old)
    if new is None:
        return Change(old, old)
    return _set_all(connection, [(*place, new)])[0]


def _delete(connection: apsw.Connection, place: Place) -> Change:
    row, old = _find(connection, place)
    if row is not None:
        connection.execute(DELETE, (row,))
    return Change(old, None)
