"""Conformance check of queue stores: every implementation must pass it."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import trio

from iii_trio.adapters import (
    Dead,
    Done,
    GiveBack,
    QueueCounts,
    QueueStore,
    Retry,
    Settlement,
)
from iii_trio.testing import _queue_delivery_checks as delivery
from iii_trio.testing import _queue_move_checks as moves
from iii_trio.testing._checking import (
    check_cancelled_read,
    check_cancelled_write,
    expect,
    refuse_full,
)
from iii_trio.testing._queue_asking import (
    ATTEMPTS,
    DURABLE,
    IDS,
    NOW,
    ONE_TAKER,
    empty,
    expect_counts,
    expect_dead,
    expect_next_due,
    expect_taken,
    new,
    put,
)

OpenQueueStore = Callable[[], AbstractAsyncContextManager[QueueStore]]


async def check_queue_store(
    open_store: OpenQueueStore, *, durable: bool = False
) -> None:
    """Check everything that `QueueStore` promises.

    Args:
        open_store: gives an async context manager that yields the store; empty at the
            first time. If it is durable, opening again must give the same messages.
        durable: check also that messages are still there when it is opened again.

    Raises:
        AssertionError: a promise is broken; the text names it, and what was seen.
        ValueError: the store is not empty.
    """
    async with open_store() as store:
        refuse_full(await store.counts(NOW))
        for check in _CHECKS:
            await check(store)
            await empty(store)
        ids = await _fill(store)
    if durable:
        async with open_store() as store:
            await _check_filled(store, ids)


async def _check_concurrent_takers(store: QueueStore) -> None:
    """Many tasks put and take at once."""
    seen: list[bytes] = []

    async def take() -> None:
        taken = await store.take("q", 3, NOW)
        seen.extend(one.payload for one in taken.messages)

    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(put, store, str(number))
            nursery.start_soon(take)
    seen.extend(one.payload for one in (await store.take("q", 60, NOW)).messages)
    what = "the payloads of all calls of take among 60 messages, sorted,"
    expect(ONE_TAKER, what, sorted(map(int, seen)), list(range(60)))


async def _check_concurrent_settlers(store: QueueStore) -> None:
    """Many tasks settle one message at once: the first of them does."""
    await put(store, "a")
    [a] = await expect_taken(ONE_TAKER, "a", store)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(store.settle, "q", a.message_id, Retry(NOW))
    [a] = await expect_taken(ONE_TAKER, "a", store)
    what = f"attempts of message {a.message_id}, settled ten times at once,"
    expect(ATTEMPTS, what, a.attempts, 1)


async def _check_checkpoints(store: QueueStore) -> None:
    await check_cancelled_read(store.dead, "q", 0, 9)
    await check_cancelled_read(store.counts, NOW)


async def _check_cancelled_writes(store: QueueStore) -> None:
    ids: list[str] = []

    async def prepare() -> None:
        """Two messages are waiting, two in delivery, and two dead."""
        await empty(store)
        await put(store, "dead dead active active waiting waiting")
        taken = await store.take("q", 4, NOW)
        ids[:] = [one.message_id for one in taken.messages]
        for message_id in ids[:2]:
            await store.settle("q", message_id, Dead("X: y", NOW))

    async def look() -> dict[str, QueueCounts]:
        return await store.counts(NOW)

    async def settle_one(settlement: Settlement) -> None:
        await store.settle("q", ids[2], settlement)

    async def check(
        q: tuple[int, int, int, int],
        method: Callable[..., Awaitable[object]],
        *args: Any,  # noqa: ANN401
        p: int = 0,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        after = {"q": QueueCounts(*q)}
        if p:
            after["p"] = QueueCounts(p)
        await check_cancelled_write(
            method, *args, prepare=prepare, look=look, after=after, **kwargs
        )

    await check((4, 2, 0, 2), store.put, [new("more"), new("more")])
    await check((0, 4, 0, 2), store.take, "q", 9, NOW)
    await check((2, 1, 0, 2), settle_one, Done())
    await check((2, 0, 0, 2), store.settle, "q", None, Done())
    await check((2, 0, 2, 2), store.settle, "q", None, Retry(NOW + 1))
    await check((2, 0, 0, 4), store.settle, "q", None, Dead("X: y", NOW))
    await check((4, 0, 0, 2), store.settle, "q", None, GiveBack())
    await check((0, 2, 0, 2), store.move, "q", dead=False, to="p", p=2)
    await check((4, 2, 0, 0), store.move, "q", dead=True, to="q")
    await check((2, 2, 0, 0), store.move, "q", dead=True, to=None)


async def _fill(store: QueueStore) -> list[str]:
    """Store what `_check_filled` looks for; give ids that must not come again."""
    await store.put([new("dead"), new("a", group="g"), new("b", group="g")])
    await store.put([new("late", due=NOW + 9), new("tried", priority=1), new("gone")])
    taken = await expect_taken(DURABLE, "tried dead a gone", store)
    tried, dead, _, gone = (one.message_id for one in taken)
    await store.settle("q", dead, Dead("X: y", NOW))
    await store.settle("q", tried, Retry(NOW + 1))
    await store.settle("q", gone, Done())
    return [one.message_id for one in taken]


async def _check_filled(store: QueueStore, ids: list[str]) -> None:
    await expect_counts(DURABLE, store, waiting=1, active=1, delayed=2, dead=1)
    await expect_taken(DURABLE, "", store)
    await store.settle("q", None, GiveBack())
    tried, a = await expect_taken(DURABLE, "tried a", store, now=NOW + 1)
    attempts = (tried.attempts, a.attempts)
    expect(DURABLE, "attempts of 'tried' and 'a'", attempts, (1, 0))
    await expect_next_due(NOW + 9, "", store, now=NOW + 1)
    [dead] = await expect_dead(DURABLE, "dead", store)
    what = f"error and time of the dead message {dead.message_id}"
    expect(DURABLE, what, (dead.error, dead.failed_at), ("X: y", NOW))
    await put(store, "new")
    [new_one] = await expect_taken(DURABLE, "new", store)
    what = f"a new message after those with the ids {ids}: its id is among them,"
    expect(IDS, what, new_one.message_id in ids, False)


_CHECKS: Final = (
    delivery.check_emptiness,
    delivery.check_contents,
    delivery.check_order,
    delivery.check_ids,
    delivery.check_priorities,
    delivery.check_delays,
    delivery.check_retries,
    delivery.check_groups,
    delivery.check_delayed_groups,
    delivery.check_giving_back,
    delivery.check_settling_all,
    moves.check_dead,
    delivery.check_what_is_left_alone,
    moves.check_moves,
    moves.check_moved_one_by_one,
    moves.check_moved_groups,
    _check_concurrent_takers,
    _check_concurrent_settlers,
    _check_checkpoints,
    _check_cancelled_writes,
)
