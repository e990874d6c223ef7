"""Bindings: does what the pure `Triggers` tables decide, and hears providers' answers.

A binder on a link hears only of refusals; a durable binder
(``engine::register_trigger``) and a local one wait for the answer.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, final

from iii_trio.access import Session
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._quotas import Quotas
from iii_trio.engine._triggers import Tell, Trigger, Triggers, TriggerType
from iii_trio.protocol import ErrorBody, Event, TriggerChanged, refused
from iii_trio.transport import TriggerSpec

Waiter = Callable[[ErrorBody | None], None]
"""Called once: ``None`` when the binding is accepted or parked, else the refusal."""

_log: Final = logging.getLogger("iii_trio.engine.triggers")


@final
class Bindings:
    """Binds functions to events, across providers that come and go."""

    def __init__(
        self,
        triggers: Triggers[AnyPort],
        now: Callable[[], float],
        on_event: Callable[[Event], None],
        quotas: Quotas | None = None,
    ) -> None:
        self._quotas = quotas or Quotas()
        self.triggers = triggers
        self._now = now
        self._on_event = on_event
        self._waiters: dict[str, Waiter] = {}

    def bind(
        self,
        spec: TriggerSpec,
        owner: AnyPort | None,
        home: str,
        waiter: Waiter | None,
        session: Session | None = None,
        *,
        weight: int = 1,
    ) -> Trigger[AnyPort] | None:
        """Bind; the outcome reaches ``waiter`` and, if it is a refusal, the owner.

        Returns:
            The binding, for `undo`; ``None`` if it was refused without more ado.
        """
        others = self.triggers.weight_of(owner)
        replaced = self.triggers.get(spec.trigger_id)
        if replaced is not None and replaced.owner is owner:
            others -= replaced.weight
        reason = self._quotas.registration(owner, others, weight)
        if reason is not None:
            self._refuse_new(spec, owner, waiter, refused(f"trigger: {reason}"))
            return None
        trigger: Trigger[Any] = Trigger(
            spec=spec, owner=owner, home=home, session=session, weight=weight
        )
        self._wake(spec.trigger_id, None)  # of a binding that this one replaces
        if waiter is not None:
            self._waiters[spec.trigger_id] = waiter
        tells = self.triggers.bind(trigger)
        self._report(trigger, "registered", trigger.reason)
        if trigger.reason:
            kind, target = spec.trigger_type, spec.function_id
            _log.info(
                "%s -> %s waits (%s): %s", kind, target, spec.trigger_id, trigger.reason
            )
        self._tell(tells, fresh=trigger)
        if trigger.served_by is None:
            self._wake(spec.trigger_id, None)
        return trigger

    def undo(self, trigger: Trigger[AnyPort] | None) -> None:
        """End a binding, if it was not ended or replaced meanwhile."""
        if trigger is not None:
            trigger_id = trigger.spec.trigger_id
            if self.triggers.get(trigger_id) is trigger:
                self.unbind(trigger_id)

    def _refuse_new(
        self,
        spec: TriggerSpec,
        owner: AnyPort | None,
        waiter: Waiter | None,
        error: ErrorBody,
    ) -> None:
        _log.warning("trigger %s refused: %s", spec.trigger_id, error.message)
        if waiter is not None:
            waiter(error)
        elif owner is not None:
            owner.trigger_refused(spec, error)

    def unbind(self, trigger_id: str) -> bool:
        """End a binding, whoever made it; false if there is none."""
        trigger = self.triggers.get(trigger_id)
        tells = self.triggers.unbind(trigger_id)
        if trigger is None or tells is None:
            return False
        self._tell(tells)
        self._report(trigger, "unregistered")
        self._wake(trigger_id, None)
        return True

    def add_type(self, kind: TriggerType[AnyPort]) -> None:
        """A provider offers a type; bindings that wait for it become live."""
        self._tell(self.triggers.add_type(kind))

    def remove_type(self, kind: TriggerType[AnyPort]) -> None:
        """A provider stops offering a type; its bindings move or wait."""
        served = self.triggers.served_by(kind)
        tells = self.triggers.remove_type(
            kind.namespace, kind.trigger_type, kind.provider
        )
        for trigger in served:
            if trigger.served_by is None:
                self._report(trigger, "registered", trigger.reason)
                self._wake(trigger.spec.trigger_id, None)
        self._tell(tells)

    def answered(
        self, trigger_id: str, provider: AnyPort, error: ErrorBody | None
    ) -> None:
        """A provider answered; answers of anybody else are ignored."""
        trigger = self.triggers.get(trigger_id)
        if trigger is None or trigger.served_by is None:
            return
        if trigger.served_by.provider is not provider:
            return
        if error is None:
            self._wake(trigger_id, None)
        else:
            # Who waits learns no id, and could never unregister a parked binding.
            self._refuse(trigger, error, keep=trigger_id not in self._waiters)

    def bound(
        self, trigger: Trigger[AnyPort], provider: AnyPort, error: ErrorBody | None
    ) -> None:
        """A provider of this process answered; ignored if the binding was replaced."""
        trigger_id = trigger.spec.trigger_id
        if self.triggers.get(trigger_id) is trigger:
            self.answered(trigger_id, provider, error)

    def forget_waiter(self, trigger_id: str, waiter: Waiter) -> None:
        """Nobody waits for that answer any more."""
        if self._waiters.get(trigger_id) is waiter:
            del self._waiters[trigger_id]

    def note_fired(self, trigger_id: str) -> None:
        """A provider told that a trigger fired."""
        trigger = self.triggers.get(trigger_id)
        if trigger is None:
            return
        trigger.fired += 1
        trigger.last_fired_ms = int(self._now() * 1000)
        if trigger.fired == 1:
            self._report(trigger, "invoked")

    def _tell(
        self, tells: Iterable[Tell[AnyPort]], fresh: Trigger[AnyPort] | None = None
    ) -> None:
        for tell in tells:
            if tell.what == "unbind":
                tell.provider.unbind_trigger(tell.trigger)
            else:
                self._offer(tell, is_fresh=tell.trigger is fresh)

    def _offer(self, tell: Tell[AnyPort], *, is_fresh: bool) -> None:
        trigger = tell.trigger
        answer = tell.provider.bind_trigger(trigger, tell.trigger_type)
        if isinstance(answer, ErrorBody):
            self._refuse(trigger, answer, keep=not is_fresh)
            return
        self._report(trigger, "active")
        if answer == "accepted":
            self._wake(trigger.spec.trigger_id, None)

    def _refuse(
        self, trigger: Trigger[AnyPort], error: ErrorBody, *, keep: bool
    ) -> None:
        """Park a refused binding, until the type is offered again, or drop it."""
        self.triggers.park(trigger, f"refused: {error.code}: {error.message}")
        if not keep:
            self.triggers.unbind(trigger.spec.trigger_id)
        state = "registered" if keep else "unregistered"
        self._report(trigger, state, trigger.reason)
        self._tell_refusal(trigger, error)

    def _tell_refusal(self, trigger: Trigger[AnyPort], error: ErrorBody) -> None:
        spec = trigger.spec
        _log.warning(
            "trigger %s (%s -> %s) refused by its provider: %s: %s",
            spec.trigger_id,
            spec.trigger_type,
            spec.function_id,
            error.code,
            error.message,
        )
        waits = spec.trigger_id in self._waiters
        self._wake(spec.trigger_id, error)
        if not waits and trigger.owner is not None and trigger.owner.is_live:
            trigger.owner.trigger_refused(spec, error)

    def _wake(self, trigger_id: str, error: ErrorBody | None) -> None:
        waiter = self._waiters.pop(trigger_id, None)
        if waiter is not None:
            waiter(error)

    def _report(self, trigger: Trigger[AnyPort], state: Any, reason: str = "") -> None:  # noqa: ANN401 - a Literal
        spec = trigger.spec
        self._on_event(
            TriggerChanged(
                trigger_id=spec.trigger_id,
                trigger_type=spec.trigger_type,
                function_id=spec.function_id,
                state=state,
                reason=reason,
            )
        )
