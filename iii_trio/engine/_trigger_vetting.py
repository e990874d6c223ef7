"""Triggers of restricted workers: which may be bound, replaced and ended.

A provider calls functions for whoever bound a trigger, and no rules hold for a provider.
So a session may only bind what it may call itself: the target, and every function that
the config names. Engine functions are no targets at all: called by a provider they would
list and bind for everybody.
"""

from collections.abc import Callable
from typing import Any, Final, final

import attrs
import msgspec

from iii_trio.access import (
    Session,
    apply_trigger_answer,
    functions_named_in,
    trigger_question,
)
from iii_trio.engine._denials import Denials
from iii_trio.engine._engine_port import EnginePort
from iii_trio.engine._guard import Guard
from iii_trio.engine._hooks import Hooks
from iii_trio.engine._invocation import Calls
from iii_trio.engine._link_port import LinkPort, json_or_absent
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._registrar import Registrar
from iii_trio.engine._registry import Registry
from iii_trio.engine._router import ENQUEUE
from iii_trio.engine._triggers import Trigger, Triggers
from iii_trio.engine._vetting import NO_RULES
from iii_trio.protocol import (
    DEFAULT_NAMESPACE,
    ErrorBody,
    JSONBytes,
    RegisterTrigger,
    UnregisterTrigger,
    is_absent,
    is_blank,
)
from iii_trio.transport import TriggerSpec

Verdict = RegisterTrigger | ErrorBody
"""What may be bound, or why not."""

_HOOK_REFUSED: Final = ErrorBody(
    code="FORBIDDEN", message="the engine's hook for triggers refused it"
)


@final
class TriggerVetting:
    """Binds and ends triggers as far as a session allows it.

    Args:
        registry: functions.
        triggers: those that exist.
        registrar: does what is allowed.
        hooks: asks, and keeps the order.
        denials: told of what is not.
    """

    def __init__(
        self,
        *,
        registry: Registry[AnyPort],
        triggers: Triggers[AnyPort],
        registrar: Registrar,
        hooks: Hooks,
        denials: Denials,
    ) -> None:
        self._registry = registry
        self._triggers = triggers
        self._registrar = registrar
        self._hooks = hooks
        self._denials = denials
        hooks.vets |= {
            RegisterTrigger: self._register,
            UnregisterTrigger: self._unregister,
        }

    # By frame

    def _register(self, port: LinkPort, guard: Guard, frame: RegisterTrigger) -> None:
        if is_blank(frame.namespace) or is_blank(frame.trigger_namespace):
            self._registrar.register(port, frame)  # which says what is wrong
            return
        session = guard.session
        if not session.allows_trigger_type(frame.trigger_type):
            reason = "allowed_trigger_types lacks its type"
            self._denials.tell(port, "register", frame.trigger_type, reason)
            return

        def accept(accepted: RegisterTrigger) -> None:
            self._bind(port, guard, frame, self._judge(port, session, frame, accepted))

        self._hooks.judge_in_line(
            port,
            guard,
            frame,
            hook=(session.rules or NO_RULES).on_trigger_registration_function_id,
            question=lambda: _question(frame, session),
            apply=apply_trigger_answer,
            then=accept,
        )

    def _bind(
        self, port: LinkPort, guard: Guard, asked: RegisterTrigger, verdict: Verdict
    ) -> None:
        if not isinstance(verdict, ErrorBody):
            guard.triggers.add(asked.id, verdict.id)
            self._registrar.register(port, verdict)
            held = self._triggers.get(verdict.id)
            if held is None or held.owner is not port:
                guard.triggers.discard(asked.id)  # it was refused
            return
        spec = TriggerSpec(
            trigger_id=asked.id,
            trigger_type=asked.trigger_type,
            function_id=asked.function_id,
        )
        port.trigger_refused(spec, verdict)

    def _unregister(
        self, port: LinkPort, guard: Guard, frame: UnregisterTrigger
    ) -> None:
        public = guard.triggers.public(frame.id)
        if self.refuses_end(port, public) is not None:
            return
        self._registrar.register(port, UnregisterTrigger(id=public))
        guard.triggers.discard(frame.id)

    # By function

    def vet_durable(
        self,
        port: LinkPort,
        guard: Guard,
        spec: TriggerSpec,
        then: Callable[[TriggerSpec | ErrorBody], None],
        *,
        made: Calls,
    ) -> None:
        """Judge a trigger of ``engine::register_trigger``; the link is not held up.

        Args:
            port: who calls.
            guard: its guard.
            spec: what it asked for.
            then: gets what may be bound, or the error that refuses it.
            made: where a hook that is asked is kept while it is.
        """
        session, kind = guard.session, spec.trigger_type
        if not session.allows_trigger_type(kind):
            message = f"Trigger type '{kind}' is not allowed for this session."
            self._denials.tell(port, "register", kind, message)
            then(ErrorBody(code="FORBIDDEN", message=message))
            return
        frame = RegisterTrigger(
            id=spec.trigger_id,
            trigger_type=kind,
            function_id=spec.function_id,
            config=json_or_absent(spec.config),
            metadata=json_or_absent(spec.metadata),
            namespace=spec.namespace,
        )

        def finish(verdict: Verdict) -> None:
            then(verdict if isinstance(verdict, ErrorBody) else _applied(spec, verdict))

        hook = (session.rules or NO_RULES).on_trigger_registration_function_id
        if hook is None:
            finish(self._judge(port, session, frame, frame))
            return

        def answered(answer: JSONBytes) -> None:
            accepted = apply_trigger_answer(frame, answer)
            if accepted is None or not _has_value(accepted.config):
                self._denials.tell(port, "register", frame.id, f"hook {hook!r} refused")
                finish(_HOOK_REFUSED)
            else:
                finish(self._judge(port, session, frame, accepted))

        question = _question(frame, session)
        self._hooks.ask(port, guard, hook, question, answered, made=made)

    def refuses_end(self, port: LinkPort, trigger_id: str) -> ErrorBody | None:
        """Why a worker may not end a trigger, ``None`` if it may or there is none."""
        held = self._triggers.get(trigger_id)
        if held is None or self._may_end(port, held):
            return None
        message = f"trigger '{trigger_id}' belongs to another worker"
        self._denials.tell(port, "unregister", trigger_id, message)
        return ErrorBody(code="FORBIDDEN", message=message)

    # The decision

    def _may_end(self, port: LinkPort, trigger: Trigger[AnyPort]) -> bool:
        """Tell whether a worker may end a trigger: its own, or one it could make."""
        session = port.session
        if session is None or trigger.owner is port or trigger.session is session:
            return True
        spec = trigger.spec
        return session.may_bind(
            spec.trigger_type, spec.function_id
        ) and not refuses_target(
            self._registry, session, spec.namespace, spec.function_id
        )

    def _judge(
        self,
        port: LinkPort,
        session: Session,
        asked: RegisterTrigger,
        frame: RegisterTrigger,
    ) -> Verdict:
        """What may be bound, after hook and prefix, or why not."""
        namespace = frame.namespace or DEFAULT_NAMESPACE
        public = session.prefixed(frame.function_id)
        # What only a hook named is the hook's choice.
        own = set(functions_named_in(_value(asked.config)))
        named = [one for one in functions_named_in(_value(frame.config)) if one in own]
        message = ""
        for function_id in (public, *named):
            if refuses_target(self._registry, session, namespace, function_id):
                message = (
                    f"function '{function_id}' not allowed in namespace '{namespace}'"
                )
                break
        held = self._triggers.get(frame.id)
        if not message and held is not None and not self._may_end(port, held):
            message = f"trigger '{frame.id}' belongs to another worker"
        if message:
            self._denials.tell(port, "register", frame.id, message)
            return ErrorBody(code="FORBIDDEN", message=message)
        return msgspec.structs.replace(frame, function_id=public)


def refuses_target(
    registry: Registry[AnyPort], session: Session, namespace: str, function_id: str
) -> bool:
    """Tell whether a session may not have others call a function for it.

    Not what it may not call itself, and nothing that acts for whoever calls: the
    engine's own functions, and the one that enqueues calls of others.
    """
    function = registry.find(namespace, function_id)
    if function is not None and isinstance(function.owner, EnginePort):
        return True
    if function_id == ENQUEUE:
        return True
    metadata = None if function is None else function.metadata
    return session.refuses_call(namespace, function_id, metadata) is not None


def _question(frame: RegisterTrigger, session: Session) -> bytes:
    namespace = frame.namespace or DEFAULT_NAMESPACE
    return trigger_question(frame, namespace, session.context)


def _applied(spec: TriggerSpec, frame: RegisterTrigger) -> TriggerSpec:
    return attrs.evolve(
        spec,
        trigger_id=frame.id,
        trigger_type=frame.trigger_type,
        function_id=frame.function_id,
        config=_value(frame.config),
    )


def _value(value: msgspec.Raw) -> Any:  # noqa: ANN401 - any JSON value
    return None if is_absent(value) else msgspec.json.decode(value)


def _has_value(text: msgspec.Raw) -> bool:
    """Tell whether JSON can be decoded; 1e400 has the syntax of a value, and is none."""
    try:
        _value(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
