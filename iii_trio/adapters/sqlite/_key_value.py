"""Key-value collections as SQL. The contract is in ``KeyValueStore``."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, final

import apsw
import attrs

from iii_trio.adapters import Change
from iii_trio.adapters.sqlite._readers import Readers
from iii_trio.adapters.sqlite._writer import Writer

GET: Final = (
    "SELECT value FROM key_value WHERE collection = ? AND space = ? AND key = ?"
)
FIND: Final = (
    "SELECT place, value FROM key_value WHERE collection = ? AND space = ? AND key = ?"
)
INSERT: Final = (
    "INSERT INTO key_value (collection, space, key, value) VALUES (?, ?, ?, ?)"
)
OVERWRITE: Final = "UPDATE key_value SET value = ? WHERE place = ?"
FIND_EACH: Final = (
    "SELECT collection, space, key, place, value FROM key_value "
    "WHERE collection = ? AND space = ? AND key = ?"
)
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


def _set(connection: apsw.Connection, place: Place, value: bytes) -> Change:
    row, old = _find(connection, place)
    if row is None:
        connection.execute(INSERT, (*place, value))
    else:
        connection.execute(OVERWRITE, (value, row))
    return Change(old, value)


def _set_all(connection: apsw.Connection, rows: Sequence[Row]) -> list[Change]:
    """As if they were set one after another, with a statement for all of each kind."""
    latest = {row[:3]: row[3] for row in rows}
    found: list[Any] = connection.executemany(FIND_EACH, list(latest)).fetchall()
    stored = {(row[0], row[1], row[2]): row for row in found}
    known = [(value, stored[at][3]) for at, value in latest.items() if at in stored]
    new = [(*at, value) for at, value in latest.items() if at not in stored]
    if known:
        connection.executemany(OVERWRITE, known)
    if new:
        connection.executemany(INSERT, new)
    current = {at: row[4] for at, row in stored.items()}
    changes = []
    for row in rows:
        at = row[:3]
        changes.append(Change(current.get(at), row[3]))
        current[at] = row[3]
    return changes


def _update(
    connection: apsw.Connection,
    place: Place,
    change: Callable[[bytes | None], bytes | None],
) -> Change:
    _, old = _find(connection, place)
    new = change(old)
    return Change(old, old) if new is None else _set(connection, place, new)


def _delete(connection: apsw.Connection, place: Place) -> Change:
    row, old = _find(connection, place)
    if row is not None:
        connection.execute(DELETE, (row,))
    return Change(old, None)
