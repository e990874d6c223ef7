"""The order of writes, events and snapshots.

The store takes writes from many tasks, and Trio resumes their tasks in any order; events
must come in the order of the writes. So writes of one item run one after another, each
with its event, and a snapshot of a group is read while no write of the group is between
the store and its event: what the snapshot holds was told before, what it lacks comes
after it. Writes of different items run side by side.
"""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Final, final

import attrs
import trio

from iii_trio.builtins.stream._inputs import Place
from iii_trio.errors import AdapterError

WRITE_SECONDS: Final = 30.0
"""For one write of the store, which takes milliseconds unless its disk is stuck."""


@attrs.define(eq=False)
class _Group:
    """A turnstile in order of arrival; snapshots keep it until they are done."""

    users: int = 0
    turnstile: trio.Lock = attrs.field(factory=trio.Lock)
    writers: int = 0
    no_writers: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)


@final
class WriteOrder:
    """Who must wait for whom. Nothing is kept of what nobody uses."""

    def __init__(self) -> None:
        self._items: dict[Hashable, _Group] = {}
        self._groups: dict[Hashable, _Group] = {}

    @asynccontextmanager
    async def changing(self, place: Place) -> AsyncIterator[None]:
        """Be the only one who changes an item."""
        async with _using(self._items, place) as item, item.turnstile:
            yield

    @asynccontextmanager
    async def writing(self, place: Place) -> AsyncIterator[None]:
        """Write to the store and tell it, while no snapshot of the group is read.

        A write that was begun is told even if its caller is cancelled: subscribers
        would miss it otherwise.

        Raises:
            AdapterError: the store did not answer within `WRITE_SECONDS`.
        """
        key = (place.stream_name, place.group_id)
        async with _using(self._groups, key) as group:
            async with group.turnstile:
                group.writers += 1
            try:
                scope = trio.CancelScope(shield=True)
                scope.deadline = trio.current_time() + WRITE_SECONDS
                with scope:
                    yield
                if scope.cancelled_caught:
                    raise AdapterError("the store did not answer in time")
            finally:
                group.writers -= 1
                if not group.writers:
                    group.no_writers.unpark_all()

    @asynccontextmanager
    async def snapshot(self, place: Place) -> AsyncIterator[None]:
        """Read what the store holds of a group, while nobody writes to it."""
        key = (place.stream_name, place.group_id)
        async with _using(self._groups, key) as group, group.turnstile:
            while group.writers:
                await group.no_writers.park()
            yield

    def is_idle(self) -> bool:
        """Whether nobody writes, reads or waits."""
        return not self._items and not self._groups


@asynccontextmanager
async def _using(table: dict[Hashable, _Group], key: Hashable) -> AsyncIterator[_Group]:
    group = table.setdefault(key, _Group())
    group.users += 1
    try:
        yield group
    finally:
        group.users -= 1
        if not group.users:
            del table[key]
