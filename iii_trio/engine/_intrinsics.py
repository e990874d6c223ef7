"""The ``engine::*`` functions: the only functions that run inside the engine.

Each is a sync function of the invocation and its decoded input, and settles it in the
same step, except `register_trigger`, which may wait for a provider. Their owner is the
engine's own port. Source: the discovery sheet.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final, final

import msgspec

from iii_trio.engine._bindings import Bindings
from iii_trio.engine._channels import Channels
from iii_trio.engine._connection import Connection
from iii_trio.engine._discovery import session_of
from iii_trio.engine._engine_port import EnginePort, Handler
from iii_trio.engine._inputs import (
    ById,
    ChannelsCreate,
    FunctionsInfo,
    FunctionsList,
    RegisteredTriggersList,
    TriggerRegister,
    TriggersInfo,
    TriggersList,
    WorkersInfo,
    WorkersList,
    WorkersRegister,
)
from iii_trio.engine._invocation import (
    Calls,
    Invocation,
    InvocationTable,
    RawOutcome,
)
from iii_trio.engine._link_port import LinkPort
from iii_trio.engine._listings import Listings
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._quotas import weight_of
from iii_trio.engine._registry import Function
from iii_trio.engine._roster import Announcement
from iii_trio.engine._supervisor import Supervisor
from iii_trio.engine._timers import Timers
from iii_trio.engine._trigger_vetting import TriggerVetting
from iii_trio.protocol import (
    CANCEL_FEATURE,
    DEFAULT_NAMESPACE,
    LARGE_MESSAGES_FEATURE,
    ErrorBody,
    blank_namespace,
    is_blank,
)
from iii_trio.transport import TriggerSpec

PROVIDER_PATIENCE: Final = 10.0
"""Seconds that ``engine::register_trigger`` waits for a provider; silence accepts."""

JSON = Any


@final
class Intrinsics:
    """Serves the ``engine::*`` functions on the engine's own port."""

    def __init__(
        self,
        *,
        port: EnginePort,
        listings: Listings,
        supervisor: Supervisor,
        vetting: TriggerVetting,
        bindings: Bindings,
        channels: Channels,
        invocations: InvocationTable,
        timers: Timers,
        new_id: Callable[[], str],
    ) -> None:
        self._port = port
        self._listings = listings
        self._supervisor = supervisor
        self._vetting = vetting
        self._bindings = bindings
        self._channels = channels
        self._invocations = invocations
        self._timers = timers
        self._new_id = new_id

    def table(self) -> tuple[tuple[str, type, Handler], ...]:
        """Id, input class and handler of every function.

        The first line of a handler's docstring is the function's description.
        """
        listings = self._listings
        return (
            ("engine::functions::list", FunctionsList, listings.functions_list),
            ("engine::functions::info", FunctionsInfo, listings.functions_info),
            ("engine::triggers::list", TriggersList, listings.triggers_list),
            ("engine::triggers::info", TriggersInfo, listings.triggers_info),
            (
                "engine::registered-triggers::list",
                RegisteredTriggersList,
                listings.registered_list,
            ),
            ("engine::registered-triggers::info", ById, listings.registered_info),
            ("engine::workers::list", WorkersList, listings.workers_list),
            ("engine::workers::info", WorkersInfo, listings.workers_info),
            ("engine::workers::register", WorkersRegister, self._workers_register),
            ("engine::register_trigger", TriggerRegister, self._register_trigger),
            ("engine::unregister_trigger", ById, self._unregister_trigger),
            ("engine::channels::create", ChannelsCreate, self._channels_create),
        )

    def install(self) -> list[Function[AnyPort]]:
        """Make the functions, ready to be claimed in the registry."""
        functions: list[Function[AnyPort]] = []
        for function_id, input_class, handler in self.table():
            self._port.handlers[function_id] = (
                handler,
                msgspec.json.Decoder(input_class),
            )
            functions.append(
                Function(
                    function_id=function_id,
                    namespace=DEFAULT_NAMESPACE,
                    owner=self._port,
                    description=(handler.__doc__ or "").partition("\n")[0],
                    request_format=_schema_of(input_class),
                )
            )
        return functions

    # Triggers

    def _register_trigger(
        self, invocation: Invocation, asked: TriggerRegister
    ) -> RawOutcome | None:
        """Binds a function to an event until it is unregistered."""
        home = self._home_of(invocation)
        spec = TriggerSpec(
            trigger_id=self._new_id(),
            trigger_type=asked.trigger_type,
            function_id=asked.function_id,
            config=asked.config,
            metadata=asked.metadata,
            namespace=home if asked.namespace is None else asked.namespace,
            trigger_namespace=asked.trigger_namespace,
        )
        for field in ("namespace", "trigger_namespace"):
            if is_blank(getattr(spec, field)):
                return blank_namespace(field)
        port = invocation.sender
        if not isinstance(port, LinkPort) or port.guard is None:
            self._bind(invocation, spec, home)
            return None

        inquiries: Calls = {}
        undo = self._port.undo
        undo[invocation] = partial(self._invocations.cancel_all, inquiries)

        def judged(verdict: TriggerSpec | ErrorBody) -> None:
            undo.pop(invocation, None)
            if isinstance(verdict, ErrorBody):
                self._invocations.settle(invocation, verdict)
            elif invocation.outcome is None:
                self._bind(invocation, verdict, home)

        self._vetting.vet_durable(port, port.guard, spec, judged, made=inquiries)
        return None

    def _bind(self, invocation: Invocation, spec: TriggerSpec, home: str) -> None:
        """Bind, and answer the call when the provider has answered."""
        accepted = _encode({"id": spec.trigger_id})

        def answer(error: ErrorBody | None) -> None:
            self._timers.cancel(timer)
            self._port.undo.pop(invocation, None)
            refusal = None if error is None else _trigger_refused(error)
            self._invocations.settle(invocation, refusal or accepted)

        def lose_patience() -> None:
            self._bindings.forget_waiter(spec.trigger_id, answer)
            answer(None)

        timer = self._timers.call_after(PROVIDER_PATIENCE, lose_patience)
        # Who gives the call up learns no id, and could never unregister the binding.
        self._port.undo[invocation] = lambda _reason: self._bindings.unbind(
            spec.trigger_id
        )
        session = session_of(invocation)
        weight = weight_of(invocation.payload)
        self._bindings.bind(spec, None, home, answer, session, weight=weight)

    def _unregister_trigger(self, invocation: Invocation, asked: ById) -> RawOutcome:
        """Ends a binding."""
        port = invocation.sender
        if isinstance(port, LinkPort) and port.guard is not None:
            refusal = self._vetting.refuses_end(port, asked.id)
            if refusal is not None:
                return refusal
        return _encode({"removed": self._bindings.unbind(asked.id)})

    def _home_of(self, invocation: Invocation) -> str:
        """The namespace of whoever calls."""
        sender = invocation.sender
        return sender.namespace if isinstance(sender, Connection) else DEFAULT_NAMESPACE

    # Workers and channels

    def _workers_register(
        self, invocation: Invocation, asked: WorkersRegister
    ) -> RawOutcome | None:
        """A worker tells who it is; sent by SDKs when they connect."""
        port = invocation.sender
        if not isinstance(port, LinkPort):
            return ErrorBody(
                code="INVALID_ARGUMENTS",
                message="only a worker that is connected by a link announces itself",
            )
        features = frozenset(asked.features or ())
        refusal = self._supervisor.announce(
            port,
            Announcement(
                name=asked.name,
                namespace=asked.namespace,
                runtime=asked.runtime,
                version=asked.version,
                description=asked.description,
                os=asked.os,
                pid=asked.pid,
                isolation=asked.isolation,
                features=features,
            ),
        )
        if refusal is not None and refusal.code in {"INVALID_NAMESPACE", "FORBIDDEN"}:
            self._invocations.settle(invocation, refusal)
            self._supervisor.dismiss(port, refusal.message)
            return None
        answer: JSON = {"success": refusal is None}
        if port.cancels:
            # Only a peer that told us its features learns ours.
            answer["features"] = [CANCEL_FEATURE, LARGE_MESSAGES_FEATURE]
        return _encode(answer)

    def _channels_create(
        self, invocation: Invocation, asked: ChannelsCreate
    ) -> RawOutcome:
        """Makes a byte channel between two workers."""
        owner = invocation.sender
        refusal = self._channels.refuses(owner) if isinstance(owner, LinkPort) else None
        if refusal is not None:
            return refusal
        channel = self._channels.create(owner, asked.buffer_size)
        return _encode({"writer": channel.ref("write"), "reader": channel.ref("read")})


@cache  # it takes longer than all the rest of opening an engine
def _schema_of(input_class: type) -> bytes:
    return msgspec.json.encode(msgspec.json.schema(input_class))


def _trigger_refused(error: ErrorBody) -> ErrorBody:
    code = "trigger_registration_failed"
    text = error.message if error.code == code else f"{error.code}: {error.message}"
    return ErrorBody(code=code, message=text)


def _encode(value: JSON) -> bytes:
    return msgspec.json.encode(value)
