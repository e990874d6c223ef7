"""Trigger tables against a plain model, under random registrations."""

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from iii_trio.engine import Tell, Trigger, Triggers, TriggerType
from iii_trio.transport import TriggerSpec

NAMESPACES = st.sampled_from(["default", "n", "m"])
KINDS = st.sampled_from(["t", "u"])
IDS = st.sampled_from(["1", "2", "3", "4"])


@attrs.define(eq=False)
class Port:
    worker_id: str
    is_live: bool = True
    is_local: bool = False
    bound: set[str] = attrs.field(factory=set)


class TriggersMachine(RuleBasedStateMachine):
    """Providers keep what they were told; it must always be what the rules say."""

    def __init__(self) -> None:
        super().__init__()
        self.triggers: Triggers[Port] = Triggers()
        self.ports = [Port(str(number)) for number in range(3)]
        self.types: dict[tuple[str, str], Port] = {}
        self.bindings: dict[str, tuple[str, str, str | None, Port]] = {}

    def tell(self, tells: list[Tell[Port]]) -> None:
        for told in tells:
            trigger_id = told.trigger.spec.trigger_id
            if told.what == "bind":
                told.provider.bound.add(trigger_id)
            else:
                told.provider.bound.discard(trigger_id)

    @rule(port=st.integers(0, 2), namespace=NAMESPACES, kind=KINDS)
    def add_type(self, port: int, namespace: str, kind: str) -> None:
        provider = self.ports[port]
        replaced = self.types.get((namespace, kind))
        if replaced is not None:
            # The rules do not tell a replaced provider: what it kept is void.
            for trigger in self.triggers:
                served = trigger.served_by
                if served is not None and (served.namespace, served.trigger_type) == (
                    namespace,
                    kind,
                ):
                    replaced.bound.discard(trigger.spec.trigger_id)
        self.types[namespace, kind] = provider
        self.tell(
            self.triggers.add_type(
                TriggerType(trigger_type=kind, namespace=namespace, provider=provider)
            )
        )

    @rule(port=st.integers(0, 2))
    def provider_leaves(self, port: int) -> None:
        provider = self.ports[port]
        provider.is_live = False
        for trigger_id, (_, _, _, owner) in list(self.bindings.items()):
            if owner is provider:
                del self.bindings[trigger_id]
        for trigger in self.triggers.owned_by(provider):
            self.tell(self.triggers.unbind(trigger.spec.trigger_id) or [])
        for kind in self.triggers.types_of(provider):
            del self.types[kind.namespace, kind.trigger_type]
            self.tell(
                self.triggers.remove_type(kind.namespace, kind.trigger_type, provider)
            )
        self.ports[port] = Port(f"{provider.worker_id}'")

    @rule(
        trigger_id=IDS,
        kind=KINDS,
        home=NAMESPACES,
        strict=st.none() | NAMESPACES,
        port=st.integers(0, 2),
    )
    def bind(
        self, trigger_id: str, kind: str, home: str, strict: str | None, port: int
    ) -> None:
        owner = self.ports[port]
        self.bindings[trigger_id] = kind, home, strict, owner
        spec = TriggerSpec(
            trigger_id=trigger_id,
            trigger_type=kind,
            function_id="f",
            trigger_namespace=strict,
        )
        self.tell(self.triggers.bind(Trigger(spec=spec, owner=owner, home=home)))

    @rule(trigger_id=IDS)
    def unbind(self, trigger_id: str) -> None:
        tells = self.triggers.unbind(trigger_id)
        assert (tells is None) is (trigger_id not in self.bindings)
        self.bindings.pop(trigger_id, None)
        self.tell(tells or [])

    @invariant()
    def providers_know_exactly_what_they_serve(self) -> None:
        expected: dict[Port, set[str]] = {port: set() for port in self.ports}
        for trigger_id, (kind, home, strict, _) in self.bindings.items():
            provider = (
                self.types.get((strict, kind))
                if strict is not None
                else self.types.get((home, kind)) or self.types.get(("default", kind))
            )
            trigger = self.triggers.get(trigger_id)
            assert trigger is not None
            served = trigger.served_by
            assert (None if served is None else served.provider) is provider
            if provider is not None:
                expected[provider].add(trigger_id)
        assert {port: port.bound for port in self.ports} == expected

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.triggers) == len(self.bindings)
        assert self.triggers.parked() == sum(
            trigger.served_by is None for trigger in self.triggers
        )


TestTriggers = TriggersMachine.TestCase
