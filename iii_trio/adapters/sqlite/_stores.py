"""`open_sqlite`: a file, its writer task and its readers, for the length of a block."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, final

import attrs
import trio

from iii_trio._util import NoPublicConstructor, open_background_nursery
from iii_trio.adapters import KeyValueStore, QueueStore
from iii_trio.adapters.sqlite._file import DatabaseFile, open_file
from iii_trio.adapters.sqlite._key_value import SQLiteKeyValue
from iii_trio.adapters.sqlite._queue import SQLiteQueue
from iii_trio.adapters.sqlite._readers import Readers
from iii_trio.adapters.sqlite._run import RunSync, run_in_thread
from iii_trio.adapters.sqlite._writer import Writer

logger = logging.getLogger("iii_trio.adapters.sqlite")

CLEANUP_GRACE: Final = 5.0
"""Seconds until closing may begin; once begun, it is waited for."""


@final
@attrs.define(eq=False, kw_only=True)
class SQLiteStores(metaclass=NoPublicConstructor):
    """The stores of one file.

    Attributes:
        path: absolute path of the file.
        writer: takes write functions of any store over this file.
        readers: take queries of any store over this file.
    """

    path: str
    writer: Writer
    readers: Readers

    def key_value(self, name: str) -> KeyValueStore:
        """The named collection; the same name is the same data."""
        return SQLiteKeyValue(collection=name, writer=self.writer, readers=self.readers)

    def queue(self) -> QueueStore:
        """The messages of all queues."""
        return SQLiteQueue(writer=self.writer, readers=self.readers)


@asynccontextmanager
async def open_sqlite(
    path: str | Path, *, run: RunSync = run_in_thread, vfs: str | None = None
) -> AsyncIterator[SQLiteStores]:
    """Open a file of stores, made if absent, for one engine at a time.

    A write is acknowledged after its transaction was committed and synced: ``kill -9``
    loses nothing that was acknowledged, and leaves no write half done. A write that
    failed is undone; only if the disk failed in the sync of its commit, and the engine
    dies before the next commit, may it be found stored after all.

    Args:
        path: the file; relative to the working directory at this moment.
        run: where blocking calls run; `run_inline` for tests in virtual time.
        vfs: name of a registered SQLite VFS, for fault tests.

    Raises:
        AdapterError: the file cannot be opened and written, is in use by another
            engine, or belongs to another program or a newer iii_trio.

    Cancellation: leaving the block takes no more writes and finishes accepted ones,
    for ten seconds at most.
    """
    limiter = trio.CapacityLimiter(1)
    file = await run(partial(open_file, path, vfs), limiter=limiter)
    logger.info("sqlite storage is %s", file.path)
    try:
        readers = Readers(file, run)
        try:
            async with _open_writer(file, run) as writer:
                yield SQLiteStores._create(
                    path=file.path, writer=writer, readers=readers
                )
        finally:
            readers.close()
    finally:
        with trio.move_on_after(CLEANUP_GRACE, shield=True):
            await run(file.close, limiter=limiter)


@asynccontextmanager
async def _open_writer(file: DatabaseFile, run: RunSync) -> AsyncIterator[Writer]:
    writer = Writer(file.connection, file.path, run)
    async with open_background_nursery("storage closed") as nursery:
        await nursery.start(writer.serve, name=f"writer of {file.path}")
        try:
            yield writer
        finally:
            writer.close()
