"""Which calls of a restricted worker pass: each row of the decision, tried on the wire."""

import uuid
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from iii_trio.access import Access
from iii_trio.engine import _gate
from iii_trio.protocol import InvocationResult, InvokeFunction
from iii_trio.testing import RawPeer
from tests.component.access_rig import (
    AccessRig,
    error_of,
    open_access_rig,
    result_of,
)

NOT_EXPOSED = "function '{}' not allowed (add to rbac.expose_functions)"
FORBIDDEN = "function '{}' not allowed (remove from rbac.forbidden_functions)"


async def tries(rig: AccessRig, peer: RawPeer, function_id: str, **fields: Any) -> Any:
    """The result of a call, or the message of its refusal."""
    outcome = await rig.call(peer, function_id, **fields)
    if not bytes(outcome.error):
        return result_of(outcome)
    code, message = error_of(outcome)
    assert code == "FORBIDDEN"
    return message


async def test_each_row_of_the_decision_on_the_wire(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.rules["expose_functions"] = ['match("open::*")']
        ids = ["open::f", "open::no", "allowed::f", "allowed::no", "grant::f", "x"]
        for function_id in ids:
            await rig.serve(function_id, 1)
        async with rig.t.open_worker("elsewhere", namespace="team") as elsewhere:
            for function_id in ("grant::f", "open::f", "allowed::f"):
                elsewhere.register_function(function_id, lambda _payload: 2)
            peer = rig.connect()
            rig.answer = {
                "namespaces": {"team": ["grant::*"], "default": []},
                "allowed_functions": ["allowed::f", "allowed::no"],
                "forbidden_functions": ["open::no", "allowed::no"],
            }
            peer = await rig.enter("w", **rig.answer)
            assert await tries(rig, peer, "open::f") == 1
            assert await tries(rig, peer, "allowed::f") == 1
            assert await tries(rig, peer, "grant::f", namespace="team") == 2
            assert await tries(rig, peer, "open::no") == FORBIDDEN.format("open::no")
            text = FORBIDDEN.format("allowed::no")
            assert await tries(rig, peer, "allowed::no") == text
            for function_id, namespace in (
                ("x", "default"),
                ("grant::f", "default"),
                ("open::f", "team"),
                ("allowed::f", "team"),
                ("engine::workers::list", "default"),
                ("engine::functions::list", "default"),
                ("engine::register_trigger", "default"),
                ("auth::check", "default"),
            ):
                text = NOT_EXPOSED.format(function_id)
                got = await tries(rig, peer, function_id, namespace=namespace)
                assert got == text
            assert rig.t.engine.statistics().denied == 10


async def test_infrastructure_passes_unless_it_is_forbidden(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_access_rig() as rig:
        peer = await rig.enter("w")
        made = result_of(await rig.call(peer, "engine::channels::create"))
        assert made["writer"]["direction"] == "write"
        told = result_of(await rig.call(peer, "engine::workers::register"))
        assert told["success"]
        shut = await rig.enter("v", forbidden_functions=["engine::channels::create"])
        assert await tries(rig, shut, "engine::channels::create") == FORBIDDEN.format(
            "engine::channels::create"
        )
        assert "may not even call 'engine::channels::create'" in caplog.text


async def test_metadata_exposes_what_is_registered_with_it(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("host") as host:
        rig.rules["expose_functions"] = [{"metadata": {"public": True}}]
        host.register("a::yes", metadata={"public": True})
        host.register("a::no", metadata={"public": 1})
        peer = await rig.enter("w")
        call = peer.call("a::yes", {})
        host.answer(await host.served("a::yes"), 1)
        assert result_of(await peer.outcome(call)) == 1
        for function_id in ("a::no", "a::missing"):
            text = NOT_EXPOSED.format(function_id)
            assert await tries(rig, peer, function_id) == text


async def test_a_right_ends_with_the_registration_that_it_came_from(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("host") as host:
        rig.rules["expose_functions"] = [{"metadata": {"public": True}}]
        host.register("a::f", metadata={"public": True})
        peer = await rig.enter("w")
        for _ in range(3):  # the second is known to pass
            call = peer.call("a::f", {})
            host.answer(await host.served("a::f"), 1)
            assert result_of(await peer.outcome(call)) == 1
        host.register("a::f", metadata={"public": False})
        await trio.testing.wait_all_tasks_blocked()
        assert await tries(rig, peer, "a::f") == NOT_EXPOSED.format("a::f")
        host.register("a::f", metadata={"public": True})
        await trio.testing.wait_all_tasks_blocked()
        call = peer.call("a::f", {})
        host.answer(await host.served("a::f"), 2)
        assert result_of(await peer.outcome(call)) == 2


async def test_more_functions_than_are_remembered_can_be_called(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_gate, "MAX_REMEMBERED", 2)
    async with open_access_rig() as rig, rig.t.open_raw_peer("host") as host:
        rig.rules["expose_functions"] = ['match("a::*")']
        names = ("a::1", "a::2", "a::3")
        for name in names:
            host.register(name)
        peer = await rig.enter("w")
        for name in (*names, *names):
            call = peer.call(name, {})
            host.answer(await host.served(name), name)
            assert result_of(await peer.outcome(call)) == name


async def test_a_queue_on_a_link_gets_each_message_only_if_it_is_allowed(
    autojump_clock: MockClock,
) -> None:
    queue = "engine::queue::enqueue"
    async with open_access_rig() as rig, rig.t.open_raw_peer("host") as host:
        host.register(queue)
        host.register("mine")
        host.register("yours")
        peer = await rig.enter("w", allowed_functions=[queue, "mine"])
        for _ in range(2):
            call = peer.call(queue, {"function_id": "mine"})
            host.answer(await host.served(queue), 1)
            assert result_of(await peer.outcome(call)) == 1
            refused = await rig.call(peer, queue, {"function_id": "yours"})
            assert error_of(refused)[0] == "FORBIDDEN"


async def test_a_forbidden_id_says_nothing_of_whether_it_exists(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        await rig.serve("secret::a", 1)
        peer = await rig.enter("w")
        there = error_of(await rig.call(peer, "secret::a"))
        missing = error_of(await rig.call(peer, "secret::b"))
        assert there[0] == missing[0]
        assert there[1].replace("::a", "") == missing[1].replace("::b", "")


async def test_the_hint_of_a_miss_names_only_namespaces_that_are_open(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_access_rig() as rig,
        rig.t.open_worker("a", namespace="hidden") as hidden,
        rig.t.open_worker("b", namespace="team") as team,
    ):
        for worker in (hidden, team):
            worker.register_function("f", lambda _payload: 1)
        peer = await rig.enter(
            "w", allowed_functions=["f"], namespaces={"team": ["f"], "default": []}
        )
        code, message = error_of(await rig.call(peer, "f"))
        assert code == "function_not_found"
        assert message.endswith("It is registered in namespace(s): team.")


async def test_a_blank_namespace_is_refused_before_anything_else(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        peer = await rig.enter("w")
        enqueue = {"type": "enqueue", "queue": "q"}
        for action in (None, enqueue):
            outcome = await rig.call(peer, "x", namespace=" ", action=action)
            assert error_of(outcome)[0] == "INVALID_NAMESPACE"


@pytest.mark.parametrize(
    "fields", [{"action": {"type": "void"}}, {"invocation_id": None}]
)
async def test_a_call_without_answer_is_dropped_in_silence(
    fields: dict[str, Any], autojump_clock: MockClock
) -> None:
    async with open_access_rig() as rig:
        got = await rig.serve("x")
        peer = await rig.enter("w")
        peer.call("x", {}, **fields)
        await rig.settle()
        assert got == []
        assert not peer.unread(InvocationResult)
        assert rig.denied == [("call", "x")]


async def test_enqueueing_needs_the_right_to_call(autojump_clock: MockClock) -> None:
    async with open_access_rig() as rig:
        rig.rules["expose_functions"] = ['match("open::*")', 'match("engine::*")']
        async with rig.t.open_worker("queue", internal=True) as queue:
            got: list[Any] = []
            queue.register_function("engine::queue::enqueue", got.append)
            peer = await rig.enter("w")
            action = {"type": "enqueue", "queue": "q"}
            outcome = await rig.call(peer, "open::later", action=action)
            assert result_of(outcome)["messageReceiptId"]
            assert await tries(rig, peer, "shut::f", action=action)
            text = "function 'engine::register_trigger' not allowed with an action"
            got_text = await tries(rig, peer, "engine::register_trigger", action=action)
            assert got_text == text
            assert [one["function_id"] for one in got] == ["open::later"]


async def test_the_function_that_enqueues_needs_the_right_to_call_what_it_names(
    autojump_clock: MockClock,
) -> None:
    """A session that may call it names a function, which the queue then calls."""
    enqueue = "engine::queue::enqueue"
    async with open_access_rig() as rig:
        async with rig.t.open_worker("queue", internal=True) as queue:
            got: list[Any] = []
            queue.register_function(enqueue, got.append)
            peer = await rig.enter("w", allowed_functions=[enqueue, "open::f"])

            def message(target: str, **more: Any) -> dict[str, Any]:
                return {"queue": "q", "function_id": target, "data": 1, **more}

            async def enqueues(data: Any, **more: Any) -> Any:
                outcome = await rig.call(peer, enqueue, data, **more)
                return error_of(outcome)[1] if bytes(outcome.error) else None

            text = "function 'shut::f' not allowed in a message"
            assert await enqueues(message("shut::f")) == text
            action = {"type": "enqueue", "queue": "q"}
            assert await enqueues(message("shut::f"), action=action) == text
            assert await enqueues(message("open::f", namespace="team"))
            assert await enqueues(message("shut::f", namespace=None)) == text
            assert await enqueues(message("engine::functions::list"))
            assert await enqueues(message(enqueue, data=message("shut::f")))
            assert got == []
            assert await enqueues(message("open::f")) is None
            assert await enqueues({"queue": "q"}) is None, (
                "the queue says what is wrong"
            )
            assert [one.get("function_id") for one in got] == ["open::f", None]


async def test_a_message_is_enqueued_however_deep_it_nests_only_if_it_is_allowed(
    autojump_clock: MockClock,
) -> None:
    enqueue = "engine::queue::enqueue"
    async with open_access_rig() as rig:
        async with rig.t.open_raw_peer("queue", enqueue) as queue:
            peer = await rig.enter("w", allowed_functions=[enqueue])
            for depth in range(850, 990):
                data = "[" * depth + "]" * depth
                call = (
                    '{"type":"invokefunction","invocation_id":"%s","function_id":"%s",'
                    '"data":{"queue":"q","data":%s,"function_id":"shut::f"}}'
                )
                peer.send(call % (uuid.UUID(int=depth), enqueue, data))
                outcome = await peer.outcome(str(uuid.UUID(int=depth)))
                assert error_of(outcome)[0] in {"FORBIDDEN", "invocation_refused"}
            assert not queue.unread(InvokeFunction)


async def test_a_custom_action_needs_the_right_to_call_who_performs_it(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("host") as host:
        host.register("actions::webhook", metadata={"trigger_action": "webhook"})
        action = {"type": "webhook"}
        peer = await rig.enter("w", allowed_functions=["f"])
        text = NOT_EXPOSED.format("actions::webhook")
        assert await tries(rig, peer, "f", action=action) == text
        peer = await rig.enter("v", allowed_functions=["f", "actions::webhook"])
        call = peer.call("f", {}, action=action)
        host.answer(await host.served("actions::webhook"), 3)
        assert result_of(await peer.outcome(call)) == 3


async def test_an_action_that_makes_no_sense_is_told_as_ever(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        peer = await rig.enter("w", allowed_functions=["f"])
        bad = await rig.call(peer, "f", action={"kind": 1})
        assert error_of(bad)[0] == "INVALID_ACTION"
        unknown = await rig.call(peer, "f", action={"type": "nobody"})
        assert error_of(unknown)[0] == "unknown_action"
        forbidden = await rig.call(peer, "g", action={"kind": 1})
        assert error_of(forbidden)[0] == "FORBIDDEN"


async def test_results_and_cancellation_are_the_executors_alone(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("host", "x") as host:
        peer = await rig.enter("w")
        free = rig.t.connect_raw_peer()
        call = free.call("x", {})
        served = await host.served("x")
        peer.answer(served, "forged")
        peer.send({"type": "cancelinvocation", "invocation_id": call})
        await rig.settle()
        host.answer(served, "real")
        assert result_of(await free.outcome(call)) == "real"


# Middleware


async def test_middleware_gets_the_call_and_its_result_is_the_result(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("mw", "mw::all") as mw:
        rig.options["middleware_function_id"] = "mw::all"
        got = await rig.serve("open::f", 1)
        rig.rules["expose_functions"] = ['match("open::*")', 'match("engine::*")']
        peer = await rig.enter("w", context={"user": 7})
        call = peer.call("open::f", {"a": 1}, metadata={"m": 1}, traceparent="nonsense")
        asked = await mw.served("mw::all")
        assert msgspec.json.decode(asked.data) == {
            "function_id": "open::f",
            "payload": {"a": 1},
            "action": None,
            "context": {"user": 7},
            "namespace": "default",
        }
        assert msgspec.json.decode(asked.metadata) == {"m": 1}
        mw.answer(asked, "from the middleware")
        outcome = await peer.outcome(call)
        assert outcome.function_id == "open::f"
        assert outcome.traceparent == "nonsense"
        assert result_of(outcome) == "from the middleware"
        failing = peer.call("open::g", {})
        mw.fail(await mw.served("mw::all"), "DENIED", "no")
        assert error_of(await peer.outcome(failing)) == ("DENIED", "no")
        assert got == []
        listed = result_of(await rig.call(peer, "engine::functions::list"))
        assert listed["functions"]


async def test_middleware_sees_void_calls_and_enqueues_too(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("mw", "mw::all") as mw:
        rig.options["middleware_function_id"] = "mw::all"
        rig.rules["expose_functions"] = ['match("open::*")']
        peer = await rig.enter("w")
        peer.fire("open::f", {})
        asked = await mw.served("mw::all")
        mw.answer(asked, 1)
        assert msgspec.json.decode(asked.data)["action"] == {"type": "void"}
        action = {"type": "enqueue", "queue": "q"}
        call = peer.call("open::f", {}, action=action)
        asked = await mw.served("mw::all")
        assert msgspec.json.decode(asked.data)["action"] == action
        mw.answer(asked, {"mine": True})
        assert result_of(await peer.outcome(call)) == {"mine": True}
        assert len(peer.unread(InvocationResult)) == 0


async def test_what_is_forbidden_does_not_reach_the_middleware(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("mw", "mw::all") as mw:
        rig.options["middleware_function_id"] = "mw::all"
        peer = await rig.enter("w")
        assert await tries(rig, peer, "shut::f")
        await rig.settle()
        assert not mw.unread(InvokeFunction)


async def test_without_its_middleware_a_listener_lets_no_call_through(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.options["middleware_function_id"] = "mw::gone"
        rig.rules["expose_functions"] = ['match("open::*")']
        got = await rig.serve("open::f", 1)
        peer = await rig.enter("w")
        code, message = error_of(await rig.call(peer, "open::f"))
        assert code == "function_not_found"
        assert "mw::gone" in message
        peer.fire("open::f")
        await rig.settle()
        assert got == []


async def test_middleware_is_looked_up_where_the_call_goes(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_access_rig() as rig,
        rig.t.open_raw_peer("mw", "mw::all", namespace="team") as mw,
    ):
        rig.options["middleware_function_id"] = "mw::all"
        peer = await rig.enter("w", namespaces={"team": ["*"], "default": []})
        call = peer.call("any::f", {}, namespace="team")
        mw.answer(await mw.served("mw::all"), 1)
        assert result_of(await peer.outcome(call)) == 1


async def test_a_call_through_middleware_ends_with_its_caller(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        cancelled = trio.Event()

        async def forward(_payload: object) -> None:
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()

        rig.operator.register_function("mw::all", forward)
        rig.options["middleware_function_id"] = "mw::all"
        rig.rules["expose_functions"] = ['match("open::*")']
        peer = await rig.enter("w")
        peer.call("open::f", {})
        await rig.settle()
        peer.cut()
        await cancelled.wait()
        await rig.settle()
        assert rig.t.engine.statistics().invocations == 0


async def test_a_peer_that_can_cancel_cancels_through_middleware(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_access_rig() as rig,
        rig.t.open_raw_peer("mw", "mw::all", features=["iii-trio.cancel.v1"]) as mw,
    ):
        rig.options["middleware_function_id"] = "mw::all"
        rig.rules["expose_functions"] = ['match("open::*")']
        rig.answer = {}
        peer = rig.connect()
        peer.announce("w", features=["iii-trio.cancel.v1"])
        await rig.settle()
        call = peer.call("open::f", {}, deadline_ms=5000)
        asked = await mw.served("mw::all")
        assert asked.deadline_ms == pytest.approx(5000)
        peer.send({"type": "cancelinvocation", "invocation_id": call})
        await rig.settle()
        assert rig.t.engine.statistics().invocations == 0
        assert any(type(f).__name__ == "CancelInvocation" for f in mw.unread())


async def test_a_middleware_alone_restricts_nothing_else(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("mw", "mw::all") as mw:
        peer = rig.t.connect_raw_peer(access=Access(middleware_function_id="mw::all"))
        peer.register("own::f")
        peer.announce("w")
        await rig.settle()
        assert rig.has("own::f")
        call = peer.call("any::f", {})
        mw.answer(await mw.served("mw::all"), 1)
        assert result_of(await peer.outcome(call)) == 1
