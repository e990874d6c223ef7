"""The life of a connection: announce, conflict, grace, reattach, teardown."""

import pytest
import trio
import trio.lowlevel
import trio.testing
from trio.testing import MockClock

from iii_trio.errors import RegistrationError
from iii_trio.protocol import (
    Event,
    InvocationResult,
    InvokeFunction,
    RegistrationRejected,
    WorkerAnnounced,
    WorkerDetached,
)
from iii_trio.testing import RawPeer, open_test_engine


async def ask(peer: RawPeer, function_id: str, data: object = None) -> InvocationResult:
    return await peer.outcome(peer.call(function_id, data or {}))


async def test_the_greeting_is_the_first_frame_and_names_no_features(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer() as peer:
        greeting = await peer.accepted()
        assert peer.received[0] is greeting
        assert greeting.worker_id
        assert greeting.reattach_token
        assert greeting.features is None


async def test_registrations_wait_for_the_announcement_and_keep_their_order(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t:
        peer = t.connect_raw_peer()
        peer.register("a::b", description="first")
        peer.register("a::b", description="second")
        assert (await ask(peer, "a::b")).error
        peer.announce("w", namespace="n")
        outcome = await ask(peer, "engine::functions::info", {"function_id": "a::b"})
        assert b'"namespace":"n"' in bytes(outcome.result)
        assert b"second" in bytes(outcome.result)


async def test_a_call_right_after_the_announcement_sees_the_registrations(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer() as peer:
        peer.register("a::b")
        peer.announce("w")
        peer.call("a::b")
        await peer.served("a::b")


async def test_without_announcement_the_grace_leads_to_default(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer() as peer:
        peer.register("a::b")
        await trio.sleep(4.9)
        assert t.engine.statistics().functions == 0
        await trio.sleep(0.2)
        assert t.engine.registry.find("default", "a::b") is not None
        peer.announce("late", namespace="elsewhere")
        peer.register("c::d")
        await trio.sleep(0.1)
        assert t.engine.registry.find("default", "c::d") is not None


async def test_a_name_conflict_is_told_and_ends_only_the_second_connection(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("w", "a::b") as first,
        t.open_raw_peer() as second,
    ):
        await trio.testing.wait_all_tasks_blocked()
        owner = (await first.accepted()).worker_id
        second.register("c::d")
        await trio.lowlevel.checkpoint()
        second.announce("w")
        rejected = await second.expect(RegistrationRejected)
        assert rejected.code == "WORKER_NAMESPACE_CONFLICT"
        assert (rejected.worker_name, rejected.owner_worker_id) == ("w", owner)
        await second.wait_closed()
        await trio.sleep(6)
        assert t.engine.registry.find("default", "c::d") is None
        assert t.engine.registry.find("default", "a::b") is not None
        assert not second.unread(InvocationResult)


async def test_an_old_python_sdk_that_is_refused_loses_tcp_so_that_it_comes_again(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("w"):
        await trio.testing.wait_all_tasks_blocked()
        ends = {}
        for version in ("0.22.1", "0.23.0"):
            peer = t.connect_raw_peer()
            peer.announce("w", runtime="python", version=version)
            await peer.expect(RegistrationRejected)
            ends[version] = await peer.wait_closed()
        assert ends["0.22.1"] == "the peer hung up"
        assert "closed by the peer" in ends["0.23.0"]


async def test_the_same_name_in_another_namespace_is_another_worker(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("w", "a::b"),
        t.open_raw_peer("w", "a::b", namespace="n"),
    ):
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        assert t.engine.registry.namespaces_of("a::b") == ["default", "n"]


async def test_a_blank_namespace_is_refused_and_nothing_lands_in_default(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer() as peer:
        peer.register("a::b")
        call = peer.call("engine::workers::register", {"name": "w", "namespace": " "})
        outcome = await peer.outcome(call)
        assert b"INVALID_NAMESPACE" in bytes(outcome.error)
        assert b"namespace is empty: worker 'w' declared \\\" \\\"" in bytes(
            outcome.error
        )
        await peer.wait_closed()
        await trio.sleep(6)
        assert t.engine.statistics().functions == 0


async def test_a_function_conflict_keeps_the_connection(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("w", "a::b") as first,
        t.open_raw_peer("v") as second,
    ):
        await trio.testing.wait_all_tasks_blocked()
        second.register("a::b")
        second.register("c::d")
        owner = (await first.accepted()).worker_id
        rejected = await second.expect(RegistrationRejected)
        assert rejected.code == "FUNCTION_NAMESPACE_CONFLICT"
        assert (rejected.function_id, rejected.owner_worker_id) == ("a::b", owner)
        await trio.testing.wait_all_tasks_blocked()
        assert t.engine.registry.find("default", "c::d") is not None
        first.close()
        await t.events.wait_for(WorkerDetached, worker_id=owner)
        assert t.engine.registry.find("default", "a::b") is None
        second.register("a::b")
        await trio.sleep(0.1)
        assert t.engine.registry.find("default", "a::b") is not None


async def test_ids_of_the_engine_are_refused_to_links(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("w", "engine::mine") as peer,
    ):
        await trio.testing.wait_all_tasks_blocked()
        rejected = await peer.expect(RegistrationRejected)
        assert rejected.owner_worker_id == ""
        assert t.engine.registry.find("default", "engine::mine") is None


@pytest.mark.parametrize("seed", range(8))
async def test_reattach_takes_the_ghost_down_before_the_next_frame(
    autojump_clock: MockClock, seed: int
) -> None:
    async with open_test_engine(seed=seed) as t:
        old = t.connect_raw_peer()
        greeting = await old.accepted()
        old.announce("w")
        old.register("a::b")
        await t.events.wait_for(WorkerAnnounced)
        new = t.connect_raw_peer()
        new.send(
            {
                "type": "reattach",
                "previous_worker_id": greeting.worker_id,
                "reattach_token": greeting.reattach_token,
            }
        )
        new.announce("w")
        new.register("a::b")
        new.call("a::b")
        await new.served("a::b")
        assert not new.unread(RegistrationRejected)
        assert t.engine.statistics().workers == 1
        assert await old.wait_closed()


@pytest.mark.parametrize(
    ("worker_id", "token"),
    [(None, "wrong"), (None, None), ("unknown", "right"), ("", "right")],
)
async def test_a_wrong_reattach_is_ignored(
    autojump_clock: MockClock, worker_id: str | None, token: str | None
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("w", "a::b") as old,
        t.open_raw_peer() as new,
    ):
        await trio.testing.wait_all_tasks_blocked()
        greeting = await old.accepted()
        new.send(
            {
                "type": "reattach",
                "previous_worker_id": worker_id or greeting.worker_id,
                "reattach_token": (
                    greeting.reattach_token
                    if token == "right" and worker_id is None
                    else token
                ),
            }
        )
        await ask(new, "engine::workers::list")
        assert t.engine.statistics().workers == 2
        assert old.closed is None


async def test_a_late_reattach_is_ignored(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("w", "a::b") as old,
        t.open_raw_peer("v", "c::d") as new,
    ):
        await trio.testing.wait_all_tasks_blocked()
        greeting = await old.accepted()
        new.send(
            {
                "type": "reattach",
                "previous_worker_id": greeting.worker_id,
                "reattach_token": greeting.reattach_token,
            }
        )
        await ask(new, "engine::workers::list")
        assert t.engine.statistics().workers == 2


async def test_teardown_leaves_nothing(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t:
        async with t.open_raw_peer("w", "a::b") as peer, t.open_raw_peer() as other:
            peer.send({"type": "registertriggertype", "id": "t", "description": ""})
            peer.send(
                {
                    "type": "registertrigger",
                    "id": "1",
                    "trigger_type": "t",
                    "function_id": "a::b",
                    "config": None,
                }
            )
            await trio.testing.wait_all_tasks_blocked()
            other.call("a::b")
            await peer.served("a::b")
            peer.call("a::b")
            await ask(peer, "engine::channels::create")
            assert t.engine.statistics().channels == 1
        await t.events.wait_for(WorkerDetached)
        await trio.sleep(1)
        left = t.engine.statistics()
        assert (left.workers, left.functions, left.trigger_types) == (0, 0, 0)
        assert (left.triggers, left.invocations, left.channels) == (0, 0, 0)
        assert left.timers == 0


async def test_a_local_worker_with_a_taken_name_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("w"):
        with pytest.raises(RegistrationError, match="held by live worker"):
            async with t.open_worker("w"):
                pytest.fail("unreachable")


async def test_ping_is_answered_and_unknown_frames_are_ignored(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("w", "a::b") as peer:
        peer.send({"type": "observe", "id": "x"})
        peer.send({"type": "workerregistered", "worker_id": "me"})
        peer.send("[1, 2]")
        peer.send('{"type": "registerfunction"}')
        peer.send({"type": "ping"})
        peer.call("a::b")
        await peer.served("a::b")
        assert t.engine.statistics().bad_frames == 3
        assert [f.__class__.__name__ for f in peer.received if "Pong" in repr(f)]
        assert not peer.unread(InvokeFunction)


async def test_teardown_goes_in_the_order_of_the_protocol(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t:
        async with (
            t.open_raw_peer("w", "a::b") as peer,
            t.open_raw_peer("listener", "hear::it") as listener,
        ):
            await trio.testing.wait_all_tasks_blocked()
            me = (await peer.accepted()).worker_id
            peer.send({"type": "registertriggertype", "id": "t", "description": ""})
            peer.send(
                {
                    "type": "registertrigger",
                    "id": "1",
                    "trigger_type": "nobody's",
                    "function_id": "a::b",
                }
            )
            listener.send(
                {
                    "type": "registertrigger",
                    "id": "2",
                    "trigger_type": "engine::workers-available",
                    "function_id": "hear::it",
                }
            )
            await listener.flush()
            await peer.flush()
            listener.call("a::b")
            await peer.served("a::b")
            t.events.clear()
            peer.cut()
            await t.events.wait_for(WorkerDetached, worker_id=me)
            kinds = [type(event).__name__ for event in t.events.of(Event)]
        # Functions, calls, own bindings, own types, the discovery event, the end.
        assert kinds == [
            "FunctionUnregistered",
            "InvocationSettled",
            "TriggerChanged",
            "TriggerTypeUnregistered",
            "TriggerChanged",
            "InvocationOpened",
            "WorkerDetached",
        ]


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "observe", "id": "o", "source": {"function_id": "f"}, "target": {}},
        {"type": "unobserve", "id": "o"},
        {"type": "observerack", "function_id": "f", "id": "o", "revision": 1},
        {"type": "invocationsobserved", "items": []},
        {"type": "localinvocationstats", "window_ms": 10000, "functions": []},
    ],
    ids=lambda frame: frame["type"],
)
async def test_frames_of_the_observe_family_are_ignored_without_an_answer(
    frame: dict[str, object], autojump_clock: MockClock
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("new") as peer:
        greeting = await peer.accepted()
        assert greeting.features is None
        peer.send(frame)
        assert (await ask(peer, "engine::workers::list")).result
        assert peer.unread() == []


async def test_what_sdk_025_adds_to_known_frames_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    features = ["observe.v1", "local-dispatch.v1", "large-messages.v1"]
    async with (
        open_test_engine() as t,
        t.open_raw_peer("new", runtime="python", features=features) as peer,
    ):
        peer.register("f", observe={"delivery": "owner", "legacy_trigger_type": "t"})
        caller = {"function_id": "g", "invocation_id": "i", "parent": None}
        call = peer.call(
            "f", {}, caller=caller, observe_depth=1, activation={"observer_id": "o"}
        )
        served = await peer.served("f")
        peer.answer(served, 1)
        assert bytes((await peer.outcome(call)).result) == b"1"
        kinds = {type(one).__name__ for one in peer.received}
        assert kinds == {"WorkerRegistered", "InvokeFunction", "InvocationResult"}
