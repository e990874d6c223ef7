"""Key-value stores as plain dicts. A write is one sync step, taken when it is called.

So writes happen in the order of their calls, as on SQLite: after a checkpoint Trio lets
tasks go on in any order.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import final

import attrs
import trio

from iii_trio._util import NoPublicConstructor
from iii_trio.adapters import Change, KeyValueStore, QueueStore
from iii_trio.adapters.memory._queue import MemoryQueue

Spaces = dict[str, dict[str, bytes]]
"""Values by space and key; a space without a key does not exist."""


@final
@attrs.define(eq=False, kw_only=True)
class MemoryStores(metaclass=NoPublicConstructor):
    """The stores of one `open_memory` block."""

    _collections: dict[str, Spaces] = attrs.field(factory=dict)
    _queue: QueueStore = attrs.field(factory=MemoryQueue)

    def key_value(self, name: str) -> KeyValueStore:
        """The named collection; the same name is the same data."""
        return _MemoryKeyValue(self._collections.setdefault(name, {}))

    def queue(self) -> QueueStore:
        """The messages of all queues."""
        return self._queue


@asynccontextmanager
async def open_memory() -> AsyncIterator[MemoryStores]:
    """Open stores that live in memory, as long as somebody holds them."""
    await trio.lowlevel.checkpoint()
    yield MemoryStores._create()
    await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class _MemoryKeyValue:
    """A `KeyValueStore` over dicts. Dicts keep first-insertion order by themselves."""

    _spaces: Spaces

    async def get(self, space: str, key: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self._value(space, key)

    async def set(self, space: str, key: str, value: bytes) -> Change:
        await trio.lowlevel.checkpoint_if_cancelled()
        done = self._put(space, key, value)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return done

    async def delete(self, space: str, key: str) -> Change:
        await trio.lowlevel.checkpoint_if_cancelled()
        values = self._spaces.get(space, {})
        old = values.pop(key, None)
        if not values:
            self._spaces.pop(space, None)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return Change(old, None)

    async def update(
        self, space: str, key: str, change: Callable[[bytes | None], bytes | None]
    ) -> Change:
        await trio.lowlevel.checkpoint_if_cancelled()
        old = self._value(space, key)
        new = change(old)
        done = Change(old, old) if new is None else self._put(space, key, new)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return done

    async def items(self, space: str) -> list[tuple[str, bytes]]:
        await trio.lowlevel.checkpoint()
        return list(self._spaces.get(space, {}).items())

    async def spaces(self) -> list[str]:
        await trio.lowlevel.checkpoint()
        return sorted(self._spaces)

    def _value(self, space: str, key: str) -> bytes | None:
        return self._spaces.get(space, {}).get(key)

    def _put(self, space: str, key: str, value: bytes) -> Change:
        values = self._spaces.setdefault(space, {})
        old = values.get(key)
        values[key] = value
        return Change(old, value)
