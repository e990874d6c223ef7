"""Every key-value store passes the public conformance check."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from iii_trio.adapters import KeyValueStore
from iii_trio.adapters.memory import open_memory
from iii_trio.adapters.sqlite import RunSync, open_sqlite, run_in_thread, run_inline
from iii_trio.testing import check_kv_store


@asynccontextmanager
async def open_memory_store() -> AsyncIterator[KeyValueStore]:
    async with open_memory() as stores:
        yield stores.key_value("state")


async def test_memory_is_a_key_value_store() -> None:
    await check_kv_store(open_memory_store)


@pytest.mark.parametrize("run", [run_in_thread, run_inline])
async def test_sqlite_is_a_durable_key_value_store(
    tmp_path: Path, run: RunSync
) -> None:
    @asynccontextmanager
    async def open_store() -> AsyncIterator[KeyValueStore]:
        async with open_sqlite(tmp_path / "engine.db", run=run) as stores:
            yield stores.key_value("state")

    await check_kv_store(open_store, durable=True)


async def test_collections_of_memory_are_apart() -> None:
    async with open_memory() as stores:
        await stores.key_value("state").set("s", "k", b"1")
        assert await stores.key_value("stream").spaces() == []
        assert await stores.key_value("state").get("s", "k") == b"1"


async def test_collections_of_sqlite_are_apart(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "engine.db") as stores:
        await stores.key_value("state").set("s", "k", b"1")
        assert await stores.key_value("stream").spaces() == []
        assert await stores.key_value("state").get("s", "k") == b"1"
