"""A collection that is opened by its first write, and is empty until then."""

from collections.abc import Awaitable, Callable
from typing import final

import attrs
import trio

from iii_trio.adapters import Change, KeyValueStore


@final
@attrs.define(eq=False)
class LateKeyValue:
    """A `KeyValueStore` of which nothing exists yet.

    Args:
        open_store: opens it; every write asks again until it succeeds.
    """

    _open_store: Callable[[], Awaitable[KeyValueStore]]
    _store: KeyValueStore | None = None

    async def get(self, space: str, key: str) -> bytes | None:
        """See `KeyValueStore.get`."""
        if self._store is None:
            await trio.lowlevel.checkpoint()
            return None
        return await self._store.get(space, key)

    async def set(self, space: str, key: str, value: bytes) -> Change:
        """See `KeyValueStore.set`."""
        return await (await self._opened()).set(space, key, value)

    async def delete(self, space: str, key: str) -> Change:
        """See `KeyValueStore.delete`."""
        return await (await self._opened()).delete(space, key)

    async def update(
        self, space: str, key: str, change: Callable[[bytes | None], bytes | None]
    ) -> Change:
        """See `KeyValueStore.update`."""
        return await (await self._opened()).update(space, key, change)

    async def items(self, space: str) -> list[tuple[str, bytes]]:
        """See `KeyValueStore.items`."""
        if self._store is None:
            await trio.lowlevel.checkpoint()
            return []
        return await self._store.items(space)

    async def spaces(self) -> list[str]:
        """See `KeyValueStore.spaces`."""
        if self._store is None:
            await trio.lowlevel.checkpoint()
            return []
        return await self._store.spaces()

    async def _opened(self) -> KeyValueStore:
        await trio.lowlevel.checkpoint()
        if self._store is None:
            self._store = await self._open_store()
        return self._store
