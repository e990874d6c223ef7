"""Who waits for whom among writes and snapshots of streams."""

import pytest
import trio
import trio.testing

from iii_trio.builtins.stream._inputs import Place
from iii_trio.builtins.stream._order import WriteOrder
from iii_trio.errors import AdapterError
from iii_trio.testing import cancel_at_every_step

ONE, TWO = Place("s", "g", "1"), Place("s", "g", "2")
GROUP, OTHER = Place("s", "g"), Place("s", "h", "1")


async def test_a_snapshot_waits_for_writes_and_holds_later_ones() -> None:
    order, said = WriteOrder(), []
    release = trio.Event()

    async def write(name: str, place: Place) -> None:
        async with order.changing(place), order.writing(place):
            said.append(name)
            await release.wait()

    async def read() -> None:
        async with order.snapshot(GROUP):
            said.append("snapshot")
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for name, place in (("one", ONE), ("two", TWO)):
            nursery.start_soon(write, name, place)
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(write, "one again", ONE)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(write, "late", Place("s", "g", "3"))
        nursery.start_soon(write, "elsewhere", OTHER)
        await trio.testing.wait_all_tasks_blocked()
        assert said == ["one", "two", "elsewhere"]
        release.set()
    assert said[3] == "snapshot"
    assert set(said[4:]) == {"one again", "late"}
    assert order.is_idle()


async def test_a_write_that_was_begun_ends_though_its_caller_is_cancelled() -> None:
    order, said = WriteOrder(), []
    with trio.CancelScope() as scope:
        async with order.writing(ONE):
            scope.cancel(reason="the caller is gone")
            await trio.lowlevel.checkpoint()
            said.append("told")
    assert said == ["told"]


async def test_a_stuck_write_fails_in_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    order = WriteOrder()
    with pytest.raises(AdapterError):
        async with order.writing(ONE):
            await trio.sleep_forever()
    assert order.is_idle()


def test_whoever_is_cancelled_keeps_nobody_waiting() -> None:
    orders: list[WriteOrder] = []

    async def scenario() -> None:
        order = WriteOrder()
        orders.append(order)
        async with trio.open_nursery() as nursery:
            for place in (ONE, ONE, TWO):
                nursery.start_soon(_write, order, place)
            nursery.start_soon(_read, order)

    def invariant() -> None:
        assert orders[-1].is_idle()

    cancel_at_every_step(scenario, invariant)


async def _write(order: WriteOrder, place: Place) -> None:
    async with order.changing(place), order.writing(place):
        await trio.lowlevel.checkpoint()


async def _read(order: WriteOrder) -> None:
    async with order.snapshot(GROUP):
        await trio.lowlevel.checkpoint()
