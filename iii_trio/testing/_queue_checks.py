"""Conformance check of queue stores: every implementation must pass it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import trio

from iii_trio.adapters import (
    Dead,
    Done,
    GiveBack,
    NewMessage,
    QueueCounts,
    QueueStore,
    Retry,
)

OpenQueueStore = Callable[[], AbstractAsyncContextManager[QueueStore]]

NOW: Final = 1000.0


async def check_queue_store(
    open_store: OpenQueueStore, *, durable: bool = False
) -> None:
    """Check everything that `QueueStore` promises.

    Args:
        open_store: opens a store; empty at the first time.
        durable: check also that messages are still there when it is opened again.

    Raises:
        AssertionError: a promise is broken.
    """
    async with open_store() as store:
        for check in (
            _check_emptiness,
            _check_order,
            _check_contents,
            _check_priorities,
            _check_delays,
            _check_retries,
            _check_groups,
            _check_delayed_groups,
            _check_dead,
            _check_moves,
            _check_moved_groups,
            _check_giving_back,
            _check_concurrent_takers,
            _check_checkpoints,
        ):
            await check(store)
            await _empty(store)
        await _fill(store)
    if durable:
        async with open_store() as store:
            await _check_filled(store)


def _new(text: str, **fields: Any) -> NewMessage:  # noqa: ANN401
    return NewMessage(
        **{
            "queue": "q",
            "function_id": "f::x",
            "namespace": "default",
            "payload": text.encode(),
            **fields,
        }
    )


async def _take(
    store: QueueStore, limit: int = 100, *, queue: str = "q", now: float = NOW
) -> dict[str, str]:
    """Take; the ids by payload, in the order in which they came."""
    taken = await store.take(queue, limit, now)
    assert len(taken.messages) <= limit
    return {one.payload.decode(): one.message_id for one in taken.messages}


async def _empty(store: QueueStore) -> None:
    for queue in await store.counts(NOW):
        await store.settle(queue, None, Done())
        await store.move(queue, dead=True, to=None)
        await store.move(queue, dead=False, to=None)
    assert await store.counts(NOW) == {}, "a queue goes with its last message"


async def _check_emptiness(store: QueueStore) -> None:
    taken = await store.take("q", 5, NOW)
    assert (taken.messages, taken.next_due) == ([], None)
    assert await store.dead("q", 0, 5) == []
    for message_id in ("1", "", "no number", "9" * 30):
        await store.settle("q", message_id, Done())
        assert await store.move("q", dead=True, to="q", message_id=message_id) == 0
    await store.settle("q", None, GiveBack())
    assert await store.move("q", dead=False, to="p") == 0
    await store.put([])
    assert await store.counts(NOW) == {}


async def _check_order(store: QueueStore) -> None:
    await store.put([_new("a"), _new("x", queue="p"), _new("b"), _new("c")])
    await store.put([_new("d")])
    first = await _take(store, 2)
    assert list(first) == ["a", "b"], "the oldest come first"
    assert list(await _take(store, 1)) == ["c"]
    await store.settle("q", first["a"], GiveBack())
    assert list(await _take(store)) == ["a", "d"], "given back to the old place"
    assert await _take(store) == {}
    assert list(await _take(store, queue="p")) == ["x"]
    assert (await store.counts(NOW))["q"] == QueueCounts(0, 4, 0, 0)
    await store.settle("q", None, Done())
    assert "q" not in await store.counts(NOW)


async def _check_contents(store: QueueStore) -> None:
    payload = b'"' + b"x" * 1_000_000 + b'"'
    await store.put(
        [_new("", namespace="n", payload=payload, traceparent="t", baggage="b=1")]
    )
    [message] = (await store.take("q", 1, NOW)).messages
    assert (message.function_id, message.namespace) == ("f::x", "n")
    assert (message.payload, message.attempts) == (payload, 0)
    assert (message.traceparent, message.baggage) == ("t", "b=1")
    assert (message.error, message.failed_at) == ("", 0.0)


async def _check_priorities(store: QueueStore) -> None:
    await store.put([_new("a"), _new("b", priority=2), _new("c", priority=255)])
    await store.put([_new("d", priority=2)])
    assert list(await _take(store)) == ["c", "b", "d", "a"]


async def _check_delays(store: QueueStore) -> None:
    await store.put([_new("late", due=NOW + 2), _new("soon", due=NOW + 1), _new("a")])
    assert (await store.counts(NOW))["q"] == QueueCounts(1, 0, 2, 0)
    assert (await store.counts(NOW + 1))["q"] == QueueCounts(2, 0, 1, 0)
    taken = await store.take("q", 9, NOW)
    assert [one.payload for one in taken.messages] == [b"a"]
    assert taken.next_due == NOW + 1
    taken = await store.take("q", 9, NOW + 1)
    assert [one.payload for one in taken.messages] == [b"soon"]
    assert taken.next_due == NOW + 2
    taken = await store.take("q", 9, NOW + 5)
    assert [one.payload for one in taken.messages] == [b"late"]
    assert taken.next_due is None


async def _check_retries(store: QueueStore) -> None:
    await store.put([_new("a"), _new("b")])
    ids = await _take(store, 1)
    await store.settle("q", ids["a"], Retry(NOW + 1))
    assert (await store.take("q", 0, NOW)).next_due == NOW + 1
    assert (await store.counts(NOW))["q"] == QueueCounts(1, 0, 1, 0)
    [first, second] = (await store.take("q", 9, NOW + 1)).messages
    assert (first.payload, first.attempts) == (b"a", 1), "it comes before younger ones"
    assert second.attempts == 0
    await store.settle("q", first.message_id, GiveBack())
    [again] = (await store.take("q", 9, NOW + 1)).messages
    assert (again.payload, again.attempts) == (b"a", 1)


async def _check_groups(store: QueueStore) -> None:
    await store.put([_new(f"{g}{n}", group=g) for n in range(3) for g in ("a", "b")])
    await store.put([_new("free"), _new("b9", group="b", priority=9)])
    heads = await _take(store)
    assert list(heads) == ["a0", "b0", "free"], "only the head of each group"
    await store.settle("q", heads["a0"], Retry(NOW + 1))
    assert await _take(store) == {}, "a retry holds its group"
    await store.settle("q", heads["b0"], Done())
    assert list(await _take(store)) == ["b1"], "age decides inside of a group"
    [again] = (await store.take("q", 9, NOW + 1)).messages
    await store.settle("q", again.message_id, Dead("X: y", NOW))
    assert list(await _take(store)) == ["a1"], "a dead head is out of the way"
    await store.settle("q", None, Done())
    assert list(await _take(store)) == ["a2", "b2"]
    assert (await store.counts(NOW))["q"] == QueueCounts(1, 2, 0, 1)


async def _check_delayed_groups(store: QueueStore) -> None:
    await store.put([_new("a", group="g"), _new("b", group="g", due=NOW + 5)])
    await store.put([_new("c", group="g")])
    ids = await _take(store)
    await store.settle("q", ids["a"], Done())
    taken = await store.take("q", 9, NOW)
    assert (taken.messages, taken.next_due) == ([], NOW + 5), "a delay holds its group"
    ids = await _take(store, now=NOW + 5)
    assert list(ids) == ["b"]
    await store.settle("q", ids["b"], Done())
    assert list(await _take(store)) == ["c"]


async def _check_dead(store: QueueStore) -> None:
    await store.put([_new("a"), _new("b"), _new("c")])
    ids = await _take(store)
    for name, at in (("b", NOW), ("a", NOW + 1), ("c", NOW + 1)):
        await store.settle("q", ids[name], Dead(f"CODE: {name}", at))
    dead = await store.dead("q", 0, 9)
    assert [one.payload for one in dead] == [b"c", b"a", b"b"], "the latest first"
    assert (dead[1].error, dead[1].failed_at) == ("CODE: a", NOW + 1)
    assert (dead[1].attempts, dead[1].message_id) == (1, ids["a"])
    assert [one.payload for one in await store.dead("q", 1, 1)] == [b"a"]
    assert await store.dead("q", 0, 0) == []
    assert await store.dead("q", 5, 5) == []
    await store.settle("q", ids["a"], Done())
    await store.settle("q", None, Done())
    assert (await store.counts(NOW))["q"] == QueueCounts(dead=3), "dead stays dead"


async def _check_moves(store: QueueStore) -> None:
    await store.put([_new(name) for name in "abc"])
    ids = await _take(store)
    await store.settle("q", None, Dead("X: y", NOW))
    assert await store.move("p", dead=True, to="q", message_id=ids["a"]) == 0
    assert await store.move("q", dead=False, to="p") == 0, "dead ones are not waiting"
    assert await store.move("q", dead=True, to="q", message_id=ids["b"]) == 1
    assert await store.move("q", dead=True, to="q", message_id=ids["b"]) == 0
    assert await store.move("q", dead=True, to=None, message_id=ids["c"]) == 1
    assert [one.payload for one in await store.dead("q", 0, 9)] == [b"a"]
    assert await store.move("q", dead=True, to="q") == 1
    [first, second] = (await store.take("q", 9, NOW)).messages
    assert (first.payload, second.payload) == (b"a", b"b"), "they keep their age"
    assert (first.attempts, first.error, first.failed_at) == (0, "", 0.0)
    assert first.message_id == ids["a"]
    await store.put([_new("d"), _new("e", due=NOW + 1)])
    assert await store.move("q", dead=False, to="p") == 2, "not those in delivery"
    assert (await store.counts(NOW))["p"] == QueueCounts(1, 0, 1, 0)


async def _check_moved_groups(store: QueueStore) -> None:
    await store.put([_new(name) for name in "abc"])
    assert await store.move("q", dead=False, to="p", group="") == 3
    ids = await _take(store, queue="p")
    assert list(ids) == ["a"], "they joined a group"
    await store.settle("p", ids["a"], Dead("X: y", NOW))
    assert list(await _take(store, queue="p")) == ["b"]
    assert await store.move("p", dead=True, to="p") == 1
    assert await _take(store, queue="p") == {}, "the revived waits for the head"
    await store.settle("p", None, Done())
    ids = await _take(store, queue="p")
    assert list(ids) == ["a"], "and is older than the rest"
    await store.settle("p", ids["a"], GiveBack())
    assert await store.move("p", dead=False, to="q", message_id=ids["a"]) == 1
    assert list(await _take(store, queue="p")) == ["c"], "a moved head frees its group"
    assert list(await _take(store)) == ["a"]


async def _check_giving_back(store: QueueStore) -> None:
    await store.put([_new("a", group="g"), _new("b", group="g"), _new("c")])
    await _take(store, 1)
    await _take(store, 1)
    await store.settle("q", None, GiveBack())
    taken = await store.take("q", 9, NOW)
    assert [one.payload for one in taken.messages] == [b"a", b"c"]
    assert [one.attempts for one in taken.messages] == [0, 0]


async def _check_concurrent_takers(store: QueueStore) -> None:
    """Many tasks put and take at once: each message goes to one taker."""
    seen: list[bytes] = []

    async def put(number: int) -> None:
        await store.put([_new(str(number))])

    async def take() -> None:
        taken = await store.take("q", 3, NOW)
        seen.extend(one.payload for one in taken.messages)

    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(put, number)
            nursery.start_soon(take)
    seen.extend(one.payload for one in (await store.take("q", 60, NOW)).messages)
    assert sorted(map(int, seen)) == list(range(60))


async def _check_checkpoints(store: QueueStore) -> None:
    """Each method is a checkpoint, and a cancelled write did not happen."""
    await store.put([_new("a"), _new("b")])
    ids = await _take(store, 1)
    for call in (
        lambda: store.put([_new("c")]),
        lambda: store.take("q", 9, NOW),
        lambda: store.settle("q", ids["a"], Done()),
        lambda: store.move("q", dead=False, to=None),
        lambda: store.dead("q", 0, 9),
        lambda: store.counts(NOW),
    ):
        with trio.CancelScope() as scope:
            scope.cancel(reason="checking that it is a checkpoint")
            await call()
        assert scope.cancelled_caught, "a method was no checkpoint"
    assert await store.counts(NOW) == {"q": QueueCounts(1, 1, 0, 0)}


async def _fill(store: QueueStore) -> None:
    await store.put([_new("dead"), _new("a", group="g"), _new("b", group="g")])
    await store.put([_new("late", due=NOW + 9), _new("tried")])
    ids = await _take(store)
    await store.settle("q", ids["dead"], Dead("X: y", NOW))
    await store.settle("q", ids["tried"], Retry(NOW + 1))


async def _check_filled(store: QueueStore) -> None:
    assert await store.counts(NOW) == {"q": QueueCounts(1, 1, 2, 1)}
    assert await _take(store) == {}, "it is in delivery still"
    await store.settle("q", None, GiveBack())
    taken = await store.take("q", 9, NOW + 1)
    assert [one.payload for one in taken.messages] == [b"a", b"tried"]
    assert [one.attempts for one in taken.messages] == [0, 1]
    assert taken.next_due == NOW + 9
    [dead] = await store.dead("q", 0, 9)
    assert (dead.payload, dead.error) == (b"dead", "X: y")
