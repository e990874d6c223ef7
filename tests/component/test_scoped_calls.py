"""A call in a scope of its caller: cancelling the scope ends the call."""

from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from iii_trio.testing import open_test_engine
from iii_trio.worker import Trigger

pytestmark = pytest.mark.cancellation


class Patient:
    """A handler that waits until it is cancelled."""

    def __init__(self) -> None:
        self.started = trio.Event()
        self.cancelled = trio.Event()

    async def __call__(self) -> None:
        self.started.set()
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled.set()


@pytest.mark.parametrize("callee_is_far", [False, True])
@pytest.mark.parametrize("caller_is_far", [False, True])
async def test_cancelling_the_scope_of_a_call_stops_it_and_its_handler(
    caller_is_far: bool, callee_is_far: bool
) -> None:
    async with open_test_engine() as under_test, AsyncExitStack() as stack:
        callee = await stack.enter_async_context(
            under_test.open_link_worker("callee")
            if callee_is_far
            else under_test.open_worker("callee")
        )
        caller = await stack.enter_async_context(
            under_test.open_link_worker("caller")
            if caller_is_far
            else under_test.open_worker("caller")
        )
        handler, scope = Patient(), trio.CancelScope()
        callee.register_function("patient", handler)
        await trio.testing.wait_all_tasks_blocked()
        trigger = Trigger(trigger_id="t", trigger_type="x", function_id="patient")

        async def call() -> None:
            with scope:
                await caller.deliver_json(trigger, b"{}", scope=scope)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await handler.started.wait()
            scope.cancel(reason="the test says so")
        await handler.cancelled.wait()
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
        assert under_test.engine.statistics().invocations == 0


async def test_a_call_in_a_scope_gives_its_result() -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("one") as worker,
        under_test.open_link_worker("far") as far,
    ):

        async def seven() -> int:
            await trio.lowlevel.checkpoint()
            return 7

        worker.register_function("seven", seven)
        trigger = Trigger(trigger_id="t", trigger_type="x", function_id="seven")
        for caller in (worker, far):
            with trio.CancelScope() as scope:
                assert await caller.deliver_json(trigger, b"{}", scope=scope) == b"7"
            assert not scope.cancelled_caught


async def test_the_end_of_the_callee_cancels_the_scope_of_a_call() -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("caller") as caller,
        trio.open_nursery() as nursery,
    ):
        handler, scope = Patient(), trio.CancelScope()
        trigger = Trigger(trigger_id="t", trigger_type="x", function_id="patient")

        async def call() -> None:
            with scope:
                await caller.deliver_json(trigger, b"{}", scope=scope)

        async with under_test.open_worker("callee") as callee:
            callee.register_function("patient", handler)
            nursery.start_soon(call)
            await handler.started.wait()
        await handler.cancelled.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert scope.cancelled_caught
        assert under_test.engine.statistics().invocations == 0
