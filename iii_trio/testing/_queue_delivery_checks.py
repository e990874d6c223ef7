"""Checks of queue stores: what is put, taken and settled."""

from typing import Any

from msgspec import structs

from iii_trio.adapters import (
    Dead,
    Done,
    GiveBack,
    Message,
    QueueStore,
    Retry,
    Settlement,
    Taken,
)
from iii_trio.testing._checking import expect, expect_from
from iii_trio.testing._queue_asking import (
    APART,
    ATTEMPTS,
    CONTENTS,
    COUNTS,
    DEAD,
    DELAYS,
    GROUPS,
    IDS,
    MOVES,
    NOT_ACTIVE,
    NOW,
    ORDER,
    PLACE,
    QUEUES,
    empty,
    expect_counts,
    expect_dead,
    expect_next_due,
    expect_taken,
    new,
    put,
)


async def check_emptiness(store: QueueStore) -> None:
    """Nothing is there, and nothing comes of asking for it."""
    await expect_from(QUEUES, Taken([], None), store.take, "q", 5, NOW)
    await expect_from(QUEUES, [], store.dead, "q", 0, 5)
    for message_id in ("1", "", "no number", "9" * 30):
        await store.settle("q", message_id, Done())
        await expect_from(
            MOVES, 0, store.move, "q", dead=True, to="q", message_id=message_id
        )
    await store.settle("q", None, GiveBack())
    await expect_from(MOVES, 0, store.move, "q", dead=False, to="p")
    await store.put([])
    await expect_from(QUEUES, {}, store.counts, NOW)


async def check_order(store: QueueStore) -> None:
    """The oldest come first."""
    await store.put([new("a"), new("x", queue="p"), new("b"), new("c")])
    await put(store, "d")
    [a, _] = await expect_taken(ORDER, "a b", store, limit=2)
    await expect_taken(ORDER, "c", store, limit=1)
    await store.settle("q", a.message_id, GiveBack())
    await expect_taken(PLACE, "a d", store)
    await expect_taken(ORDER, "", store)
    await expect_taken(APART, "x", store, queue="p")
    await expect_counts(COUNTS, store, active=4)
    await store.settle("q", None, Done())
    await expect_from(QUEUES, ["p"], _queues, store)


async def _queues(store: QueueStore) -> list[str]:
    return sorted(await store.counts(NOW))


async def check_contents(store: QueueStore) -> None:
    """A message is what it was, whatever happens to it."""
    payload = b'"' + b"x" * 1_000_000 + b'"'
    traced: dict[str, Any] = {
        "namespace": "n",
        "payload": payload,
        "traceparent": "t",
        "baggage": "b=1",
    }
    await store.put([new("", **traced)])
    message = await _take_one(store)
    message_id = message.message_id
    wanted = Message(message_id=message_id, function_id="f::x", **traced)
    _expect_contents(wanted, message, "put")
    for settlement in (Retry(NOW), GiveBack()):
        await store.settle("q", message_id, settlement)
        _expect_contents(wanted, await _take_one(store), str(settlement))
    await store.settle("q", message_id, Dead("X: y", NOW))
    for message in await store.dead("q", 0, 9):
        _expect_contents(wanted, message, "Dead")
    await store.move("q", dead=True, to="q")
    _expect_contents(wanted, await _take_one(store), "coming back to life")


async def _take_one(store: QueueStore) -> Message:
    messages = (await store.take("q", 9, NOW)).messages
    expect(CONTENTS, "the number of messages of take('q', 9, ...)", len(messages), 1)
    return messages[0]


def _expect_contents(wanted: Message, seen: Message, after: str) -> None:
    what = f"message {wanted.message_id} after {after}, without its history,"
    history: dict[str, Any] = {"attempts": 0, "error": "", "failed_at": 0.0}
    expect(CONTENTS, what, structs.replace(seen, **history), wanted)


async def check_ids(store: QueueStore) -> None:
    """No id comes a second time, not even when everything else is gone."""
    seen: list[str] = []
    for _ in range(3):
        await store.put([new("a"), new("b"), new("x", queue="p")])
        for queue, texts in (("q", "a b"), ("p", "x")):
            taken = await expect_taken(ORDER, texts, store, queue=queue)
            seen += [one.message_id for one in taken]
        await empty(store)
    again = sorted({one for one in seen if seen.count(one) > 1})
    expect(IDS, f"ids that came twice in {seen}", again, [])


async def check_priorities(store: QueueStore) -> None:
    """Higher ones are taken first, whatever happened to them."""
    await store.put([new("a"), new("b", priority=2), new("c", priority=255)])
    await store.put([new("d", priority=2)])
    taken = await expect_taken(ORDER, "c b d a", store)
    c, b, d, a = (one.message_id for one in taken)
    await store.settle("q", d, GiveBack())
    await store.settle("q", a, Retry(NOW))
    await store.settle("q", b, Retry(NOW + 1))
    await store.settle("q", c, Dead("X: y", NOW))
    await expect_taken(PLACE, "b d a", store, now=NOW + 1)
    await store.settle("q", None, GiveBack())
    await store.move("q", dead=True, to="q")
    await store.move("q", dead=False, to="p")
    await expect_taken(PLACE, "c b d a", store, queue="p")


async def check_delays(store: QueueStore) -> None:
    """What is not due yet waits for its time."""
    await store.put([new("late", due=NOW + 2), new("soon", due=NOW + 1), new("a")])
    await expect_counts(COUNTS, store, waiting=1, delayed=2)
    await expect_counts(COUNTS, store, waiting=2, delayed=1, now=NOW + 1)
    await expect_next_due(NOW + 1, "a", store)
    await expect_next_due(NOW + 2, "soon", store, now=NOW + 1)
    await expect_next_due(None, "late", store, now=NOW + 5)


async def check_retries(store: QueueStore) -> None:
    """A retry counts, waits until it is due, and is as old as it was."""
    await put(store, "a b")
    [a] = await expect_taken(ORDER, "a", store, limit=1)
    await store.settle("q", a.message_id, Retry(NOW + 1))
    due = (await store.take("q", 0, NOW)).next_due
    expect(DELAYS, f"next_due after {Retry(NOW + 1)}", due, NOW + 1)
    await expect_counts(COUNTS, store, waiting=1, delayed=1)
    first, second = await expect_taken(PLACE, "a b", store, now=NOW + 1)
    what = f"attempts of message {a.message_id} after Retry"
    expect(ATTEMPTS, what, first.attempts, 1)
    expect(ATTEMPTS, f"attempts of message {second.message_id}", second.attempts, 0)
    await store.settle("q", first.message_id, GiveBack())
    [again] = await expect_taken(PLACE, "a", store, now=NOW + 1)
    expect(ATTEMPTS, f"{what} and GiveBack", again.attempts, 1)


async def check_groups(store: QueueStore) -> None:
    """Of each group only the head is taken."""
    await store.put([new(f"{g}{n}", group=g) for n in range(3) for g in ("a", "b")])
    await store.put([new("free"), new("b9", group="b", priority=9)])
    await put(store, "x", queue="p", group="a")
    heads = await expect_taken(GROUPS, "a0 b0 free", store)
    await expect_taken(APART, "x", store, queue="p")
    await store.settle("q", heads[0].message_id, Retry(NOW + 1))
    await expect_taken(GROUPS, "", store)
    await store.settle("q", heads[1].message_id, Done())
    await expect_taken(GROUPS, "b1", store)
    [again] = await expect_taken(GROUPS, "a0", store, now=NOW + 1)
    await store.settle("q", again.message_id, Dead("X: y", NOW))
    await expect_taken(GROUPS, "a1", store)
    await store.settle("q", None, Done())
    await expect_taken(GROUPS, "a2 b2", store)
    await expect_counts(COUNTS, store, waiting=1, active=2, dead=1)


async def check_delayed_groups(store: QueueStore) -> None:
    """A delayed head holds its group."""
    await store.put([new("a", group="g"), new("b", group="g", due=NOW + 5)])
    await put(store, "c", group="g")
    [a] = await expect_taken(GROUPS, "a", store)
    await store.settle("q", a.message_id, Done())
    await expect_taken(GROUPS, "", store)
    await expect_next_due(NOW + 5, "", store)
    [b] = await expect_taken(GROUPS, "b", store, now=NOW + 5)
    await store.settle("q", b.message_id, Done())
    await expect_taken(GROUPS, "c", store)


async def check_giving_back(store: QueueStore) -> None:
    """All that is in delivery waits again, in its old place."""
    await store.put([new("a", group="g"), new("b", group="g"), new("c")])
    await expect_taken(ORDER, "a", store, limit=1)
    await expect_taken(GROUPS, "c", store, limit=1)
    await store.settle("q", None, GiveBack())
    for message in await expect_taken(PLACE, "a c", store):
        what = f"attempts of message {message.message_id} after GiveBack"
        expect(ATTEMPTS, what, message.attempts, 0)


async def check_settling_all(store: QueueStore) -> None:
    """What is said of all that is in delivery holds for each."""
    await put(store, "a b")
    await expect_taken(ORDER, "a b", store)
    await store.settle("q", None, Retry(NOW + 1))
    for message in await expect_taken(PLACE, "a b", store, now=NOW + 1):
        what = f"attempts of message {message.message_id} after Retry of all"
        expect(ATTEMPTS, what, message.attempts, 1)
    await store.settle("q", None, Dead("X: y", NOW + 2))
    for message in await expect_dead(DEAD, "b a", store):
        seen = (message.error, message.failed_at, message.attempts)
        what = f"error, time and attempts of {message.message_id} after Dead of all"
        expect(DEAD, what, seen, ("X: y", NOW + 2, 2))


async def check_what_is_left_alone(store: QueueStore) -> None:
    """Only what is in delivery in that queue can be settled."""
    settlements: tuple[Settlement, ...] = (
        Retry(NOW + 1),
        Dead("X: y", NOW),
        GiveBack(),
        Done(),
    )
    await put(store, "active dead")
    await put(store, "x", queue="p")
    active, dead = await expect_taken(ORDER, "active dead", store)
    await expect_taken(ORDER, "x", store, queue="p")
    await store.settle("q", dead.message_id, Dead("X: first", NOW))
    await put(store, "waiting a")
    [waiting] = await expect_taken(ORDER, "waiting", store, limit=1)
    await store.settle("q", waiting.message_id, GiveBack())
    for settlement in settlements:
        await store.settle("p", active.message_id, settlement)
        await store.settle("nowhere", active.message_id, settlement)
        await store.settle("q", dead.message_id, settlement)
        await store.settle("q", waiting.message_id, settlement)
        await expect_counts(NOT_ACTIVE, store, waiting=2, active=1, dead=1)
        await expect_counts(NOT_ACTIVE, store, queue="p", active=1)
    [message] = await expect_dead(NOT_ACTIVE, "dead", store)
    what = f"error and attempts of the dead message {message.message_id}"
    expect(NOT_ACTIVE, what, (message.error, message.attempts), ("X: first", 1))
    await store.settle("q", None, Done())
    await expect_counts(NOT_ACTIVE, store, waiting=2, dead=1)
    await expect_counts(NOT_ACTIVE, store, queue="p", active=1)
