"""Functions and calls of a worker in the engine's process."""

import functools
import math
from typing import Any

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.engine import open_engine
from iii_trio.errors import (
    FunctionFailedError,
    FunctionNotFoundError,
    InvocationError,
    InvocationTimeoutError,
    RegistrationError,
)
from iii_trio.testing import cancel_at_every_step, open_test_engine
from iii_trio.worker import NULL, Trigger, current_invocation, open_worker


@attrs.frozen
class Pair:
    a: int
    b: int


@attrs.frozen
class Sum:
    c: int


async def test_attrs_classes_go_in_and_come_out() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("math::add")
        async def add(pair: Pair) -> Sum:
            await trio.lowlevel.checkpoint()
            return Sum(pair.a + pair.b)

        assert await worker.invoke("math::add", {"a": 2, "b": 3}) == {"c": 5}
        assert await worker.invoke("math::add", Pair(2, 3)) == {"c": 5}


async def test_a_handler_may_take_and_give_json_text_that_nobody_parses() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("as::text")
        async def echo(text: msgspec.Raw) -> msgspec.Raw:
            await trio.lowlevel.checkpoint()
            return text

        for text in (b'{"a": 1e400,  "a":[]}', b"null", b'"x"'):
            assert await worker.invoke_json("as::text", text) == text


async def test_json_text_without_text_is_no_result() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("as::nothing")
        async def nothing(_text: msgspec.Raw) -> msgspec.Raw:
            await trio.lowlevel.checkpoint()
            return msgspec.Raw(b"")

        assert await worker.invoke_json("as::nothing", b"1") == b""


async def test_a_misfit_is_refused_with_its_path_and_the_handler_does_not_run() -> None:
    ran = []
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("math::add")
        async def add(pair: Pair) -> None:
            await trio.lowlevel.checkpoint()
            ran.append(pair)

        with pytest.raises(FunctionFailedError) as caught:
            await worker.invoke("math::add", {"a": "2", "b": 3})
    assert caught.value.code == "invalid_payload"
    assert caught.value.message == "$.a: expected int"
    assert ran == []


async def test_formats_come_from_the_annotations_unless_given() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("math::add")
        async def add(pair: Pair) -> Sum:
            await trio.lowlevel.checkpoint()
            return Sum(pair.a + pair.b)

        worker.register_function(
            "math::given", add, request_format={"type": "string"}, metadata={"x": 1}
        )
        function = engine.registry.find("default", "math::add")
        assert function is not None
        assert "Pair" in str(function.request_format)
        assert "Sum" in str(function.response_format)
        function = engine.registry.find("default", "math::given")
        assert function is not None
        assert "string" in str(function.request_format)


@pytest.mark.parametrize(
    ("returned", "expected"), [(None, b""), (NULL, b"null"), ([], b"[]"), (0, b"0")]
)
async def test_none_is_no_result_and_null_is_a_present_null(
    returned: Any, expected: bytes
) -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("f")
        async def handler() -> Any:
            await trio.lowlevel.checkpoint()
            return returned

        assert await worker.invoke_json("f", b"{}") == expected


async def test_a_handler_may_take_nothing() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        worker.register_function("f", lambda: "pong")
        assert await worker.invoke("f", {"ignored": 1}) == "pong"


async def test_callable_objects_and_partials_are_handlers() -> None:
    class Doubler:
        async def __call__(self, value: int) -> int:
            await trio.lowlevel.checkpoint()
            return value * 2

    async def add(amount: int, value: int) -> int:
        await trio.lowlevel.checkpoint()
        return amount + value

    async with open_engine() as engine, open_worker(engine) as worker:
        worker.register_function("double", Doubler())
        worker.register_function("add", functools.partial(add, 5))
        assert await worker.invoke("double", 4) == 8
        assert await worker.invoke("add", 4) == 9


async def test_a_handler_that_needs_more_than_the_payload_is_refused() -> None:
    async def two(a: int, b: int) -> None: ...

    async def strange(a: "NoSuchName") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    async with open_engine() as engine, open_worker(engine) as worker:
        with pytest.raises(TypeError, match=r"two.* with the payload alone: .*'b'"):
            worker.register_function("f", two)
        with pytest.raises(TypeError, match="does not tell its parameters"):
            worker.register_function("f", dict)
        with pytest.raises(TypeError, match="do not resolve"):
            worker.register_function("f", strange)


async def test_a_def_handler_runs_in_a_thread_and_knows_its_invocation() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        loop_thread = trio.lowlevel.current_trio_token()

        @worker.function("f")
        def handler(_: Any) -> Any:
            trio.from_thread.check_cancelled()
            assert trio.from_thread.run_sync(
                lambda: trio.lowlevel.current_trio_token() is loop_thread
            )
            return current_invocation().function_id

        assert await worker.invoke("f") == "f"


async def test_def_handlers_run_inline_under_a_virtual_clock(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as test, test.open_worker("w") as worker:
        worker.register_function("f", lambda value: value)
        assert await worker.invoke("f", 7) == 7


async def test_current_invocation_tells_who_called_and_is_gone_afterwards() -> None:
    seen = []
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("f")
        async def handler(_: Any) -> None:
            await trio.lowlevel.checkpoint()
            seen.append(current_invocation())

        await worker.invoke("f", {"_caller_worker_id": "x"}, metadata={"m": 1})
        with pytest.raises(LookupError):
            current_invocation()
        [invocation] = seen
        assert invocation.function_id == "f"
        assert invocation.caller_worker_id == worker.worker_id
        assert invocation.metadata == {"m": 1}
        assert invocation.deadline == math.inf
        assert invocation.invocation_id


async def test_a_failure_made_on_purpose_sets_its_code() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("f")
        async def handler() -> None:
            await trio.lowlevel.checkpoint()
            raise FunctionFailedError("no", code="teapot", details={"n": 1})

        with pytest.raises(FunctionFailedError) as caught:
            await worker.invoke("f")
    assert (caught.value.code, caught.value.message) == ("teapot", "no")
    assert caught.value.details == {"n": 1}


async def test_any_other_exception_becomes_invocation_failed_with_its_trace() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("f")
        async def handler() -> None:
            await trio.lowlevel.checkpoint()
            raise ZeroDivisionError("by zero")

        with pytest.raises(FunctionFailedError) as caught:
            await worker.invoke("f")
    assert (caught.value.code, caught.value.message) == ("invocation_failed", "by zero")
    assert "ZeroDivisionError" in (caught.value.stacktrace or "")


async def test_the_error_of_a_nursery_says_what_is_in_it() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("f")
        async def f() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise LookupError("no such order")

        with pytest.raises(FunctionFailedError, match=r"1 .*: LookupError: no such o"):
            await worker.invoke("f")


async def test_the_error_of_a_nested_call_that_escapes_loses_its_code() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("inner")
        async def inner() -> None:
            await trio.lowlevel.checkpoint()
            raise FunctionFailedError("deep", code="teapot")

        @worker.function("outer")
        async def outer() -> None:
            await worker.invoke("inner")

        with pytest.raises(FunctionFailedError) as caught:
            await worker.invoke("outer")
    assert caught.value.code == "invocation_failed"
    assert "teapot: deep" in caught.value.message


@pytest.mark.parametrize("value", [object(), [{"deep": object()}], "\ud800"])
async def test_a_result_that_is_no_json_is_told(value: Any) -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("f")
        async def handler() -> Any:
            await trio.lowlevel.checkpoint()
            return value

        with pytest.raises(FunctionFailedError) as caught:
            await worker.invoke("f")
    assert caught.value.code == "invocation_failed"
    assert "cannot be encoded as JSON" in caught.value.message


async def test_a_payload_nested_too_deep_is_an_invalid_payload() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("f")
        async def handler(_: Any) -> None: ...

        with pytest.raises(FunctionFailedError) as caught:
            await worker.invoke_json("f", b"[" * 100_000 + b"]" * 100_000)
    assert caught.value.code == "invalid_payload"


async def test_a_call_goes_to_the_own_namespace_and_engine_ids_to_default() -> None:
    async with (
        open_engine() as engine,
        open_worker(engine, namespace="ns") as inside,
        open_worker(engine) as outside,
    ):
        inside.register_function("f", lambda: "inside")
        outside.register_function("f", lambda: "outside")
        assert await inside.invoke("f") == "inside"
        assert await inside.invoke("f", namespace="default") == "outside"
        assert await outside.invoke("f", namespace="ns") == "inside"
        assert "workers" in await inside.invoke("engine::workers::list")


async def test_a_function_of_another_worker_cannot_be_taken() -> None:
    async with (
        open_engine() as engine,
        open_worker(engine, name="first") as first,
        open_worker(engine, name="second") as second,
    ):
        first.register_function("f", lambda: 1)
        with pytest.raises(RegistrationError) as caught:
            second.register_function("f", lambda: 2)
        assert caught.value.code == "FUNCTION_NAMESPACE_CONFLICT"
        assert caught.value.owner_worker_id == first.worker_id
        assert await second.invoke("f") == 1
        first.register_function("f", lambda: 3)
        assert await second.invoke("f") == 3
        first.unregister_function("f")
        first.unregister_function("f")
        second.register_function("f", lambda: 2)
        assert await first.invoke("f") == 2


async def test_a_worker_name_is_held_while_its_worker_lives() -> None:
    async with open_engine() as engine, open_worker(engine, name="w"):
        with pytest.raises(RegistrationError) as caught:
            async with open_worker(engine, name="w"):
                pytest.fail("unreachable")
        assert caught.value.code == "WORKER_NAMESPACE_CONFLICT"


async def test_a_blank_namespace_is_refused() -> None:
    async with open_engine() as engine:
        with pytest.raises(ValueError, match="blank"):
            async with open_worker(engine, namespace=" "):
                pytest.fail("unreachable")


async def test_fire_runs_the_handler_and_says_nothing() -> None:
    got = trio.Event()
    async with open_engine() as engine, open_worker(engine) as worker:

        @worker.function("f")
        async def handler(value: Any) -> None:
            await trio.lowlevel.checkpoint()
            assert value == {"x": 1}
            got.set()
            raise ZeroDivisionError

        worker.fire("f", {"x": 1})
        await got.wait()
        worker.fire("no::such")


async def test_enqueue_gives_the_receipt_of_the_queue_worker() -> None:
    got = []
    async with open_engine() as engine, open_worker(engine) as worker:
        with pytest.raises(InvocationError) as caught:
            await worker.enqueue("mail::send", {"to": "x"}, queue="mail")
        assert caught.value.code == "enqueue_error"

        @worker.function("engine::queue::enqueue")
        async def enqueue(job: Any) -> None:
            await trio.lowlevel.checkpoint()
            got.append(job)

        receipt = await worker.enqueue("mail::send", {"to": "x"}, queue="mail")
    [job] = got
    assert job["queue"] == "mail"
    assert job["data"] == {"to": "x"}
    assert job["messageReceiptId"] == receipt


async def test_a_deadline_cancels_the_handler_and_raises(
    autojump_clock: MockClock,
) -> None:
    cancelled = []
    async with open_test_engine() as test, test.open_worker() as worker:

        @worker.function("slow")
        async def slow() -> None:
            try:
                await trio.sleep_forever()
            finally:
                cancelled.append(trio.current_time())

        started = trio.current_time()
        with pytest.raises(InvocationTimeoutError):
            await worker.invoke("slow", deadline=5)
    assert cancelled == [started + 5]


async def test_a_deadline_that_is_no_number_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as test,
        test.open_worker() as near,
        test.open_link_worker() as far,
    ):
        near.register_function("one", lambda: 1)
        trigger = Trigger(trigger_id="t", trigger_type="hook", function_id="one")
        for worker in (near, far):
            with pytest.raises(ValueError, match="deadline of a call is NaN"):
                await worker.invoke("one", deadline=math.nan)
            with pytest.raises(ValueError, match="deadline of a call is NaN"):
                await worker.deliver_json(trigger, b"1", deadline=math.nan)
        assert await near.invoke("one", deadline=math.inf) == 1


async def test_a_deadline_only_shrinks_along_a_chain(
    autojump_clock: MockClock,
) -> None:
    deadlines = []
    async with open_test_engine() as test, test.open_worker() as worker:

        @worker.function("inner")
        async def inner() -> None:
            await trio.lowlevel.checkpoint()
            deadlines.append(current_invocation().deadline)

        @worker.function("outer")
        async def outer() -> None:
            await trio.sleep(2)
            await worker.invoke("inner")
            await worker.invoke("inner", deadline=1)
            await worker.invoke("inner", deadline=100)

        started = trio.current_time()
        await worker.invoke("outer", deadline=10)
    assert deadlines == pytest.approx([started + 10, started + 3, started + 10])


async def test_a_task_that_outlives_its_handler_loses_the_deadline_only(
    autojump_clock: MockClock,
) -> None:
    seen = []
    async with open_test_engine() as test, test.open_worker() as worker:

        async def later() -> None:
            await trio.sleep(60)
            seen.append(current_invocation())

        @worker.function("f")
        async def handler() -> None:
            await trio.lowlevel.checkpoint()
            worker.start_soon(later, name="later")

        await worker.invoke("f", deadline=5)
        await trio.sleep(61)
    assert seen[0].function_id == "f"
    assert seen[0].deadline == math.inf


async def test_closing_a_worker_cancels_its_handlers_and_stops_its_callers() -> None:
    ended = []
    async with open_engine() as engine, open_worker(engine) as caller:
        async with trio.open_nursery() as nursery:
            async with open_worker(engine) as callee:

                @callee.function("slow")
                async def slow() -> None:
                    try:
                        await trio.sleep_forever()
                    finally:
                        ended.append("handler")

                async def call() -> None:
                    with pytest.raises(InvocationError) as caught:
                        await caller.invoke("slow")
                    ended.append(caught.value.code)

                nursery.start_soon(call)
                await wait_all_tasks_blocked()
        assert ended == ["handler", "invocation_stopped"]
        with pytest.raises(FunctionNotFoundError):
            await caller.invoke("slow")
        with pytest.raises(trio.ClosedResourceError):
            callee.fire("slow")


async def test_an_exception_of_the_block_leaves_it_unwrapped() -> None:
    async with open_engine() as engine:
        with pytest.raises(KeyError):  # noqa: PT012 - the block is what is tested
            async with open_worker(engine) as worker:
                worker.start_soon(trio.sleep_forever, name="background")
                raise KeyError("mine")


def test_a_call_can_be_cancelled_at_every_step() -> None:
    async def scenario() -> None:
        async with open_test_engine() as test, test.open_worker("w") as worker:

            @worker.function("outer")
            async def outer() -> Any:
                return await worker.invoke("inner")

            @worker.function("inner")
            async def inner() -> Any:
                await trio.sleep(1)
                return 1

            try:
                assert await worker.invoke("outer") == 1
            finally:
                assert test.engine.statistics().invocations == 0

    assert cancel_at_every_step(scenario) > 5
