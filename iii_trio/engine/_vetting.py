"""Vetting: what a restricted worker registers, changed or refused before it takes effect.

Functions and trigger types here, triggers in ``_trigger_vetting.py``. A refusal is silent
towards the worker: the protocol has no frame for it.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, final

import msgspec

from iii_trio.access import (
    AccessRules,
    Session,
    apply_function_answer,
    apply_type_answer,
    function_question,
    type_question,
)
from iii_trio.engine._actions import served_action
from iii_trio.engine._denials import Denials
from iii_trio.engine._guard import Guard
from iii_trio.engine._hooks import Hooks
from iii_trio.engine._link_port import LinkPort
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._registrar import Registrar
from iii_trio.engine._registry import PROVIDER_IDS, Registry
from iii_trio.engine._triggers import Triggers
from iii_trio.protocol import (
    RegisterFunction,
    RegisterTriggerType,
    UnregisterFunction,
    UnregisterTriggerType,
    is_absent,
    is_blank,
)

NO_RULES: Final = AccessRules()

_RESTED_ON: Final = "access rules rest on it, and allowed_functions lacks it"


@final
class Vetting:
    """Registers functions and trigger types as far as a session allows it.

    Args:
        registry: functions.
        triggers: trigger types.
        registrar: does what is allowed.
        hooks: asks, and keeps the order.
        denials: told of what is not.
        is_protected: tells whether listeners rest on a function of this id.
    """

    def __init__(
        self,
        *,
        registry: Registry[AnyPort],
        triggers: Triggers[AnyPort],
        registrar: Registrar,
        hooks: Hooks,
        denials: Denials,
        is_protected: Callable[[str], bool],
    ) -> None:
        self._registry = registry
        self._triggers = triggers
        self._registrar = registrar
        self._hooks = hooks
        self._denials = denials
        self._is_protected = is_protected
        hooks.vets |= {
            RegisterFunction: self._register_function,
            UnregisterFunction: self._unregister_function,
            RegisterTriggerType: self._register_type,
            UnregisterTriggerType: self._unregister_type,
        }

    # Functions

    def _register_function(
        self, port: LinkPort, guard: Guard, frame: RegisterFunction
    ) -> None:
        session = guard.session
        reason = _refuses_functions(session, frame)
        if reason is not None:
            self._denials.tell(port, "register", frame.id, reason)
            return
        self._hooks.judge_in_line(
            port,
            guard,
            frame,
            hook=(session.rules or NO_RULES).on_function_registration_function_id,
            question=lambda: function_question(frame, port.namespace, session.context),
            apply=apply_function_answer,
            then=partial(self._add_function, port, guard, frame.id),
        )

    def _add_function(
        self, port: LinkPort, guard: Guard, own_id: str, frame: RegisterFunction
    ) -> None:
        session = guard.session
        public = session.prefixed(frame.id)
        reason = ""
        trusted = _is_trusted(session, public)
        if self._is_protected(public) and not trusted:
            reason = _RESTED_ON
        elif public in PROVIDER_IDS and not trusted:
            reason = "it would take the queue over, and allowed_functions lacks it"
        elif not session.allow_trigger_type_registration and _serves_actions(frame):
            reason = "serving actions needs allow_trigger_type_registration"
        if reason:
            self._denials.tell(port, "register", public, reason)
            return
        guard.functions.add(own_id, public)
        self._registrar.register(port, msgspec.structs.replace(frame, id=public))
        if not self._registrar.offers(port, public):
            guard.functions.discard(own_id)  # it was refused, and nobody will call it

    def _unregister_function(
        self, port: LinkPort, guard: Guard, frame: UnregisterFunction
    ) -> None:
        public = guard.functions.public(frame.id)
        if public == frame.id:  # not registered, or under just this id
            public = guard.session.prefixed(frame.id)
        self._registrar.register(port, UnregisterFunction(id=public))
        guard.functions.discard(frame.id)

    def take_back(self, function_id: str) -> None:
        """End registrations that would be refused now: rules rest on the function."""
        for function in self._registry.all_of(function_id):
            port = function.owner
            if not isinstance(port, LinkPort) or port.guard is None:
                continue
            names = port.guard.functions
            if not _is_trusted(port.guard.session, function_id):
                self._denials.tell(port, "register", function_id, _RESTED_ON)
                self._registrar.withdraw_function(port, function_id)
                names.discard(names.own(function_id))

    # Trigger types

    def _register_type(
        self, port: LinkPort, guard: Guard, frame: RegisterTriggerType
    ) -> None:
        session = guard.session
        if is_blank(frame.namespace):
            self._registrar.register(port, frame)  # which says what is wrong
            return
        reason = session.refuses_namespace(frame.namespace or port.namespace)
        if not session.allow_trigger_type_registration:
            reason = "allow_trigger_type_registration is off"
        if reason is not None:
            self._denials.tell(port, "register", frame.id, reason)
            return
        self._hooks.judge_in_line(
            port,
            guard,
            frame,
            hook=(session.rules or NO_RULES).on_trigger_type_registration_function_id,
            question=lambda: type_question(frame, session.context),
            apply=apply_type_answer,
            then=partial(self._add_type, port, guard, frame.id),
        )

    def _add_type(
        self, port: LinkPort, guard: Guard, own_id: str, frame: RegisterTriggerType
    ) -> None:
        namespace = frame.namespace or port.namespace
        known = self._triggers.find_type(namespace, frame.id)
        if known is not None and known.provider.is_local:
            reason = "a worker of the engine's process serves it"
            self._denials.tell(port, "register", frame.id, reason)
            return
        guard.types.add(own_id, frame.id)
        self._registrar.register(port, frame)
        known = self._triggers.find_type(namespace, frame.id)
        if known is None or known.provider is not port:
            guard.types.discard(own_id)  # it was refused

    def _unregister_type(
        self, port: LinkPort, guard: Guard, frame: UnregisterTriggerType
    ) -> None:
        public = guard.types.public(frame.id)
        self._registrar.register(port, msgspec.structs.replace(frame, id=public))
        guard.types.discard(frame.id)


def _is_trusted(session: Session, function_id: str) -> bool:
    """Tell whether a session may offer what only few may."""
    return session.rules is None or function_id in session.allowed_functions


def _refuses_functions(session: Session, frame: RegisterFunction) -> str | None:
    if not session.allow_function_registration:
        return "allow_function_registration is off"
    if not (is_absent(frame.invocation) or session.allow_http_function_registration):
        return "allow_http_function_registration is off"
    return None


def _serves_actions(frame: RegisterFunction) -> bool:
    if is_absent(frame.metadata):
        return False
    return served_action(msgspec.json.decode(frame.metadata)) is not None
