"""Queues as SQL. The contract is in ``QueueStore``.

A row is waiting, behind the head of its group, delayed, active or dead. A group that has
unfinished rows has exactly one that is none of behind and dead: its head. So `take` reads
an index, however many rows wait behind others.
"""

from collections.abc import Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final, final

import apsw
import attrs
from msgspec import structs

from iii_trio.adapters import (
    Dead,
    Done,
    Message,
    NewMessage,
    QueueCounts,
    Retry,
    Settlement,
    Taken,
)
from iii_trio.adapters.sqlite._readers import Readers
from iii_trio.adapters.sqlite._writer import Writer

WAITING: Final = 0
BEHIND: Final = 1
DELAYED: Final = 2
ACTIVE: Final = 3
DEAD: Final = 4

_INSERT: Final = """
    INSERT INTO queue_message (queue, function_id, namespace, payload, grp, priority,
        due, traceparent, baggage, attempts, state)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, CASE {} WHEN ?7 THEN 2 ELSE 0 END)
"""
"""Its parameters are the fields of a `NewMessage`, in their order."""

INSERT: Final = _INSERT.format("")
INSERT_IN_GROUP: Final = _INSERT.format("""
    WHEN EXISTS (
        SELECT 1 FROM queue_message
        WHERE queue = ?1 AND grp = ?5 AND state IN (0, 2, 3)
    ) THEN 1
""")
COLUMNS: Final = (
    "place, function_id, namespace, payload, attempts, traceparent, baggage, "
    "coalesce(error, ''), coalesce(failed_at, 0.0)"
)
HAS_HEAD: Final = """
    SELECT 1 FROM queue_message
    WHERE queue = ? AND grp = ? AND state IN (0, 2, 3) LIMIT 1
"""
NEXT_OF_GROUP: Final = """
    SELECT place, due FROM queue_message
    WHERE queue = ? AND grp = ? AND state = 1 ORDER BY place LIMIT 1
"""
SET_STATE: Final = "UPDATE queue_message SET state = ? WHERE place = ?"
BECAME_DUE: Final = """
    UPDATE queue_message SET state = 0, due = 0
    WHERE queue = ? AND state = 2 AND due <= ?
"""
NEXT_DUE: Final = "SELECT min(due) FROM queue_message WHERE queue = ? AND state = 2"
READY: Final = f"""
    SELECT {COLUMNS} FROM queue_message WHERE queue = ? AND state = 0
    ORDER BY priority DESC, place LIMIT ?
"""  # noqa: S608 - our own constant
TAKE_READY: Final = """
    UPDATE queue_message SET state = 3 WHERE place IN (
        SELECT place FROM queue_message WHERE queue = ? AND state = 0
        ORDER BY priority DESC, place LIMIT ?)
"""
LISTED_DEAD: Final = f"""
    SELECT {COLUMNS} FROM queue_message WHERE queue = ? AND state = 4
    ORDER BY failed_at DESC, place DESC LIMIT ? OFFSET ?
"""  # noqa: S608 - our own constant
DELETE: Final = "DELETE FROM queue_message WHERE place = ?"
DELETE_IN_DELIVERY: Final = """
    DELETE FROM queue_message WHERE queue = ? AND state = 3 AND place = ?
    RETURNING queue, grp
"""
FAILED: Final = """
    UPDATE queue_message
    SET state = ?, due = ?, attempts = attempts + 1, error = ?, failed_at = ?
    WHERE place = ?
"""
IN_DELIVERY: Final = """
    SELECT place, grp, due FROM queue_message WHERE queue = ? AND state = 3
"""
UNTOUCHED: Final = """
    SELECT place, grp, due FROM queue_message WHERE queue = ? AND state IN (0, 1, 2)
"""
ALL_DEAD: Final = """
    SELECT place, grp, due FROM queue_message WHERE queue = ? AND state = 4
"""
MOVE: Final = "UPDATE queue_message SET queue = ?, grp = ?, state = ? WHERE place = ?"
REVIVE: Final = """
    UPDATE queue_message SET attempts = 0, due = 0, error = NULL, failed_at = NULL
    WHERE place = ?
"""
COUNT: Final = """
    SELECT queue, sum(state IN (0, 1) OR state = 2 AND due <= ?1), sum(state = 3),
        sum(state = 2 AND due > ?1), sum(state = 4)
    FROM queue_message GROUP BY queue
"""


@final
@attrs.define(eq=False, kw_only=True)
class SQLiteQueue:
    """The messages of a file, a `QueueStore`."""

    _writer: Writer
    _readers: Readers

    async def put(self, messages: Sequence[NewMessage]) -> None:
        """Store messages in one transaction."""
        await self._writer.submit_to(_put_all, messages)

    async def take(self, queue: str, limit: int, now: float) -> Taken:
        """Hand out due messages."""
        return await self._writer.submit(
            lambda connection: _take(connection, queue, limit, now)
        )

    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        """Say what became of messages in delivery."""
        if isinstance(settlement, Done) and message_id is not None:
            await self._writer.submit_to(_remove_all, (queue, message_id))
            return
        await self._writer.submit(
            lambda connection: _settle(connection, queue, message_id, settlement)
        )

    async def move(
        self,
        queue: str,
        *,
        dead: bool,
        to: str | None,
        message_id: str | None = None,
        group: str | None = None,
    ) -> int:
        """Move or remove messages in one transaction."""
        move = _move_dead if dead else _move_waiting
        return await self._writer.submit(
            lambda connection: move(connection, queue, message_id, to, group)
        )

    async def dead(self, queue: str, offset: int, limit: int) -> list[Message]:
        """Dead messages, the latest first."""
        rows: list[Any] = await self._readers.read(
            lambda connection: connection.execute(
                LISTED_DEAD, (queue, limit, offset)
            ).fetchall()
        )
        return [_message(row) for row in rows]

    async def counts(self, now: float) -> dict[str, QueueCounts]:
        """Count messages; reads an index of all of them."""
        rows: list[Any] = await self._readers.read(
            lambda connection: connection.execute(COUNT, (now,)).fetchall()
        )
        return {queue: QueueCounts(*counted) for queue, *counted in rows}


def _message(row: Any) -> Message:  # noqa: ANN401 - a row of COLUMNS
    place, function_id, namespace, payload, attempts, trace, baggage, error, at = row
    return Message(
        message_id=str(place),
        function_id=function_id,
        namespace=namespace,
        payload=payload,
        attempts=attempts,
        traceparent=trace,
        baggage=baggage,
        error=error,
        failed_at=at,
    )


def _put_all(
    connection: apsw.Connection, puts: Sequence[Sequence[NewMessage]]
) -> list[None]:
    """One statement for each, which sees those before it."""
    messages = chain.from_iterable(puts)
    for group, alike in groupby(messages, attrgetter("group")):
        insert = INSERT if group is None else INSERT_IN_GROUP
        connection.executemany(insert, map(structs.astuple, alike))
    return [None] * len(puts)


def _state_of_newcomer(
    connection: apsw.Connection, queue: str, group: str | None, due: float
) -> int:
    if group is not None and connection.execute(HAS_HEAD, (queue, group)).get:
        return BEHIND
    return DELAYED if due else WAITING


def _take(connection: apsw.Connection, queue: str, limit: int, now: float) -> Taken:
    connection.execute(BECAME_DUE, (queue, now))
    rows = connection.execute(READY, (queue, limit)).fetchall()
    if rows:
        connection.execute(TAKE_READY, (queue, limit))
    next_due: Any = connection.execute(NEXT_DUE, (queue,)).get
    return Taken([_message(row) for row in rows], next_due)


def _find(
    connection: apsw.Connection, which: str, queue: str, message_id: str | None
) -> list[tuple[int, str | None, float]]:
    """Rows as (place, group, due), the oldest first."""
    found: list[Any] = []
    if message_id is None:
        found = connection.execute(f"{which} ORDER BY place", (queue,)).fetchall()
    elif _is_place(message_id):
        row = (queue, int(message_id))
        found = connection.execute(f"{which} AND place = ?", row).fetchall()
    return found


def _is_place(message_id: str) -> bool:
    return message_id.isdecimal() and len(message_id) < 19


def _settle(
    connection: apsw.Connection,
    queue: str,
    message_id: str | None,
    settlement: Settlement,
) -> None:
    for place, group, due in _find(connection, IN_DELIVERY, queue, message_id):
        match settlement:
            case Done():
                connection.execute(DELETE, (place,))
                _let_next_move(connection, queue, group)
            case Retry(later):
                state = DELAYED if later else WAITING
                connection.execute(FAILED, (state, later, None, None, place))
            case Dead(error, at):
                connection.execute(FAILED, (DEAD, due, error, at, place))
                _let_next_move(connection, queue, group)
            case _:
                connection.execute(SET_STATE, (DELAYED if due else WAITING, place))


def _remove_all(
    connection: apsw.Connection, delivered: Sequence[tuple[str, str]]
) -> list[None]:
    """What most settlements are: messages by queue and id that need no more."""
    rows = [(queue, int(one)) for queue, one in delivered if _is_place(one)]
    removed: list[Any] = connection.executemany(DELETE_IN_DELIVERY, rows).fetchall()
    for queue, group in removed:
        _let_next_move(connection, queue, group)
    return [None] * len(delivered)


def _let_next_move(connection: apsw.Connection, queue: str, group: str | None) -> None:
    """The head of a group is finished: the oldest behind it takes its role."""
    if group is None:
        return
    row: Any = connection.execute(NEXT_OF_GROUP, (queue, group)).fetchone()
    if row is not None:
        place, due = row
        connection.execute(SET_STATE, (DELAYED if due else WAITING, place))


def _move_dead(
    connection: apsw.Connection,
    queue: str,
    message_id: str | None,
    to: str | None,
    group: str | None,
) -> int:
    rows = _find(connection, ALL_DEAD, queue, message_id)
    for place, old_group, _ in rows:
        if to is None:
            connection.execute(DELETE, (place,))
        else:
            joined = old_group if group is None else group
            state = _state_of_newcomer(connection, to, joined, 0.0)
            connection.execute(REVIVE, (place,))
            connection.execute(MOVE, (to, joined, state, place))
    return len(rows)


def _move_waiting(
    connection: apsw.Connection,
    queue: str,
    message_id: str | None,
    to: str | None,
    group: str | None,
) -> int:
    rows = _find(connection, UNTOUCHED, queue, message_id)
    for place, old_group, due in rows:
        if to is None:
            connection.execute(DELETE, (place,))
        else:
            joined = old_group if group is None else group
            state = _state_of_newcomer(connection, to, joined, due)
            connection.execute(MOVE, (to, joined, state, place))
        if old_group is not None and not _has_head(connection, queue, old_group):
            _let_next_move(connection, queue, old_group)
    return len(rows)


def _has_head(connection: apsw.Connection, queue: str, group: str) -> bool:
    return bool(connection.execute(HAS_HEAD, (queue, group)).get)
