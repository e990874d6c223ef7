"""Calls made through one connection that wait for their outcomes.

And what becomes of those that nobody wants any more. An engine says that it can cancel in
its answer to the announcement, one round trip after the greeting; calls may be made, and
given up, before that.
"""

import logging
import math
from collections.abc import Callable, Collection
from typing import Final, final

import trio

from iii_trio.protocol import CANCEL_FEATURE, STOPPED, AnyFrame, CancelInvocation
from iii_trio.transport import Outcome

logger = logging.getLogger(__name__)

FEATURES_PATIENCE: Final = 2.0
"""Seconds from the greeting in which an engine tells its features; engines that are not
of this library need not answer the announcement at all."""

MAX_WITHHELD: Final = 1000
"""Calls given up before the engine told its features that are cancelled when it has; it
is a round trip's worth, and the oldest go first."""


@final
class _PendingCall:
    __slots__ = ("outcome", "settled")

    def __init__(self) -> None:
        self.settled = trio.Event()
        self.outcome: Outcome = STOPPED


@final
class PendingCalls:
    """Waits for outcomes; cancels what is given up, at an engine that can.

    Args:
        send: queues a frame for the engine.

    Attributes:
        can_cancel: the engine told the feature.
    """

    def __init__(self, send: Callable[[AnyFrame], None]) -> None:
        self.can_cancel = False
        self._send = send
        self._calls: dict[str, _PendingCall] = {}
        self._told = trio.Event()  # the features, or that the connection is lost
        self._patience_ends = math.inf
        self._withheld: dict[str, str] = {}

    # What the engine can do

    def greeted(self) -> None:
        """The engine has greeted: it may tell its features from now on.

        To greet again gives it no more time.
        """
        now = trio.current_time()
        self._patience_ends = min(self._patience_ends, now + FEATURES_PATIENCE)

    def tell_features(self, features: Collection[str]) -> None:
        """The engine told what it can: cancel what was given up meanwhile."""
        self.can_cancel = CANCEL_FEATURE in features
        self._told.set()
        withheld, self._withheld = self._withheld, {}
        if self.can_cancel:
            for invocation_id, reason in withheld.items():
                self._send(CancelInvocation(invocation_id=invocation_id, reason=reason))

    @property
    def knows_features(self) -> bool:
        """Whether there is nothing to wait for in `wait_features`."""
        return self._told.is_set() or trio.current_time() >= self._patience_ends

    async def wait_features(self) -> None:
        """Wait until the engine told its features, it never will, or it is lost."""
        with trio.move_on_at(self._patience_ends):
            await self._told.wait()

    # Calls

    async def outcome_of(
        self, invocation_id: str, send: Callable[[], None], deadline: float
    ) -> Outcome:
        """Send a call and wait; `STOPPED` when the connection is lost.

        Args:
            invocation_id: ours.
            send: queues its frame.
            deadline: Trio time, for the reason of a cancellation.
        """
        pending = self._calls[invocation_id] = _PendingCall()
        send()
        try:
            await pending.settled.wait()
        finally:
            if self._calls.pop(invocation_id, None) is not None:
                late = trio.current_time() >= deadline
                reason = "deadline passed" if late else "the caller was cancelled"
                self._give_up(invocation_id, reason)
        return pending.outcome

    def _give_up(self, invocation_id: str, reason: str) -> None:
        if self.can_cancel:
            self._send(CancelInvocation(invocation_id=invocation_id, reason=reason))
        elif not self._told.is_set():
            self._withheld[invocation_id] = reason
            if len(self._withheld) > MAX_WITHHELD:
                del self._withheld[next(iter(self._withheld))]

    def settle(self, invocation_id: str, outcome: Outcome) -> None:
        """An outcome came; one that nobody wants any more is dropped."""
        pending = self._calls.pop(invocation_id, None)
        if pending is None:
            self._withheld.pop(invocation_id, None)
            logger.debug("late result of %s dropped", invocation_id)
            return
        pending.outcome = outcome
        pending.settled.set()

    def lose(self) -> None:
        """The connection is lost: end all that wait."""
        self._told.set()
        self._withheld.clear()
        calls, self._calls = self._calls, {}
        for pending in calls.values():
            pending.settled.set()
