"""Queues as dicts and heaps. Every method is one sync step, and a checkpoint.

What is put, settled and moved is so when it is called: see the key-value stores.
"""

import heapq
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, final

import attrs
import trio
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


class _State(Enum):
    WAITING = "waiting"
    BEHIND = "behind the head of its group"
    DELAYED = "delayed"
    ACTIVE = "active"
    DEAD = "dead"


@attrs.define(eq=False, kw_only=True)
class _Row:
    place: int
    message: Message
    group: str | None
    priority: int
    due: float
    state: _State = _State.BEHIND


@attrs.define(eq=False)
class _Group:
    """One row may move; the others wait behind it, as a heap of places."""

    head: _Row
    behind: list[int] = attrs.field(factory=list)


@attrs.define(eq=False)
class _Queue:
    """The rows of a queue. Heaps may hold rows that moved on: they are skipped."""

    rows: dict[int, _Row] = attrs.field(factory=dict)
    waiting: list[tuple[int, int]] = attrs.field(factory=list)
    delayed: list[tuple[float, int]] = attrs.field(factory=list)
    groups: dict[str, _Group] = attrs.field(factory=dict)

    def enter(self, row: _Row) -> None:
        """Take a row in: behind the head of its group, or ready."""
        self.rows[row.place] = row
        if row.group is not None:
            group = self.groups.setdefault(row.group, _Group(row))
            if group.head is not row:
                row.state = _State.BEHIND
                heapq.heappush(group.behind, row.place)
                return
        self.make_ready(row)

    def make_ready(self, row: _Row) -> None:
        """A row may be taken as soon as it is due."""
        if row.due:
            row.state = _State.DELAYED
            heapq.heappush(self.delayed, (row.due, row.place))
        else:
            row.state = _State.WAITING
            heapq.heappush(self.waiting, (-row.priority, row.place))

    def leave_group(self, row: _Row) -> None:
        """A row no longer holds its group: the oldest behind it is next."""
        group = None if row.group is None else self.groups.get(row.group)
        if row.group is None or group is None:
            return
        if group.head is not row:
            group.behind.remove(row.place)
            heapq.heapify(group.behind)
        elif group.behind:
            group.head = self.rows[heapq.heappop(group.behind)]
            self.make_ready(group.head)
        else:
            del self.groups[row.group]

    def take(self, limit: int, now: float) -> list[_Row]:
        while self.delayed and self.delayed[0][0] <= now:
            due, place = heapq.heappop(self.delayed)
            row = self.rows.get(place)
            if row is not None and (row.state, row.due) == (_State.DELAYED, due):
                row.due = 0.0
                self.make_ready(row)
        taken: list[_Row] = []
        while self.waiting and len(taken) < limit:
            row = self.rows.get(heapq.heappop(self.waiting)[1])
            if row is not None and row.state is _State.WAITING:
                row.state = _State.ACTIVE
                taken.append(row)
        return taken

    def next_due(self) -> float | None:
        while self.delayed:
            due, place = self.delayed[0]
            row = self.rows.get(place)
            if row is not None and (row.state, row.due) == (_State.DELAYED, due):
                return due
            heapq.heappop(self.delayed)
        return None


@final
class MemoryQueue:
    """A `QueueStore` that lives as long as somebody holds it."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}
        self._places = 0

    async def put(self, messages: Sequence[NewMessage]) -> None:
        """Store messages."""
        await trio.lowlevel.checkpoint_if_cancelled()
        for new in messages:
            self._places += 1
            self._queue(new.queue).enter(_row(self._places, new))
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def take(self, queue: str, limit: int, now: float) -> Taken:
        """Hand out due messages."""
        await trio.lowlevel.checkpoint()
        held = self._queues.get(queue)
        if held is None:
            return Taken([], None)
        return Taken([row.message for row in held.take(limit, now)], held.next_due())

    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        """Say what became of messages in delivery."""
        await trio.lowlevel.checkpoint_if_cancelled()
        held = self._queues.get(queue)
        for row in self._find(queue, message_id, (_State.ACTIVE,)):
            assert held is not None
            _settle(held, row, settlement)
        self._tidy(queue)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def move(
        self,
        queue: str,
        *,
        dead: bool,
        to: str | None,
        message_id: str | None = None,
        group: str | None = None,
    ) -> int:
        """Move or remove messages."""
        await trio.lowlevel.checkpoint_if_cancelled()
        states = (_State.DEAD,) if dead else _UNTOUCHED
        rows = self._find(queue, message_id, states)
        for row in rows:
            held = self._queues[queue]
            del held.rows[row.place]
            if not dead:
                held.leave_group(row)
            if to is not None:
                row.group = row.group if group is None else group
                if dead:
                    _revive(row)
                self._queue(to).enter(row)
        self._tidy(queue)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return len(rows)

    async def dead(self, queue: str, offset: int, limit: int) -> list[Message]:
        """Dead messages, the latest first."""
        await trio.lowlevel.checkpoint()
        rows = self._find(queue, None, (_State.DEAD,))
        rows.sort(key=lambda row: (row.message.failed_at, row.place), reverse=True)
        return [row.message for row in rows[offset : offset + limit]]

    async def counts(self, now: float) -> dict[str, QueueCounts]:
        """Count messages."""
        await trio.lowlevel.checkpoint()
        return {
            name: _count(held.rows.values(), now) for name, held in self._queues.items()
        }

    def _queue(self, name: str) -> _Queue:
        return self._queues.setdefault(name, _Queue())

    def _find(
        self, queue: str, message_id: str | None, states: Iterable[_State]
    ) -> list[_Row]:
        """The rows of a queue in those states, the oldest first."""
        held = self._queues.get(queue)
        if held is None:
            return []
        if message_id is None:
            rows = sorted(held.rows.values(), key=lambda row: row.place)
        else:
            is_place = message_id.isdecimal() and len(message_id) < 19
            row = held.rows.get(int(message_id)) if is_place else None
            rows = [] if row is None else [row]
        return [row for row in rows if row.state in states]

    def _tidy(self, queue: str) -> None:
        held = self._queues.get(queue)
        if held is not None and not held.rows:
            del self._queues[queue]


_UNTOUCHED = (_State.WAITING, _State.BEHIND, _State.DELAYED)


def _row(place: int, new: NewMessage) -> _Row:
    message = Message(
        message_id=str(place),
        function_id=new.function_id,
        namespace=new.namespace,
        payload=new.payload,
        traceparent=new.traceparent,
        baggage=new.baggage,
    )
    return _Row(
        place=place,
        message=message,
        group=new.group,
        priority=new.priority,
        due=new.due,
    )


def _settle(queue: _Queue, row: _Row, settlement: Settlement) -> None:
    match settlement:
        case Done():
            del queue.rows[row.place]
            queue.leave_group(row)
        case Retry(due):
            _note_failure(row)
            row.due = due
            queue.make_ready(row)
        case Dead(error, at):
            _note_failure(row, error=error, failed_at=at)
            row.state = _State.DEAD
            queue.leave_group(row)
        case _:
            queue.make_ready(row)


def _note_failure(row: _Row, **changes: Any) -> None:  # noqa: ANN401
    message = row.message
    row.message = structs.replace(message, attempts=message.attempts + 1, **changes)


def _revive(row: _Row) -> None:
    row.message = structs.replace(row.message, attempts=0, error="", failed_at=0.0)
    row.due = 0.0


def _count(rows: Iterable[_Row], now: float) -> QueueCounts:
    waiting = active = delayed = dead = 0
    for row in rows:
        if row.state is _State.ACTIVE:
            active += 1
        elif row.state is _State.DEAD:
            dead += 1
        elif row.state is _State.DELAYED and row.due > now:
            delayed += 1
        else:
            waiting += 1
    return QueueCounts(waiting, active, delayed, dead)
