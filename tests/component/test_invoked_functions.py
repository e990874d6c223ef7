"""Functions registered with an ``invocation``: whose they are, and who performs them."""

import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.errors import InvocationRefusedError, RegistrationError
from iii_trio.protocol import (
    CANCEL_FEATURE,
    CancelInvocation,
    RegistrationRejected,
)
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.worker import InvokedFunction, Worker

INVOCATION = {"url": "https://example.com/hook", "headers": {"x-key": "S3CRET"}}


def perform(worker: Worker, seen: list[InvokedFunction] | None = None) -> None:
    """Let a worker answer every such call with the function's id and the payload."""

    def admit(function: InvokedFunction) -> Callable[..., Any]:
        if function.invocation.get("url") == "refused":
            raise RegistrationError("this one not", code="url_validation_failed")
        if seen is not None:
            seen.append(function)

        async def run(text: msgspec.Raw) -> Any:
            await trio.lowlevel.checkpoint()
            return [function.namespace, function.function_id, text]

        return run

    worker.register_invoker(admit)


def listed(under_test: EngineUnderTest) -> list[str]:
    return [
        f.function_id for f in under_test.engine.registry if f.invocation is not None
    ]


async def test_calls_of_every_kind_of_caller_reach_the_invoker(
    autojump_clock: MockClock,
) -> None:
    seen: list[InvokedFunction] = []
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("invoker") as invoker,
        under_test.open_raw_peer("owner", namespace="shop") as owner,
        under_test.open_raw_peer("caller") as caller,
    ):
        perform(invoker, seen)
        owner.register("a::b", invocation=INVOCATION, description="d")
        await wait_all_tasks_blocked()
        expected = ["shop", "a::b", {"x": 1}]
        result = await invoker.invoke("a::b", {"x": 1}, namespace="shop")
        assert result == expected
        outcome = await caller.outcome(caller.call("a::b", {"x": 1}, namespace="shop"))
        answer = msgspec.json.decode(outcome.result)
        # As with every call of a link worker: a local callee never sees who called.
        assert answer == expected
        caller.fire("a::b", 1, namespace="shop")
        await wait_all_tasks_blocked()
        assert invoker.is_local("a::b", "shop")
    assert [one.invocation for one in seen] == [INVOCATION]
    assert under_test.engine.statistics().invocations == 0


async def test_a_function_goes_with_the_worker_that_registered_it(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("invoker") as invoker,
    ):
        perform(invoker)
        async with under_test.open_raw_peer("owner") as owner:
            owner.register("a::b", invocation=INVOCATION)
            owner.register("a::c", invocation=INVOCATION)
            owner.unregister("a::c")
            await wait_all_tasks_blocked()
            assert listed(under_test) == ["a::b"]
            rows = await invoker.invoke("engine::functions::list", {})
            (row,) = [f for f in rows["functions"] if f["function_id"] == "a::b"]
            assert row["worker_name"] == "owner"
            assert "S3CRET" not in str(rows)
        await wait_all_tasks_blocked()
        assert listed(under_test) == []


async def test_the_first_owner_keeps_an_id_whichever_way_it_is_performed(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("invoker") as invoker,
        under_test.open_raw_peer("first", "a::plain") as first,
        under_test.open_raw_peer("second") as second,
    ):
        perform(invoker)
        first.register("a::http", invocation=INVOCATION)
        await wait_all_tasks_blocked()
        second.register("a::plain", invocation=INVOCATION)
        rejected = await second.expect(RegistrationRejected, function_id="a::plain")
        assert rejected.code == "FUNCTION_NAMESPACE_CONFLICT"
        second.register("a::http")
        await second.expect(RegistrationRejected, function_id="a::http")
        assert listed(under_test) == ["a::http"]


async def test_an_owner_may_change_how_its_function_is_performed(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("invoker") as invoker,
        under_test.open_raw_peer("owner") as owner,
    ):
        perform(invoker)
        owner.register("a::b", invocation=INVOCATION)
        await wait_all_tasks_blocked()
        assert await invoker.invoke("a::b", 1) == ["default", "a::b", 1]
        owner.register("a::b")
        await wait_all_tasks_blocked()
        assert listed(under_test) == []
        call = owner_call(invoker)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            owner.answer(await owner.served("a::b"), "mine")


def owner_call(worker: Worker) -> Callable[[], Any]:
    async def call() -> None:
        assert await worker.invoke("a::b", 1) == "mine"

    return call


async def test_without_an_invoker_the_loss_is_told_in_the_log_without_secrets(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_raw_peer("owner") as owner,
    ):
        owner.register("a::b", invocation=INVOCATION)
        await wait_all_tasks_blocked()
        assert listed(under_test) == []
        assert owner.unread(RegistrationRejected) == []
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    text = record.getMessage()
    assert "'a::b'" in text
    assert "owner" in text
    assert "HTTP functions module not loaded" in text
    assert "S3CRET" not in caplog.text


async def test_a_refused_function_is_not_registered_and_the_log_says_why(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("invoker") as invoker,
        under_test.open_raw_peer("owner") as owner,
    ):
        perform(invoker)
        owner.register("a::b", invocation={"url": "refused"})
        await wait_all_tasks_blocked()
        assert listed(under_test) == []
    assert "this one not" in caplog.text


async def test_functions_outlive_their_invoker_and_are_admitted_by_the_next(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_raw_peer("owner") as owner,
        under_test.open_worker("caller") as caller,
    ):
        async with under_test.open_worker("invoker") as invoker:
            perform(invoker)
            owner.register("a::b", invocation=INVOCATION)
            owner.register("a::later", invocation={"url": "later"})
            await wait_all_tasks_blocked()
        assert sorted(listed(under_test)) == ["a::b", "a::later"]
        with pytest.raises(InvocationRefusedError, match="not loaded"):
            await caller.invoke("a::b")
        async with under_test.open_worker("invoker") as invoker:

            def admit(function: InvokedFunction) -> Callable[..., Any]:
                if function.function_id == "a::later":
                    raise RegistrationError("no longer allowed")

                async def run() -> str:
                    await trio.lowlevel.checkpoint()
                    return "the next one"

                return run

            invoker.register_invoker(admit)
            assert listed(under_test) == ["a::b"]
            assert await caller.invoke("a::b") == "the next one"
    assert "no longer allowed" in caplog.text


async def test_stopping_to_perform_them_keeps_them_registered(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("one") as one,
        under_test.open_worker("two") as two,
        under_test.open_link_worker("three") as three,
    ):
        perform(one)
        one.register_http_function("a::b", "https://example.com/")
        two.unregister_invoker()
        three.unregister_invoker()
        assert await two.invoke("a::b") == ["default", "a::b", None]
        one.unregister_invoker()
        with pytest.raises(InvocationRefusedError):
            await two.invoke("a::b")
        perform(two)
        assert await one.invoke("a::b") == ["default", "a::b", None]


async def test_one_worker_performs_them_all(autojump_clock: MockClock) -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("one") as one,
        under_test.open_worker("two") as two,
        under_test.open_link_worker("three") as three,
    ):
        perform(one)
        perform(one)
        with pytest.raises(RegistrationError, match="already"):
            perform(two)
        with pytest.raises(RegistrationError, match="inside the engine"):
            perform(three)


def sleep_long(worker: Worker, ended: list[str]) -> None:
    """Let a worker perform such functions by sleeping, and note how that ended."""

    async def run() -> None:
        try:
            await trio.sleep(1000)
        except trio.Cancelled:
            ended.append("cancelled")
            raise
        ended.append("finished")

    worker.register_invoker(lambda _function: run)


@pytest.mark.parametrize("end", ["owner", "caller", "deadline", "cancel"])
async def test_what_ends_a_call_ends_what_performs_it(
    autojump_clock: MockClock, end: str
) -> None:
    ended: list[str] = []
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("invoker") as invoker,
        under_test.open_raw_peer("caller", features=[CANCEL_FEATURE]) as caller,
    ):
        sleep_long(invoker, ended)
        owner = under_test.connect_raw_peer()
        owner.announce("owner")
        owner.register("a::b", invocation=INVOCATION)
        await wait_all_tasks_blocked()
        fields = {"deadline_ms": 5000} if end == "deadline" else {}
        call = caller.call("a::b", **fields)
        await wait_all_tasks_blocked()
        if end == "owner":
            owner.cut()
        elif end == "caller":
            caller.cut()
        elif end == "cancel":
            caller.send(CancelInvocation(invocation_id=call))
        await trio.sleep(2000)
        assert under_test.engine.statistics().invocations == 0
    # The endpoint does not belong to the worker that registered it: its call goes on.
    assert ended == ["finished" if end == "owner" else "cancelled"]


async def test_callers_are_told_at_once_when_the_invoker_ends(
    autojump_clock: MockClock,
) -> None:
    ended: list[str] = []
    async with (
        open_test_engine() as under_test,
        under_test.open_raw_peer("owner") as owner,
    ):
        async with under_test.open_worker("invoker") as invoker:
            sleep_long(invoker, ended)
            owner.register("a::b", invocation=INVOCATION)
            call = owner.call("a::b")
            await wait_all_tasks_blocked()
        outcome = await owner.outcome(call)
        assert b"invocation_stopped" in bytes(outcome.error)
    assert ended == ["cancelled"]


async def test_a_call_that_ended_before_it_began_is_not_performed(
    autojump_clock: MockClock,
) -> None:
    seen: list[str] = []

    def admit(_: InvokedFunction) -> Callable[..., Any]:
        async def run() -> None:
            await trio.lowlevel.checkpoint()
            seen.append("ran")

        return run

    async with (
        open_test_engine() as under_test,
        under_test.open_worker("invoker") as invoker,
        under_test.open_raw_peer("owner") as owner,
    ):
        invoker.register_invoker(admit)
        owner.register("a::b", invocation=INVOCATION)
        await wait_all_tasks_blocked()
        invoker.fire("a::b")
        under_test.engine.invocations.stop_all("at once")
        await wait_all_tasks_blocked()
    assert seen == []


async def test_our_own_workers_register_such_functions_too(
    autojump_clock: MockClock,
) -> None:
    seen: list[InvokedFunction] = []
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("invoker") as invoker,
        under_test.open_worker("inside") as inside,
        under_test.open_link_worker("outside") as outside,
    ):
        with pytest.raises(RegistrationError, match="not loaded"):
            inside.register_http_function("in::b", "https://example.com/")
        perform(invoker, seen)
        auth = {"type": "hmac", "secret_key": "KEY"}
        inside.register_http_function("in::b", "https://example.com/", auth=auth)
        outside.register_http_function(
            "out::b",
            "https://example.com/",
            method="PUT",
            timeout_ms=5,
            headers={"a": "b"},
        )
        await wait_all_tasks_blocked()
        assert await inside.invoke("out::b", 1) == ["default", "out::b", 1]
        assert await outside.invoke("in::b", 1) == ["default", "in::b", 1]
        for worker, function_id in ((inside, "in::b"), (outside, "out::b")):
            worker.unregister_function(function_id)
            worker.unregister_function(function_id)
        await wait_all_tasks_blocked()
        assert listed(under_test) == []
    assert [one.invocation for one in seen] == [
        {"url": "https://example.com/", "method": "POST", "headers": {}, "auth": auth},
        {
            "url": "https://example.com/",
            "method": "PUT",
            "timeout_ms": 5,
            "headers": {"a": "b"},
        },
    ]


async def test_an_http_function_may_become_one_with_a_handler_and_back(
    autojump_clock: MockClock,
) -> None:
    async def mine() -> str:
        await trio.lowlevel.checkpoint()
        return "mine"

    async with (
        open_test_engine() as under_test,
        under_test.open_worker("invoker") as invoker,
    ):
        perform(invoker)
        invoker.register_http_function("a::b", "https://example.com/")
        invoker.register_function("a::b", mine)
        assert await invoker.invoke("a::b") == "mine"
        invoker.register_http_function("a::b", "https://example.com/")
        assert await invoker.invoke("a::b") == ["default", "a::b", None]
        invoker.unregister_function("a::b")
        assert not invoker.exists("a::b")
