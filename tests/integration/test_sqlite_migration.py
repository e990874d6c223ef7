"""Files of older schema versions: brought forward with their data, or left as they were."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest
import trio

from iii_trio.adapters import QueueStore
from iii_trio.adapters.sqlite import open_sqlite, run_inline
from iii_trio.adapters.sqlite._schema import APPLICATION_ID, MIGRATIONS
from iii_trio.errors import AdapterError
from iii_trio.testing import check_queue_store
from tests.faulty_vfs import open_faulty_vfs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("version", range(1, len(MIGRATIONS))),
    # apsw reports what the VFS raises where SQLite itself ignores failures.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def make_older_file(path: Path, version: int) -> None:
    """A file as an iii_trio of that schema version left it, with a value in it."""
    connection = apsw.Connection(str(path))
    for script in MIGRATIONS[:version]:
        connection.execute(script)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute(
        "INSERT INTO key_value (collection, space, key, value)"
        " VALUES ('state', 's', 'k', x'31')"
    )
    connection.close()


def version_of(path: Path) -> object:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute("PRAGMA user_version").get
    finally:
        connection.close()


async def test_an_older_file_is_brought_forward_with_its_data(
    version: int, tmp_path: Path
) -> None:
    path = tmp_path / "engine.db"
    make_older_file(path, version)

    @asynccontextmanager
    async def open_queue() -> AsyncIterator[QueueStore]:
        async with open_sqlite(path) as stores:
            assert await stores.key_value("state").get("s", "k") == b"1"
            yield stores.queue()

    await check_queue_store(open_queue, durable=True)
    assert version_of(path) == len(MIGRATIONS)


async def test_a_way_forward_that_fails_anywhere_can_be_gone_again(
    version: int, tmp_path: Path
) -> None:
    refusals: list[str] = []
    await trio.lowlevel.checkpoint()
    with open_faulty_vfs() as vfs:
        vfs.error = apsw.FullError
        number, over = 0, False
        while not over:
            path = tmp_path / f"{number}.db"
            make_older_file(path, version)
            vfs.fail_at = last = vfs.operations + number
            try:
                async with open_sqlite(path, run=run_inline, vfs=vfs.name):
                    pass
            except AdapterError as exc:
                refusals.append(str(exc))
                assert version_of(path) == version
            over = vfs.operations <= last
            vfs.fail_at = None
            async with open_sqlite(path, run=run_inline) as stores:
                assert await stores.key_value("state").get("s", "k") == b"1"
            assert version_of(path) == len(MIGRATIONS)
            number += 1
    assert refusals
    assert all("The disk is full: free space" in one for one in refusals)
