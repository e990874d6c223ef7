"""Frames that other libraries may write and we cannot read: nobody waits for them.

JavaScript and Python write half of a surrogate pair as an escape, Python writes NaN, and
anybody nests deeper than Python reads.
"""

import json

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.errors import FunctionFailedError, InvocationError
from iii_trio.protocol import (
    CancelInvocation,
    InvocationResult,
    InvokeFunction,
    RegisterTrigger,
    decode_error,
)
from iii_trio.testing import EngineUnderTest, RawPeer, open_test_engine
from iii_trio.worker import open_worker
from tests.component.scripted_engine import ScriptedEngine
from tests.component.worker_kinds import KINDS, opening

CALL = "22222222-2222-4222-8222-222222222222"
PAYLOADS = {
    "half": b'{"name":"cut \\ud83d"}',
    "nan": b"NaN",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "number": b"01",
    "large": b'"%b\\ud83d"' % (b"a" * 2**21),
}
EACH_PAYLOAD = pytest.mark.parametrize(
    "payload", PAYLOADS.values(), ids=PAYLOADS.keys()
)


def answer_text(call: InvokeFunction, payload: bytes) -> bytes:
    assert call.invocation_id is not None
    return (
        b'{"type":"invocationresult","invocation_id":"%b","function_id":"%b",'
        b'"result":%b}'
    ) % (call.invocation_id.encode(), call.function_id.encode(), payload)


def call_text(function_id: str, payload: bytes, invocation_id: str = CALL) -> bytes:
    return (
        b'{"type":"invokefunction","invocation_id":"%b","function_id":"%b","data":%b}'
    ) % (invocation_id.encode(), function_id.encode(), payload)


class Unspeakable(Exception):  # noqa: N818 - not an error
    def __str__(self) -> str:
        raise KeyError


async def answer_with(callee: RawPeer, payload: bytes) -> None:
    callee.send(answer_text(await callee.served("x::f"), payload))


async def error_told(t: EngineUnderTest, caller: str) -> tuple[str, str]:
    """What a caller of a kind is told when its call fails."""
    if caller == "raw":
        async with t.open_raw_peer("caller") as peer:
            error = decode_error((await peer.outcome(peer.call("x::f"))).error)
        return error.code, error.message
    async with opening(t, caller, "caller") as worker:
        with pytest.raises(InvocationError) as caught:
            await worker.invoke("x::f")
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("caller", ["raw", "link", "local"])
@EACH_PAYLOAD
async def test_an_answer_that_cannot_be_read_ends_its_call(
    payload: bytes, caller: str, autojump_clock: MockClock
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("callee", "x::f") as callee:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_with, callee, payload)
            code, message = await error_told(t, caller)
        assert code == "invocation_failed"
        assert message.startswith("the answer of 'x::f' cannot be read: ")
        counts = t.engine.statistics()
        assert (counts.bad_frames, counts.invocations) == (1, 0)
        # The link stays, and the next call is answered.
        call = callee.call("x::f", 1)
        callee.answer(await callee.served("x::f"), 2)
        assert bytes((await callee.outcome(call)).result) == b"2"


@KINDS
@EACH_PAYLOAD
async def test_a_call_that_cannot_be_read_is_refused_and_not_run(
    payload: bytes, kind: str, autojump_clock: MockClock
) -> None:
    ran: list[object] = []
    async with (
        open_test_engine() as t,
        opening(t, kind, "callee") as callee,
        t.open_raw_peer("caller") as caller,
    ):

        @callee.function("x::f")
        async def f(value: object) -> None:
            ran.append(value)
            await trio.lowlevel.checkpoint()

        await wait_all_tasks_blocked()  # registered
        caller.send(call_text("x::f", payload))
        outcome = await caller.outcome(CALL)
        error = decode_error(outcome.error)
        assert outcome.function_id == "x::f"
        assert error.code == "invocation_refused"
        assert error.message.startswith("the call of 'x::f' cannot be read: ")
        caller.send(
            b'{"type":"invokefunction","function_id":"x::f","data":%b}' % payload
        )
        await caller.flush()
        assert t.engine.statistics().invocations == 0
    assert ran == []


@KINDS
async def test_text_that_a_caller_in_process_did_not_check_is_answered(
    kind: str, autojump_clock: MockClock
) -> None:
    codes = {"link": "invocation_refused", "local": "invalid_payload"}
    async with (
        open_test_engine() as t,
        t.open_worker("caller") as caller,
        opening(t, kind, "callee") as callee,
    ):

        @callee.function("x::f")
        async def f(_: object) -> None:
            await trio.lowlevel.checkpoint()

        await wait_all_tasks_blocked()  # registered
        for payload in (PAYLOADS["half"], PAYLOADS["nan"]):
            with pytest.raises(InvocationError) as caught:
                await caller.invoke_json("x::f", payload)
            assert caught.value.code == codes[kind]


@KINDS
async def test_half_of_a_pair_that_a_handler_returns_is_its_failure(
    kind: str, autojump_clock: MockClock
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("caller") as caller,
        opening(t, kind, "callee") as callee,
    ):

        @callee.function("x::f")
        async def f() -> str:
            await trio.lowlevel.checkpoint()
            return "cut \ud83d"

        await wait_all_tasks_blocked()  # registered
        with pytest.raises(FunctionFailedError, match="cannot be encoded as JSON"):
            await caller.invoke("x::f")


UNSAYABLE = {
    "text": (FileNotFoundError("caf\udce9"), "caf\\udce9"),
    "code": (FunctionFailedError("no", code="caf\udce9"), "no"),
    "code that is none": (FunctionFailedError("no", code=404), "no"),  # type: ignore[arg-type]
    "text that is none": (FunctionFailedError({"a": 1}), "{'a': 1}"),  # type: ignore[arg-type]
    "text that fails": (Unspeakable(), "Unspeakable"),
    "details": (FunctionFailedError("no", code="c", details={"a": object()}), "no"),
}


@pytest.mark.parametrize("caller", ["link", "local"])
@KINDS
@pytest.mark.parametrize(("error", "message"), UNSAYABLE.values(), ids=UNSAYABLE.keys())
async def test_an_error_that_is_no_json_reaches_the_caller_and_ends_nobody(
    error: Exception, message: str, kind: str, caller: str, autojump_clock: MockClock
) -> None:
    async with (
        open_test_engine() as t,
        opening(t, caller, "caller") as calling,
        opening(t, kind, "callee") as callee,
    ):

        @callee.function("x::f")
        async def f() -> None:
            await trio.lowlevel.checkpoint()
            raise error

        await wait_all_tasks_blocked()  # registered
        for _ in range(2):
            with pytest.raises(FunctionFailedError) as caught:
                await calling.invoke("x::f")
            assert caught.value.message == message


async def test_only_the_worker_that_runs_a_call_ends_it_so(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("callee", "x::f") as callee,
        t.open_raw_peer("liar") as liar,
    ):
        call = callee.call("x::f")
        served = await callee.served("x::f")
        liar.send(answer_text(served, PAYLOADS["half"]))
        await liar.flush()
        assert not callee.unread(InvocationResult)
        callee.answer(served, 1)
        assert bytes((await callee.outcome(call)).result) == b"1"


async def test_a_member_of_the_wrong_type_ends_the_call_too(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("callee", "x::f") as callee:
        call = callee.call("x::f")
        served = await callee.served("x::f")
        callee.send(
            {
                "type": "invocationresult",
                "invocation_id": served.invocation_id,
                "result": 1,
                "traceparent": 5,
            }
        )
        error = decode_error((await callee.outcome(call)).error)
        assert "traceparent" in error.message


# A worker by URL, with an engine that passes on what it did not read


@EACH_PAYLOAD
async def test_a_worker_tells_its_engine_of_a_call_that_it_cannot_read(
    payload: bytes, autojump_clock: MockClock
) -> None:
    engine = ScriptedEngine()
    async with open_worker(engine.attachment()):
        engine.link.say_text(call_text("f", payload).decode())
        answer = await engine.link.heard("invocationresult", invocation_id=CALL)
        engine.link.say_text(
            '{"type":"invokefunction","function_id":"f","data":NaN}'  # void
        )
        engine.link.say("ping")
        await engine.link.heard("pong")
    assert answer["function_id"] == "f"
    assert answer["error"]["code"] == "invocation_refused"
    assert engine.link.kinds().count("invocationresult") == 1


@EACH_PAYLOAD
async def test_a_worker_fails_a_call_whose_answer_it_cannot_read(
    payload: bytes, autojump_clock: MockClock
) -> None:
    engine = ScriptedEngine()
    async with (
        open_worker(engine.attachment()) as worker,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def _() -> None:
            frame = await engine.link.heard("invokefunction", function_id="f")
            call = InvokeFunction(function_id="f", invocation_id=frame["invocation_id"])
            engine.link.say_text(answer_text(call, payload).decode())

        with pytest.raises(FunctionFailedError, match="answer of 'f' cannot be read"):
            await worker.invoke("f")


async def test_an_engine_whose_features_cannot_be_read_has_none(
    autojump_clock: MockClock,
) -> None:
    engine = ScriptedEngine()
    engine.lag = 1000
    async with open_worker(engine.attachment()) as worker:
        [announced] = engine.link.said
        text = json.dumps({"features": ["iii-trio.cancel.v1", "\ud83d"]})
        call = InvokeFunction(function_id="r", invocation_id=announced["invocation_id"])
        engine.link.say_text(answer_text(call, text.encode()).decode())
        with trio.move_on_after(1):
            await worker.invoke("f", deadline=10)
    assert engine.link.kinds() == ["invokefunction", "invokefunction"]
    assert "deadline_ms" not in engine.link.said[1]


async def test_a_refusal_that_cannot_be_read_refuses(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("provider") as provider,
        t.open_raw_peer("binder", "x::f") as binder,
    ):
        provider.send({"type": "registertriggertype", "id": "kind"})
        await provider.flush()
        call = binder.call(
            "engine::register_trigger", {"trigger_type": "kind", "function_id": "x::f"}
        )
        bound = await provider.expect(RegisterTrigger)
        # Nobody but the provider may refuse.
        for peer in (binder, provider):
            assert t.engine.statistics().triggers == 1
            peer.send(
                b'{"type":"triggerregistrationresult","id":"%b",'
                b'"error":{"code":"no","message":"cut \\ud83d"}}' % bound.id.encode()
            )
            await peer.flush()
        error = decode_error((await binder.outcome(call)).error)
        assert error.code == "trigger_registration_failed"
        assert error.message.startswith("refused; why cannot be read: it holds half of")
        counts = t.engine.statistics()
        assert (counts.triggers, counts.invocations) == (0, 0)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (b'"cut \\ud83d"', "cancelled by the caller"),
        (b'{"code":1}', "cancelled by the caller"),
        (b'"%b"' % (b"y" * 2**21), "y" * 1000),
    ],
    ids=["half", "object", "long"],
)
async def test_a_cancellation_cancels_whatever_its_reason(
    reason: bytes, told: str, autojump_clock: MockClock
) -> None:
    features = ["iii-trio.cancel.v1"]
    async with (
        open_test_engine() as t,
        t.open_raw_peer("callee", "x::f", features=features) as callee,
        t.open_raw_peer("caller", features=features) as caller,
    ):
        call = caller.call("x::f")
        served = await callee.served("x::f")
        caller.send(
            b'{"type":"cancelinvocation","invocation_id":"%b","reason":%b}'
            % (call.encode(), reason)
        )
        cancel = await callee.expect(CancelInvocation)
        assert (cancel.invocation_id, cancel.reason) == (served.invocation_id, told)
        assert t.engine.statistics().invocations == 0
