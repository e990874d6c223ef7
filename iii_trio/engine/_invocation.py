"""The life of an invocation, read top to bottom: open, dispatch, settle, answer.

Routing (who is called, and may it be) is in ``_router.py``; the two kinds of caller and
callee are in ``_ports.py`` and ``_link_port.py``. Here is what is in flight, and the
rule that a call reaches exactly one outcome: the first one wins, the entry leaves the
table in the same step, and whoever waits is told once.

States: pending, then settled. What may settle a call, each one function:

====================  ==============================================================
`answered`            the callee gave a result or an error
`callee_gone`         its worker went away: ``invocation_stopped``, at once
`caller_gone`         the caller's worker went away: the handler is cancelled, nobody
                      is told
`cancel`              the caller itself no longer wants it: the same
`expire`              its explicit deadline passed: ``TIMEOUT``, the handler is
                      cancelled
`stop_all`            the engine stops: ``invocation_stopped``
====================  ==============================================================
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, cast, final

import msgspec
import trio

from iii_trio.engine._quotas import Quotas
from iii_trio.engine._registry import Function
from iii_trio.engine._tallies import Tallies, Tally
from iii_trio.engine._timers import Timer, Timers
from iii_trio.protocol import (
    STOPPED,
    ErrorBody,
    ObservedKind,
    timed_out,
)

_NEVER: Final = math.inf
_FIRST_NUMBER: Final = 10**11
"""Decimal digits are hexadecimal ones too: twelve of them end a UUID-shaped id."""

RawOutcome = bytes | msgspec.Raw | ErrorBody
"""JSON text of a result (empty: none), or the failure."""


class CalleePort(Protocol):
    """Whoever runs a function: a link worker, a local worker, or the engine itself."""

    worker_id: str
    executing: "dict[Invocation, None]"

    @property
    def is_live(self) -> bool:
        """False from the moment its teardown began."""

    @property
    def is_local(self) -> bool:
        """True for workers inside this process."""

    def refuses(self) -> ErrorBody | None:
        """Why no further call may be sent now: overload; else ``None``."""

    def dispatch(self, invocation: "Invocation") -> None:
        """Hand the call over. Sync; may settle it at once."""

    def abandon(self, invocation: "Invocation", reason: str) -> None:
        """Nobody wants the outcome any more: cancel the handler if that is possible."""


class Sender(Protocol):
    """Who called, as far as a callee may know."""

    worker_id: str
    caller_field: bytes


class CallerPort(Protocol):
    """Whoever waits for an outcome: a link worker or local code."""

    worker_id: str
    made: "dict[Invocation, None]"

    def answer(self, invocation: "Invocation", outcome: RawOutcome) -> None:
        """Tell the caller. Sync, once per call."""


class CallWatch(Protocol):
    """Told of calls, at once; see ``_watch.py``.

    Attributes:
        wants_all: it does without none, not even of plain ones between links.
    """

    wants_all: bool

    def opened(self, invocation: "Invocation") -> None:
        """A call was opened, and is not dispatched yet."""

    def settled(self, invocation: "Invocation", outcome: RawOutcome) -> None:
        """A call has its outcome."""


@final
class Invocation(msgspec.Struct, eq=False):
    """One call in flight; a plain record, changed only by `InvocationTable` and ports.

    Attributes:
        payload: JSON text; empty once it was sent to a callee behind a link.
        id: ours; unique in this engine, UUID-shaped.
        function, callee: whom it was routed to, once it was.
        caller: who waits, ``None`` for void calls and firings.
        asked: the id that the caller asked for, as a member of frames, if an action or a
            middleware led elsewhere.
        caller_ref: what the caller knows the call by: its own id on a link.
        sender: who called, as the callee may know; ``None`` hides it.
        deadline: Trio time, ``math.inf`` if none.
        timeout: what the deadline was made of, in seconds.
        scope: cancels the handler when it runs in this process.
        transform: turns the callee's result into what the caller asked for.
        outcome: ``None`` while pending.
        span: trace context of the engine's own span around a handler of this process.
        note: whatever an observer keeps with it.
        watch: who was told that it began, and will be told how it ends.
    """

    payload: bytes | msgspec.Raw
    namespace: str
    sender: Sender | None = None
    caller: CallerPort | None = None
    caller_ref: str = ""
    id: str = ""
    function: Function[Any] = cast("Function[Any]", None)
    callee: CalleePort = cast("CalleePort", None)
    asked: bytes = b""
    metadata: bytes | msgspec.Raw = b""
    timeout: float = _NEVER
    deadline: float = _NEVER
    traceparent: str | None = None
    baggage: str | None = None
    transform: Callable[[RawOutcome], RawOutcome] | None = None
    outcome: RawOutcome | None = None
    span: str | None = None
    note: Any = None
    watch: CallWatch | None = None
    scope: trio.CancelScope | None = None
    task: trio.lowlevel.Task | None = None
    timer: Timer | None = None

    # For observers (``iii_trio.protocol.ObservedCall``)

    @property
    def function_id(self) -> str:
        """The function that is called."""
        return self.function.function_id

    @property
    def kind(self) -> ObservedKind:
        """What sort of call it is."""
        if self.sender is not None:
            return "call"
        if not self.asked:
            return "delivery"
        # A middleware, and whoever performs an action, is asked in place of the callee.
        return "call" if self.transform is None else "enqueue"

    @property
    def is_inside(self) -> bool:
        """Whether a worker of this process runs it."""
        return self.callee.is_local

    def enter_span(self, traceparent: str) -> None:
        """Let the callee see this trace context.

        Whoever called on a link gets its own context back. That one is kept where the
        callee is in this process; calls from link to link are not given spans.
        """
        if self.callee.is_local:
            self.span = traceparent
        else:
            self.traceparent = traceparent

    def __repr__(self) -> str:
        state = "pending" if self.outcome is None else "settled"
        return f"<Invocation {self.id} {state}>"


Calls = dict[Invocation, None]
"""Calls in flight, the oldest first."""


@final
class InvocationTable:
    """Every call in flight.

    Plain tables, changed only between checkpoints.

    Args:
        timers: where deadlines wait.
        new_prefix: makes the random first 24 characters of our ids.
        quotas: how many calls a worker may have pending; for those who route.

    Attributes:
        watch: told of calls; ``None``, the fast way, while nobody wants to know.
        tallies: the calls that nobody was told of.
        entries: the calls in flight, by our ids.
        find: the call in flight with one of our ids, or ``None``.
        prefix, last_number: what our ids are made of.
        now: the clock that deadlines go by.
    """

    def __init__(
        self,
        timers: Timers,
        new_prefix: Callable[[], str],
        quotas: Quotas | None = None,
    ) -> None:
        self.quotas = quotas or Quotas()
        self._timers = timers
        self.prefix = new_prefix()
        self.last_number = _FIRST_NUMBER
        self.entries: dict[str, Invocation] = {}
        self.find: Callable[[str], Invocation | None] = self.entries.get
        self.now = timers.now
        self.watch: CallWatch | None = None
        self.tallies = Tallies()
        self.late_answers = 0
        self._idle = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def opened(self) -> int:
        """How many calls were ever opened."""
        return self.last_number - _FIRST_NUMBER

    async def wait_idle(self) -> None:
        """Wait until no call is in flight."""
        await trio.lowlevel.checkpoint()
        while self.entries:
            await self._idle.park()

    def note_idle(self) -> None:
        """The last call in flight has left."""
        self._idle.unpark_all()

    def open(self, invocation: Invocation, function: Function[Any]) -> None:
        """Enter a call that was routed to ``function``, before it is dispatched."""
        self.last_number += 1
        invocation.id = f"{self.prefix}{self.last_number}"
        invocation.function = function
        invocation.callee = callee = function.callee
        self.entries[invocation.id] = invocation
        callee.executing[invocation] = None
        if invocation.caller is not None:
            invocation.caller.made[invocation] = None
        if invocation.timeout != _NEVER:
            self._set_deadline(invocation)
        if self.watch is not None:
            self.tell(invocation, self.watch)

    def tell(self, invocation: Invocation, watch: CallWatch) -> None:
        """Let somebody know of a call that was entered."""
        invocation.watch = watch
        watch.opened(invocation)

    def settle(self, invocation: Invocation, outcome: RawOutcome) -> bool:
        """Give a call its outcome, unless it has one.

        Returns:
            Whether this was the first outcome.
        """
        if invocation.outcome is not None:
            return False
        self.leave(invocation, outcome)
        caller = invocation.caller
        if caller is not None:
            if invocation.transform is not None:
                outcome = invocation.outcome = invocation.transform(outcome)
            caller.answer(invocation, outcome)
        return True

    def answered(
        self, callee: CalleePort, invocation_id: str, outcome: RawOutcome
    ) -> None:
        """A callee's answer came; only the executor of a call may give it."""
        invocation = self.find(invocation_id)
        if invocation is None or invocation.callee is not callee:
            self.late_answers += 1
            return
        self.settle(invocation, outcome)

    def callee_gone(self, callee: CalleePort, reason: str) -> None:
        """End every call that a vanished worker was running."""
        for invocation in list(callee.executing):
            if self.settle(invocation, STOPPED):
                callee.abandon(invocation, reason)

    def caller_gone(
        self, caller: CallerPort, reason: str, *, tell: bool = False
    ) -> None:
        """Cancel every call that a vanished worker was waiting for.

        Args:
            caller: who went away.
            reason: for the handlers that are cancelled.
            tell: wake its tasks with ``invocation_stopped``: they are in this process.
        """
        for invocation in list(caller.made):
            if not tell:
                self.cancel(invocation, reason)
            elif self.settle(invocation, STOPPED):
                invocation.callee.abandon(invocation, reason)

    def cancel_all(self, calls: Calls, reason: str) -> None:
        """What these were made for is gone: tell nobody but the callees."""
        for invocation in list(calls):
            self.cancel(invocation, reason)

    def cancel(self, invocation: Invocation, reason: str) -> None:
        """The caller does not want the outcome any more: tell nobody but the callee."""
        if invocation.outcome is None:
            self.leave(invocation, STOPPED)
            invocation.callee.abandon(invocation, reason)

    def expire(self, invocation: Invocation) -> None:
        """The explicit deadline of a call passed."""
        if self.settle(invocation, timed_out(invocation.timeout * 1000)):
            invocation.callee.abandon(invocation, "deadline passed")

    def stop_all(self, reason: str) -> None:
        """End every call in flight."""
        for invocation in self.pending():
            if self.settle(invocation, STOPPED):
                invocation.callee.abandon(invocation, reason)

    def pending(self) -> Iterable[Invocation]:
        """A snapshot of the calls in flight, oldest first."""
        return list(self.entries.values())

    def time_left(self, invocation: Invocation) -> float:
        """Seconds until the deadline of a call, never less than none."""
        return max(invocation.deadline - self._timers.now(), 0.0)

    def _set_deadline(self, invocation: Invocation) -> None:
        timer = self._timers.call_after(
            invocation.timeout, lambda: self.expire(invocation)
        )
        invocation.timer, invocation.deadline = timer, timer.when

    def leave(self, invocation: Invocation, outcome: RawOutcome) -> None:
        """Take a call out of the tables with its outcome; its caller is not told."""
        invocation.outcome = outcome
        del self.entries[invocation.id]
        if not self.entries:
            self.note_idle()
        del invocation.callee.executing[invocation]
        if invocation.caller is not None:
            del invocation.caller.made[invocation]
        if invocation.timer is not None:
            self._timers.cancel(invocation.timer)
            invocation.timer = None
        if invocation.watch is not None:
            invocation.watch.settled(invocation, outcome)
            return
        tally = invocation.function.tally or self.tally(invocation.function)
        tally.ended += 1
        if type(outcome) is ErrorBody:
            tally.failed += 1

    def tally(self, function: Function[Any]) -> Tally:
        """Where the calls of a function are counted; found once."""
        function.tally = self.tallies.of(function.function_id)
        return function.tally
