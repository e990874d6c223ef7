"""Router: who is called, and may it be; and what each frame of a worker does.

One table maps a frame's type to a small sync function. None of them waits for another
peer, so a reader handles the frames of its own link in order and is never held up by
anybody else's.
"""

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol, final

import msgspec

from iii_trio.engine._actions import Action, EnqueueCall, parse_action, served_action
from iii_trio.engine._bindings import Bindings
from iii_trio.engine._complaints import Complaints
from iii_trio.engine._invocation import Invocation, InvocationTable, RawOutcome
from iii_trio.engine._link_port import LinkPort
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._registry import Function, Registry
from iii_trio.engine._unreadable import end_unreadable
from iii_trio.errors import RemoteProtocolError
from iii_trio.protocol import (
    ABSENT,
    DEFAULT_NAMESPACE,
    HELD_BACK,
    AnyFrame,
    CancelInvocation,
    ErrorBody,
    Frame,
    InvocationResult,
    InvokeFunction,
    JSONBytes,
    Ping,
    Pong,
    Reattach,
    Side,
    TriggerRegistrationResult,
    UnknownFrameError,
    blank_namespace,
    decode,
    decode_error,
    encode_error,
    encode_result,
    function_field,
    is_absent,
    is_blank,
    may_send,
    not_found,
    salvage,
)

ENQUEUE: Final = "engine::queue::enqueue"

_log: Final = logging.getLogger("iii_trio.engine.router")

_DRAINING: Final = ErrorBody(
    code="engine_draining",
    message="the engine is shutting down and takes no new calls",
)


class Supervision(Protocol):
    """What the supervisor does for frames that register, announce or reattach."""

    def hold(self, port: LinkPort, frame: AnyFrame) -> None:
        """Apply a registration, now or once the namespace is known."""

    def reattach(self, port: LinkPort, frame: Reattach) -> None:
        """The peer says who it was before."""


@final
class Router:
    """Finds callees, refuses what may not be called, and reads frames.

    Args:
        registry: who offers what.
        invocations: what is in flight.
        bindings: for providers' answers.
        new_id: makes UUID text, for queue receipts.
    """

    def __init__(
        self,
        registry: Registry[AnyPort],
        invocations: InvocationTable,
        bindings: Bindings,
        new_id: Callable[[], str],
    ) -> None:
        self.registry = registry
        self.invocations = invocations
        self.supervisor: Supervision
        self.draining = False
        self.bad_frames = 0
        self.dropped_fires = 0
        self._bad_frame_lines = Complaints(_log, invocations.now, "bad frames")
        self._void_call_lines = Complaints(_log, invocations.now, "dropped void calls")
        self.bindings = bindings
        self._new_id = new_id
        self.handlers: dict[type[Frame], Callable[[LinkPort, Any], None]] = {
            InvokeFunction: self.on_invoke,
            InvocationResult: self._on_result,
            CancelInvocation: self._on_cancel,
            TriggerRegistrationResult: self._on_trigger_result,
            Reattach: self._on_reattach,
            Ping: self._on_ping,
            **dict.fromkeys(HELD_BACK, self._on_registration),
        }

    # Calls

    def route(
        self, invocation: Invocation, function_id: str, action: JSONBytes = b""
    ) -> ErrorBody | None:
        """Find the callee of a call and open it; dispatching is the caller's next step.

        Returns:
            ``None`` when the call is open, else why it was refused.
        """
        if action and not is_absent(action):
            function_id, error = self._apply_action(invocation, function_id, action)
            if error is not None:
                return error
        function = self.registry.find(invocation.namespace, function_id)
        if function is None:
            return self._not_found(invocation.namespace, function_id)
        if self.draining and not function.function_id.startswith("engine::"):
            return _DRAINING
        overload: ErrorBody | None = function.callee.refuses()
        if invocation.caller is None and overload is None:
            # Nobody's calls are counted where they come from.
            quotas = self.invocations.quotas
            if len(function.callee.executing) >= quotas.pending_calls:
                overload = quotas.refuse_call(repr(function.callee))
        if overload is None:
            self.invocations.open(invocation, function)
        return overload

    def _not_found(self, namespace: str, function_id: str) -> ErrorBody:
        if is_blank(namespace):
            return blank_namespace()
        elsewhere = self.registry.namespaces_of(function_id)
        return not_found(function_id, namespace, elsewhere)

    def fire(
        self,
        function_id: str,
        namespace: str,
        payload: bytes,
        metadata: bytes = b"",
    ) -> None:
        """Call a function for the engine itself: no sender, no answer."""
        invocation = Invocation(payload, namespace)
        invocation.metadata = metadata
        self.start_void(invocation, function_id)

    def start_void(
        self, invocation: Invocation, function_id: str, action: JSONBytes = b""
    ) -> None:
        """Start a call that nobody waits for; a refusal is logged and counted."""
        error = self.route(invocation, function_id, action)
        if error is None:
            invocation.callee.dispatch(invocation)
        else:
            self._drop("the engine", error)

    def _drop(self, sender: object, error: ErrorBody) -> None:
        """A void call is refused: count it, and say so."""
        self.dropped_fires += 1
        if self._void_call_lines.may_write():
            _log.warning(
                "void call of %s dropped: %s: %s", sender, error.code, error.message
            )

    def _apply_action(
        self, invocation: Invocation, function_id: str, action: JSONBytes
    ) -> tuple[str, ErrorBody | None]:
        """Turn a call with an action into the call that does it."""
        try:
            parsed = parse_action(action)
        except msgspec.DecodeError as exc:
            return function_id, ErrorBody(
                code="INVALID_ACTION", message=f"`action` is not usable: {exc}"
            )
        if parsed.type == "void":
            invocation.caller = None
            return function_id, None
        if parsed.type == "enqueue":
            return self._enqueue(invocation, function_id, parsed)
        return self._custom_action(invocation, function_id, parsed.type, action)

    def _enqueue(
        self, invocation: Invocation, function_id: str, action: Action
    ) -> tuple[str, ErrorBody | None]:
        if self.registry.find(DEFAULT_NAMESPACE, ENQUEUE) is None:
            return function_id, ErrorBody(
                code="enqueue_error",
                message=(
                    "No queue provider is installed: nobody serves `"
                    f"{ENQUEUE}`. Add a `queue` worker to the configuration (with the "
                    "reference engine: `iii worker add queue`)."
                ),
            )
        receipt = self._new_id()
        fields = EnqueueCall(
            queue=action.queue,
            function_id=function_id,
            data=_raw(invocation.payload),
            messageReceiptId=receipt,
            traceparent=invocation.traceparent,
            baggage=invocation.baggage,
            namespace=invocation.namespace,
            delay_ms=action.delay_ms,
        )

        def receipt_or_error(outcome: RawOutcome) -> RawOutcome:
            if not isinstance(outcome, ErrorBody):
                return b'{"messageReceiptId":"%b"}' % receipt.encode()
            return ErrorBody(
                code="enqueue_error", message=f"{outcome.code}: {outcome.message}"
            )

        _redirect(invocation, function_id, fields, receipt_or_error)
        return ENQUEUE, None

    def _custom_action(
        self, invocation: Invocation, function_id: str, kind: str, action: JSONBytes
    ) -> tuple[str, ErrorBody | None]:
        function = self.action_function(kind)
        if function is not None:
            fields = {
                "action": _raw(action),
                "function_id": function_id,
                "data": _raw(invocation.payload),
                "namespace": invocation.namespace,
            }
            _redirect(invocation, function_id, fields, None)
            invocation.namespace = function.namespace
            return function.function_id, None
        served = {served_action(f.metadata) for f in self.registry} - {None}
        names = ", ".join(sorted({"void", "enqueue", *map(str, served)}))
        return function_id, ErrorBody(
            code="unknown_action",
            message=f"no worker serves the action {kind!r}; known actions: {names}",
        )

    def action_function(self, kind: str) -> Function[AnyPort] | None:
        """The function that performs calls with an action of this type."""
        for function in self.registry:
            if served_action(function.metadata) == kind:
                return function
        return None

    # Frames

    def on_text(self, port: LinkPort, text: bytes) -> None:
        """Read one text message of a worker and do what it says."""
        try:
            frame = decode(text)
        except RemoteProtocolError:
            self.on_rubbish(port, text)
        else:
            self.on_frame(port, frame)

    def note_bad_frame(self) -> bool:
        """Count a message that cannot be used; whether that may be logged, too."""
        self.bad_frames += 1
        return self._bad_frame_lines.may_write()

    def on_rubbish(self, port: LinkPort, text: bytes) -> None:
        """A worker sent what cannot be read: count it, and say what is wrong with it.

        Whoever waits for it, a caller for an answer, is told, too.
        """
        if not text or text.isspace():
            return
        may_write = self.note_bad_frame()
        failure: RemoteProtocolError | None = None
        try:
            decode(text)
        except RemoteProtocolError as exc:
            failure = exc
        remains = salvage(text, str(failure or ""))
        if remains is not None:
            error = remains.error()
            end_unreadable(port, self.invocations, self.bindings, remains, error)
        if failure is not None and may_write:
            known = "ignored" if isinstance(failure, UnknownFrameError) else "dropped"
            why = failure if remains is None else remains.problem
            _log.warning("frame of %s %s: %s", port, known, why)

    def on_frame(self, port: LinkPort, frame: AnyFrame) -> None:
        """Do what a frame of a worker says."""
        handler = port.handlers.get(type(frame))
        if handler is not None:
            handler(port, frame)
        elif not may_send(Side.WORKER, frame):
            _log.info("%s sent a frame that only engines send: ignored", port)

    def on_invoke(self, port: LinkPort, frame: InvokeFunction) -> None:
        """Call what a worker asks for."""
        wanted, namespace = frame.invocation_id, frame.namespace
        invocation = Invocation(
            frame.data or b"null",
            DEFAULT_NAMESPACE if namespace is None else namespace,
            port,
            None if wanted is None else port,
            wanted or "",
        )
        if frame.metadata:
            invocation.metadata = _without_null(frame.metadata)
        if frame.deadline_ms is not None:
            invocation.timeout = frame.deadline_ms / 1000
        invocation.traceparent = frame.traceparent
        invocation.baggage = frame.baggage
        quotas = self.invocations.quotas
        error = (
            quotas.refuse_call("this worker")
            if wanted is not None and len(port.made) >= quotas.pending_calls
            else self.route(invocation, frame.function_id, frame.action)
        )
        if error is None:
            if port.cancels and invocation.caller is port:
                port.made_by_ref[invocation.caller_ref] = invocation
            invocation.callee.dispatch(invocation)
        elif invocation.caller is not None:
            refuse_call(port, invocation, frame.function_id, error)
        else:
            self._drop(port, error)

    def _on_result(self, port: LinkPort, frame: InvocationResult) -> None:
        outcome: RawOutcome
        if frame.error and not is_absent(frame.error):
            outcome = decode_error(frame.error)
        else:
            outcome = _without_null(frame.result)
        self.invocations.answered(port, frame.invocation_id, outcome)

    def _on_cancel(self, port: LinkPort, frame: CancelInvocation) -> None:
        port.cancel(frame.invocation_id, frame.reason or "")

    def _on_trigger_result(
        self, port: LinkPort, frame: TriggerRegistrationResult
    ) -> None:
        refused = frame.error and not is_absent(frame.error)
        error = decode_error(frame.error) if refused else None
        self.bindings.answered(frame.id, port, error)

    def _on_reattach(self, port: LinkPort, frame: Reattach) -> None:
        self.supervisor.reattach(port, frame)

    def _on_registration(self, port: LinkPort, frame: AnyFrame) -> None:
        port.registered = True
        self.supervisor.hold(port, frame)

    def _on_ping(self, port: LinkPort, _frame: Ping) -> None:
        port.send(Pong())


def refuse_call(
    port: LinkPort, invocation: Invocation, function_id: str, error: ErrorBody
) -> None:
    """Answer a call that was never opened."""
    port.link.send_nowait(
        encode_result(
            invocation.caller_ref,
            function_field(function_id),
            b"",
            encode_error(error),
            invocation.traceparent,
            invocation.baggage,
        )
    )


def _without_null(value: msgspec.Raw) -> JSONBytes:
    """A null is the same as nothing, and is left out when it is passed on."""
    return ABSENT if len(value) == 4 and is_absent(value) else value


def _raw(value: JSONBytes) -> msgspec.Raw:
    return value if isinstance(value, msgspec.Raw) else msgspec.Raw(value)


def _redirect(
    invocation: Invocation,
    asked: str,
    fields: object,
    transform: Callable[[RawOutcome], RawOutcome] | None,
) -> None:
    """Make a call the call of an action's provider: hidden sender, no metadata."""
    invocation.asked = function_field(asked)
    invocation.payload = msgspec.json.encode(fields)
    invocation.metadata = b""
    invocation.namespace = DEFAULT_NAMESPACE
    invocation.sender = None
    invocation.transform = transform
