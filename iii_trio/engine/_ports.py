"""The two kinds of attached worker, as callers and as callees.

=============  ==============================  =======================================
               callee is a link worker         callee is a local worker
=============  ==============================  =======================================
caller is a    a frame out, later a frame      one task in the callee's nursery, in a
link worker    back; no task                   cancel scope that the invocation holds
caller is      the caller's task parks until   the handler runs in the caller's own
local          it is settled                   task, in a scope that the invocation holds
=============  ==============================  =======================================
"""

import re
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, Literal, final

import msgspec
import trio

from iii_trio.engine._connection import Connection
from iii_trio.engine._invocation import Invocation, InvocationTable, RawOutcome
from iii_trio.engine._roster import WorkerRecord
from iii_trio.engine._timers import Timer
from iii_trio.engine._triggers import Trigger, TriggerType
from iii_trio.errors import RegistrationError
from iii_trio.protocol import (
    ABSENT,
    CANCEL_FEATURE,
    DEFAULT_NAMESPACE,
    STOPPED,
    AnyFrame,
    CancelInvocation,
    ErrorBody,
    RegisterTrigger,
    TriggerRegistrationResult,
    UnregisterTrigger,
    encode,
    encode_error,
    encode_invoke,
    encode_result,
    invoke_extras,
    refused,
)
from iii_trio.transport import Handlers, IncomingCall, Link, TriggerSpec

OUTBOX_SOFT_LIMIT: Final = 8 * 2**20
"""Bytes waiting for a worker above which new calls to it are refused."""

INLINE_DEPTH: Final = 32
"""Nested inline calls above which a call gets its own task."""

_TRACEPARENT = re.compile(
    "(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)

_depth: ContextVar[int] = ContextVar("inline_depth", default=0)

BindAnswer = ErrorBody | Literal["accepted", "pending"]
"""What a provider says of a binding: refused, accepted, or it will tell later."""

AnyPort = Any
"""A `LinkPort`, a `LocalPort` or the engine's own port, where a cycle forbids names."""


@final
class LinkPort(Connection):
    """A worker at the other end of a link.

    Attributes:
        held: frames that wait for the namespace; ``None`` once it is known.
        grace: ends the wait.
        cancels: the peer understands `CancelInvocation` and ``deadline_ms``.
        registered: it has registered something, or made itself known.
    """

    def __init__(
        self, record: WorkerRecord, link: Link, invocations: InvocationTable
    ) -> None:
        super().__init__(record)
        self.link = link
        self.held: list[AnyFrame] | None = []
        self.grace: Timer | None = None
        self.cancels = False
        self.registered = False
        self.made_by_ref: dict[str, Invocation] = {}
        self._invocations = invocations

    def send(self, frame: AnyFrame) -> None:
        """Queue a frame that is not on the hot path."""
        self.link.send_nowait(encode(frame))

    def announce_features(self, features: frozenset[str]) -> None:
        """Remember what the peer can do."""
        self.cancels = CANCEL_FEATURE in features

    # As a callee

    def refuses(self) -> ErrorBody | None:
        """Refuse further calls while the peer does not take what it has."""
        if self.link.outbox_bytes <= OUTBOX_SOFT_LIMIT:
            return None
        name = self.record.name or self.worker_id
        return refused(
            f"worker {name!r} is behind: {self.link.outbox_bytes} bytes wait for it "
            f"(limit {OUTBOX_SOFT_LIMIT}); try again later"
        )

    def dispatch(self, invocation: Invocation) -> None:
        """Send the call; the answer comes as a frame."""
        sender = invocation.sender
        extras = b""
        if (
            invocation.metadata
            or invocation.timer is not None
            or invocation.traceparent is not None
            or invocation.baggage is not None
        ):
            extras = self._extras(invocation)
        self.link.send_nowait(
            encode_invoke(
                invocation.id,
                invocation.function.field,
                invocation.payload,
                b"" if sender is None else sender.caller_field,
                extras,
            )
        )

    def _extras(self, invocation: Invocation) -> bytes:
        """The rarer members of a call's frame."""
        deadline_ms = None
        if invocation.timer is not None and self.cancels:
            left = invocation.deadline - trio.current_time()
            deadline_ms = max(left, 0.0) * 1000
        return invoke_extras(invocation.metadata, *_trace_for(invocation), deadline_ms)

    def abandon(self, invocation: Invocation, reason: str) -> None:
        """Tell a peer that can hear it to stop the handler."""
        if self.cancels and self.is_live:
            self.send(CancelInvocation(invocation_id=invocation.id, reason=reason))

    # As a caller

    def answer(self, invocation: Invocation, outcome: RawOutcome) -> None:
        """Send the outcome under the caller's own id."""
        if self.cancels:
            self.made_by_ref.pop(invocation.caller_ref, None)
        result, error = (
            (b"", encode_error(outcome))
            if isinstance(outcome, ErrorBody)
            else (outcome, b"")
        )
        self.link.send_nowait(
            encode_result(
                invocation.caller_ref,
                invocation.asked or invocation.function.field,
                result,
                error,
                invocation.traceparent,
                invocation.baggage,
            )
        )

    # As a provider and binder of triggers

    def bind_trigger(
        self, trigger: Trigger[AnyPort], kind: TriggerType[AnyPort]
    ) -> BindAnswer:
        """Tell the provider; its answer comes as a frame, if ever."""
        spec = trigger.spec
        served_elsewhere = kind.namespace != DEFAULT_NAMESPACE
        self.send(
            RegisterTrigger(
                id=spec.trigger_id,
                trigger_type=spec.trigger_type,
                function_id=spec.function_id,
                config=json_or_absent(spec.config, null=True),
                metadata=json_or_absent(spec.metadata),
                namespace=(
                    spec.namespace if spec.namespace != DEFAULT_NAMESPACE else None
                ),
                trigger_namespace=kind.namespace if served_elsewhere else None,
            )
        )
        return "pending"

    def unbind_trigger(self, trigger: Trigger[AnyPort]) -> None:
        """Tell the provider that a binding is gone."""
        spec = trigger.spec
        self.send(UnregisterTrigger(id=spec.trigger_id, trigger_type=spec.trigger_type))

    def trigger_refused(self, spec: TriggerSpec, error: ErrorBody) -> None:
        """Tell the binder that its binding does not work."""
        self.send(
            TriggerRegistrationResult(
                id=spec.trigger_id,
                trigger_type=spec.trigger_type,
                function_id=spec.function_id,
                error=msgspec.Raw(encode_error(error)),
            )
        )


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
        handlers begin in the order in which the calls came.
        """
        self._waiting.append(invocation)
        self._handlers.start_soon(self._run_oldest, name=f"calls of {self!r}")

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
                outcome = await self._handlers.run(_incoming(invocation))
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
            scope: what to run it in; default: a new one.
        """
        depth = _depth.get()
        if depth >= INLINE_DEPTH:
            self.dispatch(invocation)
            await wait_settled(invocation, self._invocations, scope)
            return
        token = _depth.set(depth + 1)
        try:
            with scope or trio.CancelScope() as invocation.scope:
                outcome = await self._handlers.run(_incoming(invocation))
                self._invocations.settle(invocation, outcome)
        finally:
            _depth.reset(token)
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
        """Ask the provider's ``bind``; an async one answers later."""
        del kind
        try:
            later = self._handlers.bind(trigger.spec)
        except RegistrationError as exc:
            return ErrorBody(code=exc.code, message=exc.message)
        if later is None:
            return "accepted"
        self._handlers.start_soon(
            self._await_bind, later, trigger, name=f"bind {trigger.spec.trigger_id}"
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


async def wait_settled(
    invocation: Invocation,
    invocations: InvocationTable,
    scope: trio.CancelScope | None = None,
) -> None:
    """Park the current task until a call that it made is settled.

    Cancellation, of the task or of ``scope``, ends the call; its callee is told if it
    can hear it.
    """
    if scope is not None:
        with scope:
            await wait_settled(invocation, invocations)
        return
    if invocation.outcome is not None:
        await trio.lowlevel.checkpoint()
        return
    invocation.task = trio.lowlevel.current_task()

    def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
        invocation.task = None
        invocations.cancel(invocation, "the caller was cancelled")
        return trio.lowlevel.Abort.SUCCEEDED

    await trio.lowlevel.wait_task_rescheduled(abort)


def json_or_absent(value: object, *, null: bool = False) -> msgspec.Raw:
    """JSON text of a value for a frame; ``None`` is left out unless ``null``."""
    if value is None and not null:
        return ABSENT
    return msgspec.Raw(msgspec.json.encode(value))


def _incoming(invocation: Invocation) -> IncomingCall:
    sender = invocation.sender
    return IncomingCall(
        invocation_id=invocation.id,
        function_id=invocation.function.function_id,
        payload=bytes(invocation.payload),
        metadata=bytes(invocation.metadata),
        namespace=invocation.namespace,
        caller_worker_id=None if sender is None else sender.worker_id,
        deadline=invocation.deadline,
        traceparent=invocation.traceparent,
        baggage=invocation.baggage,
    )


def _trace_for(invocation: Invocation) -> tuple[str | None, str | None]:
    """The trace context that the callee gets (protocol, sections 4.6 and 13).

    A malformed ``traceparent`` is dropped. Baggage passes in order, with the entry
    ``iii.function.id`` set last to the callee.
    """
    traceparent, baggage = invocation.traceparent, invocation.baggage
    if traceparent is None and baggage is None:
        return None, None
    if traceparent is not None and not _TRACEPARENT.fullmatch(traceparent):
        traceparent = None
    entries = [
        entry.strip()
        for entry in (baggage or "").split(",")
        if entry.strip() and entry.split("=", 1)[0].strip() != "iii.function.id"
    ]
    entries.append(f"iii.function.id={invocation.function.function_id}")
    return traceparent, ",".join(entries)
