"""Calls that are started without waiting: whoever started one is told of the outcome."""

import pytest
import trio
import trio.testing

from iii_trio.protocol import ErrorBody
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.worker import Outcome, StartedCall, Trigger, Worker

pytestmark = pytest.mark.cancellation

TRIGGER = Trigger(trigger_id="t", trigger_type="x", function_id="f")


def start(worker: Worker, told: list[Outcome]) -> StartedCall:
    call = worker.start_delivery(TRIGGER, b"{}", told.append)
    assert call is not None
    return call


def pending(under_test: EngineUnderTest) -> int:
    return under_test.engine.statistics().invocations


async def seven() -> int:
    await trio.lowlevel.checkpoint()
    return 7


@pytest.mark.parametrize("is_far", [False, True])
async def test_the_result_is_told_once(is_far: bool) -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("caller") as caller,
        under_test.open_link_worker("far") as far,
        under_test.open_worker("near") as near,
    ):
        (far if is_far else near).register_function("f", seven)
        await trio.testing.wait_all_tasks_blocked()
        told: list[Outcome] = []
        call = start(caller, told)
        await trio.testing.wait_all_tasks_blocked()
        assert told == [b"7"]
        call.cancel("too late to matter")
        assert told == [b"7"]
        assert not pending(under_test)


async def test_a_refusal_is_told_at_once() -> None:
    async with open_test_engine() as under_test, under_test.open_worker("a") as caller:
        told: list[Outcome] = []
        call = start(caller, told)
        (error,) = told
        assert isinstance(error, ErrorBody)
        assert error.code == "function_not_found"
        call.cancel("there is nothing to cancel")
        assert len(told) == 1


@pytest.mark.parametrize("is_far", [False, True])
async def test_a_cancelled_call_stops_its_handler_and_tells_nobody(
    is_far: bool,
) -> None:
    stopped = trio.Event()

    async def patient() -> None:
        try:
            await trio.sleep_forever()
        finally:
            stopped.set()

    async with (
        open_test_engine() as under_test,
        under_test.open_worker("caller") as caller,
        under_test.open_link_worker("far") as far,
        under_test.open_worker("near") as near,
    ):
        (far if is_far else near).register_function("f", patient)
        await trio.testing.wait_all_tasks_blocked()
        told: list[Outcome] = []
        call = start(caller, told)
        await trio.testing.wait_all_tasks_blocked()
        call.cancel("the test says so")
        await stopped.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert told == []
        assert not pending(under_test)


@pytest.mark.parametrize("who", ["callee", "caller"])
async def test_the_end_of_either_worker_ends_the_call(who: str) -> None:
    async with open_test_engine() as under_test:
        told: list[Outcome] = []
        async with under_test.open_worker("other") as other:
            async with under_test.open_worker("one") as one:
                callee, caller = (one, other) if who == "callee" else (other, one)
                callee.register_function("f", trio.sleep_forever)
                start(caller, told)
                await trio.testing.wait_all_tasks_blocked()
            (error,) = told
            assert isinstance(error, ErrorBody)
            assert error.code == "invocation_stopped"
            assert not pending(under_test)


async def test_a_firing_that_was_started_counts() -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("provider") as provider,
        under_test.open_worker("user") as user,
    ):
        bound: list[Trigger] = []
        provider.register_trigger_type("x", bind=bound.append)
        user.register_function("f", seven)
        await user.bind("x", "f", trigger_id="t")
        assert provider.start_delivery(bound[0], b"{}", lambda _: None) is not None
        rows = await user.invoke("engine::registered-triggers::list", {})
        (row,) = rows["registered_triggers"]
        assert (row["state"], row["fired"]) == ("invoked", 1)


async def test_by_url_nothing_is_started() -> None:
    async with (
        open_test_engine() as under_test,
        under_test.open_link_worker("w") as far,
    ):
        told: list[Outcome] = []
        assert far.start_delivery(TRIGGER, b"{}", told.append) is None
        assert told == []
