"""A disk that fails: nothing acknowledged is lost, nothing is half done."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
import trio

from iii_trio.adapters.sqlite import open_sqlite, run_inline
from iii_trio.errors import AdapterError
from tests.faulty_vfs import FaultyVFS, open_faulty_vfs

pytestmark = [
    pytest.mark.slow,
    # apsw reports what the VFS raises where SQLite itself ignores failures.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KEYS = ("a", "b", "c")
ROUNDS = 4

Written = tuple[dict[str, bytes], list[AdapterError]]


@pytest.fixture
def vfs() -> Iterator[FaultyVFS]:
    with open_faulty_vfs() as vfs:
        yield vfs


async def write_rounds(path: Path, vfs: FaultyVFS) -> Written:
    """Write every key in every round; give what was acknowledged and what failed.

    In every round the keys are written together, so that they share a transaction.
    """
    acknowledged: dict[str, bytes] = {}
    failed: list[AdapterError] = []

    async with open_sqlite(path, run=run_inline, vfs=vfs.name) as stores:
        store = stores.key_value("state")

        async def write(key: str, value: bytes) -> None:
            try:
                await store.set("s", key, value)
            except AdapterError as exc:
                failed.append(exc)
                await trio.lowlevel.checkpoint()
            else:
                acknowledged[key] = value

        for number in range(ROUNDS):
            async with trio.open_nursery() as nursery:
                for key in KEYS:
                    nursery.start_soon(write, key, b"%d" % number)
            # Reading goes on, and sees what was acknowledged, nothing else.
            assert dict(await store.items("s")) == acknowledged
    for error in failed:
        assert isinstance(error.__cause__, apsw.Error)
        assert str(path) in str(error)
    return acknowledged, failed


async def contents(path: Path) -> dict[str, bytes]:
    async with open_sqlite(path, run=run_inline) as stores:
        return dict(await stores.key_value("state").items("s"))


async def count_operations(path: Path, vfs: FaultyVFS) -> tuple[int, int]:
    """How many writes and syncs it takes to make a file, and to run the rounds."""
    async with open_sqlite(path, run=run_inline, vfs=vfs.name):
        pass
    made = vfs.operations
    await write_rounds(path, vfs)
    return made, vfs.operations - made


@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
@pytest.mark.parametrize("failures", [1, 10_000])
async def test_a_failure_at_any_write_loses_nothing_acknowledged(
    tmp_path: Path, vfs: FaultyVFS, error: type[apsw.Error], failures: int
) -> None:
    made, total = await count_operations(tmp_path / "count.db", vfs)
    assert total > 10
    failed_somewhere = False
    for number in range(total + 1):
        path = tmp_path / f"{number}.db"
        vfs.fail_at = None
        async with open_sqlite(path, run=run_inline, vfs=vfs.name):
            pass
        vfs.fail_at, vfs.failures, vfs.error = vfs.operations + number, failures, error
        try:
            acknowledged, failed = await write_rounds(path, vfs)
        except AdapterError:
            acknowledged, failed = {}, []  # it could not even be opened
        vfs.fail_at = None
        failed_somewhere |= bool(failed)
        if failures == 1 and number < total:
            assert len(failed) <= len(KEYS), "one fault fails one transaction"
        found = await contents(path)
        if failures == 1:
            assert found == acknowledged
        else:
            # A commit whose sync failed is on the disk after all, if nothing could be
            # written after it: then all of that transaction is there.
            assert found in (acknowledged, next_round_after(acknowledged))
    assert failed_somewhere
    assert made


def next_round_after(acknowledged: dict[str, bytes]) -> dict[str, bytes]:
    number = int(acknowledged.get("a", b"-1")) + 1
    return dict.fromkeys(KEYS, b"%d" % number)


@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
async def test_a_failure_while_the_file_is_made_is_clear_and_leaves_it_usable(
    tmp_path: Path, vfs: FaultyVFS, error: type[apsw.Error]
) -> None:
    made, _ = await count_operations(tmp_path / "count.db", vfs)
    for number in range(made):
        path = tmp_path / f"{number}.db"
        vfs.fail_at, vfs.error = vfs.operations + number, error
        refusal = ""
        try:
            async with open_sqlite(path, run=run_inline, vfs=vfs.name):
                pass
        except AdapterError as exc:
            refusal = str(exc)
        assert not refusal or str(path) in refusal
        vfs.fail_at = None
        assert await contents(path) == {}


async def test_a_full_disk_is_named_and_later_writes_work(
    tmp_path: Path, vfs: FaultyVFS
) -> None:
    vfs.error = apsw.FullError
    async with open_sqlite(tmp_path / "engine.db", vfs=vfs.name) as stores:
        store = stores.key_value("state")
        await store.set("s", "k", b"1")
        vfs.fail_at, vfs.failures = vfs.operations, 10_000
        with pytest.raises(AdapterError, match="The disk is full: free space"):
            await store.set("s", "k", b"2")
        assert await store.get("s", "k") == b"1"
        vfs.fail_at = None
        await store.set("s", "k", b"3")
    assert await contents(tmp_path / "engine.db") == {"k": b"3"}


async def test_a_copy_taken_at_any_moment_holds_what_was_acknowledged(
    tmp_path: Path,
) -> None:
    """As after ``kill -9``: the files as they are, nothing closed."""
    path = tmp_path / "engine.db"
    async with open_sqlite(path) as stores:
        store = stores.key_value("state")
        for number in range(20):
            await store.set("s", str(number), b"%d" % number)
            killed = copy_as_after_kill(path, tmp_path / f"killed-{number}")
            assert len(await contents(killed)) == number + 1


def copy_as_after_kill(path: Path, directory: Path) -> Path:
    directory.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", directory)
    return directory / path.name
