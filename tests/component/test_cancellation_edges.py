"""What goes wrong while something is cancelled, and what is asked for too late."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio import open_engine, open_worker
from iii_trio.engine import LinkPort
from iii_trio.errors import InvocationError
from iii_trio.protocol import CANCEL_FEATURE, RegisterTrigger, decode_error
from iii_trio.testing import open_test_engine
from iii_trio.worker import Trigger, Worker
from tests.component.worker_kinds import KINDS, Hanging, opening

pytestmark = pytest.mark.cancellation


async def fail_when_cancelled() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise ValueError("cleanup failed")


async def fail_in_a_child() -> None:
    """As a group of the cancellation and the failure leaves this, beside each other."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_when_cancelled)
        await trio.sleep_forever()


@pytest.mark.parametrize("handler", [fail_when_cancelled, fail_in_a_child])
@pytest.mark.parametrize("caller", ["link", "local"])
@KINDS
async def test_a_handler_that_fails_while_it_is_cancelled_disturbs_nobody(
    kind: str,
    caller: str,
    handler: Callable[[], Any],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        open_test_engine() as t,
        opening(t, caller, "caller") as calling,
        opening(t, kind, "callee") as called,
    ):
        called.register_function("bad::cleanup", handler)
        called.register_function("good::one", lambda: 1)
        await wait_all_tasks_blocked()
        with pytest.raises(InvocationError, match="TIMEOUT"):
            await calling.invoke("bad::cleanup", deadline=1)
        with trio.move_on_after(1) as scope:
            await calling.invoke("bad::cleanup")
        assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert await calling.invoke("good::one") == 1
        assert t.engine.statistics().invocations == 0
    logged = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert [one.getMessage() for one in logged] == [
        "handler of 'bad::cleanup' failed while it was cancelled"
    ] * 2
    assert "cleanup failed" in caplog.text


async def test_a_handler_that_fails_while_its_worker_closes_disturbs_nobody(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("caller") as caller:
        async with t.open_worker("callee") as callee:
            callee.register_function("bad::cleanup", fail_in_a_child)
            await wait_all_tasks_blocked()
            call = caller.call("bad::cleanup")
            await wait_all_tasks_blocked()
        outcome = await caller.outcome(call)
        assert decode_error(outcome.error).code == "invocation_stopped"


async def test_a_bind_callback_that_fails_while_its_worker_closes_disturbs_nobody(
    autojump_clock: MockClock,
) -> None:
    async def bind(_trigger: Trigger) -> None:
        await fail_in_a_child()

    async with (
        open_test_engine() as t,
        t.open_worker("binder") as binder,
        trio.open_nursery() as nursery,
    ):
        async with t.open_worker("provider") as provider:
            provider.register_trigger_type("slow", bind=bind)
            nursery.start_soon(binder.bind, "slow", "f::f")
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert t.engine.statistics().parked == 1


# Bindings that nobody waits for any more


async def never(_trigger: Trigger) -> None:
    await trio.sleep_forever()


async def in_a_while(_trigger: Trigger) -> None:
    await trio.sleep(5)


REGISTRATION = {"trigger_type": "slow", "function_id": "f::f", "config": {}}


async def give_up(worker: Worker) -> None:
    with trio.move_on_after(1):
        await worker.invoke("engine::register_trigger", REGISTRATION)


async def run_into_a_deadline(worker: Worker) -> None:
    with pytest.raises(InvocationError, match="TIMEOUT"):
        await worker.invoke("engine::register_trigger", REGISTRATION, deadline=1)


async def give_up_a_bind(worker: Worker) -> None:
    with trio.move_on_after(1):
        await worker.bind("slow", "f::f")


@pytest.mark.parametrize("ask", [give_up, run_into_a_deadline, give_up_a_bind])
async def test_a_registration_that_is_given_up_leaves_no_binding(
    ask: Callable[[Worker], Any], autojump_clock: MockClock
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("provider") as provider,
        t.open_worker("binder") as binder,
    ):
        provider.register_trigger_type("slow", bind=never)
        before = t.engine.statistics()
        await ask(binder)
        await wait_all_tasks_blocked()
        after = t.engine.statistics()
        assert (after.triggers, after.timers) == (before.triggers, before.timers)


async def test_a_registration_whose_caller_vanishes_leaves_no_binding(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("provider") as provider:
        provider.register_trigger_type("slow", bind=never)
        async with t.open_raw_peer("binder") as binder:
            binder.call("engine::register_trigger", REGISTRATION)
            await wait_all_tasks_blocked()
            assert t.engine.statistics().triggers == 1
        await wait_all_tasks_blocked()
        assert t.engine.statistics().triggers == t.engine.statistics().timers == 0


async def test_a_registration_that_its_provider_takes_in_time_stays(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("provider") as provider,
        t.open_worker("binder") as binder,
    ):
        provider.register_trigger_type("slow", bind=in_a_while)
        bound = await binder.invoke(
            "engine::register_trigger", REGISTRATION, deadline=6
        )
        await trio.sleep(2)
        assert t.engine.triggers.get(bound["id"]) is not None
        assert t.engine.statistics().timers == 0


# Who may cancel


async def test_a_peer_that_takes_its_feature_back_leaves_no_call_behind(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("callee") as callee,
        t.open_raw_peer("fickle", features=[CANCEL_FEATURE]) as peer,
    ):
        goes_on = trio.Event()
        callee.register_function("slow::work", goes_on.wait)
        port = t.engine.supervisor.port_of((await peer.accepted()).worker_id)
        assert isinstance(port, LinkPort)
        call = peer.call("slow::work")
        peer.announce("fickle")
        await wait_all_tasks_blocked()
        assert len(port.made_by_ref) == 1
        goes_on.set()
        await peer.outcome(call)
        assert not port.made_by_ref


async def test_a_call_made_before_its_peer_could_cancel_can_be_cancelled_later(
    autojump_clock: MockClock,
) -> None:
    hanging = Hanging()
    async with (
        open_test_engine() as t,
        t.open_worker("callee") as callee,
        t.open_raw_peer("relayed", "far::work") as far,
    ):
        callee.register_function("slow::work", hanging)
        await wait_all_tasks_blocked()
        peer = t.connect_raw_peer()
        near, relayed = peer.call("slow::work"), peer.call("far::work")
        answered = peer.call("far::work")
        await far.served("far::work")
        far.answer(await far.served("far::work"), "done")
        await peer.outcome(answered)
        peer.announce("late", features=[CANCEL_FEATURE])
        for call in (near, relayed):
            peer.send({"type": "cancelinvocation", "invocation_id": call})
        await wait_all_tasks_blocked()
        assert hanging.reasons == ["cancelled by the caller"]
        assert t.engine.statistics().invocations == 0
        port = t.engine.supervisor.port_of((await peer.accepted()).worker_id)
        assert isinstance(port, LinkPort)
        assert port.made_by_ref == {}


async def test_a_binding_given_up_takes_no_other_one_of_its_id_along(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_worker("provider") as provider,
        t.open_worker("first") as first,
        t.open_raw_peer("second") as second,
    ):

        async def bind_slowly(_trigger: Trigger) -> None:
            await trio.sleep(1)

        provider.register_trigger_type("tick", bind=bind_slowly)
        port = t.engine.supervisor.port_of((await second.accepted()).worker_id)
        assert isinstance(port, LinkPort)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(first.bind, "tick", "a::f", {}, trigger_id="t"))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel(reason="given up")
            # Before the task that gives up runs again.
            frame = RegisterTrigger(id="t", trigger_type="tick", function_id="a::g")
            t.engine.router.on_frame(port, frame)
        held = t.engine.triggers.get("t")
        assert held is not None
        assert held.spec.function_id == "a::g"


# After the end


def offer(worker: Worker) -> None:
    worker.register_function("late::f", lambda: 1)


def provide(worker: Worker) -> None:
    worker.register_trigger_type("late", bind=lambda _: None)


def fire(worker: Worker) -> None:
    worker.fire("early::f")


async def bind(worker: Worker) -> None:
    await worker.bind("early", "early::f", {})


async def invoke(worker: Worker) -> None:
    await worker.invoke("early::f")


async def enqueue(worker: Worker) -> None:
    await worker.enqueue("early::f", queue="q")


async def create_channel(worker: Worker) -> None:
    await worker.create_channel()


@pytest.mark.parametrize(
    "use", [offer, provide, fire, bind, invoke, enqueue, create_channel]
)
@KINDS
async def test_a_closed_worker_does_nothing_and_leaves_nothing(
    kind: str, use: Callable[[Worker], Any], autojump_clock: MockClock
) -> None:
    async with open_test_engine() as t, t.open_worker("other") as other:
        other.register_function("early::f", lambda: 1)
        other.register_trigger_type("early", bind=lambda _: None)
        before = t.engine.statistics()
        async with opening(t, kind, "closed") as worker:
            await wait_all_tasks_blocked()
        with pytest.raises(trio.ClosedResourceError, match="was closed"):
            await _done(use, worker)
        worker.unregister_function("late::f")
        worker.unregister_trigger_type("late")
        await wait_all_tasks_blocked()
        after = t.engine.statistics()
        assert after.functions == before.functions
        assert after.triggers == before.triggers
        assert after.trigger_types == before.trigger_types


async def _done(use: Callable[[Worker], Any], worker: Worker) -> None:
    await trio.lowlevel.checkpoint()
    doing = use(worker)
    if doing is not None:
        await doing


async def test_a_worker_that_outlives_its_engine_is_closed(
    autojump_clock: MockClock,
) -> None:
    over, checked = trio.Event(), trio.Event()

    async def outlive(task_status: trio.TaskStatus[None]) -> None:
        async with open_worker(engine, name="survivor") as worker:
            worker.register_function("slow::work", trio.sleep_forever)
            task_status.started()
            await over.wait()
            # Nothing serves deadlines any more: this would wait for ever.
            with pytest.raises(trio.ClosedResourceError):
                await worker.invoke("slow::work", deadline=1)
            checked.set()

    async with trio.open_nursery() as nursery:
        async with open_engine() as engine:
            await nursery.start(outlive)
        over.set()
    assert checked.is_set()
    assert engine.statistics().workers == engine.statistics().functions == 0


async def test_a_worker_that_comes_after_the_end_of_its_engine_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with open_engine() as engine:
        pass
    async with open_worker(engine, name="late") as worker:
        worker.register_function("slow::work", trio.sleep_forever)
        with pytest.raises(InvocationError, match="engine_draining"):
            await worker.invoke("slow::work", deadline=1)
