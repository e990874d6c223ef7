"""One connection of a remote worker: what its frames do, until it is lost."""

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, Protocol, final

import trio

from iii_trio.errors import RegistrationError, RemoteProtocolError
from iii_trio.protocol import (
    MAX_MESSAGE_BYTES,
    SMALL_MESSAGE_BYTES,
    STOPPED,
    AnyFrame,
    CancelInvocation,
    Error,
    ErrorBody,
    Frame,
    InvocationResult,
    InvokeFunction,
    Ping,
    Pong,
    RegisterTrigger,
    RegistrationRejected,
    Side,
    TriggerRegistrationResult,
    UnknownFrameError,
    UnregisterTrigger,
    WorkerRegistered,
    decode,
    decode_error,
    encode,
    exception_from,
    is_absent,
    may_send,
    payload_or_null,
    refused,
    salvage,
    timed_out,
)
from iii_trio.transport import (
    Handlers,
    IncomingCall,
    Link,
    Outcome,
    Request,
    WorkerSpec,
)
from iii_trio.worker._frames import (
    announcement,
    bind_answer,
    call_frame,
    features_of,
    rejection_from,
    result_text,
    take_caller,
    too_large,
    trigger_from,
)
from iii_trio.worker._pending import PendingCalls

logger = logging.getLogger(__name__)

OUTBOX_SOFT_LIMIT: Final = 8 * 2**20
"""Bytes waiting for the engine above which new calls are refused."""

OUTBOX_LARGE_LIMIT: Final = OUTBOX_SOFT_LIMIT + MAX_MESSAGE_BYTES
"""The same for results of more than `SMALL_MESSAGE_BYTES`: below the link's own limit."""


class SessionOwner(Protocol):
    """What a session tells the port that owns it."""

    def on_rejected(self, what: str, error: RegistrationError) -> None:
        """The engine refused a function or a trigger."""

    def on_fatal(self, error: RegistrationError) -> None:
        """The engine refused this worker."""

    def on_lost(self) -> None:
        """The connection is lost: the session is of no use any more."""


@final
class Session:
    """A connection, from its first frame until it is lost; a `LinkSink`.

    Attributes:
        worker_id: from the greeting, ``""`` before it.
        reattach_token: secret that proves later that we were this worker.
        greeted: the engine told our id. Also set when the connection is lost.
        closed: the connection is lost, for ``reason``.
        calls: those made through it.
    """

    def __init__(
        self,
        link: Link,
        handlers: Handlers,
        owner: SessionOwner,
        namespace: str,
        new_id: Callable[[], str],
    ) -> None:
        self.worker_id = ""
        self.reattach_token: str | None = None
        self.greeted = trio.Event()
        self.closed = trio.Event()
        self.reason = ""
        self._link = link
        self._handlers = handlers
        self._owner = owner
        self._namespace = namespace
        self._new_id = new_id
        self.calls = PendingCalls(self.send)
        self._announcement = ""
        self._running: dict[str, trio.CancelScope] = {}
        self._waiting: deque[tuple[IncomingCall, InvokeFunction, trio.CancelScope]]
        self._waiting = deque()
        self._bound: dict[str, RegisterTrigger] = {}

    # What the worker does

    def send(self, frame: AnyFrame) -> None:
        """Queue a frame."""
        self._link.send_nowait(encode(frame))

    def announce(self, spec: WorkerSpec) -> None:
        """Tell the engine who we are; its answer tells what it can do."""
        self._announcement = self._new_id()
        self.send(announcement(spec, self._announcement))

    def send_text(self, text: bytes) -> None:
        """Queue a frame that is JSON text already."""
        self._link.send_nowait(text)

    def check_room(self, size: int) -> ErrorBody | None:
        """Tell why a message of so many bytes may not be sent now, if so."""
        return self._check(size, OUTBOX_SOFT_LIMIT)

    def _check(self, size: int, limit: int) -> ErrorBody | None:
        if size > MAX_MESSAGE_BYTES:
            return too_large(size)
        waiting = self._link.outbox_bytes
        if waiting and waiting + size > limit:
            return refused(f"the engine is behind: {waiting} bytes wait for it")
        return None

    async def call(self, request: Request, deadline: float) -> bytes:
        """Call through this connection and wait.

        Raises:
            InvocationError: any failed outcome; `InvocationStoppedError` when the
                connection is lost.
        """
        invocation_id = self._new_id()
        left = None
        if deadline != math.inf and self.calls.can_cancel:
            left = max(0.0, deadline - trio.current_time()) * 1000
        text = encode(call_frame(request, invocation_id, left))
        outcome: Outcome | None = self.check_room(len(text))
        if outcome is None:
            outcome = await self.calls.outcome_of(
                invocation_id, lambda: self.send_text(text), deadline
            )
        else:
            await trio.lowlevel.checkpoint()
        if isinstance(outcome, ErrorBody):
            raise exception_from(
                outcome,
                function_id=request.function_id,
                invocation_id=invocation_id,
            )
        return outcome

    def end(self, reason: str) -> None:
        """Say goodbye: nothing is accepted any more, running handlers are cancelled."""
        self._link.close(reason, polite=True)
        self.on_closed(reason)

    # What the link tells

    def on_frame(self, text: bytes) -> None:
        """Handle one frame; what cannot be read is logged and dropped."""
        if self.closed.is_set():
            return
        try:
            frame = decode(text)
        except UnknownFrameError as exc:
            logger.debug("frame ignored: %s", exc)
            return
        except RemoteProtocolError as exc:
            logger.warning("frame ignored: %s", exc)
            self._end_unreadable(text, str(exc))
            return
        handle = self._frames.get(type(frame))
        if handle is not None and may_send(Side.ENGINE, frame):
            handle(self, frame)

    def _end_unreadable(self, text: bytes, problem: str) -> None:
        """Tell whoever waits for a frame that cannot be read."""
        remains = salvage(text, problem)
        if remains is None:
            return
        if remains.kind == "answer":
            self._on_outcome(remains.id, remains.error())
        elif remains.kind == "call":
            call = InvokeFunction(
                function_id=remains.function_id, invocation_id=remains.id
            )
            self._answer(call, remains.error())

    def on_telemetry(self, data: bytes) -> None:
        """Engines send none."""

    def on_closed(self, reason: str) -> None:
        """Fail pending calls, cancel running handlers, unbind what was bound."""
        if self.closed.is_set():
            return
        self.reason = self.reason or reason
        self.closed.set()
        self.greeted.set()
        self._owner.on_lost()
        self.calls.lose()
        for scope in self._running.values():
            scope.cancel(reason=f"connection lost: {reason}")
        for trigger_id in self._bound:
            self._handlers.unbind(trigger_id, lost=True)

    # Frames

    def _on_greeting(self, frame: WorkerRegistered) -> None:
        self.worker_id = frame.worker_id
        self.reattach_token = frame.reattach_token
        self.calls.greeted()
        self.greeted.set()

    def _on_invoke(self, frame: InvokeFunction) -> None:
        invocation_id = frame.invocation_id or self._new_id()
        if invocation_id in self._running:
            logger.warning("call %s came twice: ignored", invocation_id)
            return
        payload, caller = take_caller(payload_or_null(frame.data))
        deadline = math.inf
        if frame.deadline_ms is not None:
            deadline = trio.current_time() + frame.deadline_ms / 1000
        call = IncomingCall(
            invocation_id=invocation_id,
            function_id=frame.function_id,
            payload=payload,
            metadata=b"" if is_absent(frame.metadata) else bytes(frame.metadata),
            namespace=self._namespace,
            caller_worker_id=caller,
            deadline=deadline,
            traceparent=frame.traceparent,
            baggage=frame.baggage,
        )
        # Known before its task runs: the next frame may cancel it.
        scope = self._running[invocation_id] = trio.CancelScope(deadline=deadline)
        self._waiting.append((call, frame, scope))
        self._handlers.start_soon(self._run_oldest, name=f"call {frame.function_id}")

    async def _run_oldest(self) -> None:
        """Trio starts tasks in any order; handlers begin in that of the calls."""
        await self._run(*self._waiting.popleft())

    async def _run(
        self, call: IncomingCall, frame: InvokeFunction, scope: trio.CancelScope
    ) -> None:
        started = trio.current_time()
        outcome: Outcome | None = None
        try:
            with scope:
                outcome = await self._handlers.run(call)
        finally:
            del self._running[call.invocation_id]
        if outcome is None:
            late = trio.current_time() >= call.deadline
            elapsed = (call.deadline - started) * 1000
            outcome = timed_out(elapsed) if late else STOPPED
        if frame.invocation_id is not None:
            self._answer(frame, outcome)

    def _answer(self, frame: InvokeFunction, outcome: Outcome) -> None:
        if self.closed.is_set():
            return
        assert frame.invocation_id is not None
        text = result_text(frame, outcome)
        if len(text) > SMALL_MESSAGE_BYTES:
            problem = self._check(len(text), OUTBOX_LARGE_LIMIT)
            if problem is not None:
                text = result_text(frame, problem)
        self._link.send_nowait(text)

    def _on_result(self, frame: InvocationResult) -> None:
        outcome: Outcome = b"" if is_absent(frame.result) else bytes(frame.result)
        if not is_absent(frame.error):
            outcome = decode_error(frame.error)
        self._on_outcome(frame.invocation_id, outcome)

    def _on_outcome(self, invocation_id: str, outcome: Outcome) -> None:
        if invocation_id == self._announcement:
            self.calls.tell_features(features_of(outcome))
        else:
            self.calls.settle(invocation_id, outcome)

    def _on_cancel(self, frame: CancelInvocation) -> None:
        scope = self._running.get(frame.invocation_id)
        if scope is not None:
            scope.cancel(reason=frame.reason or "cancelled by the engine")

    def _on_trigger(self, frame: RegisterTrigger) -> None:
        self._bound[frame.id] = frame
        try:
            waiting = self._handlers.bind(trigger_from(frame))
        except RegistrationError as exc:
            self._handlers.unbind(frame.id)  # what it replaces, if it got nowhere
            self._tell_bound(frame, exc)
        else:
            if waiting is None:
                self._tell_bound(frame, None)
                return
            self._handlers.start_soon(
                self._finish_bind, frame, waiting, name=f"bind {frame.id}"
            )

    async def _finish_bind(
        self, frame: RegisterTrigger, waiting: Awaitable[None]
    ) -> None:
        error = None
        try:
            await waiting
        except RegistrationError as exc:
            error = exc
        await trio.lowlevel.checkpoint()
        self._tell_bound(frame, error)

    def _tell_bound(
        self, frame: RegisterTrigger, error: RegistrationError | None
    ) -> None:
        # Answers name the trigger alone: one to what was unbound or replaced meanwhile
        # would be taken for one to what came after it.
        if self._bound.get(frame.id) is not frame or self.closed.is_set():
            return
        if error is not None:
            del self._bound[frame.id]
        self.send(bind_answer(frame, error))

    def _on_unbind(self, frame: UnregisterTrigger) -> None:
        self._bound.pop(frame.id, None)
        self._handlers.unbind(frame.id)

    def _on_trigger_result(self, frame: TriggerRegistrationResult) -> None:
        if is_absent(frame.error):
            return
        body = decode_error(frame.error)
        self._owner.on_rejected(
            frame.id, RegistrationError(body.message, code=body.code)
        )

    def _on_rejected(self, frame: RegistrationRejected) -> None:
        error = rejection_from(frame)
        # As the public SDKs: whatever is not about one function ends the worker.
        if frame.function_id is not None:
            self._owner.on_rejected(frame.function_id, error)
        else:
            self._owner.on_fatal(error)

    def _on_error(self, frame: Error) -> None:
        body = decode_error(frame.error)
        self.reason = f"refused by the engine: {body.code}: {body.message}"

    def _on_ping(self, _: Ping) -> None:
        self.send(Pong())

    _frames: ClassVar[dict[type[Frame], Callable[["Session", Any], None]]] = {
        WorkerRegistered: _on_greeting,
        InvokeFunction: _on_invoke,
        InvocationResult: _on_result,
        CancelInvocation: _on_cancel,
        RegisterTrigger: _on_trigger,
        UnregisterTrigger: _on_unbind,
        TriggerRegistrationResult: _on_trigger_result,
        RegistrationRejected: _on_rejected,
        Error: _on_error,
        Ping: _on_ping,
    }
