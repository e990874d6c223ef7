"""A deadline binds the handler that has it, as long as it may run: nobody else."""

import math
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.errors import InvocationTimeoutError
from iii_trio.testing import open_test_engine
from iii_trio.worker import (
    Trigger,
    beyond_deadline,
    current_invocation,
    passing_baggage,
)
from tests.component.http_rig import open_http_rig
from tests.component.worker_kinds import KINDS, opening

pytestmark = pytest.mark.cancellation


@pytest.mark.parametrize("ended_by", ["its deadline", "its caller"])
@KINDS
async def test_cleanup_in_a_shield_may_call_and_fire(
    kind: str, ended_by: str, autojump_clock: MockClock
) -> None:
    done = []
    async with (
        open_test_engine() as t,
        t.open_worker("locks") as locks,
        opening(t, kind, "worker") as worker,
    ):

        @locks.function("locks::release")
        async def release() -> None:
            await trio.sleep(1)
            done.append(("released", current_invocation().deadline))

        @locks.function("locks::note")
        async def note() -> None:
            await trio.sleep(1)
            done.append(("noted", current_invocation().deadline))

        @worker.function("work::do")
        async def do() -> None:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True), trio.fail_after(5):
                    worker.fire("locks::note")
                    await worker.invoke("locks::release")

        await wait_all_tasks_blocked()
        if ended_by == "its deadline":
            with pytest.raises(InvocationTimeoutError):
                await locks.invoke("work::do", deadline=10)
        else:
            with trio.move_on_after(10):
                await locks.invoke("work::do")
        await trio.sleep(5)
        assert sorted(done) == [("noted", math.inf), ("released", math.inf)]


@KINDS
async def test_a_void_call_outlives_the_deadline_of_who_fires_it(
    kind: str, autojump_clock: MockClock
) -> None:
    async with open_test_engine() as t, opening(t, kind, "worker") as worker:
        written = trio.Event()

        @worker.function("slow::write")
        async def write() -> None:
            await trio.sleep(60)
            written.set()

        @worker.function("quick::fire")
        async def fire() -> None:
            await trio.lowlevel.checkpoint()
            worker.fire("slow::write")

        await wait_all_tasks_blocked()
        await worker.invoke("quick::fire", deadline=5)
        with trio.fail_after(61):
            await written.wait()


async def test_what_a_handler_leaves_behind_has_no_deadline_any_more(
    autojump_clock: MockClock,
) -> None:
    outcomes = []
    async with (
        open_test_engine() as t,
        t.open_worker("w") as worker,
        trio.open_nursery() as nursery,
    ):

        @worker.function("slow::one")
        async def slow() -> None:
            await trio.sleep(20)

        async def later(began: float, delay: float) -> None:
            await trio.sleep(delay)
            try:
                await worker.invoke("slow::one")
            except InvocationTimeoutError:
                outcomes.append(("too late", trio.current_time() - began))
            else:
                outcomes.append(("done", trio.current_time() - began))

        @worker.function("starts::work")
        async def start() -> None:
            began = trio.current_time()
            nursery.start_soon(later, began, 0)  # the handler still runs: part of it
            await trio.sleep(1)
            nursery.start_soon(later, began, 1)
            with passing_baggage("a=1"):
                nursery.start_soon(later, began, 2)

        await worker.invoke("starts::work", deadline=10)
    assert outcomes == [("too late", 10.0), ("done", 22.0), ("done", 23.0)]


@KINDS
async def test_what_must_be_finished_is_not_bound_by_the_deadline(
    kind: str, autojump_clock: MockClock
) -> None:
    outcomes: list[object] = []
    async with open_test_engine() as t, opening(t, kind, "worker") as worker:

        @worker.function("slow::one")
        async def slow() -> str:
            await trio.sleep(20)
            return "done"

        @worker.function("begins::work")
        async def begin() -> None:
            before = current_invocation().deadline
            with trio.CancelScope(shield=True), beyond_deadline():
                outcomes.append(current_invocation().deadline)
                outcomes.append(await worker.invoke("slow::one"))
            assert current_invocation().deadline == before

        await wait_all_tasks_blocked()
        with pytest.raises(InvocationTimeoutError):
            await worker.invoke("begins::work", deadline=10)
        await trio.sleep(20)
        with beyond_deadline():  # outside of a handler it changes nothing
            with pytest.raises(InvocationTimeoutError):
                await worker.invoke("slow::one", deadline=10)
    assert outcomes == [math.inf, "done"]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_provider_bound_inside_a_handler_does_not_take_its_deadline(
    waits: bool,
    autojump_clock: MockClock,
) -> None:
    outcomes = []
    async with (
        open_test_engine() as t,
        t.open_worker("bells") as bells,
        t.open_worker("w") as worker,
        trio.open_nursery() as nursery,
    ):

        async def ring(trigger: Trigger) -> None:
            await trio.sleep(60)
            outcomes.append(await bells.emit(trigger, "ding"))
            with pytest.raises(LookupError):
                current_invocation()

        def bind(trigger: Trigger) -> Awaitable[None] | None:
            bells.fire("bells::count")  # to itself, while it binds
            nursery.start_soon(ring, trigger)
            return wait_all_tasks_blocked() if waits else None

        counted = trio.Event()
        bells.register_function("bells::count", counted.set)
        bells.register_trigger_type("bell", bind=bind)

        @worker.function("hear::it")
        async def hear(payload: object) -> object:
            await trio.sleep(20)
            return payload

        @worker.function("bind::it")
        async def bind_it() -> None:
            await worker.bind("bell", "hear::it")
            await trio.sleep(5)

        await worker.invoke("bind::it", deadline=10)
        await counted.wait()
    assert outcomes == ["ding"]


async def test_a_request_does_not_take_the_deadline_of_who_let_its_runner_begin(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_http_rig() as rig,
        rig.under_test.open_link_worker("far") as far,
    ):

        @rig.client.function("local::write")
        async def write(writer: dict[str, object]) -> None:
            async with rig.client.open_writer(writer) as channel:
                await channel.send(b"hello")

        @far.function("far::serve")
        async def serve(request: dict[str, object]) -> None:
            await far.invoke("local::write", request["response"], deadline=2)

        @rig.client.function("middle::ware")
        async def middleware() -> dict[str, str]:
            await trio.sleep(5)
            return {"action": "continue"}

        await wait_all_tasks_blocked()
        await rig.bind("GET", "far", "far::serve")
        await rig.serve("GET", "near", "fine", middleware_function_ids=["middle::ware"])
        assert (await rig.request("GET", "/far")).body == b"hello"
        for _ in range(3):
            assert (await rig.request("GET", "/near")).status == 200


async def test_a_binding_whose_caller_is_cancelled_too_late_is_told_of(
    autojump_clock: MockClock,
) -> None:
    async def bind_and_cancel(steps: int) -> bool:
        """Whether the caller got an id; there must be a binding then, and only then."""
        async with open_test_engine() as t, t.open_worker("w") as worker:
            worker.register_function("f::f", lambda: None)
            request = {"trigger_type": "nobody's", "function_id": "f::f"}
            answers = []
            async with trio.open_nursery() as nursery:

                async def call() -> None:
                    answers.append(
                        await worker.invoke("engine::register_trigger", request)
                    )

                nursery.start_soon(call)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert t.engine.statistics().triggers == len(answers)
            return bool(answers)

    told = [await bind_and_cancel(steps) for steps in range(8)]
    assert told[0] is False
    assert told[-1] is True


_WHO: ContextVar[int | None] = ContextVar("who", default=None)


async def test_a_void_call_sees_the_context_of_its_worker_and_of_no_caller(
    autojump_clock: MockClock,
) -> None:
    _WHO.set(7)
    async with open_test_engine() as t, t.open_worker("w") as worker:
        seen: list[int | None] = []
        handler: Callable[[], Awaitable[None]]

        @worker.function("x::f")
        async def handler() -> None:
            await trio.lowlevel.checkpoint()
            seen.append(_WHO.get())

        for n in range(5):
            _WHO.set(n)
            worker.fire("x::f")
        await wait_all_tasks_blocked()
        assert seen == [7] * 5
