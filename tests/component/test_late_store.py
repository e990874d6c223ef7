"""A collection that is opened by its first write is a key-value store before and after."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from iii_trio.adapters import KeyValueStore
from iii_trio.adapters.memory import open_memory
from iii_trio.app._late_store import LateKeyValue
from iii_trio.errors import AdapterError
from iii_trio.testing import check_kv_store


async def test_it_is_a_key_value_store() -> None:
    @asynccontextmanager
    async def open_late() -> AsyncIterator[KeyValueStore]:
        async with open_memory() as stores:

            async def open_store() -> KeyValueStore:
                await trio.lowlevel.checkpoint()
                return stores.key_value("a")

            yield LateKeyValue(open_store)

    await check_kv_store(open_late)


async def test_reading_opens_nothing_and_a_failed_opening_is_tried_again() -> None:
    tries: list[str] = []
    async with open_memory() as stores:

        async def open_store() -> KeyValueStore:
            await trio.lowlevel.checkpoint()
            tries.append("open")
            if len(tries) == 1:
                raise AdapterError("not yet")
            return stores.key_value("a")

        store = LateKeyValue(open_store)
        assert await store.get("s", "k") is None
        assert (await store.items("s"), await store.spaces()) == ([], [])
        assert tries == []
        with pytest.raises(AdapterError, match="not yet"):
            await store.set("s", "k", b"1")
        await store.set("s", "k", b"1")
        await store.set("s", "k", b"2")
        assert await store.get("s", "k") == b"2"
        assert await store.spaces() == ["s"]
        assert tries == ["open"] * 2
