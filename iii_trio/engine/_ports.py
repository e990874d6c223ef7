"""The two kinds of attached worker, as callers and as callees; here the local kind.

=============  ==============================  =======================================
               callee is a link worker         callee is a local worker
=============  ==============================  =======================================
caller is a    a frame out, later a frame      one task in the callee's nursery, in a
link worker    back; no task                   cancel scope that the invocation holds
caller is      the caller's task parks until   the handler runs in the caller's own
local          it is settled                   task, in a scope that the invocation holds
=============  ==============================  =======================================
"""

from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from typing import Any, Final, Literal, final

import trio

from iii_trio.engine._connection import Connection
from iii_trio.engine._invocation import Invocation, InvocationTable, RawOutcome
from iii_trio.engine._roster import WorkerRecord
from iii_trio.engine._triggers import Trigger, TriggerType
from iii_trio.errors import RegistrationError
from iii_trio.protocol import STOPPED, ErrorBody
from iii_trio.transport import Handlers, IncomingCall, TriggerSpec

INLINE_DEPTH: Final = 32
"""Nested inline calls above which a call gets its own task."""

_depth: ContextVar[int] = ContextVar("inline_depth", default=0)

BindAnswer = ErrorBody | Literal["accepted", "pending"]
"""What a provider says of a binding: refused, accepted, or it will tell later."""

AnyPort = Any
"""A `LinkPort`, a `LocalPort` or the engine's own port, where a cycle forbids names."""


@final
class LocalPort(Connection):
    """A worker inside this process.

    Attributes:
        on_bound: told of what an async provider answered.
    """

    is_local = True

    def __init__(
        self, record: WorkerRecord, handlers: Handlers, invocations: InvocationTable
    ) -> None:
        super().__init__(record)
        self._handlers = handlers
        self._invocations = invocations
        self._waiting: deque[Invocation] = deque()
        self._context = copy_context()
        self.on_bound: Callable[[Trigger[AnyPort], ErrorBody | None], None] = (
            lambda _trigger, _error: None
        )

    # As a callee

    def refuses(self) -> ErrorBody | None:
        """Never: what runs here is bounded by its callers."""
        return None

    def dispatch(self, invocation: Invocation) -> None:
        """Run the handler in its own task, in the worker's nursery.

        Trio starts tasks in any order. So each takes the oldest call that waits, and
        handlers begin in the order in which the calls came. It sees the context
        variables of who opened this worker, and none of any caller.
        """
        self._waiting.append(invocation)
        self._context.run(
            self._handlers.start_soon, self._run_oldest, name=f"calls of {self!r}"
        )

    def abandon(self, invocation: Invocation, reason: str) -> None:
        """Cancel the handler's scope."""
        if invocation.scope is not None:
            invocation.scope.cancel(reason=reason)

    async def _run_oldest(self) -> None:
        invocation = self._waiting.popleft()
        task = trio.lowlevel.current_task()
        task.name = f"{invocation.function.function_id} {invocation.id}"
        if invocation.outcome is not None:  # cancelled before it began
            await trio.lowlevel.checkpoint()
            return
        try:
            with trio.CancelScope() as invocation.scope:
                outcome = await self._handlers.run(incoming_call(invocation))
                self._invocations.settle(invocation, outcome)
        finally:
            self._invocations.settle(invocation, STOPPED)

    async def run_inline(
        self, invocation: Invocation, scope: trio.CancelScope | None = None
    ) -> None:
        """Run the handler in the current task; the invocation is settled afterwards.

        Cancellation of the current task cancels the handler and settles the call.

        Args:
            invocation: routed, and not begun.
            scope: what the current task is in, to be cancelled if the call is to end;
                default: a new one.
        """
        depth = _depth.get()
        if depth >= INLINE_DEPTH:
            self.dispatch(invocation)
            await wait_settled(invocation, self._invocations)
            return
        token = _depth.set(depth + 1)
        try:
            invocation.scope = scope
            if scope:
                outcome = await self._handlers.run(incoming_call(invocation))
                self._invocations.settle(invocation, outcome)
                return
            with trio.CancelScope() as invocation.scope:
                outcome = await self._handlers.run(incoming_call(invocation))
                self._invocations.settle(invocation, outcome)
        finally:
            _depth.reset(token)
            self._invocations.settle(invocation, STOPPED)

    async def run_brief(self, invocation: Invocation) -> None:
        """`run_inline` for a brief function, without a scope and whatever the depth."""
        try:
            outcome = await self._handlers.run(incoming_call(invocation))
            self._invocations.settle(invocation, outcome)
        finally:
            self._invocations.settle(invocation, STOPPED)

    # As a caller

    def answer(self, invocation: Invocation, outcome: RawOutcome) -> None:
        """Wake the task that waits; an inline caller sees the outcome by itself."""
        del outcome  # it is in the invocation
        if invocation.task is not None:
            trio.lowlevel.reschedule(invocation.task)
            invocation.task = None

    # As a provider and binder of triggers

    def bind_trigger(
        self, trigger: Trigger[AnyPort], kind: TriggerType[AnyPort]
    ) -> BindAnswer:
        """Ask the provider's ``bind``; an async one answers later.

        What it starts is its own work, and sees nothing of the handler that binds.
        """
        del kind
        context = self._context.copy()  # binding may call, and bind again
        try:
            later = context.run(self._handlers.bind, trigger.spec)
        except RegistrationError as exc:
            return ErrorBody(code=exc.code, message=exc.message)
        if later is None:
            return "accepted"
        name = f"bind {trigger.spec.trigger_id}"
        context.run(
            self._handlers.start_soon, self._await_bind, later, trigger, name=name
        )
        return "pending"

    async def _await_bind(
        self, later: Awaitable[None], trigger: Trigger[AnyPort]
    ) -> None:
        error: ErrorBody | None = None
        try:
            await later
        except RegistrationError as exc:
            error = ErrorBody(code=exc.code, message=exc.message)
            await trio.lowlevel.checkpoint()
        self.on_bound(trigger, error)

    def unbind_trigger(self, trigger: Trigger[AnyPort]) -> None:
        """Tell the provider that a binding is gone."""
        lost = trigger.owner is not None and not trigger.owner.is_live
        self._handlers.unbind(trigger.spec.trigger_id, lost=lost)

    def trigger_refused(self, spec: TriggerSpec, error: ErrorBody) -> None:
        """Nothing: a refusal that comes so late is in the log and in listings."""


async def wait_settled(invocation: Invocation, invocations: InvocationTable) -> None:
    """Park the current task until a call that it made is settled.

    Cancellation ends the call; its callee is told if it can hear it.
    """
    if invocation.outcome is not None:  # it must be told: the call is done
        await trio.lowlevel.cancel_shielded_checkpoint()
        return
    invocation.task = trio.lowlevel.current_task()

    def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
        invocation.task = None
        invocations.cancel(invocation, "the caller was cancelled")
        return trio.lowlevel.Abort.SUCCEEDED

    await trio.lowlevel.wait_task_rescheduled(abort)


def incoming_call(invocation: Invocation) -> IncomingCall:
    """What a handler of this process gets to know of a call."""
    sender = invocation.sender
    return IncomingCall(
        invocation_id=invocation.id,
        function_id=invocation.function.function_id,
        payload=bytes(invocation.payload),
        metadata=bytes(invocation.metadata),
        namespace=invocation.namespace,
        caller_worker_id=None if sender is None else sender.worker_id,
        deadline=invocation.deadline,
        traceparent=invocation.span or invocation.traceparent,
        baggage=invocation.baggage,
    )
