"""A few rows, and batches that are made on purpose, for tests of the SQLite stores."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, final

import apsw
import trio
import trio.testing

from iii_trio.adapters.sqlite import SQLiteStores

T = TypeVar("T")


def insert(connection: apsw.Connection, key: str) -> int:
    connection.execute(
        "INSERT INTO key_value (collection, space, key, value) VALUES ('c', 's', ?, x'')",
        (key,),
    )
    return connection.last_insert_rowid()


async def keys(stores: SQLiteStores) -> list[str]:
    return [key for key, _ in await stores.key_value("c").items("s")]


@final
class Gate:
    """A `RunSync` that lets nothing through while it is shut."""

    def __init__(self) -> None:
        self.open = trio.Event()
        self.open.set()

    async def __call__(
        self, fn: Callable[[], T], *, limiter: trio.CapacityLimiter
    ) -> T:
        async with limiter:
            await self.open.wait()
            return fn()

    async def gather(self, *writes: Callable[[], Awaitable[object]]) -> None:
        """Make writes in this order, which are all in one batch."""
        self.open = trio.Event()
        async with trio.open_nursery() as nursery:
            for write in writes:
                nursery.start_soon(write)
                # The first goes alone; the others wait for it.
                await trio.testing.wait_all_tasks_blocked()
            self.open.set()
