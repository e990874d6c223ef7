"""A worker by URL against an engine made of a script, under virtual time."""

from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.errors import (
    FunctionFailedError,
    InvocationRefusedError,
    InvocationStoppedError,
    InvocationTimeoutError,
    RegistrationError,
)
from iii_trio.protocol import MAX_MESSAGE_BYTES, is_uuid
from iii_trio.testing import cancel_at_every_step, open_test_engine
from iii_trio.worker import Trigger, current_invocation, open_worker
from tests.component.scripted_engine import GREETING, ScriptedEngine

CALL = "22222222-2222-4222-8222-222222222222"
OTHER = "33333333-3333-4333-8333-333333333333"


async def test_the_announcement_comes_first_and_the_block_begins_connected(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment(), name="w", namespace="ns") as worker:
        assert worker.worker_id == GREETING["worker_id"]
        [frame] = engine.link.said
    assert frame["function_id"] == "engine::workers::register"
    assert "action" not in frame  # its answer tells what the engine can do
    assert frame["namespace"] == "default"
    data = frame["data"]
    assert (data["name"], data["namespace"], data["runtime"]) == ("w", "ns", "python")
    assert data["features"] == ["iii-trio.cancel.v1", "large-messages.v1"]
    assert data["pid"]
    assert data["os"]
    assert engine.link.closed is not None


async def test_refused_connections_are_tried_again_on_schedule(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    engine.refusals = 6
    async with open_worker(engine.attachment()):
        pass
    waits = [b - a for a, b in zip(engine.dialled, engine.dialled[1:], strict=False)]
    for wait, middle in zip(waits, [1, 2, 4, 8, 16, 30], strict=True):
        assert 0.7 * middle <= wait <= 1.3 * middle


async def test_fail_after_bounds_the_wait_for_the_first_connection(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    engine.refusals = 10**6
    with pytest.raises(trio.TooSlowError):  # noqa: PT012
        with trio.fail_after(100):
            async with open_worker(engine.attachment()):
                pytest.fail("unreachable")


async def test_an_engine_that_does_not_greet_is_given_up(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    engine.greeting = None
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            await engine.connection(1)
            engine.greeting = GREETING
            await engine.connection(2)

        async with open_worker(engine.attachment()):
            assert engine.dialled[1] >= 10.7
    assert engine.links[0].closed == "the engine did not greet in time"


async def test_after_a_reconnect_everything_is_told_again_in_order(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment(), name="w") as worker:
        await worker.bind("cron", "f", {"expression": "* * * * *"}, trigger_id="t")
        worker.register_function("f", lambda: None)
        worker.register_function("gone", lambda: None)
        worker.unregister_function("gone")
        worker.register_trigger_type("mine", bind=lambda _: None)
        engine.link.lose()
        assert worker.worker_id == ""
        worker.register_function("g", lambda: None)
        worker.fire("audit::log", {"n": 1})
        link = await engine.connection(2)
        await link.heard("invokefunction", function_id="audit::log")
    assert link.said[0] == {
        "type": "reattach",
        "previous_worker_id": GREETING["worker_id"],
        "reattach_token": "secret",
    }
    assert link.said[1]["function_id"] == "engine::workers::register"
    assert [(frame["type"], frame.get("id")) for frame in link.said[2:]] == [
        ("registertriggertype", "mine"),
        ("registerfunction", "f"),
        ("registerfunction", "g"),
        ("registertrigger", "t"),
        ("invokefunction", None),
    ]


async def test_what_cannot_be_told_is_not_told_again_after_a_reconnect(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:
        worker.register_function("good", lambda: 1)
        for when in ("connected", "lost"):
            with pytest.raises(UnicodeEncodeError):
                worker.register_function("bad\ud800", lambda: 1)
            with pytest.raises(UnicodeEncodeError):
                worker.register_trigger_type("bad\ud800", bind=lambda _: None)
            with pytest.raises(UnicodeEncodeError):
                await worker.bind("mine", "bad\ud800")
            if when == "connected":
                engine.link.lose()
        link = await engine.connection(2)
        assert link.kinds().count("registerfunction") == 1
        assert not {"registertrigger", "registertriggertype"} & set(link.kinds())


async def test_workers_that_share_an_attachment_hear_of_their_own_refusals(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker() as holder:
        holder.register_function("held", lambda: 1)
        target = t.link_attachment()
        async with open_worker(target) as one, open_worker(target) as two:
            one.register_function("held", lambda: 1)
            await wait_all_tasks_blocked()
            assert set(one.rejections) == {"held"}
            assert not two.rejections


async def test_the_schedule_starts_over_after_a_connection_that_greeted(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    engine.refusals = 5
    async with open_worker(engine.attachment()):
        lost = trio.current_time()
        engine.link.lose()
        await engine.connection(2)
        assert engine.dialled[-1] - lost <= 1.3


async def test_registrations_go_out_as_frames(autojump_clock: MockClock) -> None:
    @attrs.frozen
    class Pair:
        a: int

    engine = ScriptedEngine()
    async with open_worker(engine.attachment(), namespace="ns") as worker:

        @worker.function("f", description="d", metadata={"internal": True})
        async def f(_: Pair) -> None: ...

        trigger_id = await worker.bind("http", "f", {"a": 1}, condition="ok")
        worker.unbind(trigger_id)
        worker.register_trigger_type("mine", bind=lambda _: None, description="x")
        worker.unregister_trigger_type("mine")
        function, bound, unbound, kind, unkind = engine.link.said[1:]
    assert function["metadata"] == {"internal": True}
    assert function["request_format"]["$ref"] == "#/$defs/Pair"
    assert "response_format" not in function
    assert bound == {
        "type": "registertrigger",
        "id": trigger_id,
        "trigger_type": "http",
        "function_id": "f",
        "config": {"a": 1, "condition_function_id": "ok"},
        "namespace": "ns",
    }
    assert is_uuid(trigger_id)
    assert unbound == {
        "type": "unregistertrigger",
        "id": trigger_id,
        "trigger_type": "http",
    }
    assert kind == {"type": "registertriggertype", "id": "mine", "description": "x"}
    assert unkind == {"type": "unregistertriggertype", "id": "mine"}


async def test_a_call_waits_for_its_result_by_id(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine()
    async with (
        open_worker(engine.attachment(), namespace="ns") as worker,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def _() -> None:
            frame = await engine.link.heard("invokefunction", function_id="f")
            assert frame["namespace"] == "ns"
            assert frame["data"] == {"x": 1}
            assert frame["metadata"] == [1]
            assert "deadline_ms" not in frame
            assert is_uuid(frame["invocation_id"])
            answer = {"invocation_id": frame["invocation_id"], "function_id": "f"}
            engine.link.say("invocationresult", invocation_id=OTHER, result=0)
            engine.link.say("invocationresult", **answer, result={"y": 2})
            engine.link.say("invocationresult", **answer, result={"late": 1})

        assert await worker.invoke("f", {"x": 1}, metadata=[1]) == {"y": 2}


@pytest.mark.parametrize("fields", [{}, {"result": None}])
async def test_a_null_result_and_none_mean_the_same(
    autojump_clock: MockClock, fields: dict[str, Any]
) -> None:
    engine = ScriptedEngine()
    async with (
        open_worker(engine.attachment()) as worker,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def _() -> None:
            frame = await engine.link.heard("invokefunction", function_id="f")
            engine.link.say(
                "invocationresult", invocation_id=frame["invocation_id"], **fields
            )

        assert await worker.invoke_json("f", b"1") == b""


async def test_an_error_result_wins_and_is_raised(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine()
    async with (
        open_worker(engine.attachment()) as worker,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def _() -> None:
            frame = await engine.link.heard("invokefunction", function_id="f")
            engine.link.say(
                "invocationresult",
                invocation_id=frame["invocation_id"],
                result=1,
                error={"code": "teapot", "message": "no", "stacktrace": "here"},
            )

        with pytest.raises(FunctionFailedError) as caught:
            await worker.invoke("f")
    assert (caught.value.code, caught.value.stacktrace) == ("teapot", "here")


async def test_a_lost_connection_fails_pending_calls_at_once(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with (
        open_worker(engine.attachment()) as worker,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def _() -> None:
            await engine.link.heard("invokefunction", function_id="f")
            engine.link.lose()

        started = trio.current_time()
        with pytest.raises(InvocationStoppedError):
            await worker.invoke("f")
        assert trio.current_time() == started


async def test_a_call_made_while_disconnected_waits_for_the_connection(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with (
        open_worker(engine.attachment()) as worker,
        trio.open_nursery() as nursery,
    ):
        engine.link.lose()

        @nursery.start_soon
        async def _() -> None:
            link = await engine.connection(2)
            frame = await link.heard("invokefunction", function_id="f")
            link.say("invocationresult", invocation_id=frame["invocation_id"], result=5)

        assert await worker.invoke("f") == 5


async def test_a_deadline_counts_while_disconnected(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:
        engine.refusals = 100
        engine.link.lose()
        started = trio.current_time()
        with pytest.raises(InvocationTimeoutError):
            await worker.invoke("f", deadline=3)
        assert trio.current_time() == started + 3


async def test_a_deadline_that_is_over_already_is_a_timeout(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:
        for over in (0, -0.001, -5):
            with pytest.raises(InvocationTimeoutError):
                await worker.invoke("f", deadline=over)
        assert engine.link.kinds() == ["invokefunction"]  # the announcement


async def test_a_caller_that_is_no_text_does_not_end_the_worker(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:

        @worker.function("f")
        async def f(payload: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return payload

        engine.link.say_text(
            f'{{"type":"invokefunction","invocation_id":"{CALL}","function_id":"f",'
            '"data":{"a":1,"_caller_worker_id":1e400}}'
        )
        answer = await engine.link.heard("invocationresult")
    assert answer["result"] == {"a": 1}


async def test_a_deadline_is_sent_and_its_end_cancels_the_call(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:
        with pytest.raises(InvocationTimeoutError) as caught:
            await worker.invoke("f", deadline=3)
        assert caught.value.code == "TIMEOUT"
        call, cancel = engine.link.said[1:]
    assert call["deadline_ms"] == 3000
    assert cancel == {
        "type": "cancelinvocation",
        "invocation_id": call["invocation_id"],
        "reason": "deadline passed",
    }


async def test_a_cancelled_caller_cancels_the_call_and_drops_a_late_result(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:
        with trio.move_on_after(3):
            await worker.invoke("f")
        call, cancel = engine.link.said[1:]
        assert "deadline_ms" not in call
        assert cancel["type"] == "cancelinvocation"
        assert cancel["reason"] == "the caller was cancelled"
        engine.link.say(
            "invocationresult", invocation_id=call["invocation_id"], result=1
        )


async def test_an_engine_without_the_feature_gets_nothing_new(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    engine.features = None
    async with open_worker(engine.attachment()) as worker:
        with pytest.raises(InvocationTimeoutError):
            await worker.invoke("f", deadline=3)
        [_, call] = engine.link.said
    assert "deadline_ms" not in call


async def test_fires_wait_for_the_connection_up_to_a_bound(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:
        engine.link.lose()
        for number in range(1000):
            worker.fire("f", number)
        with pytest.raises(InvocationRefusedError, match="1000"):
            worker.fire("f", 1000)
        link = await engine.connection(2)
        await link.heard("invokefunction", data=999)
    fires = [frame for frame in link.said if frame.get("function_id") == "f"]
    assert [frame["data"] for frame in fires] == list(range(1000))
    assert all("invocation_id" not in frame for frame in fires)


async def test_messages_too_large_for_any_engine_are_refused_with_advice(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:
        with pytest.raises(InvocationRefusedError, match="channel") as caught:
            await worker.invoke("f", "x" * MAX_MESSAGE_BYTES)
        assert caught.value.code == "payload_too_large"
        with pytest.raises(InvocationRefusedError, match="channel"):
            worker.fire("f", "x" * MAX_MESSAGE_BYTES)

        @worker.function("big")
        async def big() -> str:
            await trio.lowlevel.checkpoint()
            return "x" * MAX_MESSAGE_BYTES

        engine.link.say("invokefunction", invocation_id=CALL, function_id="big")
        result = await engine.link.heard("invocationresult")
    assert result["error"]["code"] == "payload_too_large"


async def test_calls_are_refused_while_the_engine_does_not_take_them(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:
        engine.link.outbox_bytes = 8 * 2**20
        with pytest.raises(InvocationRefusedError, match="behind"):
            await worker.invoke("f")
        with pytest.raises(InvocationRefusedError, match="behind"):
            worker.fire("f")


async def test_an_incoming_call_is_run_and_answered(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine()
    seen = []
    async with open_worker(engine.attachment(), namespace="ns") as worker:

        @worker.function("f")
        async def handler(value: Any) -> Any:
            await trio.lowlevel.checkpoint()
            seen.append((value, current_invocation()))
            return {"got": value}

        engine.link.say(
            "invokefunction",
            invocation_id=CALL,
            function_id="f",
            data={"x": 1, "_caller_worker_id": "w-9"},
            metadata={"m": 1},
            traceparent="tp",
            baggage="b",
            deadline_ms=5000,
        )
        result = await engine.link.heard("invocationresult")
    assert result == {
        "type": "invocationresult",
        "invocation_id": CALL,
        "function_id": "f",
        "result": {"got": {"x": 1}},
        "traceparent": "tp",
        "baggage": "b",
    }
    [(value, invocation)] = seen
    assert value == {"x": 1}
    assert invocation.caller_worker_id == "w-9"
    assert invocation.metadata == {"m": 1}
    assert invocation.invocation_id == CALL
    assert invocation.deadline == pytest.approx(5.0)


async def test_nested_calls_carry_the_trace_and_what_is_left_of_the_deadline(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:

        @worker.function("f")
        async def handler(_: Any) -> Any:
            await trio.sleep(2)
            worker.fire("audit::log")
            return await worker.invoke("g")

        engine.link.say(
            "invokefunction",
            invocation_id=CALL,
            function_id="f",
            data=1,
            traceparent="tp",
            baggage="b",
            deadline_ms=5000,
        )
        fired = await engine.link.heard("invokefunction", function_id="audit::log")
        nested = await engine.link.heard("invokefunction", function_id="g")
        result = await engine.link.heard("invocationresult")
    assert (fired["traceparent"], fired["baggage"]) == ("tp", "b")
    assert (nested["traceparent"], nested["baggage"]) == ("tp", "b")
    assert nested["deadline_ms"] == pytest.approx(3000)
    assert result["error"]["code"] == "TIMEOUT"


async def test_a_call_to_an_unknown_function_is_answered(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()):
        engine.link.say("invokefunction", invocation_id=CALL, function_id="nope")
        result = await engine.link.heard("invocationresult")
    assert result["error"] == {
        "code": "function_not_found",
        "message": "Function 'nope' not found",
    }


async def test_cancelinvocation_cancels_the_handler(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine()
    ended = trio.Event()
    async with open_worker(engine.attachment()) as worker:

        @worker.function("f")
        async def handler() -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        engine.link.say("invokefunction", invocation_id=CALL, function_id="f")
        await wait_all_tasks_blocked()
        engine.link.say("cancelinvocation", invocation_id=OTHER)
        assert not ended.is_set()
        engine.link.say("cancelinvocation", invocation_id=CALL, reason="enough")
        await ended.wait()


async def test_a_call_cancelled_before_its_task_began_does_not_run(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    ran = []
    async with open_worker(engine.attachment()) as worker:

        @worker.function("f")
        async def handler() -> None:
            await trio.lowlevel.checkpoint()
            ran.append(1)

        engine.link.say("invokefunction", invocation_id=CALL, function_id="f")
        engine.link.say("cancelinvocation", invocation_id=CALL)
        await engine.link.heard("invocationresult")
    assert ran == []


async def test_a_lost_connection_cancels_handlers_and_drops_their_results(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    ended = []
    async with open_worker(engine.attachment()) as worker:

        @worker.function("stubborn")
        async def stubborn() -> None:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                ended.append(trio.current_time())
                raise

        @worker.function("late")
        async def late() -> str:
            with trio.CancelScope(shield=True):
                await trio.sleep(10)
            ended.append(trio.current_time())
            return "late"

        for call, function_id in ((CALL, "stubborn"), (OTHER, "late")):
            engine.link.say(
                "invokefunction", invocation_id=call, function_id=function_id
            )
        await wait_all_tasks_blocked()
        lost = trio.current_time()
        engine.link.lose()
        await trio.sleep(20)
        assert ended == [lost, lost + 10]
        assert all("invocationresult" not in link.kinds() for link in engine.links)


async def test_the_same_call_twice_runs_once(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine()
    ran = []
    async with open_worker(engine.attachment()) as worker:

        @worker.function("f")
        async def handler() -> None:
            ran.append(1)
            await trio.sleep(1)

        for _ in range(2):
            engine.link.say("invokefunction", invocation_id=CALL, function_id="f")
        await engine.link.heard("invocationresult")
    assert ran == [1]


async def test_a_call_without_id_runs_and_is_not_answered(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    ran = trio.Event()
    async with open_worker(engine.attachment()) as worker:
        worker.register_function("f", _setter(ran))
        engine.link.say("invokefunction", function_id="f")
        await ran.wait()
        await wait_all_tasks_blocked()
    assert "invocationresult" not in engine.link.kinds()


def _setter(event: trio.Event) -> Any:
    async def handler() -> None:
        await trio.lowlevel.checkpoint()
        event.set()

    return handler


async def test_a_name_conflict_ends_the_block(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine()
    with pytest.raises(RegistrationError) as caught:  # noqa: PT012
        async with open_worker(engine.attachment(), name="w"):
            engine.link.say(
                "registrationrejected",
                code="WORKER_NAMESPACE_CONFLICT",
                namespace="default",
                worker_name="w",
                owner_worker_id="w-7",
            )
            await trio.sleep_forever()
    assert caught.value.code == "WORKER_NAMESPACE_CONFLICT"
    assert caught.value.owner_worker_id == "w-7"
    assert len(engine.links) == 1


async def test_a_name_conflict_before_the_greeting_ends_open_worker(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    engine.greeting = None
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            link = await engine.connection(1)
            await link.heard("invokefunction")
            link.say("registrationrejected", code="NEW_CODE", namespace="default")
            link.lose()

        with pytest.raises(RegistrationError) as caught:
            async with open_worker(engine.attachment(), name="w"):
                pytest.fail("unreachable")
    assert caught.value.code == "NEW_CODE"


async def test_refused_functions_and_triggers_are_shown(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:
        worker.register_function("f", lambda: None)
        await worker.bind("http", "f", trigger_id="t")
        engine.link.say(
            "registrationrejected",
            code="FUNCTION_NAMESPACE_CONFLICT",
            namespace="default",
            function_id="f",
            owner_worker_id="w-7",
        )
        engine.link.say(
            "triggerregistrationresult",
            id="t",
            trigger_type="http",
            function_id="f",
            error={"code": "trigger_registration_failed", "message": "bad path"},
        )
        engine.link.say("triggerregistrationresult", id="fine")
        assert worker.rejections["f"].owner_worker_id == "w-7"
        assert worker.rejections["t"].message == "bad path"
        assert set(worker.rejections) == {"f", "t"}
        worker.register_function("f", lambda: None)
        worker.unbind("t")
        assert worker.rejections == {}


async def test_what_is_refused_right_after_the_greeting_of_a_reconnect_is_shown(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:
        worker.register_function("f", lambda: None)
        worker.register_function("g", lambda: None)
        refusal = {"code": "FUNCTION_NAMESPACE_CONFLICT", "namespace": "default"}
        engine.link.say("registrationrejected", function_id="g", **refusal)
        engine.greeting = None
        engine.link.lose()
        link = await engine.connection(2)
        await link.heard("registerfunction", id="f")
        # Two frames in one read.
        link.say("workerregistered", **GREETING)
        link.say("registrationrejected", function_id="f", **refusal)
        await wait_all_tasks_blocked()
        assert set(worker.rejections) == {"f"}


async def test_an_auth_failure_is_retried_and_told(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()):
        engine.link.say("error", error={"code": "AUTH_ERROR", "message": "no token"})
        engine.link.lose()
        await engine.connection(2)
    assert "AUTH_ERROR: no token" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"type":"observeradded"}',
        '{"type":"invokefunction"}',
        '{"type":"reattach","previous_worker_id":"x"}',
        "[" * 5000 + "]" * 5000,
    ],
)
async def test_frames_that_make_no_sense_are_ignored(
    autojump_clock: MockClock, text: str
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()):
        engine.link.say_text(text)
        engine.link.say("ping")
        await engine.link.heard("pong")
        assert engine.link.closed is None


async def test_a_number_that_has_no_value_in_python_does_not_end_the_connection(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    async with (
        open_worker(engine.attachment()) as worker,
        trio.open_nursery() as nursery,
    ):
        worker.register_function("f", lambda value: value)
        worker.register_trigger_type("mine", bind=lambda _: None)
        engine.link.say_text(
            f'{{"type":"invokefunction","invocation_id":"{CALL}","function_id":"f",'
            '"data":1e400}'
        )
        result = await engine.link.heard("invocationresult")
        assert result["error"]["code"] == "invalid_payload"
        engine.link.say_text(
            '{"type":"registertrigger","id":"t","trigger_type":"mine",'
            '"function_id":"f","config":1e400}'
        )
        answer = await engine.link.heard("triggerregistrationresult")
        assert "cannot be decoded" in answer["error"]["message"]

        @nursery.start_soon
        async def _() -> None:
            frame = await engine.link.heard("invokefunction", function_id="g")
            engine.link.say_text(
                '{"type":"invocationresult","result":1e400,'
                f'"invocation_id":"{frame["invocation_id"]}"}}'
            )

        with pytest.raises(FunctionFailedError, match="of g cannot be decoded"):
            await worker.invoke("g")


@pytest.mark.parametrize("url", ["http://h", "ws://", "h:1", "ws://h:port"])
async def test_what_is_no_websocket_url_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        async with open_worker(url):
            pytest.fail("unreachable")


async def test_a_provider_answers_for_each_trigger(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine()
    bound: list[Trigger] = []
    unbound: list[str] = []

    async def bind(trigger: Trigger) -> None:
        await trio.sleep(1)
        if trigger.trigger_id == "bad":
            raise RegistrationError("no such path", code="bad_path")
        bound.append(trigger)

    async with open_worker(engine.attachment()) as worker:
        worker.register_trigger_type(
            "mine", bind=bind, unbind=lambda trigger: unbound.append(trigger.trigger_id)
        )
        for trigger_id, kind in (("t", "mine"), ("bad", "mine"), ("odd", "other")):
            engine.link.say(
                "registertrigger",
                id=trigger_id,
                trigger_type=kind,
                function_id="f",
                config={"condition_function_id": "c"},
                metadata={"m": 1},
                namespace="ns",
            )
        good = await engine.link.heard("triggerregistrationresult", id="t")
        bad = await engine.link.heard("triggerregistrationresult", id="bad")
        odd = await engine.link.heard("triggerregistrationresult", id="odd")
        assert good == {
            "type": "triggerregistrationresult",
            "id": "t",
            "trigger_type": "mine",
            "function_id": "f",
        }
        assert bad["error"] == {"code": "bad_path", "message": "no such path"}
        assert odd["error"]["code"] == "trigger_type_not_found"
        [trigger] = bound
        assert (trigger.namespace, trigger.condition) == ("ns", "c")
        assert (trigger.metadata, trigger.owner_worker_id) == ({"m": 1}, None)
        engine.link.say("unregistertrigger", id="t", trigger_type="mine")
        engine.link.say("unregistertrigger", id="t", trigger_type="mine")
        assert unbound == ["t"]


async def test_triggers_are_unbound_while_the_connection_is_lost(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    bound: list[str] = []
    unbound: list[str] = []
    async with open_worker(engine.attachment()) as worker:
        worker.register_trigger_type(
            "mine",
            bind=lambda trigger: bound.append(trigger.trigger_id),
            unbind=lambda trigger: unbound.append(trigger.trigger_id),
        )
        fields = {"id": "t", "trigger_type": "mine", "function_id": "f"}
        engine.link.say("registertrigger", **fields)
        engine.link.lose()
        assert (bound, unbound) == (["t"], ["t"])
        link = await engine.connection(2)
        link.say("registertrigger", **fields)
        assert bound == ["t", "t"]


async def test_the_refusal_of_a_replaced_trigger_is_not_told(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    unbound: list[str] = []

    async def bind(trigger: Trigger) -> None:
        await trio.sleep(1)
        if trigger.config == "bad":
            raise RegistrationError("bad")

    async with open_worker(engine.attachment()) as worker:
        worker.register_trigger_type(
            "mine", bind=bind, unbind=lambda trigger: unbound.append(trigger.config)
        )
        for config in ("bad", "good"):
            engine.link.say(
                "registertrigger",
                id="t",
                trigger_type="mine",
                function_id="f",
                config=config,
            )
        answer = await engine.link.heard("triggerregistrationresult")
        assert "error" not in answer
        await wait_all_tasks_blocked()
        assert engine.link.kinds().count("triggerregistrationresult") == 1
        engine.link.lose()
        assert unbound == ["good"]


async def test_a_trigger_that_cannot_be_decoded_ends_the_one_that_it_replaces(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    unbound: list[str] = []
    async with open_worker(engine.attachment()) as worker:
        worker.register_trigger_type(
            "mine",
            bind=lambda _: None,
            unbind=lambda trigger: unbound.append(trigger.trigger_id),
        )
        for config in ("1", "1e400"):
            engine.link.say_text(
                '{"type":"registertrigger","id":"t","trigger_type":"mine",'
                f'"function_id":"f","config":{config}}}'
            )
        good, bad = engine.link.said[-2:]
        assert "error" not in good
        assert "decoded" in bad["error"]["message"]
        assert unbound == ["t"]


async def test_nothing_is_accepted_after_the_block(autojump_clock: MockClock) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()) as worker:
        link = engine.link
    link.say("invokefunction", invocation_id=CALL, function_id="f")
    with pytest.raises(trio.ClosedResourceError):
        worker.fire("f")
    with pytest.raises(trio.ClosedResourceError):
        await worker.invoke("f")


def test_a_remote_call_can_be_cancelled_at_every_step() -> None:
    async def scenario() -> None:
        engine = ScriptedEngine()

        async def answer() -> None:
            link = await engine.connection(1)
            frame = await link.heard("invokefunction", function_id="f")
            link.say("invocationresult", invocation_id=frame["invocation_id"], result=1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            async with open_worker(engine.attachment()) as worker:
                assert await worker.invoke("f") == 1

    assert cancel_at_every_step(scenario) > 5


async def test_calls_begin_in_the_order_in_which_they_came(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    begun: list[int] = []
    async with open_worker(engine.attachment()) as worker:

        @worker.function("f")
        async def f(number: int) -> None:
            begun.append(number)
            await trio.lowlevel.checkpoint()

        for number in range(100):
            call = f"{number:08}-2222-4222-8222-222222222222"
            engine.link.say(
                "invokefunction", invocation_id=call, function_id="f", data=number
            )
        await wait_all_tasks_blocked()
    assert begun == list(range(100))
