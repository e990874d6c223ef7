"""A worker at the other end of a link, as a caller and as a callee.

The other kind of port, and the table of both, is in ``_ports.py``.
"""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, final

import msgspec

from iii_trio.engine._connection import Connection
from iii_trio.engine._guard import Guard
from iii_trio.engine._invocation import Calls, Invocation, InvocationTable, RawOutcome
from iii_trio.engine._ports import AnyPort, BindAnswer
from iii_trio.engine._quotas import OUTBOX_SOFT_LIMIT, weight_of
from iii_trio.engine._roster import WorkerRecord
from iii_trio.engine._timers import Timer
from iii_trio.engine._triggers import Trigger, TriggerType
from iii_trio.protocol import (
    ABSENT,
    CANCEL_FEATURE,
    DEFAULT_NAMESPACE,
    MAX_MESSAGE_BYTES,
    SMALL_MESSAGE_BYTES,
    AnyFrame,
    CancelInvocation,
    ErrorBody,
    Frame,
    RegisterTrigger,
    TriggerRegistrationResult,
    UnregisterTrigger,
    encode,
    encode_error,
    encode_invoke,
    encode_result,
    invoke_extras,
    payload_too_large,
    receive_limit,
    refused,
)
from iii_trio.transport import Link, Outbox, TriggerSpec

OUTBOX_LARGE_LIMIT: Final = OUTBOX_SOFT_LIMIT + MAX_MESSAGE_BYTES
"""Bytes that a message over `SMALL_MESSAGE_BYTES` may make wait, so that several large
results at once do not reach the limit at which a link is dropped (96 MiB)."""

REASON_CHARACTERS: Final = 1000
"""What is told of the reason of a cancellation, which is a caller's own text: one of any
size could make a message that the callee cannot take."""

_log: Final = logging.getLogger("iii_trio.engine.link")

_TRACEPARENT = re.compile(
    "(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


@final
class LinkPort(Connection):
    """A worker at the other end of a link.

    Attributes:
        outbox: tells how many bytes wait for the peer; looked at with every call to it.
        held: frames that wait for the namespace; ``None`` once it is known.
        held_weight: what they count as.
        grace: ends the wait.
        cancels: the peer understands `CancelInvocation` and ``deadline_ms``.
        receive_limit: the largest message that the peer takes, in bytes; small until it
            told who it is.
        registered: it has registered something, or made itself known.
        handlers: what its frames do, by class.
        apply: what its registrations do, once the namespace is known.
        guard: restricts it; ``None`` where everything is allowed.
        inquiries: what functions are asked about it, such as whether it is let in; they
            end with it.
        passes: functions (by serial) whose plain calls the guard lets pass, as far as
            it was asked; ``None`` where everything is allowed.
    """

    handlers: Mapping[type[Frame], Callable[["LinkPort", Any], None]]
    apply: Callable[["LinkPort", AnyFrame], None]

    def __init__(
        self, record: WorkerRecord, link: Link, invocations: InvocationTable
    ) -> None:
        super().__init__(record)
        self.link = link
        self.outbox: Outbox = getattr(link, "outbox", link)
        self.held: list[AnyFrame] | None = []
        self.held_weight = 0
        self.grace: Timer | None = None
        self.cancels = False
        self.receive_limit = SMALL_MESSAGE_BYTES
        self.registered = False
        self.made_by_ref: dict[str, Invocation] = {}
        self.guard: Guard | None = None
        self.inquiries: Calls = {}
        self.passes: set[int] | None = None
        self._invocations = invocations

    def send(self, frame: AnyFrame) -> ErrorBody | None:
        """Queue a frame that is not on the hot path.

        Returns:
            Why the peer cannot take it, if so; then it is dropped.
        """
        text = encode(frame)
        if len(text) > SMALL_MESSAGE_BYTES:
            error = self._cannot_take(len(text))
            if error is not None:
                kind = type(frame).__name__.lower()
                _log.warning("%s frame for %s dropped: %s", kind, self, error.message)
                return error
        self.link.send_nowait(text)
        return None

    def keep(self, frame: AnyFrame) -> int:
        """Let a registration wait for the namespace; gives what those that wait weigh."""
        assert self.held is not None, "it is known"
        self.held.append(frame)
        self.held_weight += weight_of(encode(frame))
        return self.held_weight

    def drop_registrations(self) -> None:
        """Never apply what it registered, or will register: it is refused."""
        self.held = None
        self.apply = lambda _port, _frame: None

    def announce_features(self, features: frozenset[str]) -> None:
        """Remember what the peer can do; its record says which SDK it has."""
        self.cancels = CANCEL_FEATURE in features
        if self.cancels:  # also what it called before
            self.made_by_ref = {made.caller_ref: made for made in self.made}
        record = self.record
        self.receive_limit = receive_limit(record.runtime, record.version, features)

    def _cannot_take(self, size: int) -> ErrorBody | None:
        """Why a message over `SMALL_MESSAGE_BYTES` may not be sent now, if so."""
        record = self.record
        name = f"worker {record.name or self.worker_id!r}"
        if size > self.receive_limit:
            sdk = f"{record.runtime} {record.version or ''}".rstrip()
            return payload_too_large(size, self.receive_limit, f"{name} ({sdk})")
        waiting = self.link.outbox_bytes
        if waiting and waiting + size > OUTBOX_LARGE_LIMIT:
            return refused(
                f"{name} is behind: {waiting} bytes wait for it, and {size} more would "
                f"pass the limit ({OUTBOX_LARGE_LIMIT})"
            )
        return None

    # As a callee

    def refuses(self) -> ErrorBody | None:
        """Refuse further calls while the peer does not take what it has."""
        quotas = self._invocations.quotas
        limit = quotas.outbox_soft
        if self.link.outbox_bytes <= limit:
            return None
        quotas.refused_calls += 1
        name = self.record.name or self.worker_id
        return refused(
            f"worker {name!r} is behind: {self.link.outbox_bytes} bytes wait for it "
            f"(limit {limit}); try again later"
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
        text = encode_invoke(
            invocation.id,
            invocation.function.invoke_field,
            invocation.payload,
            b"" if sender is None else sender.caller_field,
            extras,
        )
        if len(text) > SMALL_MESSAGE_BYTES:
            error = self._cannot_take(len(text))
            if error is not None:
                self._refuse(invocation, error)
                return
        self.link.send_nowait(text)
        invocation.payload = b""  # it may be large, and the answer hours away

    def _refuse(self, invocation: Invocation, error: ErrorBody) -> None:
        """The peer cannot take a call: tell whoever waits for it, else the log."""
        if invocation.caller is None:
            function_id = invocation.function.function_id
            _log.warning("void call of %s dropped: %s", function_id, error.message)
            self._invocations.quotas.dropped_fires += 1
        self._invocations.settle(invocation, error)

    def _extras(self, invocation: Invocation) -> bytes:
        """The rarer members of a call's frame."""
        deadline_ms = None
        if invocation.timer is not None and self.cancels:
            deadline_ms = self._invocations.time_left(invocation) * 1000
        return invoke_extras(invocation.metadata, *_trace_for(invocation), deadline_ms)

    def abandon(self, invocation: Invocation, reason: str) -> None:
        """Tell a peer that can hear it to stop the handler."""
        if self.cancels and self.is_live:
            cut = reason[:REASON_CHARACTERS]
            self.send(CancelInvocation(invocation_id=invocation.id, reason=cut))

    # As a caller

    def cancel(self, caller_ref: str, reason: str = "") -> None:
        """The peer no longer wants a call; an id that is none of its own is ignored."""
        invocation = self.made_by_ref.pop(caller_ref, None)
        if invocation is not None:
            reason = reason or "cancelled by the caller"
            self._invocations.cancel(invocation, reason)

    def answer(self, invocation: Invocation, outcome: RawOutcome) -> None:
        """Send the outcome under the caller's own id."""
        if self.made_by_ref:
            self.made_by_ref.pop(invocation.caller_ref, None)
        text = _result_text(invocation, outcome)
        if len(text) > SMALL_MESSAGE_BYTES:
            error = self._cannot_take(len(text))
            if error is not None:
                text = _result_text(invocation, error)
        self.link.send_nowait(text)

    # As a provider and binder of triggers

    def _own_type(self, trigger_type: str) -> str:
        """What this worker calls a trigger type."""
        guard = self.guard
        return trigger_type if guard is None else guard.types.own(trigger_type)

    def bind_trigger(
        self, trigger: Trigger[AnyPort], kind: TriggerType[AnyPort]
    ) -> BindAnswer:
        """Tell the provider; its answer comes as a frame, if ever."""
        spec = trigger.spec
        served_elsewhere = kind.namespace != DEFAULT_NAMESPACE
        refusal = self.send(
            RegisterTrigger(
                id=spec.trigger_id,
                trigger_type=self._own_type(spec.trigger_type),
                function_id=spec.function_id,
                config=json_or_absent(spec.config, null=True),
                metadata=json_or_absent(spec.metadata),
                namespace=(
                    spec.namespace if spec.namespace != DEFAULT_NAMESPACE else None
                ),
                trigger_namespace=kind.namespace if served_elsewhere else None,
            )
        )
        if refusal is None:
            return "pending"
        self.unbind_trigger(trigger)  # it may know one of this id, which this replaces
        return refusal

    def unbind_trigger(self, trigger: Trigger[AnyPort]) -> None:
        """Tell the provider that a binding is gone."""
        spec = trigger.spec
        kind = self._own_type(spec.trigger_type)
        self.send(UnregisterTrigger(id=spec.trigger_id, trigger_type=kind))

    def trigger_refused(self, spec: TriggerSpec, error: ErrorBody) -> None:
        """Tell the binder that its binding does not work."""
        guard = self.guard
        if guard is not None:
            spec = guard.own_spec(spec)
        self.send(
            TriggerRegistrationResult(
                id=spec.trigger_id,
                trigger_type=spec.trigger_type,
                function_id=spec.function_id,
                error=msgspec.Raw(encode_error(error)),
            )
        )


def _result_text(invocation: Invocation, outcome: RawOutcome) -> bytes:
    """The frame that answers a call, under the caller's own id for it."""
    result, error = (
        (b"", encode_error(outcome))
        if isinstance(outcome, ErrorBody)
        else (outcome, b"")
    )
    return encode_result(
        invocation.caller_ref,
        invocation.asked or invocation.function.field,
        result,
        error,
        invocation.traceparent,
        invocation.baggage,
    )


def json_or_absent(value: object, *, null: bool = False) -> msgspec.Raw:
    """JSON text of a value for a frame; ``None`` is left out unless ``null``."""
    if value is None and not null:
        return ABSENT
    return msgspec.Raw(msgspec.json.encode(value))


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
