"""The one writer of a file: group commit.

What waits is written together: one thread hop and one transaction per batch, and writes
of one kind that follow each other in few statements: each of them gives up the interpreter,
which a busy loop gives back late. Only a batch in which a write failed is done again, with
a savepoint per write. A caller is woken after the commit, so what it was told is durable.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, TypeVar, final

import apsw
import outcome
import trio

from iii_trio.adapters.sqlite._errors import adapter_error
from iii_trio.adapters.sqlite._file import WriterConnection
from iii_trio.adapters.sqlite._run import RunSync
from iii_trio.errors import AdapterError

T = TypeVar("T")
Item = TypeVar("Item")

Write = Callable[[WriterConnection], T]
"""Runs inside the writer's transaction; must not begin or end one.

It may be run a second time, with everything that its first run changed undone.
"""

WriteAll = Callable[[WriterConnection, Sequence[Item]], Iterable[T]]
"""Does several writes of one kind, in their order; gives what each of them returns.

Like `Write` it may be run again, then with one item at a time.
"""

MAX_BATCH: Final = 1000
"""Writes per transaction: past it, larger batches measured no faster."""

CLOSE_GRACE: Final = 10.0
"""Seconds for what still waits when the store closes."""


@final
class Writer:
    """Runs writes of many callers, in the order in which they came."""

    def __init__(self, connection: WriterConnection, path: str, run: RunSync) -> None:
        self._connection = connection
        self._path = path
        self._run_sync = run
        self._limiter = trio.CapacityLimiter(1)
        # As long as there are tasks that wait: each entry is one of them.
        self._waiting: list[_Submission] = []
        self._news = trio.lowlevel.ParkingLot()
        self._closed = False
        # Only `close` ends it: a transaction is not to be cancelled midway.
        self._scope = trio.CancelScope(shield=True)

    async def submit(self, write: Write[T]) -> T:
        """Run ``write`` in the next transaction; see `submit_to`."""
        return await self.submit_to(_run_each, write)

    async def submit_to(self, write_all: WriteAll[Item, T], item: Item) -> T:
        """Let ``write_all`` do a write in the next transaction, with its neighbours.

        Its own exception passes to the caller, its changes undone, and nobody else
        notices.

        Args:
            write_all: the same object for all writes that it may do together.
            item: what it is to write.

        Returns:
            What ``write_all`` gave for the item, once durable.

        Raises:
            AdapterError: the database refused it or could not commit; nothing of it
                is stored.
            trio.ClosedResourceError: the store was closed.

        Cancellation: ``trio.Cancelled`` means that it was not run. Once its batch has
        begun it is waited for.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            raise trio.ClosedResourceError
        submission = _Submission(write_all, item, trio.lowlevel.current_task())
        if not self._waiting:
            self._news.unpark()
        self._waiting.append(submission)
        result: T = await trio.lowlevel.wait_task_rescheduled(submission.withdraw)
        return result

    async def serve(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Write until `close`, then what still waits, at most `CLOSE_GRACE` seconds."""
        task_status.started()
        try:
            # Whoever was cancelled while it started this never comes to close it.
            await trio.lowlevel.checkpoint()
            with self._scope:
                while self._waiting or not self._closed:
                    if not self._waiting:
                        await self._news.park()
                    batch = self._take_waiting()
                    if batch:
                        await self._write_together(batch)
        finally:
            self._closed = True
            self._give_up(self._take_waiting(len(self._waiting)))

    def close(self) -> None:
        """Take no more writes; finish those that were accepted."""
        self._closed = True
        self._news.unpark_all()
        self._scope.deadline = trio.current_time() + CLOSE_GRACE

    def _take_waiting(self, limit: int = MAX_BATCH) -> "list[_Submission]":
        taken, self._waiting = self._waiting[:limit], self._waiting[limit:]
        batch = [submission for submission in taken if not submission.withdrawn]
        for submission in batch:
            submission.taken = True
        return batch

    async def _write_together(self, batch: "list[_Submission]") -> None:
        try:
            await self._run_sync(
                partial(_write_batch, self._connection, self._path, batch),
                limiter=self._limiter,
            )
        except BaseException:
            self._give_up(batch)
            raise
        for submission in batch:
            trio.lowlevel.reschedule(submission.caller, submission)

    def _give_up(self, batch: "list[_Submission]") -> None:
        for submission in batch:
            submission.error = AdapterError(
                f"{self._path} was closed before this was written; nothing of it is "
                "stored."
            )
            trio.lowlevel.reschedule(submission.caller, submission)


@final
class _Submission(outcome.Outcome[Any]):
    """One write, its caller, and what that is woken with.

    It is itself the outcome: to make and to unwrap one more object costs 0.4 us.

    Attributes:
        write_all: see `Writer.submit_to`, like ``item``.
        caller: parked until it is rescheduled with this.
        result: what ``write_all`` gave.
        error: raised in the caller instead.
        taken: into a batch.
        withdrawn: before that, by a caller that was cancelled.
    """

    __slots__ = (
        "caller",
        "error",
        "item",
        "result",
        "taken",
        "withdrawn",
        "write_all",
    )

    def __init__(
        self, write_all: WriteAll[Any, Any], item: object, caller: trio.lowlevel.Task
    ) -> None:
        self.write_all = write_all
        self.item = item
        self.caller = caller
        self.result: Any = None
        self.error: BaseException | None = None
        self.taken = self.withdrawn = False

    def withdraw(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        """The caller is cancelled: it leaves, unless the write is in a batch."""
        if self.taken:
            return trio.lowlevel.Abort.FAILED
        self.withdrawn = True
        return trio.lowlevel.Abort.SUCCEEDED

    def unwrap(self) -> Any:  # noqa: ANN401 - whatever `write_all` gives
        """Give the result to the caller, or raise the error; Trio calls it once."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                del self  # no cycle of error, traceback and this
        return self.result

    def send(self, gen: Any) -> Any:  # noqa: ANN401 - as declared there
        """Not used: Trio unwraps."""
        raise NotImplementedError  # pragma: no cover

    async def asend(self, agen: Any) -> Any:  # noqa: ANN401 - as declared there
        """Not used: Trio unwraps."""
        raise NotImplementedError  # pragma: no cover


_kind: Final = attrgetter("write_all")


def _run_each(
    connection: WriterConnection, writes: Sequence[Write[Any]]
) -> Iterable[Any]:
    return [write(connection) for write in writes]


def _write_batch(
    connection: WriterConnection, path: str, batch: Sequence[_Submission]
) -> None:
    """Do writes in one transaction, which gives each its result or error. Blocking.

    A failed transaction, such as by a full disk, fails them all and leaves nothing.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        together = outcome.capture(_write_all, connection, batch)
        if isinstance(together, outcome.Error):
            # Nobody was told of it yet. SQLite may have rolled back by itself.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            for one in batch:
                _write_one(connection, path, one)
        connection.execute("COMMIT")
    except apsw.Error as exc:
        # SQLite may have rolled back by itself, as it does when the disk is full.
        if connection.in_transaction:
            with suppress(apsw.Error):
                connection.execute("ROLLBACK")
        for one in batch:
            one.error = adapter_error("Nothing was stored: writing to", path, exc)


def _write_all(connection: WriterConnection, batch: Sequence[_Submission]) -> None:
    left = iter(batch)
    for write_all, alike in groupby(batch, _kind):
        for result in write_all(connection, [one.item for one in alike]):
            next(left).result = result


def _write_one(connection: WriterConnection, path: str, one: _Submission) -> None:
    connection.execute("SAVEPOINT one_write")
    alone = outcome.capture(_write_all, connection, [one])
    if isinstance(alone, outcome.Error):
        one.error = alone.error
        if isinstance(one.error, apsw.Error):
            if not connection.in_transaction:
                raise one.error  # the whole batch went with it
            one.error = adapter_error("Nothing was stored: writing to", path, one.error)
        connection.execute("ROLLBACK TO one_write")
    connection.execute("RELEASE one_write")
