"""A few connections that only read, so that reading never waits for a commit."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar, final

import apsw
import trio

from iii_trio.adapters.sqlite._errors import adapter_error
from iii_trio.adapters.sqlite._file import DatabaseFile
from iii_trio.adapters.sqlite._run import RunSync

T = TypeVar("T")

MAX_READERS: Final = 4
"""Connections and threads that read at once: SQLite in Python gains little from more."""


@final
class Readers:
    """Runs queries, each on a connection that nobody else uses meanwhile."""

    def __init__(self, file: DatabaseFile, run: RunSync) -> None:
        self._file = file
        self._run_sync = run
        self._limiter = trio.CapacityLimiter(MAX_READERS)
        # None once closed. Threads share it: only its atomic methods are used.
        self._idle: deque[apsw.Connection] | None = deque()

    async def read(self, query: Callable[[apsw.Connection], T]) -> T:
        """Run ``query``, which sees everything that was acknowledged before.

        Raises:
            AdapterError: the database cannot be read.
            trio.ClosedResourceError: the store was closed.
        """
        return await self._run_sync(partial(self._read, query), limiter=self._limiter)

    def close(self) -> None:
        """Close the connections; those in use are closed when they come back."""
        idle, self._idle = self._idle, None
        for connection in idle or ():
            connection.close()

    def _read(self, query: Callable[[apsw.Connection], T]) -> T:
        try:
            connection = self._borrow()
            try:
                return query(connection)
            finally:
                self._give_back(connection)
        except apsw.Error as exc:
            raise adapter_error("Could not read", self._file.path, exc) from exc

    def _borrow(self) -> apsw.Connection:
        if self._idle is None:
            raise trio.ClosedResourceError
        try:
            return self._idle.pop()
        except IndexError:
            return self._file.connect_reader()

    def _give_back(self, connection: apsw.Connection) -> None:
        idle = self._idle
        if idle is None:
            connection.close()
        else:
            idle.append(connection)
