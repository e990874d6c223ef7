"""A disk that fails for a while: what was acknowledged is delivered, and once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import attrs
import pytest
import trio
from trio.testing import MockClock

from iii_trio.adapters.sqlite import open_sqlite, run_inline
from iii_trio.builtins.queue import NamedQueue
from iii_trio.errors import InvocationError
from tests.component.queue_rig import QueueRig, open_queue_rig
from tests.faulty_vfs import FaultyVFS, open_faulty_vfs

# apsw reports what the VFS raises where SQLite itself ignores failures.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

COUNT = 4
QUEUES = {"q": NamedQueue(type="fifo", message_group_field="group", backoff_ms=10)}


@pytest.fixture
def vfs() -> Iterator[FaultyVFS]:
    with open_faulty_vfs() as vfs:
        yield vfs


@attrs.define
class Happened:
    """What a scenario saw."""

    acknowledged: list[int] = attrs.field(factory=list)
    refused: list[str] = attrs.field(factory=list)
    delivered: list[int] = attrs.field(factory=list)

    async def deliver(self, data: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.delivered.append(data["number"])

    async def send(self, rig: QueueRig) -> None:
        await trio.lowlevel.checkpoint()
        for number in range(COUNT):
            data = {"group": number % 2, "number": number}
            try:
                await rig.enqueue(data, queue="q")
            except InvocationError as exc:
                self.refused.append(exc.message)
                await trio.sleep(1)
            else:
                self.acknowledged.append(number)


async def run_scenario(
    path: Path, vfs: FaultyVFS, fail_at: int | None, failures: int
) -> tuple[Happened, int]:
    """Run it, the disk failing from that operation on; how many operations it took."""
    happened = Happened()
    vfs.fail_at, vfs.failures = None, failures
    async with (
        open_sqlite(path, run=run_inline, vfs=vfs.name) as stores,
        open_queue_rig(QUEUES, stores=stores) as rig,
    ):
        rig.client.register_function("job::run", happened.deliver)
        await rig.settle()
        begun = vfs.operations
        vfs.fail_at = None if fail_at is None else begun + fail_at
        await happened.send(rig)
        await trio.sleep(600)
        vfs.fail_at = None
        await trio.sleep(600)
        assert await rig.store.counts(rig.under_test.clock()) == {}
    return happened, vfs.operations - begun


@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
@pytest.mark.parametrize("failures", [1, 7])
async def test_a_disk_that_fails_at_any_write_loses_and_repeats_nothing(
    tmp_path: Path,
    vfs: FaultyVFS,
    autojump_clock: MockClock,
    error: type[apsw.Error],
    failures: int,
) -> None:
    vfs.error = error
    happened, total = await run_scenario(tmp_path / "count.db", vfs, None, 0)
    assert sorted(happened.delivered) == list(range(COUNT))
    assert total > 10
    refused: list[str] = []
    for number in range(total):
        path = tmp_path / f"{number}.db"
        happened, _ = await run_scenario(path, vfs, number, failures)
        refused += happened.refused
        assert sorted(happened.delivered) == sorted(happened.acknowledged)
        for group in (0, 1):
            order = [one for one in happened.delivered if one % 2 == group]
            assert order == sorted(order)
    assert refused
    assert all(message.startswith("enqueue_failed: ") for message in refused)
