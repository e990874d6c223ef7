"""What ``python -m iii_trio`` runs, composed so that it kills itself at a named point.

Arguments: the configuration file, the data directory, the name of a point, and how often
it is passed before. The points are in the files of SQLite, below the product (`KillingVFS`),
around each of its batches (`killing_run`) and around the store of the queue worker
(`KillingQueue`).
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import apsw
import attrs
import trio

from iii_trio.adapters import NewMessage, QueueStore, Settlement, Taken
from iii_trio.adapters.sqlite import run_in_thread
from iii_trio.app import load_config, open_app
from iii_trio.builtins import BUILTINS, BuiltinSpec

T = TypeVar("T")

STEPS: Final = (
    *("wal write", "wal sync", "db write", "db sync"),  # SQLite's, log and data
    *("batch", "put", "take", "settle"),  # ours
)
POINTS: Final = (
    *(f"before {step}" for step in STEPS),
    *(f"after {step}" for step in STEPS),
    *("amid wal write", "amid db write"),  # half of it is written
)


@attrs.define
class Points:
    """Kills the process when it passes a named point for the n-th time."""

    name: str
    passes: int

    def here(self, name: str) -> None:
        """Pass a point."""
        if name != self.name:
            return
        self.passes -= 1
        if self.passes < 0:
            os.kill(os.getpid(), signal.SIGKILL)


class KillingVFS(apsw.VFS):
    """The default VFS, with points in writes and syncs of the log and the data."""

    def __init__(self, points: Points) -> None:
        self.points = points
        self.base = apsw.vfs_names()[0]  # the default until now
        super().__init__("killing", self.base, makedefault=True)

    def xOpen(  # noqa: N802
        self, name: "str | apsw.URIFilename | None", flags: list[int]
    ) -> apsw.VFSFile:
        if flags[0] & apsw.SQLITE_OPEN_WAL:
            return _KillingFile(self, "wal", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB and not str(path).endswith(".lock"):
            return _KillingFile(self, "db", name, flags)
        return apsw.VFSFile(self.base, name, flags)


class _KillingFile(apsw.VFSFile):
    def __init__(
        self,
        vfs: KillingVFS,
        what: str,
        name: "str | apsw.URIFilename | None",
        flags: list[int],
    ) -> None:
        super().__init__(vfs.base, name, flags)
        self._points = vfs.points
        self._what = what

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._points.here(f"before {self._what} write")
        if self._points.name == f"amid {self._what} write":
            super().xWrite(bytes(data[: len(data) // 2]), offset)
            self._points.here(self._points.name)
        super().xWrite(data, offset)
        self._points.here(f"after {self._what} write")

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._points.here(f"before {self._what} sync")
        super().xSync(flags)
        self._points.here(f"after {self._what} sync")


@attrs.define(eq=False)
class KillingQueue:
    """A queue store with points before and after what changes it."""

    _store: QueueStore
    _points: Points

    async def put(self, messages: Sequence[NewMessage]) -> None:
        self._points.here("before put")
        await self._store.put(messages)
        self._points.here("after put")

    async def take(self, queue: str, limit: int, now: float) -> Taken:
        self._points.here("before take")
        taken = await self._store.take(queue, limit, now)
        if taken.messages:
            self._points.here("after take")
        return taken

    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        if message_id is not None:
            self._points.here("before settle")
        await self._store.settle(queue, message_id, settlement)
        if message_id is not None:
            self._points.here("after settle")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def killing_run(
    points: Points, fn: Callable[[], T], *, limiter: trio.CapacityLimiter
) -> T:
    """`run_in_thread` with points around each batch."""
    points.here("before batch")
    result = await run_in_thread(fn, limiter=limiter)
    points.here("after batch")
    return result


def killing(spec: BuiltinSpec, points: Points) -> BuiltinSpec:
    """The row of a bundled worker, with a `KillingQueue` if it keeps messages."""
    if not spec.keeps_messages:
        return spec

    def serve(worker: Any, config: Any, resources: Any, /, **options: Any) -> Any:
        queue = KillingQueue(resources.queue, points)
        return spec.serve(
            worker, config, attrs.evolve(resources, queue=queue), **options
        )

    return attrs.evolve(spec, serve=serve)


async def main(config_path: str, data_dir: str, points: Points) -> None:
    """Run the app until it kills itself, or is killed."""
    vfs = KillingVFS(points)
    async with open_app(
        await load_config(config_path),
        data_dir=data_dir,
        builtins=[killing(spec, points) for spec in BUILTINS],
        run=partial(killing_run, points),
    ):
        try:
            await trio.sleep_forever()
        finally:
            vfs.unregister()


if __name__ == "__main__":
    _, given_path, given_dir, point, passed = sys.argv
    trio.run(main, given_path, given_dir, Points(point, int(passed)))
