"""What a restricted worker may register, and what hooks make of it."""

from typing import Any

import attrs
import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from iii_trio.access import Access, parse_rules
from iii_trio.engine import LinkPort
from iii_trio.protocol import (
    InvokeFunction,
    RegisterTrigger,
    RegistrationRejected,
    TriggerRegistrationResult,
    UnregisterTrigger,
)
from iii_trio.testing import RawPeer
from tests.component.access_rig import (
    AUTH,
    AccessRig,
    error_of,
    open_access_rig,
    result_of,
)

HOOK = "hook::judge"
HOOKS = (
    "on_function_registration_function_id",
    "on_trigger_registration_function_id",
    "on_trigger_type_registration_function_id",
)


def bind(peer: RawPeer, trigger_id: str, kind: str, target: str, **more: Any) -> None:
    """Let a peer bind a trigger."""
    peer.send(
        {
            "type": "registertrigger",
            "id": trigger_id,
            "trigger_type": kind,
            "function_id": target,
            **more,
        }
    )


async def refused_trigger(peer: RawPeer, trigger_id: str) -> tuple[str, str]:
    """Code and message of the frame that refuses a trigger."""
    frame = await peer.expect(TriggerRegistrationResult, id=trigger_id)
    body = msgspec.json.decode(frame.error)
    return body["code"], body["message"]


async def open_provider(rig: AccessRig, *kinds: str) -> RawPeer:
    """Connect a free worker that provides trigger types."""
    peer = rig.t.connect_raw_peer()
    for kind in kinds:
        peer.send({"type": "registertriggertype", "id": kind})
    peer.announce("provider")
    await rig.settle()
    return peer


# Functions


async def test_functions_may_be_switched_off(autojump_clock: MockClock) -> None:
    async with open_access_rig() as rig:
        peer = await rig.enter("w", allow_function_registration=False)
        peer.register("a::b")
        await rig.settle()
        assert not rig.has("a::b")
        assert peer.unread(RegistrationRejected) == []
        assert rig.denied == [("register", "a::b")]


async def test_a_prefix_hides_itself_from_the_worker(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("free") as free:
        peer = await rig.enter("w", function_registration_prefix="t1")
        peer.register("a::b")
        await rig.settle()
        assert rig.has("t1::a::b")
        assert not rig.has("a::b")
        call = free.call("t1::a::b", {})
        served = await peer.served("a::b")
        peer.answer(served, 1)
        outcome = await free.outcome(call)
        assert (outcome.function_id, result_of(outcome)) == ("t1::a::b", 1)
        peer.unregister("t1::a::b")
        await rig.settle()
        assert rig.has("t1::a::b")
        peer.unregister("a::b")
        await rig.settle()
        assert not rig.has("t1::a::b")


async def test_a_conflict_names_the_prefixed_id(autojump_clock: MockClock) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("free", "t1::a"):
        peer = await rig.enter("w", function_registration_prefix="t1")
        peer.register("a")
        rejected = await peer.expect(RegistrationRejected)
        assert rejected.function_id == "t1::a"


async def test_what_is_refused_leaves_no_alias(autojump_clock: MockClock) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("free", "t1::b"):
        peer = await rig.enter("w", function_registration_prefix="t1")
        peer.register("a")
        peer.register("b")
        await peer.expect(RegistrationRejected)
        [port] = [
            port
            for port in rig.t.engine.supervisor.ports
            if isinstance(port, LinkPort) and port.guard is not None
        ]
        assert port.guard is not None
        assert len(port.guard.functions) == 1


async def test_what_a_hook_renamed_and_the_quota_refused_leaves_no_alias(
    autojump_clock: MockClock,
) -> None:
    async def rename(asked: Any) -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        keys = ("function_id", "trigger_type_id", "trigger_id")
        return {key: f"team::{asked[key]}" for key in keys if key in asked}

    async with open_access_rig() as rig:
        quotas = rig.t.engine.invocations.quotas
        quotas.limits = attrs.evolve(quotas.limits, registrations_per_worker=2)
        rig.operator.register_function(HOOK, rename)
        rig.rules |= dict.fromkeys(HOOKS, HOOK)
        peer = await rig.enter(
            "w", allowed_functions=["team::f"], allow_trigger_type_registration=True
        )
        for number in range(9):
            bind(peer, f"t{number}", "later", "f")
            peer.send({"type": "registertriggertype", "id": f"k{number}"})
        for number in range(2, 9):
            code, _ = await refused_trigger(peer, f"t{number}")
            assert code == "invocation_refused"
        await rig.settle()
        [port] = [
            port
            for port in rig.t.engine.supervisor.ports
            if isinstance(port, LinkPort) and port.guard is not None
        ]
        assert port.guard is not None
        assert (len(port.guard.triggers), len(port.guard.types)) == (2, 2)


async def test_two_sessions_with_prefixes_do_not_meet(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        one = await rig.enter("w1", function_registration_prefix="t1")
        two = await rig.enter("w2", function_registration_prefix="t2")
        for peer in (one, two):
            peer.register("a")
        two.unregister("t1::a")
        await rig.settle()
        assert rig.has("t1::a")
        assert rig.has("t2::a")


async def test_what_access_rests_on_cannot_be_offered_by_a_session(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.options["middleware_function_id"] = "mw::all"
        with rig.t.engine.gate.using(rig.access):
            rig.operator.unregister_function(AUTH)
            rig.rules = {}
            peer = await rig.enter("intruder")
            for function_id in (AUTH, "mw::all", "other::f"):
                peer.register(function_id)
            await rig.settle()
            assert not rig.has(AUTH)
            assert not rig.has("mw::all")
            assert rig.has("other::f")


async def test_rules_that_come_later_take_back_what_they_rest_on(
    autojump_clock: MockClock,
) -> None:
    """Such as those of a listener that a reload adds."""
    async with open_access_rig() as rig:
        stranger = await rig.enter("stranger", function_registration_prefix="auth")
        trusted = await rig.enter("trusted", allowed_functions=["hook::late"])
        stranger.register("late")
        stranger.register("other")
        trusted.register("hook::late")
        in_namespace = rig.connect()
        await in_namespace.accepted()
        in_namespace.announce("elsewhere", namespace="team")
        in_namespace.register("mw::late")
        await rig.settle()
        assert rig.has("auth::late")
        assert rig.has("mw::late", "team")
        rules = {"auth_function_id": "auth::late", HOOKS[0]: "hook::late"}
        later = Access(rules=parse_rules(rules), middleware_function_id="mw::late")
        with rig.t.engine.gate.using(later):
            assert rig.has("auth::late")  # they may not come into use after all
            rig.t.engine.gate.take_back(later)
            rejected = await stranger.expect(RegistrationRejected)
            assert rejected.function_id == "auth::late"
            assert not rig.has("auth::late")
            assert not rig.has("mw::late", "team")
            assert rig.has("auth::other")
            assert rig.has("hook::late")
            assert ("register", "auth::late") in rig.denied
            await rig.serve("auth::late")
        stranger.register("late")
        conflict = await stranger.expect(RegistrationRejected)
        assert conflict.owner_worker_id == rig.operator.worker_id


async def test_a_session_that_is_trusted_by_name_may_offer_a_hook(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.rules[HOOKS[0]] = "other::hook"
        with rig.t.engine.gate.using(rig.access):
            del rig.rules[HOOKS[0]]
            peer = await rig.enter("w", allowed_functions=["other::hook"])
            peer.register("other::hook")
            await rig.settle()
            assert rig.has("other::hook")


async def test_a_session_cannot_pose_as_the_queue(autojump_clock: MockClock) -> None:
    """Any worker may take the ids of the bundled queue over; this is who may not."""
    async with open_access_rig() as rig:
        async with rig.t.open_worker("queue", internal=True) as queue:
            queue.register_function("engine::queue::enqueue", lambda _payload: None)
            peer = await rig.enter("w", allowed_functions=["queue::define"])
            peer.register("engine::queue::enqueue")
            peer.register("iii::durable::publish")
            peer.register("queue::define")
            await rig.settle()
            found = rig.t.engine.registry.find("default", "engine::queue::enqueue")
            assert found is not None
            assert found.owner.record.name == "queue"
        assert not rig.has("iii::durable::publish")
        assert rig.has("queue::define"), "it is trusted by name with that"
        assert rig.denied == [
            ("register", "engine::queue::enqueue"),
            ("register", "iii::durable::publish"),
        ]


async def test_functions_by_http_need_a_right_of_their_own(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    invocation = {
        "url": "https://thief.example/",
        "headers": {"x-key": "hush-77"},
        "auth": {"type": "bearer", "token_key": "AWS_SECRET"},
    }
    async with open_access_rig() as rig:
        peer = await rig.enter("w")
        peer.register("a::b", invocation=invocation)
        await rig.settle()
        assert rig.denied == [("register", "a::b")]
        allowed = await rig.enter("v", allow_http_function_registration=True)
        allowed.register("a::c", invocation=invocation)
        await rig.settle()
        assert len(rig.denied) == 1
        assert "hush-77" not in caplog.text + repr(rig.t.events.events)


async def test_serving_actions_needs_the_right_to_provide(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        metadata = {"trigger_action": "webhook"}
        peer = await rig.enter("w")
        peer.register("a", metadata=metadata)
        provider = await rig.enter("v", allow_trigger_type_registration=True)
        provider.register("b", metadata=metadata)
        await rig.settle()
        assert not rig.has("a")
        assert rig.has("b")


async def test_metadata_that_has_no_value_drops_that_registration_alone(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        peer = await rig.enter("w")
        peer.send('{"type":"registerfunction","id":"a","metadata":{"n":1e400}}')
        peer.register("b")
        await rig.settle()
        assert not rig.has("a")
        assert rig.has("b")


# Hooks for functions


async def test_a_hook_is_asked_in_order_and_may_change_what_is_registered(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("h", HOOK) as hook:
        rig.rules[HOOKS[0]] = HOOK
        rig.answer = {"function_registration_prefix": "p", "context": {"u": 1}}
        peer = rig.connect()
        peer.register("a", description="d", metadata={"m": 1})
        peer.register("b")
        peer.announce("w", namespace="n")
        peer.register("c")
        call = peer.call("engine::workers::register", {"name": "w"})
        asked = await hook.served(HOOK)
        assert msgspec.json.decode(asked.data) == {
            "function_id": "a",
            "description": "d",
            "metadata": {"m": 1},
            "namespace": "n",
            "context": {"u": 1},
        }
        await rig.settle()
        assert not hook.unread(InvokeFunction)  # one at a time
        assert rig.t.engine.statistics().functions == 2
        hook.answer(asked, {"function_id": "a2", "description": "e", "metadata": 5})
        hook.answer(await hook.served(HOOK), None)  # b is refused
        hook.answer(await hook.served(HOOK), {})
        await peer.outcome(call)  # it was read only now
        registry = rig.t.engine.registry
        a = registry.find("n", "p::a2")
        assert a is not None
        assert (a.description, a.metadata) == ("e", 5)
        assert registry.find("n", "p::b") is None
        assert registry.find("n", "p::c") is not None
        free = rig.t.connect_raw_peer()
        free.call("p::a2", {}, namespace="n")
        await peer.served("a")
        peer.unregister("a")
        await rig.settle()
        assert registry.find("n", "p::a2") is None


@pytest.mark.parametrize(
    "answer",
    [
        None,
        False,
        True,
        "yes",
        1,
        [],
        {"function_id": " ", "trigger_type_id": ""},
        ValueError("no"),
    ],
)
async def test_anything_but_an_object_denies_in_silence(
    answer: Any, autojump_clock: MockClock
) -> None:
    async with open_access_rig() as rig:
        await rig.serve(HOOK, answer)
        rig.rules |= dict.fromkeys(HOOKS, HOOK)
        peer = await rig.enter("w", allow_trigger_type_registration=True)
        before = list(peer.received)
        peer.register("a")
        peer.send({"type": "registertriggertype", "id": "k"})
        bind(peer, "t", "k", "engine::log::info")
        await rig.settle()
        assert not rig.has("a")
        statistics = rig.t.engine.statistics()
        assert (statistics.trigger_types, statistics.triggers) == (0, 0)
        assert peer.received == before
        assert [action for action, _ in rig.denied] == ["register"] * 3


async def test_json_that_has_no_value_holds_nothing_up_after_a_hook(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("judge") as judge:
        await open_provider(rig, "cron")
        judge.register(HOOK)
        rig.rules |= {HOOKS[0]: HOOK, HOOKS[1]: HOOK}
        peer = await rig.enter("w", allowed_functions=["b"])
        peer.send('{"type":"registerfunction","id":"a","metadata":{"n":1e400}}')
        peer.send(
            '{"type":"registertrigger","id":"t","trigger_type":"cron",'
            '"function_id":"b","config":{"n":1e400}}'
        )
        peer.register("b")
        bind(peer, "u", "cron", "b")
        for _ in range(4):
            judge.answer(await judge.served(HOOK), {})
        await rig.settle()
        assert not rig.has("a")
        assert rig.has("b")
        assert [t.spec.trigger_id for t in rig.t.engine.triggers] == ["u"]


async def test_a_hook_that_is_missing_denies(autojump_clock: MockClock) -> None:
    async with open_access_rig() as rig:
        rig.rules[HOOKS[0]] = "hook::gone"
        peer = await rig.enter("w")
        peer.register("a")
        await rig.settle()
        assert not rig.has("a")


async def test_a_hook_that_does_not_answer_denies_after_the_time_limit(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("h", HOOK):
        rig.rules[HOOKS[0]] = HOOK
        rig.options["timeout"] = 2.0
        peer = await rig.enter("w", allowed_functions=["open::f"])
        await rig.serve("open::f", 1)
        began = trio.current_time()
        peer.register("a")
        peer.register("b")
        assert result_of(await rig.call(peer, "open::f")) == 1
        assert trio.current_time() - began == pytest.approx(4.0)
        assert not rig.has("a")
        assert rig.t.engine.statistics().invocations == 0


async def test_a_hook_on_the_same_link_would_wait_for_itself_and_is_refused_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.rules[HOOKS[0]] = HOOK
        peer = await rig.enter("w")
        port = rig.t.engine.supervisor.port_of(peer.received[0].worker_id)  # type: ignore[union-attr]
        guard, port.guard = port.guard, None  # type: ignore[attr-defined]
        port.apply = rig.t.engine._registrar.register  # type: ignore[attr-defined]
        peer.register(HOOK)
        await rig.settle()
        port.guard = guard  # type: ignore[attr-defined]
        port.apply = rig.t.engine.gate._hooks.apply  # type: ignore[attr-defined]
        began = trio.current_time()
        peer.register("a")
        await rig.settle()
        assert trio.current_time() == began
        assert not rig.has("a")
        assert not peer.unread(InvokeFunction)


async def test_a_worker_that_leaves_while_a_hook_is_asked_registers_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("h", HOOK) as hook:
        rig.rules[HOOKS[0]] = HOOK
        peer = await rig.enter("w")
        peer.register("a")
        peer.register("b")
        asked = await hook.served(HOOK)
        peer.cut()
        await rig.settle()
        hook.answer(asked, {})
        await rig.settle()
        assert not rig.has("a")
        assert rig.t.engine.statistics().workers == 2
        assert rig.t.engine.statistics().invocations == 0


async def test_thousands_of_registrations_pass_a_quick_hook(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.rules[HOOKS[0]] = "engine::workers::list"  # an object, at once
        rig.answer = {}
        peer = rig.connect()
        for number in range(2000):
            peer.register(f"f::{number}")
        peer.announce("w")
        peer.register("last")
        await rig.settle()
        assert rig.has("f::1999")
        assert rig.has("last")


# Trigger types


async def test_trigger_types_need_the_right_to_provide(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        peer = await rig.enter("w")
        peer.send({"type": "registertriggertype", "id": "k"})
        await rig.settle()
        assert rig.t.engine.statistics().trigger_types == 0
        assert rig.denied == [("register", "k")]


async def test_a_type_of_the_engines_process_cannot_be_taken_over(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.operator.register_trigger_type("cron", bind=lambda _trigger: None)
        await rig.settle()
        peer = await rig.enter("w", allow_trigger_type_registration=True)
        for kind in ("cron", "engine::functions-available", "mine"):
            peer.send({"type": "registertriggertype", "id": kind})
        await rig.settle()
        triggers = rig.t.engine.triggers
        providers = {
            kind.trigger_type: kind.provider.is_local for kind in triggers.types
        }
        assert providers["cron"]
        assert providers["engine::functions-available"]
        assert not providers["mine"]


async def test_a_type_stays_in_the_namespaces_of_the_session(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.answer = {
            "namespaces": {"team": []},
            "allow_trigger_type_registration": True,
        }
        peer = rig.connect()
        peer.announce("w", namespace="team")
        for namespace in ("default", "other", " ", None):
            peer.send(
                {"type": "registertriggertype", "id": "k", "namespace": namespace}
            )
        await rig.settle()
        kinds = [k for k in rig.t.engine.triggers.types if k.trigger_type == "k"]
        assert [kind.namespace for kind in kinds] == ["team"]


async def test_a_hook_may_rename_a_type_and_the_provider_does_not_notice(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("free") as free:
        got = await rig.serve(HOOK, {"trigger_type_id": "team::k", "description": "d"})
        rig.rules[HOOKS[2]] = HOOK
        peer = await rig.enter("w", allow_trigger_type_registration=True)
        peer.send({"type": "registertriggertype", "id": "k", "description": "c"})
        await rig.settle()
        assert got == [{"trigger_type_id": "k", "description": "c", "context": {}}]
        bind(free, "t1", "team::k", "free::f")
        told = await peer.expect(RegisterTrigger)
        assert (told.id, told.trigger_type) == ("t1", "k")
        free.send({"type": "unregistertrigger", "id": "t1"})
        gone = await peer.expect(UnregisterTrigger)
        assert (gone.id, gone.trigger_type) == ("t1", "k")
        peer.send({"type": "unregistertriggertype", "id": "k"})
        await rig.settle()
        assert rig.t.engine.statistics().trigger_types == 0


# Triggers


async def test_a_type_that_is_not_allowed_is_dropped_in_silence(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        await open_provider(rig, "http", "cron")
        peer = await rig.enter(
            "w", allowed_trigger_types=["cron"], allowed_functions=["open::f"]
        )
        before = list(peer.received)
        bind(peer, "t1", "http", "open::f")
        bind(peer, "t2", "cron", "open::f")
        await rig.settle()
        assert [t.spec.trigger_id for t in rig.t.engine.triggers] == ["t2"]
        assert peer.received == before


async def test_a_target_must_be_one_that_the_session_may_call(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        await open_provider(rig, "cron")
        peer = await rig.enter("w", allowed_functions=["open::f"])
        for target, namespace in (("shut::f", "default"), ("open::f", "team")):
            bind(peer, "t", "cron", target, namespace=namespace)
            assert await refused_trigger(peer, "t") == (
                "FORBIDDEN",
                f"function '{target}' not allowed in namespace '{namespace}'",
            )
        assert rig.t.engine.statistics().triggers == 0


async def test_the_prefix_is_put_on_targets(autojump_clock: MockClock) -> None:
    async with open_access_rig() as rig:
        provider = await open_provider(rig, "cron")
        rig.rules["expose_functions"] = ['match("t1::*")']
        peer = await rig.enter("w", function_registration_prefix="t1")
        peer.register("a")
        bind(peer, "t", "cron", "a")
        told = await provider.expect(RegisterTrigger)
        assert told.function_id == "t1::a"
        provider.call("t1::a", {})
        await peer.served("a")
        refusal = {
            "type": "triggerregistrationresult",
            "id": "t",
            "trigger_type": "cron",
            "function_id": "t1::a",
            "error": {"code": "no", "message": "bad config"},
        }
        provider.send(refusal)
        result = await peer.expect(TriggerRegistrationResult)
        assert (result.id, result.function_id) == ("t", "a")


@pytest.mark.parametrize(
    "config",
    [
        {"condition_function_id": "shut::f"},
        {"conditionFunctionId": "shut::f"},
        {"middleware_function_ids": ["open::f", "shut::f"]},
        {"steps": [{"before": {"function_id": "shut::f"}}]},
    ],
)
async def test_a_config_cannot_call_what_the_session_may_not(
    config: dict[str, Any], autojump_clock: MockClock
) -> None:
    async with open_access_rig() as rig:
        await open_provider(rig, "http")
        peer = await rig.enter("w", allowed_functions=["open::f"])
        bind(peer, "t", "http", "open::f", config=config)
        code, message = await refused_trigger(peer, "t")
        assert code == "FORBIDDEN"
        assert "'shut::f'" in message
        bind(peer, "t", "http", "open::f", config={"condition_function_id": "open::f"})
        await rig.settle()
        assert rig.t.engine.statistics().triggers == 1


async def test_an_engine_function_is_no_target(autojump_clock: MockClock) -> None:
    async with open_access_rig() as rig:
        await open_provider(rig, "http")
        rig.rules["expose_functions"] = ['match("*")']
        peer = await rig.enter("w")
        for target in (
            "engine::functions::list",
            "engine::register_trigger",
            "engine::queue::enqueue",
        ):
            bind(peer, "t", "http", target)
            await rig.settle()
            assert rig.t.engine.statistics().triggers == 0
            assert (await refused_trigger(peer, "t"))[0] == "FORBIDDEN"
        config = {"condition_function_id": "engine::unregister_trigger"}
        bind(peer, "t", "http", "open::f", config=config)
        assert (await refused_trigger(peer, "t"))[0] == "FORBIDDEN"


async def test_a_blank_namespace_of_a_trigger_is_told_as_ever(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        peer = await rig.enter("w", allowed_functions=["open::f"])
        bind(peer, "t", "http", "open::f", namespace=" ")
        assert (await refused_trigger(peer, "t"))[0] == "INVALID_NAMESPACE"


async def test_a_hook_may_change_a_trigger_and_its_maker_can_still_end_it(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        provider = await open_provider(rig, "cron", "slow-cron")
        got = await rig.serve(
            HOOK,
            {
                "trigger_id": "team::t",
                "trigger_type": "slow-cron",
                "function_id": "open::g",
                "config": {"condition_function_id": "operators::own"},
                "metadata": "ignored",
            },
        )
        rig.rules[HOOKS[1]] = HOOK
        peer = await rig.enter("w", allowed_functions=["open::*", "open::g"])
        bind(peer, "t", "cron", "open::f", config={"c": 1}, metadata={"m": 1})
        told = await provider.expect(RegisterTrigger)
        assert got == [
            {
                "trigger_id": "t",
                "trigger_type": "cron",
                "function_id": "open::f",
                "config": {"c": 1},
                "metadata": {"m": 1},
                "namespace": "default",
                "context": {},
            }
        ]
        assert (told.id, told.trigger_type, told.function_id) == (
            "team::t",
            "slow-cron",
            "open::g",
        )
        assert msgspec.json.decode(told.metadata) == {"m": 1}
        peer.send({"type": "unregistertrigger", "id": "t"})
        await provider.expect(UnregisterTrigger, id="team::t")


@pytest.mark.parametrize("middleware", [[], ["operators::own"]])
async def test_a_hook_that_hands_a_config_on_does_not_vouch_for_what_it_names(
    middleware: list[str], autojump_clock: MockClock
) -> None:
    """Many a hook answers with what it was asked, more or less."""
    async with open_access_rig() as rig:
        await open_provider(rig, "http")
        config = {"condition_function_id": "shut::f"}
        changed = {**config, "middleware_function_ids": middleware}
        await rig.serve(HOOK, {"config": changed})
        rig.rules[HOOKS[1]] = HOOK
        peer = await rig.enter("w", allowed_functions=["open::f"])
        bind(peer, "t", "http", "open::f", config=config)
        code, message = await refused_trigger(peer, "t")
        assert code == "FORBIDDEN"
        assert "'shut::f'" in message


async def test_a_foreign_trigger_can_be_neither_ended_nor_replaced(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        provider = await open_provider(rig, "cron", "http")
        bind(provider, "victim", "cron", "shut::f")
        bind(provider, "other", "http", "open::f")
        bind(provider, "shared", "cron", "open::f")
        peer = await rig.enter(
            "w",
            allowed_functions=["open::f", "engine::unregister_trigger"],
            allowed_trigger_types=["cron"],
        )
        for trigger_id in ("victim", "other"):
            peer.send({"type": "unregistertrigger", "id": trigger_id})
            gone = await rig.call(
                peer, "engine::unregister_trigger", {"id": trigger_id}
            )
            assert error_of(gone)[0] == "FORBIDDEN"
            bind(peer, trigger_id, "cron", "open::f")
            _, message = await refused_trigger(peer, trigger_id)
            assert message == f"trigger '{trigger_id}' belongs to another worker"
        assert rig.t.engine.statistics().triggers == 3
        outcome = await rig.call(peer, "engine::unregister_trigger", {"id": "shared"})
        assert result_of(outcome) == {"removed": True}
        outcome = await rig.call(peer, "engine::unregister_trigger", {"id": "none"})
        assert result_of(outcome) == {"removed": False}
        peer.send({"type": "unregistertrigger", "id": "none"})
        await rig.settle()


# Triggers through engine::register_trigger


async def register(rig: AccessRig, peer: RawPeer, **fields: Any) -> Any:
    return await rig.call(peer, "engine::register_trigger", fields)


async def test_durable_triggers_follow_the_same_rules(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.operator.register_trigger_type("cron", bind=lambda _trigger: None)
        peer = await rig.enter(
            "w",
            allowed_functions=[
                "engine::register_trigger",
                "engine::unregister_trigger",
                "t1::a",
            ],
            allowed_trigger_types=["cron"],
            function_registration_prefix="t1",
        )
        outcome = await register(rig, peer, trigger_type="http", function_id="a")
        assert error_of(outcome) == (
            "FORBIDDEN",
            "Trigger type 'http' is not allowed for this session.",
        )
        outcome = await register(rig, peer, trigger_type="cron", function_id="b")
        assert error_of(outcome) == (
            "FORBIDDEN",
            "function 't1::b' not allowed in namespace 'default'",
        )
        outcome = await register(rig, peer, trigger_type="cron", function_id="a")
        trigger_id = result_of(outcome)["id"]
        trigger = rig.t.engine.triggers.get(trigger_id)
        assert trigger is not None
        assert trigger.spec.function_id == "t1::a"
        assert trigger.owner is None
        outcome = await rig.call(peer, "engine::unregister_trigger", {"id": trigger_id})
        assert result_of(outcome) == {"removed": True}


async def test_the_hook_of_triggers_holds_for_durable_ones_and_holds_nothing_up(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("h", HOOK) as hook:
        rig.rules[HOOKS[1]] = HOOK
        await rig.serve("open::f", 1)
        peer = await rig.enter(
            "w", allowed_functions=["engine::register_trigger", "open::f", "open::g"]
        )
        asked = {"trigger_type": "cron", "function_id": "open::f", "config": {"c": 1}}
        first = peer.call("engine::register_trigger", asked)
        question = await hook.served(HOOK)
        assert result_of(await rig.call(peer, "open::f")) == 1
        hook.answer(question, {"function_id": "open::g", "config": None})
        trigger_id = result_of(await peer.outcome(first))["id"]
        trigger = rig.t.engine.triggers.get(trigger_id)
        assert trigger is not None
        assert trigger.spec.function_id == "open::g"
        second = peer.call("engine::register_trigger", asked)
        hook.answer(await hook.served(HOOK), None)
        assert error_of(await peer.outcome(second)) == (
            "FORBIDDEN",
            "the engine's hook for triggers refused it",
        )


async def test_a_durable_trigger_whose_caller_left_is_not_bound(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("h", HOOK) as hook:
        rig.rules[HOOKS[1]] = HOOK
        peer = await rig.enter(
            "w", allowed_functions=["engine::register_trigger", "open::f"]
        )
        asked = {"trigger_type": "cron", "function_id": "open::f"}
        peer.call("engine::register_trigger", asked)
        question = await hook.served(HOOK)
        peer.cut()
        await rig.settle()
        hook.answer(question, {})
        await rig.settle()
        assert rig.t.engine.statistics().triggers == 0
