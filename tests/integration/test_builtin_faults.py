"""A disk that fails at any write under the bundled workers that keep data.

What was answered is there afterwards, what was refused says what to do, and reading goes
on all the while.
"""

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import attrs
import pytest
import trio
from trio.testing import MockClock

from iii_trio._util import open_background_nursery
from iii_trio.adapters.sqlite import SQLiteStores, open_sqlite, run_inline
from iii_trio.builtins.configuration import ConfigurationConfig, serve_configuration
from iii_trio.builtins.queue import NamedQueue
from iii_trio.builtins.state import StateConfig, serve_state
from iii_trio.builtins.stream import StreamConfig, serve_stream
from iii_trio.engine import open_engine
from iii_trio.errors import InvocationError, RegistrationError
from iii_trio.net import open_pump
from iii_trio.worker import Worker, open_worker
from tests.component.queue_rig import QueueRig, open_queue_rig
from tests.faulty_vfs import FaultyVFS, open_faulty_vfs

pytestmark = [
    pytest.mark.slow,
    # apsw reports what the VFS raises where SQLite itself ignores failures.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FAULTS = pytest.mark.parametrize(
    ("error", "failures"), [(apsw.IOError, 1), (apsw.FullError, 5)]
)
ADVICE = {
    apsw.IOError: "The disk failed: check its health and free space",
    apsw.FullError: "The disk is full: free space on it",
}

Model = dict[str, Any]


@pytest.fixture
def vfs() -> Iterator[FaultyVFS]:
    with open_faulty_vfs() as vfs:
        yield vfs


# Values: state, streams, configurations

PLACE = {"stream_name": "s", "group_id": "g"}
ITEM = {**PLACE, "item_id": "i"}
ADD = [{"type": "increment", "path": "n", "by": 1}]


def key(name: str, **more: Any) -> dict[str, Any]:
    return {"scope": "s", "key": name, **more}


def added(value: dict[str, int] | None) -> dict[str, int]:
    return {"n": (value or {}).get("n", 0) + 1}


@attrs.frozen
class Write:
    """A write, and what it makes of the model."""

    function_id: str
    payload: dict[str, Any]
    apply: Callable[[Model], object]


WRITES = [
    Write("state::set", key("a", value=[1]), lambda m: m.update(a=[1])),
    Write("state::update", key("b", ops=ADD), lambda m: m.update(b=added(m.get("b")))),
    Write("stream::set", {**ITEM, "data": {"n": 7}}, lambda m: m.update(i={"n": 7})),
    Write("state::compare_and_set", key("c", value=0), lambda m: m.setdefault("c", 0)),
    Write(
        "configuration::register",
        {
            "id": "x",
            "name": "X",
            "description": "An x.",
            "schema": True,
            "initial_value": 1,
        },
        lambda m: m.setdefault("x", 1),
    ),
    Write(
        "stream::update",
        {**ITEM, "ops": ADD},
        lambda m: m.update(i=added(m.get("i"))),
    ),
    Write("state::delete", key("a"), lambda m: m.pop("a", None)),
    Write(
        "configuration::set",
        {"id": "x", "value": {"y": 2}},
        lambda m: m.update(x={"y": 2}),
    ),
    Write("stream::delete", ITEM, lambda m: m.pop("i", None)),
    Write("state::update", key("b", ops=ADD), lambda m: m.update(b=added(m.get("b")))),
]


@asynccontextmanager
async def open_value_workers(stores: SQLiteStores) -> AsyncIterator[Worker]:
    async with (
        open_engine() as engine,
        open_pump() as pump,
        open_worker(engine, name="iii-state") as state,
        open_worker(engine, name="iii-stream") as stream,
        open_worker(engine, name="configuration") as configuration,
        open_worker(engine) as client,
        open_background_nursery("test over") as nursery,
    ):
        for serve in (
            partial(serve_state, state, StateConfig()),
            partial(serve_stream, stream, StreamConfig(port=0), pump=pump),
            partial(serve_configuration, configuration, ConfigurationConfig()),
        ):
            store = stores.key_value(serve.args[0].name)
            await nursery.start(partial(serve, store=store))
        yield client


async def read_values(client: Worker) -> Model:
    """Everything that the writes are about, by several ways of reading."""
    found: Model = {}
    for name in "abc":
        value = await client.invoke("state::get", key(name))
        if value is not None:
            found[name] = value
    listed = await client.invoke("state::list", {"scope": "s"})
    assert sorted(map(str, listed)) == sorted(map(str, found.values()))
    item = await client.invoke("stream::get", ITEM)
    assert await client.invoke("stream::list", PLACE) == ([item] if item else [])
    found |= {"i": item} if item else {}
    for row in (await client.invoke("configuration::list", {}))["configurations"]:
        entry = await client.invoke("configuration::get", {"id": row["id"]})
        found[row["id"]] = entry["value"]
    return found


async def write_values(
    path: Path, vfs: FaultyVFS, fail_at: int | None
) -> tuple[Model, list[str], int]:
    """The model of what was answered, what was refused, operations of the disk."""
    model: Model = {}
    refused: list[str] = []
    async with (
        open_sqlite(path, run=run_inline, vfs=vfs.name) as stores,
        open_value_workers(stores) as client,
    ):
        begun = vfs.operations
        vfs.fail_at = None if fail_at is None else begun + fail_at
        for write in WRITES:
            try:
                await client.invoke(write.function_id, write.payload)
            except InvocationError as exc:
                if exc.code != "NOT_REGISTERED":  # registering it failed before
                    refused.append(str(exc))
            else:
                write.apply(model)
            assert await read_values(client) == model
        vfs.fail_at = None
        return model, refused, vfs.operations - begun


@FAULTS
async def test_values_survive_a_failure_at_any_write(
    tmp_path: Path, vfs: FaultyVFS, error: type[apsw.Error], failures: int
) -> None:
    vfs.error, vfs.failures = error, failures
    complete, _, total = await write_values(tmp_path / "count.db", vfs, None)
    assert complete == {"b": {"n": 2}, "c": 0, "x": {"y": 2}}
    assert total > len(WRITES)
    all_refused: list[str] = []
    for number in range(total):
        path = tmp_path / f"{number}.db"
        model, refused, _ = await write_values(path, vfs, number)
        all_refused += refused
        async with (
            open_sqlite(path, run=run_inline) as stores,
            open_value_workers(stores) as client,
        ):
            assert await read_values(client) == model
    assert all_refused
    for text in all_refused:
        assert ADVICE[error] in text
        assert str(tmp_path) in text


# Messages: named queues, topics, dead letters

QUEUES = {"once": NamedQueue(max_retries=1)}
COUNT = 3


@attrs.define
class Messages:
    """What was answered about messages, and what came of them."""

    published: list[int] = attrs.field(factory=list)
    failing: list[int] = attrs.field(factory=list)
    revived: list[int] = attrs.field(factory=list)
    discarded: list[int] = attrs.field(factory=list)
    defined: list[str] = attrs.field(factory=list)
    heard: list[int] = attrs.field(factory=list)
    attempted: list[int] = attrs.field(factory=list)
    refused: list[str] = attrs.field(factory=list)

    async def hear(self, number: int) -> None:
        await trio.lowlevel.checkpoint()
        self.heard.append(number)

    async def fail(self, number: int) -> None:
        await trio.lowlevel.checkpoint()
        self.attempted.append(number)
        raise ValueError(number)

    async def try_to(
        self, done: list[Any], what: Any, action: Callable[[], Awaitable[Any]]
    ) -> None:
        try:
            await action()
        except (InvocationError, RegistrationError) as exc:
            self.refused.append(str(exc))
            await trio.lowlevel.checkpoint()
        else:
            done.append(what)

    async def use(self, rig: QueueRig) -> None:
        """Use everything; reading never fails."""
        rig.client.register_function("news::hear", self.hear)
        rig.client.register_function("job::fail", self.fail)
        bound: list[str] = []
        while not bound:
            bind = partial(
                rig.client.bind, "durable:subscriber", "news::hear", {"topic": "news"}
            )
            await self.try_to(bound, "news", bind)
        for number in range(COUNT):
            publish = partial(
                rig.call, "iii::durable::publish", topic="news", data=number
            )
            await self.try_to(self.published, number, publish)
            enqueue = partial(rig.enqueue, number, queue="once", to="job::fail")
            await self.try_to(self.failing, number, enqueue)
            await rig.dead("once")
            await trio.sleep(100)
        define = partial(rig.call, "queue::define", queue="new", config={})
        await self.try_to(self.defined, "new", define)
        rows = await rig.dead("once")
        assert {row["payload"] for row in rows} == set(self.failing)
        for row, done, name in zip(
            rows,
            (self.revived, self.discarded),
            ("redrive_message", "discard_message"),
            strict=False,
        ):
            call = partial(
                rig.call,
                f"iii::queue::{name}",
                queue="once",
                message_id=row["id"],
            )
            await self.try_to(done, row["payload"], call)
        await trio.sleep(600)

    async def check(self, rig: QueueRig) -> None:
        """What was answered, came true, once."""
        assert sorted(self.heard) == self.published
        twice = sorted([*self.failing, *self.revived])
        assert sorted(self.attempted) == twice
        dead = {row["payload"] for row in await rig.dead("once")}
        assert dead == set(self.failing) - set(self.discarded)
        names = {row["name"] for row in await rig.call("engine::queue::list_topics")}
        assert names == {"default", "once", "news", *self.defined}


async def use_messages(
    path: Path, vfs: FaultyVFS, fail_at: int | None
) -> tuple[Messages, int]:
    """What happened, and the operations of the disk."""
    messages = Messages()
    async with (
        open_sqlite(path, run=run_inline, vfs=vfs.name) as stores,
        open_queue_rig(QUEUES, stores=stores) as rig,
    ):
        await rig.settle()
        begun = vfs.operations
        vfs.fail_at = None if fail_at is None else begun + fail_at
        await messages.use(rig)
        vfs.fail_at = None
        await trio.sleep(100)
        await messages.check(rig)
        operations = vfs.operations - begun
    before = copy.deepcopy(messages.heard)
    async with (
        open_sqlite(path, run=run_inline) as stores,
        open_queue_rig(QUEUES, stores=stores) as rig,
    ):
        await trio.sleep(100)
        await messages.check(rig)
        assert messages.heard == before
    return messages, operations


@FAULTS
async def test_messages_survive_a_failure_at_any_write(
    tmp_path: Path,
    vfs: FaultyVFS,
    autojump_clock: MockClock,
    error: type[apsw.Error],
    failures: int,
) -> None:
    vfs.error, vfs.failures = error, failures
    messages, total = await use_messages(tmp_path / "count.db", vfs, None)
    assert messages.published == messages.failing == list(range(COUNT))
    assert messages.revived
    assert messages.discarded
    refused: list[str] = []
    for number in range(total):
        messages, _ = await use_messages(tmp_path / f"{number}.db", vfs, number)
        refused += messages.refused
    assert refused
    for text in refused:
        assert ADVICE[error] in text
        assert str(tmp_path) in text
