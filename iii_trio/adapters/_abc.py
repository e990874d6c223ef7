"""The interfaces of stores. Contracts that ``iii_trio.testing.check_*`` verify.

All methods are async and checkpoints. A write returns only after it is durable, as far as
the backend can.

A write that is cancelled either happened completely and returns as if it had not been
cancelled, or it raises `trio.Cancelled` and did not happen at all: what cannot be taken
back any more is waited for. Whoever writes relies on it: events of a write are sent, and
copies in memory are brought up to date, after it returned.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import msgspec


class Change(msgspec.Struct, frozen=True):
    """What a write did.

    A struct: one is made by every write, and as an attrs class it costs three times as
    much.

    Attributes:
        old: the value before, ``None`` if the key did not exist.
        new: the value after, ``None`` if the key does not exist.
    """

    old: bytes | None
    new: bytes | None


class KeyValueStore(Protocol):
    """Values (JSON bytes) by space and key. Spaces appear and vanish with their keys.

    Values are ``bytes``, kept as they are and not read. Names of spaces and keys are any
    text, and different as soon as one code point is. Writes are atomic and have one order.

    Every method raises `AdapterError` when the backend fails; a failed write left
    nothing.
    """

    async def get(self, space: str, key: str) -> bytes | None:
        """The value, or ``None``."""

    async def set(self, space: str, key: str, value: bytes) -> Change:
        """Store a value. Overwriting keeps the key's place in `items`."""

    async def delete(self, space: str, key: str) -> Change:
        """Remove a key; an absent one is fine."""

    async def update(
        self, space: str, key: str, change: Callable[[bytes | None], bytes | None]
    ) -> Change:
        """Change a value in one atomic step.

        ``change`` gets the old value or ``None`` and gives the new one, or ``None`` to
        leave everything as it is. It is sync, pure and quick, may run in another
        thread, and its exceptions pass to the caller with nothing changed.
        """

    async def items(self, space: str) -> list[tuple[str, bytes]]:
        """All keys and values of a space, in the order of first insertion."""

    async def spaces(self) -> list[str]:
        """All spaces that hold a key, sorted."""


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is to be stored; a struct for the reason that `Change` is one.

    Attributes:
        queue: its queue, which appears with its first message.
        function_id: the function that it is for.
        namespace: where that function is.
        payload: JSON text.
        group: messages of one group of a queue are delivered strictly one after another,
            by age; ``None``: it waits for nobody.
        priority: higher ones are taken first.
        due: wall time before which it is not taken, in seconds since 1970; 0: at once.
        traceparent: W3C trace context of whoever sent it.
        baggage: W3C baggage of whoever sent it.
    """

    queue: str
    function_id: str
    namespace: str
    payload: bytes
    group: str | None = None
    priority: int = 0
    due: float = 0.0
    traceparent: str | None = None
    baggage: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A stored message; a struct as well.

    Attributes:
        message_id: unique in the store, also over time.
        attempts: failed deliveries so far.
        error: why it is dead, ``""`` while it is not.
        failed_at: when it died, wall time in seconds since 1970.
    """

    message_id: str
    function_id: str
    namespace: str
    payload: bytes
    attempts: int = 0
    traceparent: str | None = None
    baggage: str | None = None
    error: str = ""
    failed_at: float = 0.0


@attrs.frozen
class Taken:
    """What `QueueStore.take` gives.

    Attributes:
        messages: in the order in which they should be delivered.
        next_due: when the next delayed message of the queue becomes due, wall time in
            seconds since 1970; ``None`` if nothing is delayed.
    """

    messages: list[Message]
    next_due: float | None


@attrs.frozen
class QueueCounts:
    """How many messages of a queue are in which state.

    Attributes:
        waiting: due, or waiting for an earlier one of their group.
        active: in delivery.
        delayed: not due yet.
        dead: in the dead-letter queue.
    """

    waiting: int = 0
    active: int = 0
    delayed: int = 0
    dead: int = 0


@attrs.frozen
class Done:
    """Delivered: the message is removed."""


@attrs.frozen
class Retry:
    """Failed: deliver it again once it is ``due``; its group waits meanwhile."""

    due: float


@attrs.frozen
class Dead:
    """Failed for the last time: to the dead-letter queue, with the reason and time."""

    error: str
    at: float


@attrs.frozen
class GiveBack:
    """Not delivered, which counts as no attempt: it waits again, in its old place."""


Settlement = Done | Retry | Dead | GiveBack
"""What becomes of a message in delivery."""


class QueueStore(Protocol):
    """Messages by queue: waiting, in delivery, or dead.

    A message is handed out by `take` to one caller and stays in delivery, through
    restarts too, until it is settled. It keeps its id, its age and what it was stored
    with until it is removed. Every method raises `AdapterError` when the
    backend fails; a failed write left nothing.
    """

    async def put(self, messages: Sequence[NewMessage]) -> None:
        """Store messages, in this order, all or none."""

    async def take(self, queue: str, limit: int, now: float) -> Taken:
        """Hand out at most ``limit`` due messages: priority first, then age.

        Of a group only the head is handed out: the oldest, unless an earlier head is
        not finished yet. A head that is delayed, or in delivery, holds its group.
        """

    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        """Say what became of a message in delivery, or with ``None`` of all of them.

        What is not in delivery is left alone.
        """

    async def move(
        self,
        queue: str,
        *,
        dead: bool,
        to: str | None,
        message_id: str | None = None,
        group: str | None = None,
    ) -> int:
        """Move messages to a queue, or with ``to=None`` remove them.

        They keep their age. Dead ones come back to life with no attempts made.

        Args:
            queue: where they are.
            dead: the dead ones; otherwise those that are neither dead nor in delivery.
            to: where they go; for dead ones it may be the same queue.
            message_id: only this one.
            group: the group that they join; default: they keep theirs.

        Returns:
            How many were moved.
        """

    async def dead(self, queue: str, offset: int, limit: int) -> list[Message]:
        """Dead messages, the latest first."""

    async def counts(self, now: float) -> dict[str, QueueCounts]:
        """Count the messages of every queue that has any."""
