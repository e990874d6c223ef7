"""Trigger tables: where providers are found, and what they are told."""

import attrs

from iii_trio.engine import Tell, Trigger, Triggers, TriggerType
from iii_trio.transport import TriggerSpec


@attrs.define(eq=False)
class Port:
    worker_id: str
    is_live: bool = True
    is_local: bool = False


def kind(provider: Port, namespace: str = "default") -> TriggerType[Port]:
    return TriggerType(trigger_type="t", namespace=namespace, provider=provider)


def binding(
    trigger_id: str = "1",
    *,
    owner: Port | None = None,
    home: str = "default",
    trigger_namespace: str | None = None,
    trigger_type: str = "t",
) -> Trigger[Port]:
    spec = TriggerSpec(
        trigger_id=trigger_id,
        trigger_type=trigger_type,
        function_id="f",
        trigger_namespace=trigger_namespace,
    )
    return Trigger(spec=spec, owner=owner, home=home)


def told(tells: list[Tell[Port]]) -> list[tuple[str, str, str]]:
    return [(t.provider.worker_id, t.what, t.trigger.spec.trigger_id) for t in tells]


def test_a_binding_without_provider_is_parked_and_activated_later() -> None:
    triggers: Triggers[Port] = Triggers()
    trigger = binding()
    assert triggers.bind(trigger) == []
    assert triggers.parked() == 1
    assert "no provider" in trigger.reason
    states = [trigger.state]
    assert told(triggers.add_type(kind(Port("p")))) == [("p", "bind", "1")]
    states.append(trigger.state)
    trigger.fired = 1
    states.append(trigger.state)
    assert states == ["registered", "active", "invoked"]
    assert trigger.reason == ""


def test_a_named_provider_namespace_is_strict() -> None:
    triggers: Triggers[Port] = Triggers()
    triggers.add_type(kind(Port("p")))
    assert triggers.bind(binding(trigger_namespace="n", home="default")) == []
    assert told(triggers.add_type(kind(Port("q"), "n"))) == [("q", "bind", "1")]


def test_a_provider_at_home_takes_over_from_the_default_one() -> None:
    triggers: Triggers[Port] = Triggers()
    triggers.add_type(kind(Port("p")))
    triggers.bind(binding(home="n"))
    assert told(triggers.add_type(kind(Port("q"), "n"))) == [
        ("p", "unbind", "1"),
        ("q", "bind", "1"),
    ]


def test_a_provider_that_leaves_gives_its_bindings_to_default_or_parks_them() -> None:
    triggers: Triggers[Port] = Triggers()
    home, default = Port("home"), Port("default")
    triggers.add_type(kind(default))
    triggers.add_type(kind(home, "n"))
    trigger = binding(home="n")
    triggers.bind(trigger)
    home.is_live = False
    assert told(triggers.remove_type("n", "t", home)) == [("default", "bind", "1")]
    assert triggers.remove_type("default", "t", default) == []
    assert trigger.served_by is None


def test_only_the_provider_of_a_type_removes_it() -> None:
    triggers: Triggers[Port] = Triggers()
    provider = Port("p")
    triggers.add_type(kind(provider))
    assert triggers.remove_type("default", "t", Port("q")) == []
    assert triggers.remove_type("other", "t", provider) == []
    assert [k.provider for k in triggers.types] == [provider]
    assert triggers.types_of(provider) == [triggers.find_type("default", "t")]


def test_a_type_registered_again_sends_its_bindings_and_does_not_tell_the_old_one() -> (
    None
):
    triggers: Triggers[Port] = Triggers()
    triggers.add_type(kind(Port("p")))
    triggers.bind(binding())
    assert told(triggers.add_type(kind(Port("q")))) == [("q", "bind", "1")]


def test_the_same_id_bound_again_replaces_and_is_sent_again() -> None:
    triggers: Triggers[Port] = Triggers()
    triggers.add_type(kind(Port("p")))
    first, second = Port("a"), Port("b")
    triggers.bind(binding(owner=first))
    assert told(triggers.bind(binding(owner=second))) == [("p", "bind", "1")]
    assert triggers.owned_by(first) == []
    assert len(triggers.owned_by(second)) == 1
    assert len(triggers) == 1


def test_the_same_id_moved_to_another_type_is_unbound_at_the_old_provider() -> None:
    triggers: Triggers[Port] = Triggers()
    triggers.add_type(kind(Port("p")))
    triggers.bind(binding())
    assert told(triggers.bind(binding(trigger_type="u"))) == [("p", "unbind", "1")]
    assert triggers.parked() == 1


def test_a_binding_is_unbound_once() -> None:
    triggers: Triggers[Port] = Triggers()
    triggers.add_type(kind(Port("p")))
    trigger = binding(owner=Port("a"))
    triggers.bind(trigger)
    assert triggers.get("1") is trigger
    assert told(triggers.unbind("1") or []) == [("p", "unbind", "1")]
    assert triggers.unbind("1") is None
    assert list(triggers) == []


def test_a_refused_binding_is_parked_with_its_reason_and_comes_back() -> None:
    triggers: Triggers[Port] = Triggers()
    provider = Port("p")
    triggers.add_type(kind(provider))
    trigger = binding()
    triggers.bind(trigger)
    triggers.park(trigger, "refused")
    assert (trigger.served_by, trigger.reason) == (None, "refused")
    assert triggers.unbind("2") is None
    assert told(triggers.add_type(kind(provider))) == [("p", "bind", "1")]


def test_a_provider_that_is_going_is_told_nothing() -> None:
    triggers: Triggers[Port] = Triggers()
    provider = Port("p")
    triggers.add_type(kind(provider))
    triggers.bind(binding())
    provider.is_live = False
    assert triggers.unbind("1") == []


def test_the_weight_of_a_binder_follows_what_is_bound() -> None:
    triggers: Triggers[Port] = Triggers()
    binder = Port("b")
    for weight in (5, 3):
        triggers.bind(attrs.evolve(binding(owner=binder), weight=weight))
    triggers.bind(attrs.evolve(binding("2"), weight=2))
    assert (triggers.weight_of(binder), triggers.weight_of(None)) == (3, 2)
    triggers.bind(binding("1"))  # nobody's from now on
    assert (triggers.weight_of(binder), triggers.weight_of(None)) == (0, 3)
    triggers.unbind("1")
    triggers.unbind("2")
    assert triggers.weight_of(None) == 0
