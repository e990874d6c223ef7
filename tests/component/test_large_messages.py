"""No worker loses its connection to a message that is too large for it."""

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.engine import OUTBOX_LARGE_LIMIT
from iii_trio.errors import InvocationRefusedError
from iii_trio.protocol import (
    InvocationResult,
    InvokeFunction,
    RegisterTrigger,
    RegisterTriggerType,
    TriggerRegistrationResult,
    UnregisterTrigger,
)
from iii_trio.testing import RawPeer, open_test_engine

MIB = 2**20
OLD: Any = {"runtime": "python", "version": "0.22.1"}


async def still_there(peer: RawPeer) -> None:
    """Check that a peer is connected and served."""
    answer = await peer.outcome(peer.call("engine::workers::list", {}))
    assert answer.result
    assert peer.closed is None


async def test_a_call_that_its_callee_cannot_take_is_answered_at_once(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("old", "x::old", **OLD) as old,
        t.open_raw_peer("caller", runtime="node") as caller,
        t.open_worker() as local,
    ):
        await wait_all_tasks_blocked()
        answer = await caller.outcome(caller.call("x::old", "x" * MIB))
        assert b'"payload_too_large"' in bytes(answer.error)
        assert b"worker 'old' (python 0.22.1)" in bytes(answer.error)
        with pytest.raises(InvocationRefusedError, match="at most 1048576") as caught:
            await local.invoke("x::old", "x" * MIB)
        assert caught.value.code == "payload_too_large"
        assert not old.unread(InvokeFunction)
        assert t.engine.statistics().invocations == 0
        await still_there(old)


async def test_a_void_call_that_its_callee_cannot_take_is_counted_as_dropped(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("old", "x::old", **OLD) as old,
        t.open_raw_peer("caller", runtime="node") as caller,
    ):
        await wait_all_tasks_blocked()
        caller.fire("x::old", "x" * MIB)
        caller.fire("x::nobody", {})
        await wait_all_tasks_blocked()
        assert t.engine.statistics().dropped_fires == 2
        await still_there(old)


@pytest.mark.parametrize(
    ("peer", "limit"), [(OLD, MIB), ({"runtime": "browser"}, 16 * MIB)]
)
async def test_what_just_fits_is_sent(
    peer: Any, limit: int, autojump_clock: MockClock
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("w", "x::y", **peer) as callee,
        t.open_raw_peer("caller", runtime="node") as caller,
    ):
        await wait_all_tasks_blocked()
        caller.call("x::y", "")
        first = await callee.served("x::y")
        empty = len(frame_text(first))
        caller.call("x::y", "x" * (limit - empty))
        fits = await callee.served("x::y")
        assert len(frame_text(fits)) == limit
        refused = caller.call("x::y", "x" * (limit - empty + 1))
        assert (await caller.outcome(refused)).error
        await still_there(callee)


def frame_text(call: InvokeFunction) -> bytes:
    """The frame of a call as it was sent; its data is JSON text as it is."""
    assert call.invocation_id is not None
    return (
        f'{{"type":"invokefunction","invocation_id":"{call.invocation_id}",'
        f'"function_id":"{call.function_id}","data":'.encode()
        + bytes(call.data)
        + b"}"
    )


async def test_a_result_that_its_caller_cannot_take_becomes_an_error(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("old", **OLD) as old,
        t.open_raw_peer("callee", "x::y", runtime="node") as callee,
    ):
        await wait_all_tasks_blocked()
        wanted = old.call("x::y")
        callee.answer(await callee.served("x::y"), "x" * MIB)
        answer = await old.outcome(wanted)
        assert b'"payload_too_large"' in bytes(answer.error)
        wanted = old.call("x::y")
        callee.fail(await callee.served("x::y"), "BAD", "x" * MIB)
        answer = await old.outcome(wanted)
        assert b'"payload_too_large"' in bytes(answer.error)
        await still_there(old)


async def test_a_worker_that_is_not_announced_yet_counts_as_the_smallest(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer() as new,
        t.open_worker() as local,
    ):

        @local.function("big")
        async def big() -> str:
            await trio.lowlevel.checkpoint()
            return "x" * MIB

        await wait_all_tasks_blocked()
        answer = await new.outcome(new.call("big"))
        assert b'"payload_too_large"' in bytes(answer.error)
        new.announce("w", features=["large-messages.v1"])
        answer = await new.outcome(new.call("big"))
        assert len(answer.result) == MIB + 2


async def test_a_void_call_that_its_callee_cannot_take_is_dropped_and_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("old", "x::old", **OLD) as old,
        t.open_worker() as local,
    ):
        await wait_all_tasks_blocked()
        local.fire("x::old", "x" * MIB)
        await still_there(old)
        assert not old.unread(InvokeFunction)
        assert "void call of x::old dropped" in caplog.text
        assert t.engine.statistics().invocations == 0


async def test_a_binding_that_its_provider_cannot_take_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("old", **OLD) as old,
        t.open_raw_peer("binder", runtime="node") as binder,
    ):
        old.send({"type": "registertriggertype", "id": "bell", "description": ""})
        await wait_all_tasks_blocked()
        bind = {"trigger_type": "bell", "function_id": "f", "config": "x" * MIB}
        answer = await binder.outcome(binder.call("engine::register_trigger", bind))
        assert b"payload_too_large" in bytes(answer.error)
        assert not old.unread(RegisterTrigger)
        await still_there(old)


async def test_many_large_results_at_once_do_not_cost_a_slow_caller_its_link(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("slow", runtime="node") as slow,
        t.open_raw_peer("callee", "x::y", runtime="node") as callee,
    ):
        await wait_all_tasks_blocked()
        slow.connection.stall("to_client")
        wanted = [slow.call("x::y") for _ in range(5)]
        for _ in wanted:
            callee.answer(await callee.served("x::y"), "x" * (25 * MIB))
            await wait_all_tasks_blocked()  # the callee's own outbox is bounded, too
        assert slow.connection.server.outbox_bytes <= OUTBOX_LARGE_LIMIT
        slow.connection.release("to_client")
        answers = [await slow.outcome(one) for one in wanted]
        refused = [bytes(one.error) for one in answers if one.error]
        assert len(refused) == 3
        assert all(b"invocation_refused" in one for one in refused)
        await still_there(slow)
        assert not slow.unread(InvocationResult)


async def test_a_binding_that_its_provider_cannot_take_leaves_none_that_it_replaced(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("old", **OLD) as old,
        t.open_raw_peer("binder", "x::f") as binder,
    ):
        old.send(RegisterTriggerType(id="kind", description=""))
        await old.flush()
        for config in (b"1", b'"%b"' % (b"x" * MIB)):
            binder.send(
                RegisterTrigger(
                    id="t",
                    trigger_type="kind",
                    function_id="x::f",
                    config=msgspec.Raw(config),
                )
            )
        await old.expect(RegisterTrigger, id="t")
        refusal = await binder.expect(TriggerRegistrationResult, id="t")
        assert b"payload_too_large" in bytes(refusal.error)
        assert t.engine.statistics().triggers == 0
        await old.expect(UnregisterTrigger, id="t", trigger_type="kind")


async def test_what_was_sent_to_a_callee_is_not_kept_until_it_answers(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("callee", "x::f", runtime="node") as callee,
        t.open_raw_peer("caller") as caller,
    ):
        calls = [
            caller.call("x::f", "small"),
            caller.call("x::f", "x" * MIB),
            caller.call("x::f", "rarer", metadata={"a": 1}),
        ]
        for payload in ("small", "x" * MIB, "rarer"):
            served = await callee.served("x::f")
            assert msgspec.json.decode(served.data) == payload
            pending = t.engine.invocations.pending()
            assert not any(call.payload for call in pending)
            callee.answer(served)
        for call in calls:
            await caller.outcome(call)
