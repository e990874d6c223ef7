"""What the checks of queue stores ask with, and the rules that they name."""

from typing import Any, Final

from iii_trio.adapters import Done, Message, NewMessage, QueueCounts, QueueStore
from iii_trio.testing._checking import called, expect, expect_from

NOW: Final = 1000.0

LIMIT: Final = "take hands out at most as many messages as it may"
ORDER: Final = "messages are taken by priority, then by age"
PLACE: Final = "what is given back or tried again keeps its priority and age"
QUEUES: Final = "a queue is there exactly as long as it has messages"
APART: Final = "queues, and their groups, leave each other alone"
CONTENTS: Final = "a message keeps what it was stored with"
IDS: Final = "ids are unique in the store, also over time"
DELAYS: Final = "nothing is taken before it is due; next_due tells when that is"
COUNTS: Final = "counts tells what is waiting, in delivery, delayed and dead"
ATTEMPTS: Final = (
    "attempts are failed deliveries: Retry and Dead count, GiveBack does not"
)
GROUPS: Final = "of a group only the head is taken; delayed or in delivery it holds it"
NOT_ACTIVE: Final = "settle leaves alone what is not in delivery, or in another queue"
DEAD: Final = "dead gives dead messages with their error and time, the latest first"
MOVES: Final = (
    "move takes the dead, or what is neither dead nor in delivery; tells how many"
)
REVIVED: Final = "the dead come back to life with no attempts made, and keep their age"
ONE_TAKER: Final = "each message is handed out to one taker"
DURABLE: Final = "what was stored is there when the store is opened again"


def new(text: str, **fields: Any) -> NewMessage:  # noqa: ANN401
    """A message for the queue ``q`` whose payload is that text."""
    return NewMessage(
        **{
            "queue": "q",
            "function_id": "f::x",
            "namespace": "default",
            "payload": text.encode(),
            **fields,
        }
    )


async def put(store: QueueStore, texts: str, **fields: Any) -> None:  # noqa: ANN401
    """Store a message for each word, in one call."""
    await store.put([new(text, **fields) for text in texts.split()])


async def expect_taken(
    rule: str,
    texts: str,
    store: QueueStore,
    *,
    limit: int = 100,
    queue: str = "q",
    now: float = NOW,
) -> list[Message]:
    """Take messages, whose payloads must be those words in that order."""
    messages = (await store.take(queue, limit, now)).messages
    what = called(store.take, queue, limit, now)
    beyond = [one.message_id for one in messages[limit:]]
    expect(LIMIT, f"{what}, ids beyond the limit,", beyond, [])
    _expect_payloads(rule, texts, messages, what)
    return messages


async def expect_next_due(
    wanted: float | None, texts: str, store: QueueStore, *, now: float = NOW
) -> None:
    """Take messages and look at when the next one is due."""
    taken = await store.take("q", 9, now)
    what = called(store.take, "q", 9, now)
    _expect_payloads(DELAYS, texts, taken.messages, what)
    expect(DELAYS, f"{what}.next_due", taken.next_due, wanted)


async def expect_dead(rule: str, texts: str, store: QueueStore) -> list[Message]:
    """List the dead of ``q``, whose payloads must be those words in that order."""
    dead = await store.dead("q", 0, 9)
    _expect_payloads(rule, texts, dead, called(store.dead, "q", 0, 9))
    return dead


def _expect_payloads(rule: str, texts: str, messages: list[Message], call: str) -> None:
    ids = [one.message_id for one in messages]
    payloads = [one.payload for one in messages]
    what = f"{call}, payloads of the messages with the ids {ids},"
    expect(rule, what, payloads, [text.encode() for text in texts.split()])


async def expect_counts(
    rule: str,
    store: QueueStore,
    *,
    queue: str = "q",
    now: float = NOW,
    **counts: int,
) -> None:
    """Count the messages of a queue."""
    seen = (await store.counts(now)).get(queue)
    what = f"{called(store.counts, now)}, for the queue {queue!r},"
    expect(rule, what, seen, QueueCounts(**counts))


async def empty(store: QueueStore) -> None:
    """Remove everything."""
    for queue in await store.counts(NOW):
        await store.settle(queue, None, Done())
        await store.move(queue, dead=True, to=None)
        await store.move(queue, dead=False, to=None)
    await expect_from(QUEUES, {}, store.counts, NOW)
