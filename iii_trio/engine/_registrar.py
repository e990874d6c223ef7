"""Registrar: functions, trigger types and triggers enter and leave, and are told of.

What each registration frame of a link worker does, and the same for local workers.
Its effects are visible to the next frame of the same link.
"""

import logging
from collections.abc import Callable
from typing import Any, Final, final

import msgspec

from iii_trio.engine._bindings import Bindings
from iii_trio.engine._invoker import InvokerPort
from iii_trio.engine._link_port import LinkPort
from iii_trio.engine._ports import AnyPort, LocalPort
from iii_trio.engine._quotas import Quotas, weight_of
from iii_trio.engine._registry import Conflict, Function, Registry
from iii_trio.engine._triggers import TriggerType
from iii_trio.errors import RegistrationError
from iii_trio.protocol import (
    ABSENT,
    KEPT_DEPTH,
    AnyFrame,
    Event,
    FunctionRegistered,
    FunctionUnregistered,
    RegisterFunction,
    RegisterTrigger,
    RegisterTriggerType,
    RegistrationRejected,
    TriggerTypeRegistered,
    TriggerTypeUnregistered,
    UnregisterFunction,
    UnregisterTrigger,
    UnregisterTriggerType,
    blank_namespace,
    is_absent,
    is_blank,
    nests_deeper,
)
from iii_trio.transport import Invoker, TriggerSpec

_log: Final = logging.getLogger("iii_trio.engine.registrar")


@final
class Registrar:
    """Changes the registry and the triggers for workers.

    Args:
        registry: functions.
        bindings: trigger types and triggers.
        invoker: performs the functions that have no handler.
        on_event: told of every change.
        on_functions_changed: called when the set of functions changed.
        quotas: how much a worker may register.
    """

    def __init__(
        self,
        registry: Registry[AnyPort],
        bindings: Bindings,
        invoker: InvokerPort,
        on_event: Callable[[Event], None],
        on_functions_changed: Callable[[], None],
        quotas: Quotas | None = None,
    ) -> None:
        self._quotas = quotas or Quotas()
        self._registry = registry
        self._bindings = bindings
        self._invoker = invoker
        self._on_event = on_event
        self._on_functions_changed = on_functions_changed
        self._handlers: dict[type, Callable[[LinkPort, Any], None]] = {
            RegisterFunction: self._register_function,
            UnregisterFunction: self._unregister_function,
            RegisterTriggerType: self._register_type,
            UnregisterTriggerType: self._unregister_type,
            RegisterTrigger: self._register_trigger,
            UnregisterTrigger: self._unregister_trigger,
        }

    def release_functions(self, port: AnyPort) -> None:
        """Remove every function that is still this worker's."""
        self.release_invoker(port)
        for function in self._registry.release_all(port):
            self._report_unregistered(function)

    def take_invoker(self, port: LocalPort, invoker: Invoker) -> None:
        """A worker performs the functions that have an ``invocation`` from now on.

        Raises:
            RegistrationError: another worker does already.
        """
        known = [f for f in self._registry if f.invocation is not None]
        for function, reason in self._invoker.take(port, invoker, known):
            _log_lost(function, reason)
            self._registry.release(*function.key, function.owner)
            self._report_unregistered(function)

    def release_invoker(self, port: AnyPort) -> None:
        """A worker performs such functions no longer, if it did."""
        self._invoker.leave(port, "nobody performs HTTP-invoked functions any more")

    def release_triggers(self, port: AnyPort) -> None:
        """Remove the bindings a worker made and the trigger types it provides."""
        for trigger in self._bindings.triggers.owned_by(port):
            self._bindings.unbind(trigger.spec.trigger_id)
        for kind in self._bindings.triggers.types_of(port):
            self.remove_type(port, kind.namespace, kind.trigger_type)

    def register(self, port: LinkPort, frame: AnyFrame) -> None:
        """Apply one registration frame; its effects are visible at once."""
        handler = self._handlers.get(type(frame))
        if handler is None:
            return
        try:
            handler(port, frame)
        except (msgspec.DecodeError, RecursionError) as exc:
            # JSON that has the syntax of a value but no value, such as 1e400; or it
            # nests too deep.
            _log.warning("%s: %s dropped: %s", port, type(frame).__name__, exc)

    def add_function(self, function: Function[AnyPort]) -> Conflict | None:
        """Register a function for its owner.

        Raises:
            RegistrationError: it has an ``invocation``, and nobody performs that.
        """
        if function.invocation is not None:
            self._invoker.admit(function)
        conflict = self._registry.claim(function)
        if conflict is None:
            self._on_event(
                FunctionRegistered(
                    worker_id=function.owner.worker_id,
                    namespace=function.namespace,
                    function_id=function.function_id,
                )
            )
            self._on_functions_changed()
        return conflict

    def offers(self, port: AnyPort, function_id: str) -> bool:
        """Tell whether a worker has a function of this id registered."""
        function = self._registry.find(port.namespace, function_id)
        return function is not None and function.owner is port

    def remove_function(self, port: AnyPort, function_id: str) -> None:
        """Unregister a function if it is still this worker's."""
        function = self._registry.release(port.namespace, function_id, port)
        if function is not None:
            self._report_unregistered(function)

    def withdraw_function(self, port: LinkPort, function_id: str) -> None:
        """Unregister a function that its worker may not offer any more, and tell it."""
        self.remove_function(port, function_id)
        self._reject_function(port, function_id, "")

    def _report_unregistered(self, function: Function[AnyPort]) -> None:
        self._on_event(
            FunctionUnregistered(
                worker_id=function.owner.worker_id,
                namespace=function.namespace,
                function_id=function.function_id,
            )
        )
        self._on_functions_changed()

    def add_type(self, kind: TriggerType[AnyPort]) -> None:
        """Register a trigger type; bindings that wait for it become live."""
        self._bindings.add_type(kind)
        self._on_event(
            TriggerTypeRegistered(
                worker_id=kind.provider.worker_id,
                namespace=kind.namespace,
                trigger_type=kind.trigger_type,
            )
        )

    def remove_type(self, port: AnyPort, namespace: str, trigger_type: str) -> None:
        """Unregister a trigger type if it is still this worker's."""
        kind = self._bindings.triggers.find_type(namespace, trigger_type)
        if kind is None or kind.provider is not port:
            return
        self._bindings.remove_type(kind)
        self._on_event(
            TriggerTypeUnregistered(
                worker_id=port.worker_id,
                namespace=namespace,
                trigger_type=trigger_type,
            )
        )

    # Frames that register

    def _register_function(self, port: LinkPort, frame: RegisterFunction) -> None:
        weight = weight_of(
            frame.id,
            frame.description,
            frame.request_format,
            frame.response_format,
            frame.metadata,
            frame.invocation,
        )
        others = self._registry.weight_of(port)
        known = self._registry.find(port.namespace, frame.id)
        if known is not None and known.owner is port:
            others -= known.weight
        reason = self._quotas.registration(port, others, weight)
        if reason is not None:
            # The one code that SDKs do not take for the end of the connection.
            _log.warning("%s: function %r refused: %s", port, frame.id[:200], reason)
            self._reject_function(port, frame.id, "")
            return
        function: Function[AnyPort] = Function(
            function_id=frame.id,
            namespace=port.namespace,
            owner=port,
            description=frame.description,
            request_format=_text(frame.request_format),
            response_format=_text(frame.response_format),
            metadata=_value(frame.metadata),
            invocation=_value(frame.invocation),
            weight=weight,
            known_as=None if port.guard is None else port.guard.functions.own(frame.id),
        )
        try:
            conflict = self.add_function(function)
        except RegistrationError as exc:
            # As in the reference engine the worker is not told: no frame says so.
            _log_lost(function, exc)
            return
        if conflict is not None:
            self._reject_function(port, frame.id, conflict.owner_worker_id)

    def _reject_function(self, port: LinkPort, function_id: str, owner: str) -> None:
        port.send(
            RegistrationRejected(
                code="FUNCTION_NAMESPACE_CONFLICT",
                namespace=port.namespace,
                function_id=function_id,
                owner_worker_id=owner,
            )
        )

    def _unregister_function(self, port: LinkPort, frame: UnregisterFunction) -> None:
        self.remove_function(port, frame.id)

    def _register_type(self, port: LinkPort, frame: RegisterTriggerType) -> None:
        if is_blank(frame.namespace):
            _log.error(
                "%s: trigger type %r: %s", port, frame.id, blank_namespace().message
            )
            return
        namespace = frame.namespace or port.namespace
        weight = weight_of(
            frame.id,
            frame.description,
            frame.trigger_request_format,
            frame.call_request_format,
        )
        others = sum(
            kind.weight
            for kind in self._bindings.triggers.types_of(port)
            if (kind.namespace, kind.trigger_type) != (namespace, frame.id)
        )
        reason = self._quotas.registration(port, others, weight)
        if reason is not None:
            _log.warning(
                "%s: trigger type %r refused: %s", port, frame.id[:200], reason
            )
            return
        self.add_type(
            TriggerType(
                trigger_type=frame.id,
                namespace=namespace,
                weight=weight,
                provider=port,
                description=frame.description or "",
                config_format=_value(frame.trigger_request_format),
                call_format=_value(frame.call_request_format),
            )
        )

    def _unregister_type(self, port: LinkPort, frame: UnregisterTriggerType) -> None:
        self.remove_type(port, frame.namespace or port.namespace, frame.id)

    def _register_trigger(self, port: LinkPort, frame: RegisterTrigger) -> None:
        spec = TriggerSpec(
            trigger_id=frame.id,
            trigger_type=frame.trigger_type,
            function_id=frame.function_id,
            config=_value(frame.config),
            metadata=_value(frame.metadata),
            namespace="default" if frame.namespace is None else frame.namespace,
            trigger_namespace=frame.trigger_namespace,
            owner_worker_id=port.worker_id,
        )
        for field in ("namespace", "trigger_namespace"):
            if is_blank(getattr(spec, field)):
                port.trigger_refused(spec, blank_namespace(field))
                return
        weight = weight_of(frame.id, frame.function_id, frame.config, frame.metadata)
        self._bindings.bind(
            spec, port, port.namespace, None, port.session, weight=weight
        )

    def _unregister_trigger(self, port: LinkPort, frame: UnregisterTrigger) -> None:
        del port  # anybody may: see the protocol, section 5.6
        self._bindings.unbind(frame.id)


def _log_lost(function: Function[AnyPort], reason: RegistrationError) -> None:
    _log.error(
        "HTTP-invoked function %r of %s is not registered: %s",
        function.function_id,
        function.owner,
        reason,
    )


def _text(value: msgspec.Raw) -> bytes:
    return b"" if is_absent(value) else _checked(value)


def _value(value: msgspec.Raw) -> Any:  # noqa: ANN401 - any JSON value
    if value is ABSENT or not value:
        return None
    return msgspec.json.decode(_checked(value))


def _checked(value: msgspec.Raw) -> bytes:
    """JSON that is kept, and that others get to see."""
    text = bytes(value)
    if nests_deeper(text, KEPT_DEPTH):
        raise msgspec.ValidationError(f"a value nests deeper than {KEPT_DEPTH}")
    return text
