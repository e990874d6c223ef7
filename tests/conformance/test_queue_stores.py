"""Every queue store passes the public conformance check."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from iii_trio.adapters import QueueStore
from iii_trio.adapters.memory import open_memory
from iii_trio.adapters.sqlite import RunSync, open_sqlite, run_in_thread, run_inline
from iii_trio.testing import check_queue_store


@asynccontextmanager
async def open_memory_queue() -> AsyncIterator[QueueStore]:
    async with open_memory() as stores:
        yield stores.queue()


async def test_memory_is_a_queue_store() -> None:
    await check_queue_store(open_memory_queue)


@pytest.mark.parametrize("run", [run_in_thread, run_inline])
async def test_sqlite_is_a_durable_queue_store(tmp_path: Path, run: RunSync) -> None:
    @asynccontextmanager
    async def open_store() -> AsyncIterator[QueueStore]:
        async with open_sqlite(tmp_path / "engine.db", run=run) as stores:
            yield stores.queue()

    await check_queue_store(open_store, durable=True)
