"""Checks of queue stores: the dead, and what is moved."""

from iii_trio.adapters import Dead, Done, GiveBack, QueueStore
from iii_trio.testing._checking import expect, expect_from
from iii_trio.testing._queue_asking import (
    COUNTS,
    DEAD,
    GROUPS,
    MOVES,
    NOT_ACTIVE,
    NOW,
    REVIVED,
    expect_counts,
    expect_dead,
    expect_taken,
    new,
    put,
)


async def check_dead(store: QueueStore) -> None:
    """The dead are listed, the latest first."""
    await put(store, "a b c")
    a, b, c = await expect_taken(GROUPS, "a b c", store)
    for message, at in ((b, NOW), (a, NOW + 1), (c, NOW + 1)):
        text = message.payload.decode()
        await store.settle("q", message.message_id, Dead(f"CODE: {text}", at))
    dead = await expect_dead(DEAD, "c a b", store)
    for one, at in zip(dead, (NOW + 1, NOW + 1, NOW), strict=True):
        seen = (one.error, one.failed_at, one.attempts)
        wanted = (f"CODE: {one.payload.decode()}", at, 1)
        what = f"error, time and attempts of the dead message {one.message_id}"
        expect(DEAD, what, seen, wanted)
    expect(DEAD, "the id of a dead message", dead[1].message_id, a.message_id)
    await expect_from(DEAD, dead[1:2], store.dead, "q", 1, 1)
    await expect_from(DEAD, [], store.dead, "q", 0, 0)
    await expect_from(DEAD, [], store.dead, "q", 5, 5)
    await store.settle("q", a.message_id, Done())
    await store.settle("q", None, Done())
    await expect_counts(NOT_ACTIVE, store, dead=3)


async def check_moves(store: QueueStore) -> None:
    """The dead come back to life; others go to another queue."""
    await put(store, "a b c")
    a, b, c = (one.message_id for one in await expect_taken(MOVES, "a b c", store))
    move = store.move
    await store.settle("q", None, Dead("X: y", NOW))
    await expect_from(MOVES, 0, move, "p", dead=True, to="q", message_id=a)
    await expect_from(MOVES, 0, move, "q", dead=False, to="p")
    await expect_from(MOVES, 1, move, "q", dead=True, to="q", message_id=b)
    await expect_from(MOVES, 0, move, "q", dead=True, to="q", message_id=b)
    await expect_from(MOVES, 1, move, "q", dead=True, to=None, message_id=c)
    await expect_dead(MOVES, "a", store)
    await expect_from(MOVES, 1, move, "q", dead=True, to="q")
    for message in await expect_taken(REVIVED, "a b", store):
        seen = (message.attempts, message.error, message.failed_at)
        what = f"attempts, error and time of message {message.message_id}"
        expect(REVIVED, what, seen, (0, "", 0.0))
    await store.settle("q", a, GiveBack())
    await expect_taken(REVIVED, "a", store)  # by its old id
    await store.put([new("d"), new("e", due=NOW + 1)])
    await expect_from(MOVES, 2, move, "q", dead=False, to="p")
    await expect_counts(MOVES, store, active=2)
    await expect_counts(COUNTS, store, queue="p", waiting=1, delayed=1)


async def check_moved_one_by_one(store: QueueStore) -> None:
    """The dead come to life in another queue or group; an id names one of its kind."""
    await put(store, "a b w")
    a, b, w = (one.message_id for one in await expect_taken(MOVES, "a b w", store))
    move = store.move
    await store.settle("q", w, GiveBack())
    await store.settle("q", None, Dead("X: y", NOW))
    await expect_from(MOVES, 0, move, "q", dead=False, to="p", message_id=a)
    await expect_from(MOVES, 0, move, "q", dead=True, to=None, message_id=w)
    await expect_from(MOVES, 1, move, "q", dead=True, to="p", message_id=b, group="g")
    await put(store, "behind", queue="p", group="g")
    await expect_taken(MOVES, "b", store, queue="p")
    await expect_from(MOVES, 1, move, "q", dead=False, to=None, message_id=w)
    await expect_from(MOVES, 1, move, "q", dead=True, to="p", message_id=a)
    await expect_taken(REVIVED, "a", store, queue="p")
    await expect_counts(MOVES, store, queue="p", waiting=1, active=2)


async def check_moved_groups(store: QueueStore) -> None:
    """What is moved joins a group by its age; a group that it leaves goes on."""
    await put(store, "a b c")
    await expect_from(MOVES, 3, store.move, "q", dead=False, to="p", group="")
    [a] = await expect_taken(GROUPS, "a", store, queue="p")
    await store.settle("p", a.message_id, Dead("X: y", NOW))
    await expect_taken(GROUPS, "b", store, queue="p")
    await expect_from(MOVES, 1, store.move, "p", dead=True, to="p")
    await expect_taken(GROUPS, "", store, queue="p")
    await store.settle("p", None, Done())
    [a] = await expect_taken(GROUPS, "a", store, queue="p")
    await store.settle("p", a.message_id, GiveBack())
    await expect_from(
        MOVES, 1, store.move, "p", dead=False, to="q", message_id=a.message_id
    )
    await expect_taken(GROUPS, "c", store, queue="p")
    await expect_taken(MOVES, "a", store)
