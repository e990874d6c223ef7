"""Random programs on queue stores give what a plain list of messages would.

On SQLite a step may be ``kill``: the files are copied as they are, and the rest of the
program runs on the copy.
"""

from pathlib import Path
from typing import Any

import attrs
import hypothesis
import pytest
import trio
from hypothesis import strategies as st
from msgspec import structs

from iii_trio.adapters import (
    Dead,
    Done,
    GiveBack,
    Message,
    NewMessage,
    QueueCounts,
    QueueStore,
    Retry,
    Settlement,
)
from iii_trio.adapters.memory import open_memory
from iii_trio.adapters.sqlite import open_sqlite, run_inline
from tests.property.test_state_model import Directories, copy_as_after_kill

QUEUES = ("p", "q")


@attrs.define
class Row:
    """One message of the model."""

    age: int
    new: NewMessage
    state: str = "ready"  # ready, active, dead; a group's order is by age and head
    due: float = 0.0
    attempts: int = 0
    error: str = ""
    failed_at: float = 0.0


@attrs.define
class Model:
    """Every message, and who is the head of each group."""

    rows: list[Row] = attrs.field(factory=list)
    heads: dict[tuple[str, str], Row] = attrs.field(factory=dict)
    ages: int = 0

    def put(self, messages: list[NewMessage]) -> None:
        for new in messages:
            self.ages += 1
            self.enter(Row(self.ages, new, due=new.due))

    def enter(self, row: Row) -> None:
        self.rows.append(row)
        self.rows.sort(key=lambda row: row.age)
        if row.new.group is not None:
            self.heads.setdefault((row.new.queue, row.new.group), row)

    def release(self, row: Row) -> None:
        """A row leaves its group."""
        if row.new.group is None:
            return
        key = row.new.queue, row.new.group
        if self.heads.get(key) is not row:
            return
        del self.heads[key]
        for other in self.of(row.new.queue, "ready"):
            if other is not row and other.new.group == row.new.group:
                self.heads[key] = other
                return

    def of(self, queue: str, *states: str) -> list[Row]:
        return [
            row for row in self.rows if row.new.queue == queue and row.state in states
        ]

    def is_head(self, row: Row) -> bool:
        group = row.new.group
        return group is None or self.heads[row.new.queue, group] is row

    def take(self, queue: str, limit: int, now: float) -> list[Row]:
        due = [
            row
            for row in self.of(queue, "ready")
            if row.due <= now and self.is_head(row)
        ]
        due.sort(key=lambda row: (-row.new.priority, row.age))
        for row in due[:limit]:
            row.state, row.due = "active", 0.0
        return due[:limit]

    def next_due(self, queue: str, now: float) -> float | None:
        later = [
            row.due
            for row in self.of(queue, "ready")
            if row.due > now and self.is_head(row)
        ]
        return min(later, default=None)

    def settle(self, row: Row, settlement: Settlement) -> None:
        match settlement:
            case Done():
                self.release(row)
                self.rows.remove(row)
            case Retry(due):
                row.state, row.due = "ready", due
                row.attempts += 1
            case Dead(error, at):
                row.state, row.error, row.failed_at = "dead", error, at
                row.attempts += 1
                self.release(row)
            case _:
                row.state = "ready"

    def move(self, rows: list[Row], to: str | None, group: str | None) -> int:
        for row in rows:
            self.rows.remove(row)
            if row.state != "dead":
                self.release(row)
            if to is None:
                continue
            if row.state == "dead":
                row.attempts, row.error, row.failed_at, row.due = 0, "", 0.0, 0.0
            row.state = "ready"
            joined = row.new.group if group is None else group
            row.new = structs.replace(row.new, queue=to, group=joined)
            self.enter(row)
        return len(rows)

    def counts(self, now: float) -> dict[str, QueueCounts]:
        counted = {}
        for queue in {row.new.queue for row in self.rows}:
            ready = self.of(queue, "ready")
            delayed = sum(row.due > now and self.is_head(row) for row in ready)
            counted[queue] = QueueCounts(
                len(ready) - delayed,
                len(self.of(queue, "active")),
                delayed,
                len(self.of(queue, "dead")),
            )
        return counted


Step = tuple[str, dict[str, Any]]

queues = st.sampled_from(QUEUES)
groups = st.sampled_from([None, None, "a", "b", ""])
times = st.integers(1, 6).map(float)
indices = st.integers(0, 5)
messages = st.builds(
    NewMessage,
    queue=queues,
    function_id=st.just("f"),
    namespace=st.just("n"),
    payload=st.just(b"0"),
    group=groups,
    priority=st.sampled_from([0, 0, 1, 9]),
    due=st.just(0.0) | times,
)
settlements: st.SearchStrategy[Settlement] = (
    st.just(Done())
    | st.just(GiveBack())
    | st.builds(Retry, times)
    | st.builds(Dead, st.sampled_from(["X: y", "Z"]), times)
)


def step(name: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.fixed_dictionaries(fields))


steps = st.one_of(
    step("put", messages=st.lists(messages, max_size=4)),
    step("put", messages=st.lists(messages, max_size=4)),
    step("take", queue=queues, limit=st.integers(0, 4)),
    step("take", queue=queues, limit=st.integers(1, 4)),
    step("settle", index=indices, settlement=settlements),
    step("settle", index=indices, settlement=settlements),
    step("settle_all", queue=queues, settlement=settlements),
    step("revive", queue=queues, index=st.none() | indices, to=st.none() | queues),
    step("hand_over", queue=queues, group=groups),
    step("wait", by=st.integers(0, 3)),
)
programs = st.lists(steps, max_size=30)
KILL: Step = ("kill", {})


@attrs.define
class Run:
    """A program on a store, beside the model."""

    model: Model = attrs.field(factory=Model)
    now: float = 1.0

    async def follow(self, store: QueueStore, program: list[Step]) -> None:
        await self.check(store)
        for name, given in program:
            await getattr(self, name)(store, **given)
            await self.check(store)

    async def put(self, store: QueueStore, messages: list[NewMessage]) -> None:
        numbered = [
            structs.replace(new, payload=b"%d" % (self.model.ages + 1 + place))
            for place, new in enumerate(messages)
        ]
        await store.put(numbered)
        self.model.put(numbered)

    async def take(self, store: QueueStore, queue: str, limit: int) -> None:
        taken = await store.take(queue, limit, self.now)
        expected = self.model.take(queue, limit, self.now)
        assert [shown(one) for one in taken.messages] == [
            (row.new.payload, row.attempts, "", 0.0) for row in expected
        ]
        assert taken.next_due == self.model.next_due(queue, self.now)

    async def settle(
        self, store: QueueStore, index: int, settlement: Settlement
    ) -> None:
        await trio.lowlevel.checkpoint()
        active = [row for row in self.model.rows if row.state == "active"]
        if active:
            row = active[index % len(active)]
            await store.settle(row.new.queue, str(row.age), settlement)
            self.model.settle(row, settlement)

    async def settle_all(
        self, store: QueueStore, queue: str, settlement: Settlement
    ) -> None:
        await store.settle(queue, None, settlement)
        for row in self.model.of(queue, "active"):
            self.model.settle(row, settlement)

    async def revive(
        self, store: QueueStore, queue: str, index: int | None, to: str | None
    ) -> None:
        rows, message_id = self.model.of(queue, "dead"), None
        if index is not None:
            rows = rows[index : index + 1]
            message_id = str(rows[0].age) if rows else "0"
        moved = await store.move(queue, dead=True, to=to, message_id=message_id)
        assert moved == self.model.move(rows, to, None)

    async def hand_over(self, store: QueueStore, queue: str, group: str | None) -> None:
        to = "p" if queue == "q" else "q"
        moved = await store.move(queue, dead=False, to=to, group=group)
        assert moved == self.model.move(self.model.of(queue, "ready"), to, group)

    async def wait(self, _store: QueueStore, by: int) -> None:
        await trio.lowlevel.checkpoint()
        self.now += by

    async def check(self, store: QueueStore) -> None:
        assert await store.counts(self.now) == self.model.counts(self.now)
        for queue in QUEUES:
            dead = self.model.of(queue, "dead")
            dead.sort(key=lambda row: (row.failed_at, row.age), reverse=True)
            listed = await store.dead(queue, 0, 100)
            assert [shown(one) for one in listed] == [
                (row.new.payload, row.attempts, row.error, row.failed_at)
                for row in dead
            ]


def shown(message: Message) -> tuple[bytes, int, str, float]:
    return message.payload, message.attempts, message.error, message.failed_at


@hypothesis.given(programs)
def test_a_queue_in_memory_is_a_list_of_messages(program: list[Step]) -> None:
    async def main() -> None:
        async with open_memory() as stores:
            await Run().follow(stores.queue(), program)

    trio.run(main)


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Directories:
    return Directories(tmp_path_factory.mktemp("queue"))


@hypothesis.given(st.lists(steps | st.just(KILL), max_size=30))
def test_a_queue_on_sqlite_is_a_list_of_messages_that_survives_kills(
    directories: Directories, program: list[Step]
) -> None:
    trio.run(run_with_kills, directories, program)


async def run_with_kills(directories: Directories, program: list[Step]) -> None:
    await trio.lowlevel.checkpoint()
    run = Run()
    path: Path = directories.fresh() / "engine.db"
    while True:
        end = program.index(KILL) if KILL in program else len(program)
        async with open_sqlite(path, run=run_inline) as stores:
            await run.follow(stores.queue(), program[:end])
            path = copy_as_after_kill(path, directories.fresh())
        if end == len(program):
            break
        program = program[end + 1 :]
    async with open_sqlite(path, run=run_inline) as stores:
        await run.check(stores.queue())
