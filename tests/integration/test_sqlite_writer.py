"""Group commit: who is woken when, and what cancellation and closing do."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeVar

import apsw
import pytest
import trio
import trio.testing

from iii_trio.adapters.sqlite import (
    RunSync,
    SQLiteStores,
    open_sqlite,
    run_in_thread,
    run_inline,
)
from iii_trio.adapters.sqlite._writer import CLOSE_GRACE
from iii_trio.errors import AdapterError
from tests.integration.sqlite_rig import insert, keys

pytestmark = pytest.mark.slow

T = TypeVar("T")


async def submit_together(
    stores: SQLiteStores, names: list[str]
) -> list[int | AdapterError]:
    """Submit inserts from one task each; what each of them got, in that order."""
    results: dict[int, int | AdapterError] = {}

    async def one(index: int, name: str) -> None:
        try:
            results[index] = await stores.writer.submit(lambda c: insert(c, name))
        except AdapterError as exc:
            results[index] = exc
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for index, name in enumerate(names):
            nursery.start_soon(one, index, name)
    return [results[index] for index in range(len(names))]


async def test_waiting_writes_share_transactions(tmp_path: Path) -> None:
    commits = 0

    def count() -> bool:
        nonlocal commits
        commits += 1
        return False

    async with open_sqlite(tmp_path / "engine.db") as stores:
        await stores.writer.submit(lambda c: c.set_commit_hook(count))
        commits = 0
        names = [str(number) for number in range(500)]
        await submit_together(stores, names)
        assert sorted(await keys(stores)) == sorted(names)
    assert commits <= 3


async def test_more_writes_than_a_batch_takes_all_come_through(
    tmp_path: Path,
) -> None:
    async with open_sqlite(tmp_path / "engine.db", run=run_inline) as stores:
        results = await submit_together(stores, [str(n) for n in range(2500)])
        assert len(results) == len(await keys(stores)) == 2500


async def test_a_failing_write_fails_alone(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "engine.db") as stores:
        results = await submit_together(stores, ["a", "b", "a", "c"])
        refused = [result for result in results if isinstance(result, AdapterError)]
        assert len(refused) == 1
        assert isinstance(refused[0].__cause__, apsw.ConstraintError)
        assert sorted(await keys(stores)) == ["a", "b", "c"]


async def test_a_driver_error_of_a_write_is_an_adapter_error(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    async with open_sqlite(path) as stores:
        await stores.writer.submit(lambda c: insert(c, "a"))
        with pytest.raises(AdapterError, match="Nothing was stored") as caught:
            await stores.writer.submit(lambda c: insert(c, "a"))
        assert isinstance(caught.value.__cause__, apsw.ConstraintError)
        assert str(path) in str(caught.value)


async def test_a_write_that_raises_after_changing_leaves_no_change(
    tmp_path: Path,
) -> None:
    def insert_then_fail(connection: apsw.Connection) -> None:
        insert(connection, "half")
        raise LookupError("changed my mind")

    async with open_sqlite(tmp_path / "engine.db") as stores:
        with pytest.raises(LookupError, match="changed my mind"):
            await stores.writer.submit(insert_then_fail)
        assert await keys(stores) == []


async def test_a_refused_commit_fails_every_write_of_its_transaction(
    tmp_path: Path,
) -> None:
    async with open_sqlite(tmp_path / "engine.db", run=run_inline) as stores:
        refusing = False
        await stores.writer.submit(lambda c: c.set_commit_hook(lambda: refusing))
        refusing = True
        results = await submit_together(stores, ["a", "b", "c"])
        assert all(isinstance(result, AdapterError) for result in results)
        assert len({id(result) for result in results}) == 3, "one each"
        assert await keys(stores) == []
        refusing = False
        assert isinstance(await stores.writer.submit(lambda c: insert(c, "d")), int)
        assert await keys(stores) == ["d"]


async def test_a_transaction_lost_under_a_write_fails_its_neighbours_too(
    tmp_path: Path,
) -> None:
    """SQLite rolls back by itself when the disk is full amid a statement."""

    def lose(connection: apsw.Connection) -> None:
        connection.execute("ROLLBACK")
        raise apsw.FullError("database or disk is full")

    await check_batch_fails(tmp_path, lose)


async def test_a_write_that_breaks_the_rules_fails_its_batch_not_the_writer(
    tmp_path: Path,
) -> None:
    def release_too_much(connection: apsw.Connection) -> None:
        connection.execute("RELEASE one_write")

    await check_batch_fails(tmp_path, release_too_much)


async def check_batch_fails(
    tmp_path: Path, bad: Callable[[apsw.Connection], object]
) -> None:
    """A good write in one batch with a bad one fails; the next batch works."""
    errors: list[AdapterError] = []

    async def submit(
        stores: SQLiteStores, write: Callable[[apsw.Connection], object]
    ) -> None:
        with pytest.raises(AdapterError) as caught:
            await stores.writer.submit(write)
        errors.append(caught.value)

    async with open_sqlite(tmp_path / "engine.db", run=run_inline) as stores:
        # The first to arrive goes alone; these two wait for it, and go together.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stores.writer.submit, lambda _: None)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(submit, stores, bad)
            nursery.start_soon(submit, stores, partial(insert, key="good"))
        assert len(errors) == 2
        assert await keys(stores) == []
        await stores.writer.submit(partial(insert, key="next"))
        assert await keys(stores) == ["next"]


async def test_closing_waits_for_a_stuck_disk_only_so_long(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    stuck = False

    async def run(fn: Callable[[], T], *, limiter: trio.CapacityLimiter) -> T:
        async with limiter:
            if stuck:
                await trio.sleep(1000)
            return fn()

    errors: list[AdapterError] = []

    async def submit(stores: SQLiteStores, key: str) -> None:
        with pytest.raises(AdapterError) as caught:
            await stores.writer.submit(partial(insert, key=key))
        errors.append(caught.value)

    async with trio.open_nursery() as callers:
        opened = open_sqlite(tmp_path / "engine.db", run=run)
        stores = await opened.__aenter__()
        stuck = True
        callers.start_soon(submit, stores, "under way")
        await trio.testing.wait_all_tasks_blocked()
        callers.start_soon(submit, stores, "waiting")
        await trio.testing.wait_all_tasks_blocked()
        started = trio.current_time()
        await opened.__aexit__(None, None, None)
        assert trio.current_time() - started == pytest.approx(CLOSE_GRACE + 5)
    assert len(errors) == 2
    assert all("closed before this was written" in str(error) for error in errors)


async def test_a_caller_cancelled_while_it_waits_takes_its_write_back(
    tmp_path: Path,
) -> None:
    busy, go_on = trio.Event(), Event()

    def block(_connection: apsw.Connection) -> None:
        trio.from_thread.run_sync(busy.set)
        go_on.wait(10)

    async with open_sqlite(tmp_path / "engine.db") as stores:
        scope = trio.CancelScope()

        async def call() -> None:
            with scope:
                await stores.writer.submit(partial(insert, key="late"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stores.writer.submit, block)
            await busy.wait()
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel(reason="test")
            await trio.testing.wait_all_tasks_blocked()
            assert scope.cancelled_caught
            go_on.set()
        assert await keys(stores) == []


async def test_a_caller_cancelled_during_the_commit_learns_that_it_was_written(
    tmp_path: Path,
) -> None:
    busy, go_on = trio.Event(), Event()

    def insert_slowly(connection: apsw.Connection) -> int:
        trio.from_thread.run_sync(busy.set)
        go_on.wait(10)
        return insert(connection, "kept")

    async with open_sqlite(tmp_path / "engine.db") as stores:
        results: list[int] = []

        async def call(scope: trio.CancelScope) -> None:
            with scope:
                results.append(await stores.writer.submit(insert_slowly))

        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(call, scope)
            await busy.wait()
            scope.cancel(reason="test")
            go_on.set()
        assert results == [1]
        assert await keys(stores) == ["kept"]


async def test_closing_finishes_what_was_accepted(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    async with trio.open_nursery() as nursery:
        async with open_sqlite(path, run=run_inline) as stores:
            submit = stores.writer.submit
            for number in range(50):
                nursery.start_soon(submit, partial(insert, key=str(number)))
            await trio.testing.wait_all_tasks_blocked()
    async with open_sqlite(path) as stores:
        assert len(await keys(stores)) == 50


@pytest.mark.parametrize("run", [run_in_thread, run_inline])
async def test_a_closed_store_says_so(tmp_path: Path, run: RunSync) -> None:
    async with open_sqlite(tmp_path / "engine.db", run=run) as stores:
        store = stores.key_value("state")
    with pytest.raises(trio.ClosedResourceError):
        await store.set("s", "k", b"1")
    with pytest.raises(trio.ClosedResourceError):
        await store.get("s", "k")


async def test_an_exception_of_the_body_leaves_unwrapped(tmp_path: Path) -> None:
    path = tmp_path / "engine.db"
    with pytest.raises(LookupError, match="mine"):
        async with open_sqlite(path):
            raise LookupError("mine")
    async with open_sqlite(path):
        pass


async def test_cancelling_the_block_writes_what_was_accepted_and_closes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "engine.db"
    with trio.CancelScope() as scope:
        async with open_sqlite(path) as stores:
            await stores.writer.submit(lambda c: insert(c, "a"))
            scope.cancel(reason="test")
            await trio.lowlevel.checkpoint()
    async with open_sqlite(path) as stores:
        assert await keys(stores) == ["a"]


async def test_reads_run_while_a_write_is_under_way(tmp_path: Path) -> None:
    busy, go_on = trio.Event(), Event()

    def block(connection: apsw.Connection) -> None:
        insert(connection, "unseen")
        trio.from_thread.run_sync(busy.set)
        go_on.wait(10)

    async with open_sqlite(tmp_path / "engine.db") as stores:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stores.writer.submit, block)
            await busy.wait()
            assert await keys(stores) == []
            go_on.set()
        assert await keys(stores) == ["unseen"]
