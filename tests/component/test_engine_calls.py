"""Routing and the life of a call, between links and local workers."""

import json
import math

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from iii_trio.errors import (
    FunctionFailedError,
    FunctionNotFoundError,
    InvocationRefusedError,
    InvocationStoppedError,
    InvocationTimeoutError,
)
from iii_trio.protocol import CancelInvocation, InvocationResult, InvokeFunction
from iii_trio.testing import RawPeer, open_test_engine

FEATURES = ["iii-trio.cancel.v1"]


def error_of(outcome: InvocationResult) -> dict[str, object]:
    error = json.loads(bytes(outcome.error))
    assert isinstance(error, dict)
    return error


def value_of(outcome: InvocationResult) -> object:
    return json.loads(bytes(outcome.result))


async def settled(peer: RawPeer, *args: object, **fields: object) -> InvocationResult:
    return await peer.outcome(peer.call(*args, **fields))  # type: ignore[arg-type]


async def test_a_call_between_links_passes_bytes_and_names_the_caller(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("b", "x::y") as callee,
    ):
        await trio.testing.wait_all_tasks_blocked()
        me = (await caller.accepted()).worker_id
        call_id = caller.call("x::y", {"n": 12345678901234567890123, "_caller": 1})
        call = await callee.served("x::y")
        assert json.loads(bytes(call.data)) == {
            "n": 12345678901234567890123,
            "_caller": 1,
            "_caller_worker_id": me,
        }
        assert call.invocation_id != call_id
        assert (call.namespace, bytes(call.action)) == (None, b"")
        callee.answer(call, {"ok": True})
        outcome = await caller.outcome(call_id)
        assert value_of(outcome) == {"ok": True}
        assert outcome.function_id == "x::y"


async def test_a_forged_caller_id_loses(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("b", "x::y") as callee,
    ):
        await trio.testing.wait_all_tasks_blocked()
        me = (await caller.accepted()).worker_id
        caller.call("x::y", {"_caller_worker_id": "forged"})
        call = await callee.served("x::y")
        assert json.loads(bytes(call.data))["_caller_worker_id"] == me


@pytest.mark.parametrize("payload", [None, 1, "text", [1, {}], True])
async def test_payloads_that_are_no_objects_pass_unchanged(
    autojump_clock: MockClock, payload: object
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("b", "x::y") as callee,
    ):
        await trio.testing.wait_all_tasks_blocked()
        caller.call("x::y", payload)
        assert json.loads(bytes((await callee.served("x::y")).data)) == payload


async def test_two_callers_may_choose_the_same_id(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as first,
        t.open_raw_peer("b") as second,
        t.open_raw_peer("c", "x::y") as callee,
    ):
        await trio.testing.wait_all_tasks_blocked()
        same = first.call("x::y", 1)
        assert second.call("x::y", 2) == same
        for _ in range(2):
            call = await callee.served("x::y")
            callee.answer(call, json.loads(bytes(call.data)))
        assert value_of(await first.outcome(same)) == 1
        assert value_of(await second.outcome(same)) == 2


async def test_only_the_executor_may_answer_and_only_once(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("b", "x::y") as callee,
        t.open_raw_peer("c") as liar,
    ):
        await trio.testing.wait_all_tasks_blocked()
        call_id = caller.call("x::y")
        call = await callee.served("x::y")
        liar.answer(call, "lie")
        await trio.testing.wait_all_tasks_blocked()
        callee.answer(call, "truth")
        callee.answer(call, "again")
        assert value_of(await caller.outcome(call_id)) == "truth"
        await trio.sleep(1)
        assert not caller.unread(InvocationResult)
        assert t.engine.statistics().late_answers == 2


async def test_errors_pass_with_their_unknown_fields(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("b", "x::y") as callee,
    ):
        await trio.testing.wait_all_tasks_blocked()
        call_id = caller.call("x::y")
        call = await callee.served("x::y")
        error = {"code": "C", "message": "m", "stacktrace": "s", "more": [1]}
        callee.send(
            {
                "type": "invocationresult",
                "invocation_id": call.invocation_id,
                "result": 1,
                "error": error,
            }
        )
        assert error_of(await caller.outcome(call_id)) == error


@pytest.mark.parametrize(
    ("sent", "code", "text"),
    [
        ("boom", "invocation_failed", "boom"),
        ({"code": "C"}, "C", "without a message"),
        ({"message": "m"}, "UNKNOWN", "m"),
        ([1], "invocation_failed", "[1]"),
    ],
)
async def test_a_malformed_error_still_reaches_the_caller(
    autojump_clock: MockClock, sent: object, code: str, text: str
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("b", "x::y") as callee,
    ):
        await trio.testing.wait_all_tasks_blocked()
        call_id = caller.call("x::y")
        call = await callee.served("x::y")
        callee.send(
            {
                "type": "invocationresult",
                "invocation_id": call.invocation_id,
                "error": sent,
            }
        )
        error = error_of(await caller.outcome(call_id))
        assert error["code"] == code
        assert text in str(error["message"])


async def test_null_results_are_left_out_for_links_and_present_for_local(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("b", "x::y") as callee,
    ):
        await trio.testing.wait_all_tasks_blocked()
        call_id = caller.call("x::y")
        callee.answer(await callee.served("x::y"), None)
        assert bytes((await caller.outcome(call_id)).result) == b""


async def test_not_found_says_where_it_is(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a", "x::y", namespace="n"),
        t.open_raw_peer("b") as caller,
        t.open_worker("c") as local,
    ):
        await trio.testing.wait_all_tasks_blocked()
        error = error_of(await settled(caller, "x::y"))
        assert error == {
            "code": "function_not_found",
            "message": (
                "Function x::y not found in namespace default. "
                "It is registered in namespace(s): n."
            ),
        }
        blank = error_of(await settled(caller, "x::y", namespace=""))
        assert blank["code"] == "INVALID_NAMESPACE"
        with pytest.raises(FunctionNotFoundError):
            await local.invoke("x::z")


async def test_callee_gone_tells_every_caller_at_once(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_worker("l") as local,
    ):
        await trio.testing.wait_all_tasks_blocked()
        seen: list[str] = []
        async with trio.open_nursery() as nursery:
            async with t.open_raw_peer("b", "x::y") as callee:
                await trio.testing.wait_all_tasks_blocked()
                call_id = caller.call("x::y")

                @nursery.start_soon
                async def _() -> None:
                    with pytest.raises(InvocationStoppedError):
                        await local.invoke("x::y")
                    seen.append("told")

                await callee.served("x::y")
                await callee.served("x::y")
            error = error_of(await caller.outcome(call_id))
            assert error["code"] == "invocation_stopped"
        assert seen == ["told"]
        assert t.engine.statistics().invocations == 0


async def test_caller_gone_cancels_a_local_handler(autojump_clock: MockClock) -> None:
    reasons: list[str] = []
    async with open_test_engine() as t, t.open_worker("l") as local:

        @local.function("slow::one")
        async def slow() -> None:
            try:
                await trio.sleep_forever()
            except trio.Cancelled as exc:
                reasons.append(repr(exc))
                raise

        async with t.open_raw_peer("a") as caller:
            caller.call("slow::one")
            caller.fire("slow::one")
            await trio.testing.wait_all_tasks_blocked()
            assert t.engine.statistics().invocations == 2
        await trio.testing.wait_all_tasks_blocked()
        # The void call goes on: nobody's going away cancels it.
        assert t.engine.statistics().invocations == 1
        assert len(reasons) == 1
        assert "its caller is gone" in reasons[0]


async def test_only_peers_that_announced_it_are_told_of_a_cancel(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("plain", "x::y") as plain,
        t.open_raw_peer("able", "x::z", features=FEATURES) as able,
        t.open_worker("l") as local,
    ):
        await trio.testing.wait_all_tasks_blocked()
        for function_id in ("x::y", "x::z"):
            with trio.move_on_after(1):
                await local.invoke(function_id, deadline=30)
        cancel = await able.expect(CancelInvocation)
        call = await able.served("x::z")
        assert cancel.invocation_id == call.invocation_id
        assert cancel.reason == "the caller was cancelled"
        assert call.deadline_ms == pytest.approx(30_000, abs=50)
        assert not plain.unread(CancelInvocation)
        assert (await plain.served("x::y")).deadline_ms is None
        assert t.engine.statistics().invocations == 0


async def test_a_link_that_announced_it_may_cancel_its_call(
    autojump_clock: MockClock,
) -> None:
    cancelled: list[bool] = []
    async with (
        open_test_engine() as t,
        t.open_raw_peer("able", features=FEATURES) as able,
        t.open_raw_peer("plain") as plain,
        t.open_worker("l") as local,
    ):
        await trio.testing.wait_all_tasks_blocked()

        @local.function("slow::one")
        async def slow() -> None:
            with trio.CancelScope() as scope:
                try:
                    await trio.sleep_forever()
                finally:
                    cancelled.append(scope.cancel_called)

        for peer in (able, plain):
            call_id = peer.call("slow::one")
            await trio.testing.wait_all_tasks_blocked()
            peer.send({"type": "cancelinvocation", "invocation_id": call_id})
            await trio.testing.wait_all_tasks_blocked()
        assert len(cancelled) == 1
        assert t.engine.statistics().invocations == 1
        assert not able.unread(InvocationResult)


async def test_a_deadline_ends_the_call_everywhere(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("able", "x::y", features=FEATURES) as able,
        t.open_worker("l") as local,
    ):
        await trio.testing.wait_all_tasks_blocked()
        start = trio.current_time()
        with pytest.raises(InvocationTimeoutError, match="after 2500ms"):
            await local.invoke("x::y", deadline=2.5)
        assert trio.current_time() - start == pytest.approx(2.5, abs=0.1)
        assert (await able.expect(CancelInvocation)).reason == "deadline passed"
        outcome = await settled(able, "x::y", deadline_ms=100)
        assert error_of(outcome)["code"] == "TIMEOUT"


async def test_a_deadline_of_an_inline_call_cancels_the_handler(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("l") as local:

        @local.function("slow::one")
        async def slow() -> None:
            await trio.sleep_forever()

        with pytest.raises(InvocationTimeoutError):
            await local.invoke("slow::one", deadline=1)
        with trio.move_on_after(1) as scope:
            await local.invoke("slow::one")
        assert scope.cancelled_caught
        await trio.sleep(1)
        assert t.engine.statistics().timers == 0


async def test_a_worker_that_closes_ends_calls_to_it_and_by_it(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("caller") as caller:
        async with trio.open_nursery() as nursery:
            async with t.open_worker("callee") as callee:

                @callee.function("slow::one")
                async def slow() -> None:
                    await trio.sleep_forever()

                @nursery.start_soon
                async def _() -> None:
                    with pytest.raises(InvocationStoppedError):
                        await caller.invoke("slow::one")

                await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.ClosedResourceError):
            await callee.invoke("slow::one")


async def test_deep_recursion_gets_tasks_of_its_own(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t, t.open_worker("l") as local:

        @local.function("count::down")
        async def down(n: int) -> int:
            await trio.lowlevel.checkpoint()
            return 0 if n == 0 else 1 + await local.invoke("count::down", n - 1)

        assert await local.invoke("count::down", 200) == 200


async def test_overload_of_one_worker_refuses_calls_to_it_alone(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("slow", "x::y", runtime="node") as slow,
        t.open_raw_peer("quick", "x::z") as quick,
        t.open_worker("l") as local,
    ):
        await trio.testing.wait_all_tasks_blocked()
        await slow.accepted()
        slow.connection.stall("to_client")
        blob = "x" * (3 * 2**20)
        for _ in range(3):  # 9 MiB wait for it now
            with trio.move_on_after(1):
                await local.invoke("x::y", blob)
        with pytest.raises(InvocationRefusedError, match="'slow' is behind"):
            await local.invoke("x::y", 1)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                assert await local.invoke("x::z") is None

            quick.answer(await quick.served("x::z"))


async def test_drain_refuses_new_calls_and_waits_for_old_ones(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("b", "x::y") as callee,
    ):
        await trio.testing.wait_all_tasks_blocked()
        first, second = caller.call("x::y"), caller.call("x::y")
        await caller.flush()
        call = await callee.served("x::y")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(t.engine.drain, 10)
            await trio.testing.wait_all_tasks_blocked()
            assert error_of(await settled(caller, "x::y"))["code"] == "engine_draining"
            callee.answer(call, 1)
            assert value_of(await caller.outcome(first)) == 1
        assert error_of(await caller.outcome(second))["code"] == "invocation_stopped"


async def test_enqueue_without_a_provider_says_so(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t, t.open_raw_peer("a") as caller:
        outcome = await settled(
            caller, "x::y", 1, action={"type": "enqueue", "queue": "q"}
        )
        error = error_of(outcome)
        assert error["code"] == "enqueue_error"
        assert str(error["message"]).startswith("No queue provider is installed")
        assert "engine::queue::enqueue" in str(error["message"])
        assert "iii worker add queue" in str(error["message"])


async def test_enqueue_calls_the_provider_and_gives_a_receipt(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("q", "engine::queue::enqueue") as queue,
    ):
        await trio.testing.wait_all_tasks_blocked()
        call_id = caller.call(
            "x::y",
            {"k": 1},
            namespace="n",
            metadata={"lost": 1},
            action={"type": "enqueue", "queue": "mail"},
        )
        call = await queue.served("engine::queue::enqueue")
        data = json.loads(bytes(call.data))
        receipt = data.pop("messageReceiptId")
        assert data == {
            "queue": "mail",
            "function_id": "x::y",
            "data": {"k": 1},
            "namespace": "n",
            "traceparent": None,
            "baggage": None,
        }
        assert bytes(call.metadata) == b""
        queue.answer(call, {"ignored": True})
        outcome = await caller.outcome(call_id)
        assert value_of(outcome) == {"messageReceiptId": receipt}
        assert outcome.function_id == "x::y"
        second = caller.call("x::y", action={"type": "enqueue", "queue": "mail"})
        queue.fail(await queue.served("engine::queue::enqueue"), "full", "no room")
        error = error_of(await caller.outcome(second))
        assert error == {"code": "enqueue_error", "message": "full: no room"}


async def test_workers_define_actions_of_their_own(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("s") as scheduler,
    ):
        await trio.testing.wait_all_tasks_blocked()
        scheduler.register("later::do", metadata={"trigger_action": "later"})
        await scheduler.flush()
        action = {"type": "later", "minutes": 5}
        call_id = caller.call("x::y", [1], action=action)
        call = await scheduler.served("later::do")
        assert json.loads(bytes(call.data)) == {
            "action": action,
            "function_id": "x::y",
            "data": [1],
            "namespace": "default",
        }
        scheduler.answer(call, "scheduled")
        assert value_of(await caller.outcome(call_id)) == "scheduled"
        for bad, text in (
            ({"type": "sooner"}, "known actions: enqueue, later, void"),
            ({"no": "type"}, "missing required field"),
        ):
            error = error_of(await settled(caller, "x::y", 1, action=bad))
            assert text in str(error["message"])


async def test_void_calls_are_delivered_with_an_id_and_answered_by_nobody(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("b", "x::y") as callee,
    ):
        await trio.testing.wait_all_tasks_blocked()
        caller.fire("x::y", {})
        caller.fire("nobody::there")
        call = await callee.served("x::y")
        assert call.invocation_id
        callee.answer(call, 1)
        await trio.sleep(1)
        assert not caller.unread(InvocationResult)
        left = t.engine.statistics()
        assert (left.invocations, left.dropped_fires, left.late_answers) == (0, 1, 0)


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03"


@pytest.mark.parametrize(
    ("traceparent", "baggage", "to_callee"),
    [
        (TRACE, None, (TRACE, "iii.function.id=x::y")),
        (TRACE, "a=1;p, b", (TRACE, "a=1;p,b,iii.function.id=x::y")),
        (None, "iii.function.id=old,a=2", (None, "a=2,iii.function.id=x::y")),
        ("nonsense", None, (None, "iii.function.id=x::y")),
        (TRACE.upper(), None, (None, "iii.function.id=x::y")),
        ("ff" + TRACE[2:], None, (None, "iii.function.id=x::y")),
        (None, None, (None, None)),
    ],
)
async def test_trace_context_passes_and_is_echoed(
    autojump_clock: MockClock,
    traceparent: str | None,
    baggage: str | None,
    to_callee: tuple[str, str],
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_raw_peer("b", "x::y") as callee,
    ):
        await trio.testing.wait_all_tasks_blocked()
        call_id = caller.call("x::y", traceparent=traceparent, baggage=baggage)
        call = await callee.served("x::y")
        assert (call.traceparent, call.baggage) == to_callee
        callee.answer(call)
        outcome = await caller.outcome(call_id)
        assert (outcome.traceparent, outcome.baggage) == (traceparent, baggage)


async def test_a_chain_of_calls_shares_a_shrinking_deadline(
    autojump_clock: MockClock,
) -> None:
    left: list[float] = []
    async with (
        open_test_engine() as t,
        t.open_raw_peer("far", "far::away", features=FEATURES) as far,
        t.open_worker("l") as local,
    ):
        await trio.testing.wait_all_tasks_blocked()

        @local.function("mid::dle")
        async def middle() -> object:
            await trio.sleep(4)
            return await local.invoke("far::away")

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                call = await far.served("far::away")
                left.append(call.deadline_ms or math.inf)
                far.answer(call, "done")

            assert await local.invoke("mid::dle", deadline=10) == "done"
    assert left == [pytest.approx(6000, abs=50)]


async def test_handlers_errors_reach_link_callers(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_worker("l") as local,
    ):
        await trio.testing.wait_all_tasks_blocked()

        @local.function("bad::one")
        async def bad() -> None:
            await trio.lowlevel.checkpoint()
            raise FunctionFailedError("no", code="MINE")

        @local.function("bad::two")
        async def worse() -> None:
            await trio.lowlevel.checkpoint()
            msg = "broken"
            raise ValueError(msg)

        assert error_of(await settled(caller, "bad::one"))["code"] == "MINE"
        error = error_of(await settled(caller, "bad::two"))
        assert (error["code"], error["message"]) == ("invocation_failed", "broken")
        assert "ValueError" in str(error["stacktrace"])
        assert not caller.unread(InvokeFunction)


async def test_calls_of_one_link_begin_in_order(autojump_clock: MockClock) -> None:
    seen: list[int] = []
    async with (
        open_test_engine() as t,
        t.open_raw_peer("a") as caller,
        t.open_worker("l") as local,
    ):
        await trio.testing.wait_all_tasks_blocked()

        @local.function("note::it")
        async def note(number: int) -> None:
            seen.append(number)
            await trio.lowlevel.checkpoint()

        for number in range(50):
            caller.fire("note::it", number)
        await trio.testing.wait_all_tasks_blocked()
    assert seen == list(range(50))
