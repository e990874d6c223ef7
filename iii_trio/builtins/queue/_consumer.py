"""A consumer: one task that takes the messages of a queue, and one per delivery.

What it took stays marked in the store until it is settled there. So a delivery that is
cut off, by a crash or because its consumer is stopped, costs no attempt: the next
consumer of the queue begins by giving back what is still marked.

While a delivery is being settled its place is free: if there is a backlog, what comes next
is taken meanwhile, in the same transaction where the store can do that. A message whose
group waits for the settlement is not among it, which is the store's affair.
"""

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol, TypeVar, final

import attrs
import trio

from iii_trio.adapters import GiveBack, Message, QueueStore, Settlement
from iii_trio.builtins.queue._delivery import Policy
from iii_trio.errors import (
    AdapterError,
    FunctionNotFoundError,
    InvocationError,
    InvocationStoppedError,
)

logger = logging.getLogger("iii_trio.builtins.queue")

T = TypeVar("T")

MAX_ABSENT: Final = 1000
"""Messages held in memory because their function is absent; above, the queue waits."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds between tries while the storage fails; doubled each time."""

SETTLE_GRACE: Final = 5.0
"""Seconds that a consumer which is stopped has to note what became of a delivery."""

SHORTEST_WAIT: Final = 0.001
LONGEST_WAIT: Final = 3600.0
"""Seconds of waiting for a delayed message: wall time and Trio's may differ."""

LOOK_AGAIN: Final = 0.5
"""Seconds until what was found absent is looked for once more. The engine gathers what
came and went for 0.1 s, and does not tell of what is back by then."""

DRAINING: Final = "engine_draining"


class Target(Protocol):
    """Where the messages of a queue go, and how."""

    @property
    def policy(self) -> Policy:
        """As it is now; read again for every decision."""

    @property
    def ready(self) -> bool:
        """Whether anything may be delivered at all right now."""

    def exists(self, message: Message) -> bool:
        """Tell whether the function of a message is there."""

    async def attempt(self, message: Message) -> None:
        """Deliver a message once.

        Raises:
            InvocationError: the delivery failed.
            NotNowError: it cannot be delivered at present, which is no failure.
        """


class NotNowError(Exception):
    """A message cannot be delivered at present."""


class FailedConditionError(InvocationError):
    """The condition of a subscriber failed."""

    def __str__(self) -> str:
        return self.message


def is_end(exc: InvocationError, *, is_ending: bool) -> bool:
    """Tell whether a delivery failed because the engine is being shut down.

    Which is not the message's fault. A call that has an id was made: its function may
    only tell of another engine.

    Args:
        exc: how it failed.
        is_ending: whether deliveries are being ended already.
    """
    refused = exc.code == DRAINING and exc.invocation_id is None
    return refused or (is_ending and isinstance(exc, InvocationStoppedError))


@final
@attrs.define(eq=False, kw_only=True)
class Consumer:
    """Delivers the messages of one stored queue.

    Attributes:
        queue: its name in the store.
        target: where they go.
        delivered: successful deliveries since the consumer began.
        failed: failed ones.
        done: set when nothing of it is left.
    """

    queue: str
    target: Target
    delivered: int = 0
    failed: int = 0
    done: trio.Event = attrs.field(factory=trio.Event)
    _store: QueueStore
    _now: Callable[[], float]
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _running: int = 0
    _settling: int = 0
    _hungry: bool = True
    _present: deque[Message] = attrs.field(factory=deque)
    _absent: list[Message] = attrs.field(factory=list)
    _missed: bool = False
    _was_ready: bool = True
    _news: trio.Event = attrs.field(factory=trio.Event)
    _looks_at: float = math.inf
    _retiring: bool = False
    _finishing: bool = False
    _idle: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def wake(self, due: float = 0.0) -> None:
        """Look again: there may be something to deliver.

        Args:
            due: wall time before which it need not be looked at.
        """
        if due < self._looks_at:
            self._news.set()

    def functions_changed(self) -> None:
        """Look again for the functions that were absent."""
        absent, self._absent = self._absent, []
        for message in absent:
            self._keep(message)
        self.wake()

    def stop(self) -> None:
        """Stop now; what is in delivery is cancelled and waits again."""
        self._scope.cancel(reason="the consumer was stopped")

    def finish(self) -> None:
        """Take no more messages; stop once none is in delivery."""
        self._finishing = True
        if self._is_idle:
            self.stop()

    def go_on(self, target: Target) -> bool:
        """Take messages again, for that target; tell whether it is not too late."""
        if self._scope.cancel_called:
            return False
        self._finishing = False
        self.target = target
        self.wake()
        return True

    async def retire(self) -> None:
        """Take no more messages, and wait until none is in delivery."""
        self._retiring = True
        await trio.lowlevel.checkpoint()
        while not self._is_idle:
            await self._idle.park()

    @property
    def _is_ending(self) -> bool:
        return self._retiring or self._finishing

    @property
    def _is_idle(self) -> bool:
        return not self._running and not self._settling

    async def serve(self, after: trio.Event | None) -> None:
        """Deliver until `stop`.

        Args:
            after: set when the last consumer of the same queue has ended.
        """
        try:
            if after is not None:
                # Also when it was stopped meanwhile: the next one waits for this one.
                await after.wait()
            with self._scope:
                await self._patiently(
                    partial(self._store.settle, self.queue, None, GiveBack())
                )
                async with trio.open_nursery() as nursery:
                    await self._consume(nursery)
        finally:
            self.done.set()

    async def _consume(self, nursery: trio.Nursery) -> None:
        while True:
            news = self._news = trio.Event()
            self._begin_deliveries(nursery)
            room = self._room()
            next_due = None
            if room > 0:
                taken = await self._patiently(
                    partial(self._store.take, self.queue, room, self._now())
                )
                next_due = taken.next_due
                self._hungry = len(taken.messages) < room
                for message in taken.messages:
                    self._admit(message)
                self._begin_deliveries(nursery)
                if len(taken.messages) == room and self._room() > 0:
                    continue  # some of them were for absent functions
            self._look_for_absent(nursery)
            await self._wait_for(news, next_due)

    def _look_for_absent(self, nursery: trio.Nursery) -> None:
        """Look once more, later, if something was found absent since the last time."""
        ready = self.target.ready
        if self._missed or (self._was_ready and not ready):
            nursery.start_soon(self._look_again, name=f"absences of {self.queue}")
        self._missed, self._was_ready = False, ready

    async def _look_again(self) -> None:
        await trio.sleep(LOOK_AGAIN)
        self.functions_changed()

    def _room(self) -> int:
        if self._is_ending or len(self._absent) >= MAX_ABSENT or not self.target.ready:
            return 0
        return self._slots() - len(self._present)

    def _slots(self) -> int:
        """How many deliveries may begin; fewer while settlements pile up."""
        concurrency = self.target.policy.concurrency
        return concurrency - self._running - max(self._settling - concurrency, 0)

    def _admit(self, message: Message) -> None:
        """Keep what was taken until it can be delivered."""
        if not self._keep(message):
            self._missed = True

    def _keep(self, message: Message) -> bool:
        exists = self.target.exists(message)
        (self._present if exists else self._absent).append(message)
        return exists

    def _begin_deliveries(self, nursery: trio.Nursery) -> None:
        if self._is_ending or not self.target.ready:
            return
        while self._present and self._slots() > 0:
            message = self._present.popleft()
            self._running += 1
            nursery.start_soon(
                self._deliver,
                message,
                name=f"delivery to {message.function_id or self.queue}",
            )

    async def _wait_for(self, news: trio.Event, next_due: float | None) -> None:
        wait = math.inf
        if next_due is not None:
            wait = next_due - self._now()
            wait = min(max(wait, SHORTEST_WAIT), LONGEST_WAIT)
            self._looks_at = next_due
        with trio.move_on_after(wait):
            await news.wait()
        self._looks_at = math.inf

    async def _deliver(self, message: Message) -> None:
        try:
            try:
                settlement = await self._attempt(message)
            finally:
                self._running -= 1
            if settlement is None:
                self._admit(message)
                self.wake()
            else:
                await self._settle(message, settlement)
        finally:
            if self._is_idle:
                self._idle.unpark_all()
                if self._finishing:
                    self.stop()

    async def _settle(self, message: Message, settlement: Settlement) -> None:
        self._settling += 1
        if self._present or not self._hungry:
            self.wake()
        settle = partial(self._store.settle, self.queue, message.message_id, settlement)
        try:
            # The consumer asks for more before this is stored: one commit for both.
            await trio.lowlevel.cancel_shielded_checkpoint()
            try:
                await self._patiently(settle)
            except trio.Cancelled:
                # It did not happen, and what was delivered would be delivered again.
                with trio.move_on_after(SETTLE_GRACE, shield=True):
                    await self._patiently(settle)
                raise
        finally:
            piled_up = self._settling > self.target.policy.concurrency
            self._settling -= 1
            if self._hungry or piled_up:
                self.wake()

    async def _attempt(self, message: Message) -> Settlement | None:
        """Deliver once and decide; ``None``: its function is gone, no attempt made."""
        failure: NotNowError | InvocationError | None = None
        try:
            await self.target.attempt(message)
        except (NotNowError, InvocationError) as exc:
            failure = exc
            await trio.lowlevel.cancel_shielded_checkpoint()
        return self._decide(message, failure)

    def _decide(
        self, message: Message, failure: NotNowError | InvocationError | None
    ) -> Settlement | None:
        if isinstance(failure, NotNowError):
            return GiveBack()
        if failure is None:
            self.delivered += 1
        elif is_end(failure, is_ending=self._is_ending):
            self._retiring = True
            return GiveBack()
        elif self._is_absence(message, failure):
            return None
        else:
            self.failed += 1
            logger.info("delivery from %s failed: %s", self.queue, failure)
        reason = None if failure is None else str(failure)
        return self.target.policy.settle(message.attempts, reason, self._now())

    def _is_absence(self, message: Message, exc: InvocationError) -> bool:
        """It was there when the delivery began, and went before it was called."""
        return isinstance(exc, FunctionNotFoundError) and not self.target.exists(
            message
        )

    async def _patiently(self, action: Callable[[], Awaitable[T]]) -> T:
        """Use the store, again and again while it fails; nothing is lost meanwhile."""
        pause = FIRST_PAUSE
        while True:
            try:
                return await action()
            except AdapterError as exc:
                logger.error(  # noqa: TRY400 - the message says it all
                    "queue %s waits %g s for its storage: %s", self.queue, pause, exc
                )
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
