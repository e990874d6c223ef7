"""Trigger types, bindings, and bindings parked until a provider appears.

Pure: every change returns the messages that providers must get, in order, as `Tell`
records; whoever called sends them. The rules (protocol, section 5):

- a provider is looked for in ``trigger_namespace`` if that is given, else in the
  binder's home namespace, else in ``default``;
- types and trigger ids are taken by the last who registers them;
- a binding without a provider is parked, never an error;
- a provider that comes later, or nearer, takes over; one that goes leaves its bindings
  to the ``default`` provider or parked.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Literal, TypeVar, final

import attrs

from iii_trio.access import Session
from iii_trio.engine._registry import Owner
from iii_trio.protocol import DEFAULT_NAMESPACE
from iii_trio.transport import TriggerSpec

PortT = TypeVar("PortT", bound=Owner)


@final
@attrs.define(eq=False, kw_only=True)
class TriggerType(Generic[PortT]):
    """One kind of event, and the worker that provides it. Formats are JSON values.

    Attributes:
        details: what a provider of this process says of one of its triggers, by id.
        weight: what it counts as among those of its provider.
    """

    trigger_type: str
    namespace: str
    provider: PortT
    description: str = ""
    config_format: Any = None
    call_format: Any = None
    return_format: Any = None
    details: Callable[[str], Any] | None = None
    weight: int = 1


@final
@attrs.define(eq=False, kw_only=True)
class Trigger(Generic[PortT]):
    """One binding.

    Attributes:
        owner: who bound it; ``None`` for a durable trigger.
        home: the namespace of the binder.
        session: what the binder may do; ``None``: everything.
        served_by: its provider, ``None`` while it is parked.
        reason: why it is parked.
        fired: how often it fired, as far as its provider told.
        last_fired_ms: wall time of the last firing, epoch milliseconds.
        weight: what it counts as among those of its owner.
    """

    spec: TriggerSpec
    owner: PortT | None
    home: str
    session: Session | None = None
    served_by: TriggerType[PortT] | None = None
    reason: str = ""
    fired: int = 0
    last_fired_ms: int | None = None
    weight: int = 1

    @property
    def state(self) -> Literal["registered", "active", "invoked"]:
        """Declared, listened to, or fired at least once."""
        if self.served_by is None:
            return "registered"
        return "invoked" if self.fired else "active"


@final
@attrs.frozen
class Tell(Generic[PortT]):
    """What a provider must be told about a trigger."""

    provider: PortT
    what: Literal["bind", "unbind"]
    trigger: Trigger[PortT]
    trigger_type: TriggerType[PortT]


@final
class Triggers(Generic[PortT]):
    """All trigger types and all bindings."""

    def __init__(self) -> None:
        self._types: dict[tuple[str, str], TriggerType[PortT]] = {}
        self._triggers: dict[str, Trigger[PortT]] = {}
        self._by_type_id: dict[str, dict[str, Trigger[PortT]]] = {}
        self._by_owner: dict[PortT, dict[str, Trigger[PortT]]] = {}
        self._weights: dict[PortT | None, int] = {}

    def __len__(self) -> int:
        return len(self._triggers)

    def __iter__(self) -> Iterator[Trigger[PortT]]:
        return iter(self._triggers.values())

    @property
    def types(self) -> Iterable[TriggerType[PortT]]:
        """Every trigger type that has a provider."""
        return self._types.values()

    def get(self, trigger_id: str) -> Trigger[PortT] | None:
        """The binding of this id, live or parked."""
        return self._triggers.get(trigger_id)

    def find_type(self, namespace: str, trigger_type: str) -> TriggerType[PortT] | None:
        """The trigger type of exactly this namespace."""
        return self._types.get((namespace, trigger_type))

    def served_by(self, kind: TriggerType[PortT]) -> list[Trigger[PortT]]:
        """The bindings that a type serves now."""
        bindings = self._by_type_id.get(kind.trigger_type, {})
        return [t for t in bindings.values() if t.served_by is kind]

    def parked(self) -> int:
        """How many bindings wait for a provider."""
        return sum(t.served_by is None for t in self._triggers.values())

    def bind(self, trigger: Trigger[PortT]) -> list[Tell[PortT]]:
        """Enter a binding, replacing one of the same id, and find its provider."""
        tells: list[Tell[PortT]] = []
        old = self._triggers.get(trigger.spec.trigger_id)
        if old is not None:
            provider = self._resolve(trigger)
            moved = provider is None or old.served_by is not provider
            tells += self._drop(old, tell=moved)
        self._enter(trigger)
        return tells + self._serve(trigger, self._resolve(trigger))

    def unbind(self, trigger_id: str) -> list[Tell[PortT]] | None:
        """Remove a binding, live or parked; ``None`` if there is none."""
        trigger = self._triggers.get(trigger_id)
        return None if trigger is None else self._drop(trigger)

    def park(self, trigger: Trigger[PortT], reason: str) -> None:
        """A provider refused the binding: keep it, not served."""
        trigger.served_by = None
        trigger.reason = reason

    def add_type(self, kind: TriggerType[PortT]) -> list[Tell[PortT]]:
        """Enter a type; all bindings that resolve to it are sent to its provider.

        A type of the same namespace and id is replaced and its provider is not told.
        """
        replaced = self._types.get((kind.namespace, kind.trigger_type))
        self._types[kind.namespace, kind.trigger_type] = kind
        tells: list[Tell[PortT]] = []
        for trigger in list(self._by_type_id.get(kind.trigger_type, {}).values()):
            if self._resolve(trigger) is kind:
                tells += self._leave(trigger, silently=replaced)
                tells += self._serve(trigger, kind)
        return tells

    def remove_type(
        self, namespace: str, trigger_type: str, provider: PortT
    ) -> list[Tell[PortT]]:
        """A provider stops serving a type, if it is still its own."""
        kind = self._types.get((namespace, trigger_type))
        if kind is None or kind.provider is not provider:
            return []
        del self._types[namespace, trigger_type]
        tells: list[Tell[PortT]] = []
        for trigger in self.served_by(kind):
            tells += self._serve(trigger, self._resolve(trigger))
        return tells

    def types_of(self, provider: PortT) -> list[TriggerType[PortT]]:
        """The types that one worker provides."""
        return [kind for kind in self._types.values() if kind.provider is provider]

    def weight_of(self, owner: PortT | None) -> int:
        """What the bindings count as that one worker made, or nobody who could go."""
        return self._weights.get(owner, 0)

    def owned_by(self, owner: PortT) -> list[Trigger[PortT]]:
        """The bindings that one worker made."""
        return list(self._by_owner.get(owner, {}).values())

    def _resolve(self, trigger: Trigger[PortT]) -> TriggerType[PortT] | None:
        kind, spec = trigger.spec.trigger_type, trigger.spec
        if spec.trigger_namespace is not None:
            return self._types.get((spec.trigger_namespace, kind))
        at_home = self._types.get((trigger.home, kind))
        return at_home or self._types.get((DEFAULT_NAMESPACE, kind))

    def _enter(self, trigger: Trigger[PortT]) -> None:
        trigger_id, kind = trigger.spec.trigger_id, trigger.spec.trigger_type
        self._triggers[trigger_id] = trigger
        self._by_type_id.setdefault(kind, {})[trigger_id] = trigger
        if trigger.owner is not None:
            self._by_owner.setdefault(trigger.owner, {})[trigger_id] = trigger
        weight = self._weights.get(trigger.owner, 0) + trigger.weight
        self._weights[trigger.owner] = weight

    def _drop(self, trigger: Trigger[PortT], *, tell: bool = True) -> list[Tell[PortT]]:
        trigger_id, kind = trigger.spec.trigger_id, trigger.spec.trigger_type
        del self._triggers[trigger_id]
        _discard(self._by_type_id, kind, trigger_id)
        if trigger.owner is not None:
            _discard(self._by_owner, trigger.owner, trigger_id)
        self._weights[trigger.owner] -= trigger.weight
        if not self._weights[trigger.owner]:
            del self._weights[trigger.owner]
        return self._leave(trigger) if tell else []

    def _serve(
        self, trigger: Trigger[PortT], kind: TriggerType[PortT] | None
    ) -> list[Tell[PortT]]:
        trigger.served_by = kind
        if kind is None:
            trigger.reason = (
                f"no provider of {trigger.spec.trigger_type!r} is connected"
            )
            return []
        trigger.reason = ""
        return [Tell(kind.provider, "bind", trigger, kind)]

    @staticmethod
    def _leave(
        trigger: Trigger[PortT], *, silently: TriggerType[PortT] | None = None
    ) -> list[Tell[PortT]]:
        kind = trigger.served_by
        if kind is None or kind is silently or not kind.provider.is_live:
            return []
        return [Tell(kind.provider, "unbind", trigger, kind)]


def _discard(index: dict[Any, dict[str, Any]], key: object, trigger_id: str) -> None:
    entries = index[key]
    del entries[trigger_id]
    if not entries:
        del index[key]
