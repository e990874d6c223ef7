"""Bindings across providers that come, refuse, go and come back."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.errors import InvocationError, RegistrationError
from iii_trio.protocol import (
    InvocationResult,
    InvokeFunction,
    RegisterTrigger,
    TriggerChanged,
    TriggerRegistrationResult,
    UnregisterTrigger,
    is_absent,
)
from iii_trio.testing import EngineUnderTest, RawPeer, open_test_engine
from iii_trio.worker import Trigger, Worker


def offer(peer: RawPeer, trigger_type: str = "bell", **fields: object) -> None:
    frame = {"type": "registertriggertype", "id": trigger_type, "description": "d"}
    peer.send({**frame, **fields})


def bind(peer: RawPeer, trigger_id: str = "t1", **fields: object) -> None:
    frame = {"id": trigger_id, "trigger_type": "bell", "function_id": "f::f"}
    peer.send({"type": "registertrigger", **frame, **fields})


def unbind(peer: RawPeer, trigger_id: str = "t1") -> None:
    peer.send({"type": "unregistertrigger", "id": trigger_id})


def reply(peer: RawPeer, frame: RegisterTrigger, **error: str) -> None:
    peer.send(
        {
            "type": "triggerregistrationresult",
            "id": frame.id,
            "trigger_type": frame.trigger_type,
            "function_id": frame.function_id,
            **({"error": error} if error else {}),
        }
    )


def states(t: EngineUnderTest, trigger_id: str = "t1") -> list[str]:
    return [e.state for e in t.events.of(TriggerChanged, trigger_id=trigger_id)]


def value(raw: msgspec.Raw) -> Any:
    return msgspec.json.decode(raw)


async def listed(t: EngineUnderTest) -> dict[str, dict[str, Any]]:
    async with t.open_worker() as asker:
        answer: Any = await asker.invoke("engine::registered-triggers::list", {})
    return {row["id"]: row for row in answer["registered_triggers"]}


@asynccontextmanager
async def open_two(
    **provider: Any,
) -> AsyncIterator[tuple[EngineUnderTest, RawPeer, RawPeer]]:
    """An engine, the provider of ``bell``, and somebody who binds."""
    async with (
        open_test_engine() as t,
        t.open_raw_peer("provider", **provider) as ringer,
        t.open_raw_peer("binder", "f::f") as binder,
    ):
        offer(ringer)
        await wait_all_tasks_blocked()
        yield t, ringer, binder


async def test_a_live_binding_reaches_its_provider_with_all_it_needs(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (t, ringer, binder):
        bind(binder, config={"volume": 3}, metadata={"m": 1}, namespace="n")
        frame = await ringer.expect(RegisterTrigger)
        assert (frame.id, frame.trigger_type, frame.function_id) == (
            "t1",
            "bell",
            "f::f",
        )
        assert value(frame.config) == {"volume": 3}
        assert value(frame.metadata) == {"m": 1}
        assert (frame.namespace, frame.trigger_namespace) == ("n", None)
        reply(ringer, frame)
        await wait_all_tasks_blocked()
        assert not binder.unread(TriggerRegistrationResult)
        assert states(t) == ["registered", "active"]


async def test_a_binding_without_config_or_namespace_gets_null_and_default(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (_, ringer, binder):
        bind(binder)
        frame = await ringer.expect(RegisterTrigger)
        assert bytes(frame.config) == b"null"
        assert is_absent(frame.metadata)
        assert (frame.namespace, frame.trigger_namespace) == (None, None)


async def test_a_binding_without_provider_waits_and_only_the_log_tells(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with (
        open_test_engine() as t,
        t.open_raw_peer("binder") as binder,
        t.open_raw_peer("provider") as ringer,
    ):
        bind(binder)
        await wait_all_tasks_blocked()
        assert not binder.unread(TriggerRegistrationResult)
        row = (await listed(t))["t1"]
        assert (row["status"], row["state"]) == ("pending", "registered")
        assert row["reason"] == "no provider of 'bell' is connected"
        assert "bell -> f::f waits (t1): no provider of 'bell'" in caplog.text
        offer(ringer)
        assert (await ringer.expect(RegisterTrigger)).id == "t1"
        row = (await listed(t))["t1"]
        assert (row["status"], row["state"]) == ("active", "active")
        assert "reason" not in row
        assert states(t) == ["registered", "active"]


async def test_the_namespace_of_the_provider_is_told_unless_it_is_default(
    autojump_clock: MockClock,
) -> None:
    async with open_two(namespace="n") as (t, ringer, binder):
        bind(binder)
        await wait_all_tasks_blocked()
        assert t.engine.statistics().parked == 1
        bind(binder, "t2", trigger_namespace="n")
        frame = await ringer.expect(RegisterTrigger)
        assert (frame.id, frame.trigger_namespace) == ("t2", "n")


async def test_a_provider_at_home_takes_over_and_gives_back_when_it_goes(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_two() as (t, far, _),
        t.open_raw_peer("binder", namespace="n") as binder,
        t.open_raw_peer("provider", namespace="n") as near,
    ):
        bind(binder)
        bind(binder, "fixed", trigger_namespace="default")
        await far.expect(RegisterTrigger, id="t1")
        await far.expect(RegisterTrigger, id="fixed")
        offer(near)
        taken = await near.expect(RegisterTrigger, id="t1")
        assert taken.trigger_namespace == "n"
        gone = await far.expect(UnregisterTrigger)
        assert (gone.id, gone.trigger_type) == ("t1", "bell")
        near.close()
        await far.expect(RegisterTrigger, id="t1")
        assert not near.unread(RegisterTrigger)
        assert not far.unread(UnregisterTrigger)


@pytest.mark.parametrize("field", ["namespace", "trigger_namespace"])
async def test_a_blank_namespace_is_refused(
    field: str, autojump_clock: MockClock
) -> None:
    async with open_two() as (t, ringer, binder):
        bind(binder, **{field: " "})
        refusal = await binder.expect(TriggerRegistrationResult)
        error = value(refusal.error)
        assert error["code"] == "INVALID_NAMESPACE"
        assert error["message"].startswith(f"`{field}` is empty")
        call = binder.call(
            "engine::register_trigger",
            {"trigger_type": "bell", "function_id": "f::f", field: ""},
        )
        outcome = await binder.outcome(call)
        assert value(outcome.error)["code"] == "INVALID_NAMESPACE"
        assert t.engine.statistics().triggers == 0
        assert not ringer.unread(RegisterTrigger)


async def test_both_blank_names_the_first(autojump_clock: MockClock) -> None:
    async with open_two() as (_, _ringer, binder):
        bind(binder, namespace="", trigger_namespace="")
        refusal = await binder.expect(TriggerRegistrationResult)
        assert value(refusal.error)["message"].startswith("`namespace` is empty")


# Refusals


async def test_a_refusal_by_a_link_provider_reaches_the_binder_and_parks(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (t, ringer, binder):
        bind(binder)
        reply(ringer, await ringer.expect(RegisterTrigger), code="NO", message="never")
        refusal = await binder.expect(TriggerRegistrationResult)
        assert (refusal.id, refusal.trigger_type) == ("t1", "bell")
        assert value(refusal.error) == {"code": "NO", "message": "never"}
        assert (await listed(t))["t1"]["reason"] == "refused: NO: never"
        assert states(t) == ["registered", "active", "registered"]
        unbind(binder)
        await wait_all_tasks_blocked()
        assert not ringer.unread(UnregisterTrigger)


async def test_only_the_provider_may_refuse(autojump_clock: MockClock) -> None:
    async with open_two() as (t, ringer, binder):
        bind(binder)
        frame = await ringer.expect(RegisterTrigger)
        reply(binder, frame, code="NO", message="mine")
        await wait_all_tasks_blocked()
        assert t.engine.statistics().parked == 0
        assert not binder.unread(TriggerRegistrationResult)


async def test_a_refused_binding_is_offered_again_with_the_type(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (t, ringer, binder):
        bind(binder)
        reply(ringer, await ringer.expect(RegisterTrigger), code="NO", message="never")
        await binder.expect(TriggerRegistrationResult)
        offer(ringer)
        reply(ringer, await ringer.expect(RegisterTrigger))
        await wait_all_tasks_blocked()
        assert t.engine.statistics().parked == 0


def refuse(_: Trigger) -> None:
    raise RegistrationError("volume is too high", code="TOO_LOUD")


async def refuse_later(trigger: Trigger) -> None:
    await trio.sleep(3)
    refuse(trigger)


async def accept_later(_: Trigger) -> None:
    await trio.sleep(3)


async def test_a_sync_local_provider_refuses_a_link_and_nothing_is_kept(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("provider") as provider,
        t.open_raw_peer("binder") as binder,
    ):
        provider.register_trigger_type("bell", bind=refuse)
        bind(binder)
        refusal = await binder.expect(TriggerRegistrationResult)
        assert value(refusal.error) == {
            "code": "TOO_LOUD",
            "message": "volume is too high",
        }
        assert t.engine.statistics().triggers == 0
        assert states(t) == ["registered", "unregistered"]


async def test_an_async_local_provider_refuses_a_link_and_it_is_parked(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("provider") as provider,
        t.open_raw_peer("binder") as binder,
    ):
        provider.register_trigger_type("bell", bind=refuse_later)
        bind(binder)
        refusal = await binder.expect(TriggerRegistrationResult)
        assert value(refusal.error)["code"] == "TOO_LOUD"
        assert t.engine.statistics().parked == 1


@pytest.mark.parametrize("provider_bind", [refuse, refuse_later])
async def test_a_local_binder_gets_the_refusal_and_nothing_is_kept(
    provider_bind: Callable[[Trigger], Any], autojump_clock: MockClock
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("provider") as provider,
        t.open_worker("binder") as binder,
    ):
        provider.register_trigger_type("bell", bind=provider_bind)
        with pytest.raises(RegistrationError, match="volume is too high") as caught:
            await binder.bind("bell", "f::f")
        assert caught.value.code == "TOO_LOUD"
        assert t.engine.statistics().triggers == 0


async def test_a_local_binder_that_is_cancelled_leaves_no_binding(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (t, ringer, _), t.open_worker("local") as binder:
        with trio.move_on_after(1) as scope:
            await binder.bind("bell", "f::f")
        assert scope.cancelled_caught
        await ringer.expect(UnregisterTrigger)
        assert t.engine.statistics().triggers == 0


async def test_a_local_binder_waits_10_seconds_for_a_silent_provider(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (t, _, _), t.open_worker("local") as binder:
        began = trio.current_time()
        trigger_id = await binder.bind("bell", "f::f")
        assert trio.current_time() - began == pytest.approx(10)
        assert (await listed(t))[trigger_id]["status"] == "active"


async def test_the_first_of_two_waiting_for_one_id_is_not_left_waiting(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_two() as (t, ringer, _),
        t.open_worker("local") as binder,
        trio.open_nursery() as nursery,
    ):

        async def bind_same(deadline: float) -> None:
            with trio.fail_after(deadline):
                await binder.bind("bell", "f::f", trigger_id="t1")

        nursery.start_soon(bind_same, 1)
        await ringer.expect(RegisterTrigger)
        nursery.start_soon(bind_same, 5)
        frame = await ringer.expect(RegisterTrigger)
        await trio.sleep(2)
        reply(ringer, frame)


# Durable triggers


async def durable(asker: Worker, **fields: object) -> str:
    answer: Any = await asker.invoke(
        "engine::register_trigger",
        {"trigger_type": "bell", "function_id": "f::f", **fields},
    )
    return str(answer["id"])


async def test_a_durable_trigger_outlives_its_maker_and_anybody_removes_it(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (t, ringer, binder):
        call = binder.call(
            "engine::register_trigger",
            {
                "trigger_type": "bell",
                "function_id": "f::f",
                "config": [1],
                "metadata": "m",
            },
        )
        frame = await ringer.expect(RegisterTrigger)
        await wait_all_tasks_blocked()
        assert not binder.unread(InvocationResult)
        reply(ringer, frame)
        outcome = await binder.outcome(call)
        trigger_id = value(outcome.result)["id"]
        assert (frame.id, value(frame.config), value(frame.metadata)) == (
            trigger_id,
            [1],
            "m",
        )
        binder.close()
        await trio.sleep(1)
        assert trigger_id in await listed(t)
        async with t.open_worker() as asker:
            ask = {"id": trigger_id, "trigger_type": "a wrong hint"}
            answer = await asker.invoke("engine::unregister_trigger", ask)
            assert answer == {"removed": True}
            answer = await asker.invoke("engine::unregister_trigger", ask)
            assert answer == {"removed": False}
        assert (await ringer.expect(UnregisterTrigger)).id == trigger_id


async def test_a_durable_trigger_of_an_unknown_type_is_parked_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker() as asker:
        began = trio.current_time()
        trigger_id = await durable(asker)
        assert trio.current_time() == began
        assert (await listed(t))[trigger_id]["status"] == "pending"
        assert t.engine.statistics().timers == 0
        answer = await asker.invoke("engine::unregister_trigger", {"id": trigger_id})
        assert answer == {"removed": True}


async def test_silence_of_a_provider_accepts_after_10_seconds(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (t, ringer, _), t.open_worker() as asker:
        began = trio.current_time()
        trigger_id = await durable(asker)
        assert trio.current_time() - began == pytest.approx(10)
        late = await ringer.expect(RegisterTrigger)
        reply(ringer, late, code="NO", message="late")
        await wait_all_tasks_blocked()
        assert (await listed(t))[trigger_id]["reason"] == "refused: NO: late"


async def test_a_refused_durable_trigger_is_an_error_and_is_not_kept(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_two() as (t, ringer, _),
        t.open_worker() as asker,
        trio.open_nursery() as nursery,
    ):

        async def refused() -> None:
            with pytest.raises(InvocationError, match="NO: never") as caught:
                await durable(asker)
            assert caught.value.code == "trigger_registration_failed"

        nursery.start_soon(refused)
        reply(ringer, await ringer.expect(RegisterTrigger), code="NO", message="never")
        await trio.sleep(1)
        assert t.engine.statistics().triggers == 0
        assert t.engine.statistics().timers == 0


async def test_the_code_of_a_refusal_is_said_once(autojump_clock: MockClock) -> None:
    def refuse_plainly(_: Trigger) -> None:
        raise RegistrationError("never")

    async with open_test_engine() as t, t.open_worker("provider") as provider:
        provider.register_trigger_type("bell", bind=refuse_plainly)
        with pytest.raises(InvocationError) as caught:
            await durable(provider)
        assert caught.value.code == "trigger_registration_failed"
        assert caught.value.message == "never"


async def test_a_durable_binder_waits_for_an_async_local_provider(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("provider") as provider:
        provider.register_trigger_type("bell", bind=accept_later)
        began = trio.current_time()
        await durable(provider)
        assert trio.current_time() - began == pytest.approx(3)


async def test_a_provider_that_leaves_while_asked_ends_the_wait(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_two() as (t, ringer, _),
        t.open_worker() as asker,
        trio.open_nursery() as nursery,
    ):

        async def parked() -> None:
            began = trio.current_time()
            await durable(asker)
            assert trio.current_time() - began < 10

        nursery.start_soon(parked)
        await ringer.expect(RegisterTrigger)
        ringer.close()
    assert t.engine.statistics().parked == 1


async def test_a_durable_trigger_resolves_in_the_namespace_of_its_maker(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("p", namespace="n") as near,
        t.open_raw_peer("p") as far,
        t.open_raw_peer("b", namespace="n") as binder,
    ):
        offer(near)
        offer(far)
        await wait_all_tasks_blocked()
        ask = {"trigger_type": "bell", "function_id": "f::f"}
        binder.call("engine::register_trigger", ask)
        frame = await near.expect(RegisterTrigger)
        assert (frame.namespace, frame.trigger_namespace) == ("n", "n")
        binder.call("engine::register_trigger", {**ask, "trigger_namespace": "default"})
        frame = await far.expect(RegisterTrigger)
        assert frame.namespace == "n"


# Going, coming back, replacing


async def test_anybody_may_unregister_by_frame(autojump_clock: MockClock) -> None:
    async with open_two() as (t, ringer, binder), t.open_raw_peer("other") as other:
        bind(binder)
        await ringer.expect(RegisterTrigger)
        unbind(other, "unknown")
        unbind(other)
        gone = await ringer.expect(UnregisterTrigger)
        assert (gone.id, gone.trigger_type) == ("t1", "bell")
        assert states(t) == ["registered", "active", "unregistered"]


async def test_a_binder_that_leaves_takes_its_bindings_along(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (t, ringer, binder):
        bind(binder)
        bind(binder, "t2", trigger_type="unknown")
        await ringer.expect(RegisterTrigger)
        binder.close()
        assert (await ringer.expect(UnregisterTrigger)).id == "t1"
        assert t.engine.statistics().triggers == 0
        assert states(t, "t2") == ["registered", "unregistered"]


async def test_a_provider_that_reconnects_gets_everything_again(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (t, ringer, binder):
        bind(binder)
        await ringer.expect(RegisterTrigger)
        ringer.cut()
        reason = "no provider of 'bell' is connected"
        await t.events.wait_for(TriggerChanged, state="registered", reason=reason)
        assert not binder.unread(TriggerRegistrationResult)
        async with t.open_raw_peer("provider") as again:
            offer(again)
            assert (await again.expect(RegisterTrigger)).id == "t1"
            assert states(t) == ["registered", "active", "registered", "active"]


async def test_the_last_provider_of_a_type_has_it(autojump_clock: MockClock) -> None:
    async with open_two() as (t, first, binder), t.open_raw_peer("second") as second:
        bind(binder)
        await first.expect(RegisterTrigger)
        offer(second)
        await second.expect(RegisterTrigger)
        first.close()
        await trio.sleep(1)
        assert not first.unread(UnregisterTrigger)
        assert t.engine.statistics().parked == 0


async def test_a_type_that_is_withdrawn_parks_its_bindings(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (t, ringer, binder):
        bind(binder)
        await ringer.expect(RegisterTrigger)
        withdrawal = {"type": "unregistertriggertype", "id": "bell"}
        binder.send(withdrawal)
        await wait_all_tasks_blocked()
        assert t.engine.statistics().parked == 0
        ringer.send(withdrawal)
        await wait_all_tasks_blocked()
        assert t.engine.statistics().parked == 1


async def test_a_default_provider_that_refuses_what_it_inherits_is_told_of_once(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("far") as far,
        t.open_raw_peer("near", namespace="n") as near,
        t.open_raw_peer("binder", namespace="n") as binder,
    ):
        far.register_trigger_type("bell", bind=refuse)
        offer(near)
        await wait_all_tasks_blocked()
        bind(binder)
        await near.expect(RegisterTrigger)
        near.close()
        refusal = await binder.expect(TriggerRegistrationResult)
        assert value(refusal.error)["code"] == "TOO_LOUD"
        assert states(t) == ["registered", "active", "registered"]


async def test_the_same_id_again_replaces(autojump_clock: MockClock) -> None:
    async with open_two() as (t, ringer, binder), t.open_raw_peer("other") as other:
        offer(other, "gong")
        bind(binder, config=1)
        await ringer.expect(RegisterTrigger)
        bind(binder, config=2)
        frame = await ringer.expect(RegisterTrigger)
        assert value(frame.config) == 2
        assert not ringer.unread(UnregisterTrigger)
        bind(other, trigger_type="gong")
        await other.expect(RegisterTrigger)
        gone = await ringer.expect(UnregisterTrigger)
        assert (gone.id, gone.trigger_type) == ("t1", "bell")
        binder.close()
        await trio.sleep(1)
        assert t.engine.statistics().triggers == 1


async def test_a_late_refusal_of_a_replaced_binding_does_not_touch_the_new_one(
    autojump_clock: MockClock,
) -> None:
    async def choosy(trigger: Trigger) -> None:
        await trio.sleep(3)
        if trigger.config != "good":
            refuse(trigger)

    async with (
        open_test_engine() as t,
        t.open_worker("provider") as provider,
        t.open_raw_peer("binder") as binder,
    ):
        provider.register_trigger_type("bell", bind=choosy)
        bind(binder, config="bad")
        await trio.sleep(1)
        bind(binder, config="good")
        await trio.sleep(10)
        assert t.engine.statistics().parked == 0
        assert not binder.unread(TriggerRegistrationResult)


async def test_a_provider_with_a_blank_namespace_is_not_registered(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("p") as peer:
        offer(peer, namespace=" ")
        await wait_all_tasks_blocked()
        assert t.engine.statistics().trigger_types == 0
        assert "`namespace` is empty" in caplog.text


# Firing


async def test_a_link_provider_fires_by_an_ordinary_call(
    autojump_clock: MockClock,
) -> None:
    async with open_two() as (_, ringer, binder):
        bind(binder)
        frame = await ringer.expect(RegisterTrigger)
        ringer.fire(frame.function_id, {"ding": 1}, metadata={"m": 1})
        call = await binder.expect(InvokeFunction)
        assert value(call.metadata) == {"m": 1}
        assert value(call.data)["ding"] == 1


async def test_a_local_provider_fires_in_the_triggers_namespace_with_its_metadata(
    autojump_clock: MockClock,
) -> None:
    bound: list[Trigger] = []
    async with (
        open_test_engine() as t,
        t.open_worker("provider") as provider,
        t.open_raw_peer("target", "f::f", namespace="n") as target,
    ):
        provider.register_trigger_type("bell", bind=bound.append)
        bind(target, namespace="n", metadata=[1, None])
        await wait_all_tasks_blocked()
        owner = (await target.accepted()).worker_id
        assert bound[0].owner_worker_id == owner
        async with trio.open_nursery() as nursery:
            nursery.start_soon(provider.deliver, bound[0], {"ding": 1})
            call = await target.expect(InvokeFunction)
            target.answer(call, None)
        assert value(call.data) == {"ding": 1}
        assert value(call.metadata) == [1, None]
        row = (await listed(t))["t1"]
        assert (row["state"], row["fired"]) == ("invoked", 1)
        assert row["last_fired_ms"] == int(t.clock() * 1000)
        assert states(t) == ["registered", "active", "invoked"]
