"""The one writer of a file: group commit.

What waits is written together: one thread hop and one transaction per batch, a savepoint
per write. A caller is woken after the commit, so what it was told is durable.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Generic, TypeVar, final

import apsw
import attrs
import outcome
import trio

from iii_trio.adapters.sqlite._errors import adapter_error
from iii_trio.adapters.sqlite._run import RunSync
from iii_trio.errors import AdapterError

T = TypeVar("T")

Write = Callable[[apsw.Connection], T]
"""Runs inside a savepoint of the writer's transaction; must not begin or end one."""

MAX_BATCH: Final = 1000
"""Writes per transaction: past it, larger batches measured no faster."""

INBOX_SIZE: Final = MAX_BATCH
"""Writes that may wait for the next batch; further callers wait to get in."""

CLOSE_GRACE: Final = 10.0
"""Seconds for what still waits when the store closes."""


@final
class Writer:
    """Runs writes of many callers, in the order in which they came."""

    def __init__(self, connection: apsw.Connection, path: str, run: RunSync) -> None:
        self._connection = connection
        self._path = path
        self._run_sync = run
        self._limiter = trio.CapacityLimiter(1)
        self._inbox, self._waiting = trio.open_memory_channel[_Submission[Any]](
            INBOX_SIZE
        )
        # Only `close` ends it: a transaction is not to be cancelled midway.
        self._scope = trio.CancelScope(shield=True)

    async def submit(self, write: Write[T]) -> T:
        """Run ``write`` in the next transaction; return what it returned, once durable.

        Its own exception passes to the caller, its changes undone, and nobody else
        notices.

        Raises:
            AdapterError: the database refused it or could not commit; nothing of it
                is stored.
            trio.ClosedResourceError: the store was closed.

        Cancellation: ``trio.Cancelled`` means that it was not run. Once its batch has
        begun it is waited for.
        """
        submission = _Submission(write)
        await self._inbox.send(submission)
        return await submission.result()

    async def serve(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Write until `close`, then what still waits, at most `CLOSE_GRACE` seconds."""
        task_status.started()
        with self._waiting:
            try:
                with self._scope:
                    async for first in self._waiting:
                        waiting = [first, *self._take_waiting()]
                        batch = [write for write in waiting if write.take()]
                        if batch:
                            await self._write_together(batch)
            finally:
                for late in self._take_waiting():
                    late.settle(outcome.Error(self._too_late()))

    def close(self) -> None:
        """Take no more writes; finish those that were accepted."""
        self._inbox.close()
        self._scope.deadline = trio.current_time() + CLOSE_GRACE

    def _take_waiting(self) -> "list[_Submission[Any]]":
        taken: list[_Submission[Any]] = []
        with suppress(trio.WouldBlock, trio.EndOfChannel):
            while len(taken) < MAX_BATCH - 1:
                taken.append(self._waiting.receive_nowait())
        return taken

    async def _write_together(self, batch: "list[_Submission[Any]]") -> None:
        writes = [submission.write for submission in batch]
        try:
            outcomes = await self._run_sync(
                partial(write_batch, self._connection, self._path, writes),
                limiter=self._limiter,
            )
        except BaseException:
            for submission in batch:
                submission.settle(outcome.Error(self._too_late()))
            raise
        for submission, result in zip(batch, outcomes, strict=True):
            submission.settle(result)

    def _too_late(self) -> AdapterError:
        return AdapterError(
            f"{self._path} was closed before this was written; nothing of it is stored."
        )


@attrs.define(eq=False)
class _Submission(Generic[T]):
    """One write and the caller that waits for it."""

    write: Write[T]
    _taken: bool = False
    _withdrawn: bool = False
    _outcome: outcome.Outcome[T] | None = None
    _caller: trio.lowlevel.Task | None = None

    async def result(self) -> T:
        """Wait for the outcome; while nobody took it, cancellation withdraws it."""
        if self._outcome is None:
            self._caller = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._withdraw)
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
        assert self._outcome is not None
        return self._outcome.unwrap()

    def take(self) -> bool:
        """Claim it for a batch; false if its caller is gone."""
        self._taken = not self._withdrawn
        return self._taken

    def settle(self, result: outcome.Outcome[T]) -> None:
        """Hand the outcome to the caller, if it is still there."""
        self._outcome = result
        if self._caller is not None and not self._withdrawn:
            trio.lowlevel.reschedule(self._caller)

    def _withdraw(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        if self._taken:
            return trio.lowlevel.Abort.FAILED
        self._withdrawn = True
        return trio.lowlevel.Abort.SUCCEEDED


def write_batch(
    connection: apsw.Connection, path: str, writes: Sequence[Write[Any]]
) -> list[outcome.Outcome[Any]]:
    """Run writes in one transaction. Blocking.

    A failed transaction, such as by a full disk, fails them all and leaves nothing.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        outcomes = [_write_one(connection, path, write) for write in writes]
        connection.execute("COMMIT")
    except apsw.Error as exc:
        # SQLite may have rolled back by itself, as it does when the disk is full.
        if connection.in_transaction:
            with suppress(apsw.Error):
                connection.execute("ROLLBACK")
        return [
            outcome.Error(adapter_error("Nothing was stored: writing to", path, exc))
            for _ in writes
        ]
    return outcomes


def _write_one(
    connection: apsw.Connection, path: str, write: Write[Any]
) -> outcome.Outcome[Any]:
    connection.execute("SAVEPOINT one_write")
    result: outcome.Outcome[Any] = outcome.capture(write, connection)
    if isinstance(result, outcome.Error):
        if isinstance(result.error, apsw.Error):
            if not connection.in_transaction:
                raise result.error  # the whole batch went with it
            result = outcome.Error(
                adapter_error("Nothing was stored: writing to", path, result.error)
            )
        connection.execute("ROLLBACK TO one_write")
    connection.execute("RELEASE one_write")
    return result
