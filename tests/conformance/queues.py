"""Queue stores that keep the contract in their own way, or break one rule of it."""

from collections.abc import Sequence
from typing import Any

import trio
from msgspec import structs

from iii_trio.adapters import (
    Dead,
    GiveBack,
    Message,
    NewMessage,
    QueueCounts,
    Retry,
    Settlement,
    Taken,
)
from iii_trio.adapters.memory._queue import MemoryQueue, _Row, _settle, _State

checkpoint = trio.lowlevel.checkpoint


class Plain:
    """A right store, to be spoilt by the others."""

    def __init__(self) -> None:
        self.whole = MemoryQueue()

    async def put(self, messages: Sequence[NewMessage]) -> None:
        await self.whole.put(messages)

    async def take(self, queue: str, limit: int, now: float) -> Taken:
        return await self.whole.take(queue, limit, now)

    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        await self.whole.settle(queue, message_id, settlement)

    async def move(
        self,
        queue: str,
        *,
        dead: bool,
        to: str | None,
        message_id: str | None = None,
        group: str | None = None,
    ) -> int:
        return await self.whole.move(
            queue, dead=dead, to=to, message_id=message_id, group=group
        )

    async def dead(self, queue: str, offset: int, limit: int) -> list[Message]:
        return await self.whole.dead(queue, offset, limit)

    async def counts(self, now: float) -> dict[str, QueueCounts]:
        return await self.whole.counts(now)

    def rows(self, queue: str, message_id: str | None = None) -> list[_Row]:
        """What is in a queue, to be spoilt."""
        return self.whole._find(queue, message_id, tuple(_State))

    def reopened(self) -> "Plain":
        """The store when it is opened again."""
        return self


# Right, in its own way


class Slow(Plain):
    """Once a write has begun it is waited for, cancelled or not."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = trio.Lock()

    async def put(self, messages: Sequence[NewMessage]) -> None:
        async with self.lock:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                await super().put(messages)

    async def take(self, queue: str, limit: int, now: float) -> Taken:
        async with self.lock:
            with trio.CancelScope(shield=True):
                taken = await super().take(queue, limit, now)
                await trio.sleep(1)
        return taken

    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        async with self.lock:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                await super().settle(queue, message_id, settlement)

    async def move(self, queue: str, **how: Any) -> int:
        async with self.lock:
            with trio.CancelScope(shield=True):
                moved = await super().move(queue, **how)
                await trio.sleep(1)
        return moved


# Wrong, each in one way


class PutsOneByOne(Plain):
    async def put(self, messages: Sequence[NewMessage]) -> None:
        await checkpoint()
        for message in messages:
            await super().put([message])


class PutsBackwards(Plain):
    async def put(self, messages: Sequence[NewMessage]) -> None:
        await super().put(messages[::-1])


class PutThenCancelled(Plain):
    async def put(self, messages: Sequence[NewMessage]) -> None:
        with trio.CancelScope(shield=True):
            await super().put(messages)
        await checkpoint()


class PutsNothingWhenCancelled(Plain):
    async def put(self, messages: Sequence[NewMessage]) -> None:
        await checkpoint()
        await trio.lowlevel.cancel_shielded_checkpoint()
        if trio.current_effective_deadline() > trio.current_time():
            await super().put(messages)


class TakeThenCancelled(Plain):
    async def take(self, queue: str, limit: int, now: float) -> Taken:
        taken = await super().take(queue, limit, now)
        await checkpoint()
        return taken


class SettlesOneByOne(Plain):
    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        await checkpoint()
        ids = [message_id]
        if message_id is None:
            ids = [row.message.message_id for row in self.rows(queue)]
        for one in ids:
            await super().settle(queue, one, settlement)


class MovesOneByOne(Plain):
    async def move(
        self, queue: str, *, message_id: str | None = None, **how: Any
    ) -> int:
        await checkpoint()
        ids = [message_id]
        if message_id is None:
            ids = [row.message.message_id for row in self.rows(queue)]
        moved = 0
        for one in ids:
            moved += await super().move(queue, message_id=one, **how)
        return moved


class TakesTooMany(Plain):
    async def take(self, queue: str, limit: int, now: float) -> Taken:
        return await super().take(queue, limit + 1, now)


class TakesInTwoSteps(Plain):
    async def take(self, queue: str, limit: int, now: float) -> Taken:
        taken = await super().take(queue, limit, now)
        for row in self.rows(queue):
            if row.message in taken.messages:
                self.whole._queues[queue].make_ready(row)
        await checkpoint()
        for row in self.rows(queue):
            if row.message in taken.messages:
                row.state = _State.ACTIVE
        return taken


class TakesEarly(Plain):
    async def take(self, queue: str, limit: int, now: float) -> Taken:
        return await super().take(queue, limit, now + 10)


class TakesTheYoungest(Plain):
    async def take(self, queue: str, limit: int, now: float) -> Taken:
        taken = await super().take(queue, limit, now)
        return Taken(taken.messages[::-1], taken.next_due)


class NothingIsDue(Plain):
    async def take(self, queue: str, limit: int, now: float) -> Taken:
        return Taken((await super().take(queue, limit, now)).messages, None)


class Mutable(Plain):
    async def take(self, queue: str, limit: int, now: float) -> Taken:
        taken = await super().take(queue, limit, now)
        changed: Any = [
            structs.replace(one, payload=bytearray(one.payload))
            for one in taken.messages
        ]
        return Taken(changed, taken.next_due)


class IdsStartAgain(Plain):
    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        await super().settle(queue, message_id, settlement)
        if not self.whole._queues:
            self.whole._places = 0


class Spoiling(Plain):
    """Spoils the messages that are settled or moved in some way."""

    when: type[Settlement] | None = None

    def spoil(self, row: _Row) -> None:
        raise NotImplementedError

    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        if self.when is not None and isinstance(settlement, self.when):
            for row in self.rows(queue, message_id):
                self.spoil(row)
        await super().settle(queue, message_id, settlement)

    async def move(self, queue: str, **how: Any) -> int:
        if self.when is None:
            for row in self.rows(queue):
                self.spoil(row)
        return await super().move(queue, **how)


class LosesTrace(Spoiling):
    def spoil(self, row: _Row) -> None:
        row.message = structs.replace(row.message, traceparent=None, baggage=None)


class LosesTraceOnRetry(LosesTrace):
    when: type[Settlement] | None = Retry


class LosesTraceOnGivingBack(LosesTrace):
    when: type[Settlement] | None = GiveBack


class LosesTraceOfTheDead(LosesTrace):
    when: type[Settlement] | None = Dead


class LosesTraceOfTheMoved(LosesTrace):
    pass


class LosesPriority(Spoiling):
    def spoil(self, row: _Row) -> None:
        row.priority = 0


class LosesPriorityOnRetry(LosesPriority):
    when: type[Settlement] | None = Retry


class LosesPriorityOnGivingBack(LosesPriority):
    when: type[Settlement] | None = GiveBack


class LosesPriorityOfTheMoved(LosesPriority):
    pass


class Other(Plain):
    """Does another settlement than it was told."""

    def other(self, settlement: Settlement) -> Settlement:
        raise NotImplementedError

    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        await super().settle(queue, message_id, self.other(settlement))


class GivingBackCounts(Other):
    def other(self, settlement: Settlement) -> Settlement:
        return Retry(0.0) if isinstance(settlement, GiveBack) else settlement


class RetryDoesNotCount(Other):
    def other(self, settlement: Settlement) -> Settlement:
        return GiveBack() if settlement == Retry(1000.0) else settlement


class RetriesAtOnce(Other):
    def other(self, settlement: Settlement) -> Settlement:
        return Retry(0.0) if isinstance(settlement, Retry) else settlement


class SettlesAll(Plain):
    """Does something else than it was told when it settles all in delivery."""

    def other(self, settlement: Settlement) -> Settlement:
        return settlement

    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        settlement = settlement if message_id else self.other(settlement)
        await super().settle(queue, message_id, settlement)


class RetryOfAllDoesNotCount(Plain):
    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        if message_id is None and isinstance(settlement, Retry):
            for row in self.rows(queue):
                attempts = row.message.attempts - (row.state is _State.ACTIVE)
                row.message = structs.replace(row.message, attempts=attempts)
        await super().settle(queue, message_id, settlement)


class DeathOfAllHasNoError(SettlesAll):
    def other(self, settlement: Settlement) -> Settlement:
        return Dead("", settlement.at) if isinstance(settlement, Dead) else settlement


class DeathOfAllHasNoTime(SettlesAll):
    def other(self, settlement: Settlement) -> Settlement:
        return Dead(settlement.error, 0) if isinstance(settlement, Dead) else settlement


class SettlesInAnyQueue(Plain):
    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        await checkpoint()
        queues = [queue] if message_id is None else list(self.whole._queues)
        with trio.CancelScope(shield=True):
            await checkpoint()
            for one in queues:
                await super().settle(one, message_id, settlement)


class SettlesTheDead(Plain):
    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        if message_id is not None:
            for row in self.rows(queue, message_id):
                if row.state is _State.DEAD:
                    row.state = _State.ACTIVE
        await super().settle(queue, message_id, settlement)


class SettlesTheWaiting(Plain):
    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        for row in self.rows(queue, message_id):
            if row.state is _State.WAITING and message_id is not None:
                row.state = _State.ACTIVE
        await super().settle(queue, message_id, settlement)


class SettlesEachTime(Plain):
    """Looks whether the message is in delivery, and settles it later."""

    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        await checkpoint()
        rows = [
            row for row in self.rows(queue, message_id) if row.state is _State.ACTIVE
        ]
        with trio.CancelScope(shield=True):
            await checkpoint()
        for row in rows:
            _settle(self.whole._queues[queue], row, settlement)
        self.whole._tidy(queue)


class DeadOldestFirst(Plain):
    async def dead(self, queue: str, offset: int, limit: int) -> list[Message]:
        return (await super().dead(queue, 0, 1000))[::-1][offset : offset + limit]


class DeadWithoutError(Plain):
    async def dead(self, queue: str, offset: int, limit: int) -> list[Message]:
        dead = await super().dead(queue, offset, limit)
        return [structs.replace(one, error="") for one in dead]


class RevivesTheTired(Plain):
    async def move(self, queue: str, **how: Any) -> int:
        dead = {
            row.message.message_id: row.message.attempts for row in self.rows(queue)
        }
        moved = await super().move(queue, **how)
        for row in self.rows(how["to"] or ""):
            attempts = dead.get(row.message.message_id, row.message.attempts)
            row.message = structs.replace(row.message, attempts=attempts)
        return moved


class MovesWhatIsInDelivery(Plain):
    async def move(self, queue: str, **how: Any) -> int:
        await self.whole.settle(queue, None, GiveBack())
        return await super().move(queue, **how)


class MovesUncounted(Plain):
    async def move(self, queue: str, **how: Any) -> int:
        return min(await super().move(queue, **how), 1)


class RevivesAtHome(Plain):
    async def move(self, queue: str, **how: Any) -> int:
        if how["dead"] and how["to"] is not None:
            how["to"] = queue
        return await super().move(queue, **how)


class RevivesIntoTheOldGroup(Plain):
    async def move(self, queue: str, **how: Any) -> int:
        return await super().move(
            queue, **how | {"group": None} if how["dead"] else how
        )


class MovesByIdAlone(Plain):
    async def move(self, queue: str, **how: Any) -> int:
        rows = self.rows(queue, how.get("message_id"))
        if how.get("message_id") and rows and rows[0].state is not _State.ACTIVE:
            how["dead"] = rows[0].state is _State.DEAD
        return await super().move(queue, **how)


class RemovesTheDeadOnly(Plain):
    async def move(self, queue: str, **how: Any) -> int:
        if how["to"] is None and how.get("message_id"):
            how["dead"] = True
        return await super().move(queue, **how)


class KnowsNoGroups(Plain):
    async def put(self, messages: Sequence[NewMessage]) -> None:
        await super().put([structs.replace(one, group=None) for one in messages])


class RetryFreesItsGroup(Plain):
    async def settle(
        self, queue: str, message_id: str | None, settlement: Settlement
    ) -> None:
        await super().settle(queue, message_id, settlement)
        if isinstance(settlement, Retry):
            for row in self.rows(queue, message_id):
                self.whole._queues[queue].leave_group(row)
                row.group = None


class OneGroupForAllQueues(Plain):
    async def take(self, queue: str, limit: int, now: float) -> Taken:
        others = {
            row.group
            for other in list(self.whole._queues)
            for row in self.rows(other)
            if other != queue and row.state is _State.ACTIVE
        }
        rows = [row for row in self.rows(queue) if row.group and row.group in others]
        states = [row.state for row in rows]
        for row in rows:
            row.state = _State.BEHIND
        taken = await super().take(queue, limit, now)
        for row, state in zip(rows, states, strict=True):
            row.state = state
        return taken


class CountsTheDelayedAsWaiting(Plain):
    async def counts(self, now: float) -> dict[str, QueueCounts]:
        return await super().counts(now + 10)


class CountsEmptyQueues(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    async def put(self, messages: Sequence[NewMessage]) -> None:
        await super().put(messages)
        self.seen.update(one.queue for one in messages)

    async def counts(self, now: float) -> dict[str, QueueCounts]:
        return dict.fromkeys(self.seen, QueueCounts()) | await super().counts(now)


# Wrong once they are opened again


class KeepsNothing(Plain):
    def reopened(self) -> Plain:
        return Plain()


class GivesBackWhenOpened(Plain):
    def reopened(self) -> Plain:
        for row in self.rows("q"):
            if row.state is _State.ACTIVE:
                self.whole._queues["q"].make_ready(row)
        return self


class ForgetsAttempts(Plain):
    def reopened(self) -> Plain:
        for row in self.rows("q"):
            row.message = structs.replace(row.message, attempts=0)
        return self


class ForgetsTheDead(Plain):
    def reopened(self) -> Plain:
        for row in self.rows("q"):
            row.message = structs.replace(row.message, error="")
        return self


class IdsOfTheGone(Plain):
    def reopened(self) -> Plain:
        self.whole._places = max(row.place for row in self.rows("q"))
        return self
