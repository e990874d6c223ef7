"""How much of an engine one worker on a link may take, and how it is told."""

import json
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from iii_trio.engine import OUTBOX_SOFT_LIMIT, _supervisor
from iii_trio.engine._quotas import STRANGER_OUTBOX_LIMIT
from iii_trio.errors import InvocationRefusedError, RegistrationError
from iii_trio.net import EngineLimits
from iii_trio.protocol import (
    InvocationResult,
    RegisterTrigger,
    RegisterTriggerType,
    RegistrationRejected,
    TriggerRegistrationResult,
    WorkerDetached,
)
from iii_trio.testing import RawPeer, open_test_engine


def error_of(outcome: InvocationResult | TriggerRegistrationResult) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(bytes(outcome.error))
    return error


async def settled(peer: RawPeer, call_id: str) -> InvocationResult:
    return await peer.outcome(call_id)


async def test_a_worker_may_have_so_many_calls_pending(
    autojump_clock: MockClock,
) -> None:
    limits = EngineLimits(pending_calls_per_worker=3)
    async with (
        open_test_engine(limits=limits) as t,
        t.open_raw_peer("greedy") as greedy,
        t.open_raw_peer("modest") as modest,
        t.open_raw_peer("callee", "x::y") as callee,
    ):
        await trio.testing.wait_all_tasks_blocked()
        calls = [greedy.call("x::y") for _ in range(3)]
        too_many = greedy.call("x::y")
        # The relay knows plain calls only: the router keeps the same count.
        rarer = greedy.call("x::y", metadata={"a": 1})
        for call in (too_many, rarer):
            error = error_of(await greedy.outcome(call))
            assert error["code"] == "invocation_refused"
            assert "limits.pending_calls_per_worker" in error["message"]
        other = modest.call("x::y")
        await trio.testing.wait_all_tasks_blocked()
        assert t.engine.statistics().invocations == 4
        assert t.engine.statistics().refused_calls == 2
        for _ in range(4):
            callee.answer(await callee.served("x::y"))
        for call in calls:
            await greedy.outcome(call)
        await modest.outcome(other)
        again = greedy.call("x::y")
        callee.answer(await callee.served("x::y"))
        assert not (await greedy.outcome(again)).error


async def test_void_calls_count_where_they_go(autojump_clock: MockClock) -> None:
    limits = EngineLimits(pending_calls_per_worker=3)
    async with (
        open_test_engine(limits=limits) as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("callee", "x::y"),
    ):
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(10):
            caller.fire("x::y")
        await trio.testing.wait_all_tasks_blocked()
        statistics = t.engine.statistics()
        assert statistics.invocations == 3
        assert statistics.dropped_fires == statistics.refused_calls == 7


async def test_a_worker_may_register_so_many_functions(
    autojump_clock: MockClock,
) -> None:
    limits = EngineLimits(registrations_per_worker=2)
    async with (
        open_test_engine(limits=limits) as t,
        t.open_raw_peer("a", "a::1") as peer,
        t.open_worker("local") as local,
    ):
        peer.register("a::2")
        peer.register("a::3")
        peer.register("a::1")  # again
        rejected = await peer.expect(RegistrationRejected)
        assert rejected.function_id == "a::3"
        assert rejected.code == "FUNCTION_NAMESPACE_CONFLICT"
        peer.unregister("a::2")
        peer.register("a::4")
        await trio.testing.wait_all_tasks_blocked()
        assert not peer.unread(RegistrationRejected)
        found = t.engine.registry
        assert [bool(found.find("default", f"a::{n}")) for n in range(1, 5)] == [
            True,
            False,
            False,
            True,
        ]
        assert t.engine.statistics().refused_registrations == 1
        for n in range(5):
            local.register_function(f"mine::{n}", lambda payload: payload)


async def test_a_stranger_may_register_so_much_before_it_tells_who_it_is(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_supervisor, "MAX_HELD_WEIGHT", 2)
    async with open_test_engine() as t:
        stranger = t.connect_raw_peer()
        for n in range(3):
            stranger.register(f"a::{n}")
        gone = await t.events.wait_for(WorkerDetached)
        assert gone.reason == "more than 2 registrations before announcement"
        statistics = t.engine.statistics()
        assert (statistics.functions, statistics.refused_registrations) == (0, 1)


async def test_what_a_stranger_registers_counts_by_its_size(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t:
        stranger = t.connect_raw_peer()
        for n in range(2):
            stranger.register(f"a::{n}", metadata="x" * 4096 * 10_000)
        gone = await t.events.wait_for(WorkerDetached)
        assert gone.reason == "more than 20000 registrations before announcement"


async def test_a_worker_may_bind_so_many_triggers_and_offer_so_many_types(
    autojump_clock: MockClock,
) -> None:
    limits = EngineLimits(registrations_per_worker=2)
    async with (
        open_test_engine(limits=limits) as t,
        t.open_raw_peer("a", "a::1") as peer,
    ):
        for n in range(3):
            peer.send(
                RegisterTrigger(
                    id=f"t{n}",
                    trigger_type="none",
                    function_id="a::1",
                    config=msgspec.Raw(b"{}"),
                )
            )
            peer.send(RegisterTriggerType(id=f"kind{n}", description=""))
        refusal = await peer.expect(TriggerRegistrationResult)
        assert refusal.id == "t2"
        assert error_of(refusal)["code"] == "invocation_refused"
        assert "limits.registrations_per_worker" in error_of(refusal)["message"]
        await trio.testing.wait_all_tasks_blocked()
        statistics = t.engine.statistics()
        assert statistics.triggers == 2
        assert statistics.trigger_types == 2
        assert statistics.refused_registrations == 2


async def test_what_is_registered_counts_by_its_size(
    autojump_clock: MockClock,
) -> None:
    """Else one worker could fill the memory with a few thousand schemas of megabytes."""
    limits = EngineLimits(registrations_per_worker=10)
    large, small = {"x": "x" * 24_000}, {"x": "x"}
    async with open_test_engine(limits=limits) as t, t.open_raw_peer("a") as peer:

        def register(metadata: Any) -> None:
            peer.register("a::1", metadata=metadata)

        def bind(trigger_id: str, config: Any) -> None:
            peer.send(
                RegisterTrigger(
                    id=trigger_id,
                    trigger_type="none",
                    function_id="a::1",
                    config=msgspec.Raw(msgspec.json.encode(config)),
                )
            )

        def offer(description: str) -> None:
            peer.send(RegisterTriggerType(id="kind", description=description))

        for _ in range(3):  # again and again the same ones
            register(large)
            bind("t", large)
            offer("x" * 24_000)
        peer.register("a::2", metadata=large)
        assert (await peer.expect(RegistrationRejected)).function_id == "a::2"
        bind("u", large)
        assert (await peer.expect(TriggerRegistrationResult)).id == "u"
        register({"x": "x" * 50_000})  # grows too far: the former one stays
        assert (await peer.expect(RegistrationRejected)).function_id == "a::1"
        offer("x" * 50_000)
        await trio.testing.wait_all_tasks_blocked()
        assert t.engine.statistics().refused_registrations == 4
        kind = t.engine.triggers.find_type("default", "kind")
        assert kind is not None
        assert len(kind.description) == 24_000
        register(small)
        peer.register("a::2", metadata=large)
        bind("t", small)
        bind("u", large)
        await trio.testing.wait_all_tasks_blocked()
        statistics = t.engine.statistics()
        assert (statistics.functions, statistics.triggers) == (2, 2)
        assert statistics.refused_registrations == 4
        durable = {"trigger_type": "none", "function_id": "a::1", "config": large}
        outcomes = [
            await peer.outcome(peer.call("engine::register_trigger", durable))
            for _ in range(2)
        ]
        assert [bool(outcome.error) for outcome in outcomes] == [False, True]


async def test_triggers_that_belong_to_nobody_are_bounded_together(
    autojump_clock: MockClock,
) -> None:
    limits = EngineLimits(registrations_per_worker=2)
    async with open_test_engine(limits=limits) as t, t.open_raw_peer("a") as peer:
        outcomes = []
        for _ in range(3):
            request = {"trigger_type": "none", "function_id": "a::1", "config": {}}
            call = peer.call("engine::register_trigger", request)
            outcomes.append(await peer.outcome(call))
        assert [bool(outcome.error) for outcome in outcomes] == [False, False, True]
        assert "limits.registrations_per_worker" in error_of(outcomes[2])["message"]
        assert t.engine.statistics().triggers == 2


async def test_while_all_outboxes_are_full_only_those_who_keep_up_are_called(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("quick", "quick::f") as quick,
        t.open_raw_peer("slow", "slow::f") as slow,
        t.open_worker("local") as local,
    ):
        await trio.testing.wait_all_tasks_blocked()
        slow.connection.client.hold()
        caller.call("slow::f", "x" * 200_000)
        await trio.testing.wait_all_tasks_blocked()
        quotas = t.engine.invocations.quotas
        quotas.set_pressed(True)
        refused = error_of(await settled(caller, caller.call("slow::f")))
        assert refused["code"] == "invocation_refused"
        assert "is behind" in refused["message"]
        with pytest.raises(InvocationRefusedError):
            await local.invoke("slow::f")
        assert t.engine.statistics().refused_calls == 2
        fine = caller.call("quick::f")
        quick.answer(await quick.served("quick::f"), "ok")
        assert not (await caller.outcome(fine)).error
        quotas.set_pressed(False)
        assert quotas.outbox_soft == OUTBOX_SOFT_LIMIT
        caller.call("slow::f")
        await trio.testing.wait_all_tasks_blocked()
        assert t.engine.statistics().invocations == 2


async def test_a_stranger_s_outbox_is_small_until_it_tells_who_it_is(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("local") as local:
        local.register_function(
            "big", lambda _payload: "x" * (STRANGER_OUTBOX_LIMIT // 16)
        )
        stranger = t.connect_raw_peer()
        known = t.connect_raw_peer()
        known.announce("known")
        await trio.testing.wait_all_tasks_blocked()
        for peer in (stranger, known):
            peer.connection.client.hold()
            for _ in range(24):
                peer.call("big")
        await trio.lowlevel.checkpoint()
        with trio.fail_after(1):  # less than the grace of an unannounced connection
            gone = await t.events.wait_for(WorkerDetached)
            assert "outbox is full" in gone.reason
        known.connection.client.resume()
        with trio.fail_after(1):
            for _ in range(24):
                await known.expect(InvocationResult)
        known.cut()


async def test_registering_too_much_in_process_is_not_limited(
    autojump_clock: MockClock,
) -> None:
    limits = EngineLimits(registrations_per_worker=1, pending_calls_per_worker=1)
    async with open_test_engine(limits=limits) as t, t.open_worker("local") as local:
        for n in range(3):
            local.register_function(f"f{n}", lambda payload: payload)
            try:
                await local.bind("none", f"f{n}", {})
            except RegistrationError as exc:
                pytest.fail(str(exc))
        assert t.engine.statistics().refused_registrations == 0


async def test_messages_that_nest_too_deep_are_refused_and_nobody_waits(
    autojump_clock: MockClock,
) -> None:
    limits = EngineLimits(json_depth=8)
    deep: object = 1
    for _ in range(8):  # one more is the frame itself
        deep = [deep]
    async with (
        open_test_engine(limits=limits) as t,
        t.open_raw_peer("caller") as caller,
        t.open_raw_peer("callee", "x::y") as callee,
    ):
        for metadata in ({}, {"metadata": {"a": 1}}):
            error = error_of(
                await caller.outcome(caller.call("x::y", deep, **metadata))
            )
            assert error["code"] == "invocation_refused"
            assert "limits.json_depth" in error["message"]
        call = caller.call("x::y", [[1]])
        callee.answer(await callee.served("x::y"), deep)
        error = error_of(await caller.outcome(call))
        assert error["code"] == "invocation_refused"
        callee.send("[" * 9)
        callee.send({"type": "registerfunction", "id": "a::b", "metadata": deep})
        call = caller.call("x::y", "[" * 9)
        callee.answer(await callee.served("x::y"), "[" * 9)
        assert not (await caller.outcome(call)).error
        counts = t.engine.statistics()
        assert (counts.bad_frames, counts.invocations, counts.functions) == (5, 0, 1)
