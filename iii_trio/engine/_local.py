"""What a worker of this process holds: see ``iii_trio.transport.AttachedPort``."""

from collections.abc import Callable, Mapping
from typing import Any, Final, final

import attrs
import msgspec
import trio

from iii_trio.engine._bindings import Bindings
from iii_trio.engine._channel_ends import LocalChannelEnd, LocalChannels
from iii_trio.engine._channels import Channels
from iii_trio.engine._invocation import Invocation, InvocationTable, RawOutcome
from iii_trio.engine._ports import LocalPort, wait_settled
from iii_trio.engine._registrar import Registrar
from iii_trio.engine._registry import PROVIDER_IDS, Function
from iii_trio.engine._router import Router
from iii_trio.engine._triggers import TriggerType
from iii_trio.errors import RegistrationError
from iii_trio.protocol import (
    ChannelRef,
    ErrorBody,
    blank_namespace,
    exception_from,
    is_blank,
    sayable,
)
from iii_trio.transport import (
    ChannelEnd,
    FunctionSpec,
    Invoker,
    Outcome,
    Request,
    TriggerSpec,
    TriggerTypeSpec,
)

PROVIDER_PATIENCE: Final = 10.0
"""Seconds that binding waits for a provider's answer; silence accepts."""

ENGINE_IDS: Final[Mapping[str, str]] = {
    "engine::queue::": "iii-queue",
    **dict.fromkeys(
        (
            "engine::alerts::",
            "engine::baggage::",
            "engine::health::",
            "engine::log::",
            "engine::logs::",
            "engine::metrics::",
            "engine::rollups::",
            "engine::sampling::",
            "engine::traces::",
        ),
        "iii-observability",
    ),
}
"""Ids below ``engine::`` that a worker of this process may offer: prefix to its name."""


@final
class _Told:
    """A caller in this process that is told of the outcome of one call.

    Attributes:
        made: that of its worker, with which the call ends.
    """

    __slots__ = ("_on_outcome", "made", "worker_id")

    def __init__(self, port: LocalPort, on_outcome: Callable[[Outcome], None]) -> None:
        self.worker_id = port.worker_id
        self.made = port.made
        self._on_outcome = on_outcome

    def answer(self, invocation: Invocation, outcome: RawOutcome) -> None:
        """Tell."""
        del invocation
        self._on_outcome(outcome if isinstance(outcome, ErrorBody) else bytes(outcome))


@final
class StartedCall:
    """A call whose outcome will be told; see ``iii_trio.transport.StartedCall``."""

    __slots__ = ("_invocation", "_invocations")

    def __init__(self, invocation: Invocation, invocations: InvocationTable) -> None:
        self._invocation = invocation
        self._invocations = invocations

    def cancel(self, reason: str) -> None:
        """End the call, if it has no outcome."""
        self._invocations.cancel(self._invocation, reason)


@final
class LocalWorkerPort:
    """Registers, binds and calls for one worker of this process."""

    def __init__(
        self,
        *,
        port: LocalPort,
        router: Router,
        invocations: InvocationTable,
        registrar: Registrar,
        bindings: Bindings,
        channels: Channels,
        engine_ids: Mapping[str, str] = ENGINE_IDS,
    ) -> None:
        self._port = port
        self._router = router
        self._invocations = invocations
        self._registrar = registrar
        self._bindings = bindings
        self._channels = channels
        self.channel_maker = LocalChannels(channels, port)
        self._engine_ids = engine_ids

    @property
    def worker_id(self) -> str:
        """The worker's public id."""
        return self._port.worker_id

    async def invoke(self, request: Request) -> bytes:
        """Call and wait; see `AttachedPort.invoke`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        invocation = self._invocation_for(request)
        invocation.caller = self._port
        error = self._router.route(invocation, request.function_id, request.action)
        if error is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise exception_from(error, function_id=request.function_id)
        is_brief = invocation.function.brief and invocation.caller is not None
        if request.scope is None and not is_brief:
            await trio.lowlevel.cancel_shielded_checkpoint()
        callee = invocation.callee
        if invocation.outcome is not None:
            pass  # the callee is gone meanwhile
        elif isinstance(callee, LocalPort) and invocation.caller is not None:
            if is_brief and request.scope is None and invocation.timer is None:
                await callee.run_brief(invocation)
            else:
                await callee.run_inline(invocation, request.scope)
        else:
            callee.dispatch(invocation)
            if invocation.caller is not None:
                await wait_settled(invocation, self._invocations)
        outcome = invocation.outcome
        if isinstance(outcome, ErrorBody):
            raise exception_from(
                outcome, function_id=request.function_id, invocation_id=invocation.id
            )
        if type(outcome) is bytes:
            return outcome
        return b"" if outcome is None else bytes(outcome)

    def start(
        self, request: Request, on_outcome: Callable[[Outcome], None]
    ) -> "StartedCall":
        """Call and be told of the outcome; see `AttachedPort.start`."""
        invocation = self._invocation_for(request)
        invocation.caller = _Told(self._port, on_outcome)
        error = self._router.route(invocation, request.function_id, request.action)
        if error is None:
            invocation.callee.dispatch(invocation)
        else:
            invocation.outcome = error
            on_outcome(error)
        return StartedCall(invocation, self._invocations)

    def fire(self, request: Request) -> None:
        """Call without an answer; see `AttachedPort.fire`."""
        self._router.start_void(
            self._invocation_for(request), request.function_id, request.action
        )

    def is_local(self, function_id: str, namespace: str) -> bool:
        """Tell whether a worker of this process serves a function."""
        function = self._router.registry.find(namespace, function_id)
        return function is not None and bool(function.callee.is_local)

    def exists(self, function_id: str, namespace: str) -> bool:
        """Tell whether anybody serves a function."""
        return self._router.registry.find(namespace, function_id) is not None

    def _invocation_for(self, request: Request) -> Invocation:
        port = self._port
        if not port.record.is_live:
            self._check_open()
        invocation = Invocation(
            request.payload,
            request.namespace,
            port if request.kind == "call" else None,
        )
        if request.metadata:
            invocation.metadata = request.metadata
        if request.timeout is not None:
            invocation.timeout = request.timeout
        if request.traceparent is not None or request.baggage is not None:
            invocation.traceparent = request.traceparent
            invocation.baggage = request.baggage
        return invocation

    def _check_open(self) -> None:
        """Refuse to leave in the tables what nobody would ever take out."""
        record = self._port.record
        if not record.is_live:
            msg = f"worker {record.name or record.worker_id!r} was closed"
            raise trio.ClosedResourceError(msg)

    # Functions and trigger types

    def register_function(self, spec: FunctionSpec) -> None:
        """Offer a function.

        Raises:
            RegistrationError: a live worker of the namespace has it, or the engine; or
                it begins with ``engine::`` and is meant for another worker; or nobody
                performs its ``invocation``.
            trio.ClosedResourceError: this worker was closed.
        """
        self._check_open()
        self._check_engine_id(spec.function_id)
        conflict = self._registrar.add_function(
            Function(
                function_id=spec.function_id,
                namespace=self._port.namespace,
                owner=self._port,
                description=_described(spec.description),
                request_format=_json(spec.request_format),
                response_format=_json(spec.response_format),
                metadata=spec.metadata,
                invocation=spec.invocation,
                brief=spec.brief,
            )
        )
        if conflict is not None:
            owner = conflict.owner_worker_id
            msg = (
                f"function {spec.function_id!r} in namespace "
                f"{self._port.namespace!r} belongs to "
                + (f"live worker {owner}" if owner else "the engine")
            )
            raise RegistrationError(
                msg, code="FUNCTION_NAMESPACE_CONFLICT", owner_worker_id=owner
            )

    def _check_engine_id(self, function_id: str) -> None:
        if not function_id.startswith("engine::") or function_id in PROVIDER_IDS:
            return
        name = self._port.record.name
        for prefix, owner in self._engine_ids.items():
            if function_id.startswith(prefix) and name == owner:
                return
        raise RegistrationError(
            f"function {function_id!r} is the engine's, not worker {name!r}'s; see "
            "`engine_ids` of `open_engine`",
            code="FUNCTION_NAMESPACE_CONFLICT",
        )

    def unregister_function(self, function_id: str) -> None:
        """Stop offering a function."""
        self._registrar.remove_function(self._port, function_id)

    def register_trigger_type(self, spec: TriggerTypeSpec) -> None:
        """Provide a trigger type; bindings that wait for it come at once.

        Raises:
            trio.ClosedResourceError: this worker was closed.
        """
        self._check_open()
        self._registrar.add_type(
            TriggerType(
                trigger_type=spec.trigger_type,
                namespace=self._port.namespace,
                provider=self._port,
                description=_described(spec.description) or "",
                config_format=spec.config_format,
                call_format=spec.call_format,
                return_format=spec.return_format,
                details=spec.details,
            )
        )

    def unregister_trigger_type(self, trigger_type: str) -> None:
        """Stop providing a trigger type; its bindings move or wait."""
        self._registrar.remove_type(self._port, self._port.namespace, trigger_type)

    def register_invoker(self, invoker: Invoker) -> None:
        """Perform HTTP-invoked functions; see `AttachedPort.register_invoker`."""
        self._registrar.take_invoker(self._port, invoker)

    def unregister_invoker(self) -> None:
        """Stop performing them."""
        self._registrar.release_invoker(self._port)

    # Triggers

    async def register_trigger(self, spec: TriggerSpec) -> None:
        """Bind; waits for the answer of a provider that needs time.

        Raises:
            RegistrationError: the provider refused, or a namespace is blank.
            trio.ClosedResourceError: this worker was closed.
        """
        await trio.lowlevel.checkpoint()
        self._check_open()
        for field in ("namespace", "trigger_namespace"):
            if is_blank(getattr(spec, field)):
                raise _refusal(blank_namespace(field))
        answers: list[ErrorBody | None] = []
        answered = trio.Event()

        def on_answer(error: ErrorBody | None) -> None:
            answers.append(error)
            answered.set()

        spec = attrs.evolve(spec, owner_worker_id=self.worker_id)
        home = self._port.namespace
        trigger = self._bindings.bind(spec, self._port, home, on_answer)
        try:
            with trio.move_on_after(PROVIDER_PATIENCE):
                await answered.wait()
        except trio.Cancelled:
            self._bindings.undo(trigger)  # and no other one with its id
            raise
        finally:
            self._bindings.forget_waiter(spec.trigger_id, on_answer)
        error = answers[0] if answers else None
        if error is not None:
            raise _refusal(error)

    def unregister_trigger(self, trigger_id: str) -> None:
        """End a binding."""
        self._bindings.unbind(trigger_id)

    def note_fired(self, trigger_id: str) -> None:
        """A trigger of a type that this worker provides fired."""
        self._bindings.note_fired(trigger_id)

    # Channels

    async def open_channel_end(self, ref: ChannelRef) -> ChannelEnd:
        """Take an end of a channel.

        Raises:
            trio.BrokenResourceError: no such channel, wrong key, or the end is taken.
            trio.ClosedResourceError: this worker was closed.
        """
        await trio.lowlevel.checkpoint()
        self._check_open()
        return LocalChannelEnd.take(self._channels, ref, self._port)


def _json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    return b"" if value is None else msgspec.json.encode(value)


def _described(text: str | None) -> str | None:
    """A description that can be shown to others, whatever the host's text holds."""
    return None if text is None else sayable(text)


def _refusal(error: ErrorBody) -> RegistrationError:
    return RegistrationError(error.message, code=error.code)
