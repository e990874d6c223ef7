"""Where the app's data rests: backends are opened when the first entry needs them.

They belong to the app, not to an entry: they outlive restarts and reloads, and are closed
after every worker is gone, also when all are cancelled at once: what a worker still reads
or writes then, it reads or writes.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import attrs
import trio

from iii_trio._util import open_background_nursery
from iii_trio.adapters import KeyValueStore, QueueStore
from iii_trio.adapters.memory import open_memory
from iii_trio.adapters.sqlite import RunSync, open_sqlite
from iii_trio.app._adapters import StoreKind
from iii_trio.app._late_store import LateKeyValue

FILE_NAME: Final = "iii-trio.db"


class Backing(Protocol):
    """What every ``open_<backend>`` yields."""

    def key_value(self, name: str) -> KeyValueStore:
        """The named collection."""

    def queue(self) -> QueueStore:
        """The messages of all queues."""


@attrs.define(eq=False)
class Stores:
    """The open backends of an app."""

    _nursery: trio.Nursery
    _file: Path
    _run: RunSync
    _open: dict[StoreKind, Backing] = attrs.field(factory=dict)
    _opening: trio.Lock = attrs.field(factory=trio.Lock)
    _closing: trio.Event = attrs.field(factory=trio.Event)

    async def key_value(self, backend: StoreKind, name: str) -> KeyValueStore:
        """A collection of a backend, which is opened if it is not yet.

        Raises:
            AdapterError: the file cannot be used; the message says why.
        """
        return (await self._backing(backend)).key_value(name)

    async def late_key_value(self, backend: StoreKind, name: str) -> KeyValueStore:
        """A collection of a backend that is opened when there is something in it.

        Raises:
            AdapterError: there is something, and the file cannot be used.
        """
        await trio.lowlevel.checkpoint()
        if backend in self._open or backend == "memory" or await self._exists():
            return await self.key_value(backend, name)
        return LateKeyValue(partial(self.key_value, backend, name))

    async def _exists(self) -> bool:
        return await self._run(self._file.exists, limiter=trio.CapacityLimiter(1))

    async def queue(self, backend: StoreKind) -> QueueStore:
        """The messages of queues in a backend, which is opened if it is not yet.

        Raises:
            AdapterError: the file cannot be used; the message says why.
        """
        return (await self._backing(backend)).queue()

    async def _backing(self, backend: StoreKind) -> Backing:
        async with self._opening:
            if backend not in self._open:
                opening = self._opener(backend)
                self._open[backend] = await self._nursery.start(
                    self._serve, opening, name=backend
                )
        return self._open[backend]

    def _opener(self, backend: StoreKind) -> AbstractAsyncContextManager[Backing]:
        if backend == "sqlite":
            return open_sqlite(self._file, run=self._run)
        return open_memory()

    async def _serve(
        self,
        opening: AbstractAsyncContextManager[Backing],
        *,
        task_status: trio.TaskStatus[Backing],
    ) -> None:
        async with opening as backing:
            task_status.started(backing)
            # Whoever was cancelled while it started this waits for its end.
            await trio.lowlevel.checkpoint_if_cancelled()
            with trio.CancelScope(shield=True):
                await self._closing.wait()

    def close(self) -> None:
        """Close what is open; nobody uses it any more."""
        self._closing.set()


@asynccontextmanager
async def open_stores(data_dir: Path, run: RunSync) -> AsyncIterator[Stores]:
    """Open nothing yet; close at the end of the block what was opened in it.

    Args:
        data_dir: directory of the durable file, made when it is needed.
        run: where blocking calls of the durable backend run.
    """
    file = await trio.Path(data_dir / FILE_NAME).absolute()
    async with open_background_nursery("the stores were closed") as nursery:
        stores = Stores(nursery, Path(file), run)
        try:
            yield stores
        finally:
            stores.close()
