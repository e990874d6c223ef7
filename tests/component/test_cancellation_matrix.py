"""Every kind of caller, every kind of callee, every end of a call between them.

One handler waits inside; then something ends the call. Whatever it is: the caller gets
exactly one outcome, the call has left the engine's tables in the step that settled it,
and the handler was cancelled with a reason that names why, or not at all.
"""

import gc
import itertools
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.errors import InvocationError
from iii_trio.protocol import (
    CANCEL_FEATURE,
    CancelInvocation,
    InvocationSettled,
    InvokeFunction,
)
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.transport import MemoryConnection
from iii_trio.worker import Worker, current_invocation

pytestmark = pytest.mark.cancellation

FUNCTION = "slow::work"


@attrs.define(eq=False)
class Party:
    """A worker in a task of its own, and how to make it vanish."""

    worker: Worker
    leave: Callable[[], None]


@attrs.define(eq=False)
class Scene:
    """A call in flight, and what became of it."""

    under_test: EngineUnderTest
    engine_scope: trio.CancelScope
    caller: Party
    callee: Party
    handler_goes_on: trio.Event = attrs.field(factory=trio.Event)
    call_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    handler_fails: bool = False
    handlers_begun: int = 0
    handlers_done: int = 0
    reasons: list[str] = attrs.field(factory=list)
    outcomes: list[Any] = attrs.field(factory=list)
    in_flight_when_settled: list[int] = attrs.field(factory=list)

    async def handle(self, data: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self.handlers_begun += 1
        try:
            await self.handler_goes_on.wait()
        except trio.Cancelled as exc:
            self.reasons.append(exc.reason or exc.source)
            raise
        finally:
            self.handlers_done += 1
        if self.handler_fails:
            raise ValueError(data)
        return data

    def on_event(self, event: object) -> None:
        if isinstance(event, InvocationSettled) and event.function_id == FUNCTION:
            statistics = self.under_test.engine.statistics()
            self.in_flight_when_settled.append(statistics.invocations)

    async def call(self, deadline: float | None) -> None:
        await trio.lowlevel.checkpoint()
        outcome: Any = "cancelled"
        try:
            with self.call_scope:
                outcome = await self.caller.worker.invoke(
                    FUNCTION, "data", deadline=deadline
                )
        except InvocationError as exc:
            outcome = exc.code
        self.outcomes.append(outcome)


@asynccontextmanager
async def open_party(
    kind: str, under_test: EngineUnderTest, name: str
) -> AsyncIterator[Party]:
    """A worker that lives in a background task: its end can come in mid-call."""
    connections: list[MemoryConnection] = []
    scope, left = trio.CancelScope(), trio.Event()

    async def live(task_status: trio.TaskStatus[Worker]) -> None:
        opened: AbstractAsyncContextManager[Worker] = (
            under_test.open_link_worker(name, on_connect=connections.append)
            if kind == "link"
            else under_test.open_worker(name)
        )
        with scope:
            async with opened as worker:
                task_status.started(worker)
                await left.wait()

    def leave() -> None:
        if kind == "link":
            connections[0].cut()
        else:
            left.set()

    async with trio.open_nursery() as nursery:
        yield Party(await nursery.start(live), leave)
        scope.cancel(reason="test over")


async def serve_test_engine(
    scope: trio.CancelScope, task_status: trio.TaskStatus[EngineUnderTest]
) -> None:
    with scope:
        async with open_test_engine() as under_test:
            task_status.started(under_test)
            await trio.sleep_forever()


@asynccontextmanager
async def open_scene(
    caller: str, callee: str, deadline: float | None
) -> AsyncIterator[Scene]:
    engine_scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        under_test = await nursery.start(serve_test_engine, engine_scope)
        async with (
            open_party(caller, under_test, "caller") as calling,
            open_party(callee, under_test, "callee") as called,
            trio.open_nursery() as calls,
        ):
            scene = Scene(under_test, engine_scope, calling, called)
            under_test.engine.subscribe(scene.on_event)
            called.worker.register_function(FUNCTION, scene.handle)
            await wait_all_tasks_blocked()
            calls.start_soon(scene.call, deadline)
            await wait_all_tasks_blocked()
            assert (scene.handlers_begun, scene.handlers_done) == (1, 0)
            yield scene
        engine_scope.cancel(reason="test over")


# What ends the call


def answer(scene: Scene) -> None:
    scene.handler_goes_on.set()


def fail(scene: Scene) -> None:
    scene.handler_fails = True
    scene.handler_goes_on.set()


def lose_callee(scene: Scene) -> None:
    scene.callee.leave()


def lose_caller(scene: Scene) -> None:
    scene.caller.leave()


def cancel_call(scene: Scene) -> None:
    scene.call_scope.cancel(reason="the user went home")


def close_engine(scene: Scene) -> None:
    scene.engine_scope.cancel(reason="the program ends")


async def pass_deadline(_scene: Scene) -> None:
    await trio.sleep(11)


async def drain(scene: Scene) -> None:
    await scene.under_test.engine.drain(5)


@attrs.frozen
class Ending:
    """One way in which a call ends.

    Attributes:
        act: makes it happen.
        outcome: what the caller gets.
        reasons: part of why the handler is cancelled, by where it runs; none if it is
            not. Inline is in the caller's own task: both are local.
    """

    act: Callable[[Scene], Any]
    outcome: str
    reasons: dict[str, str] = attrs.field(factory=dict)


def everywhere(reason: str) -> dict[str, str]:
    return dict.fromkeys(("inline", "local", "link"), reason)


ENDINGS = {
    "callee answers": Ending(answer, "data"),
    "callee raises": Ending(fail, "invocation_failed"),
    "callee gone": Ending(
        lose_callee,
        "invocation_stopped",
        {**everywhere("its worker is gone"), "link": "connection lost"},
    ),
    "caller gone": Ending(
        lose_caller, "invocation_stopped", everywhere("its caller is gone")
    ),
    "call cancelled": Ending(
        cancel_call,
        "cancelled",
        {**everywhere("the caller was cancelled"), "inline": "the user went home"},
    ),
    "deadline passed": Ending(pass_deadline, "TIMEOUT", everywhere("deadline")),
    "engine drained": Ending(
        drain, "invocation_stopped", everywhere("the engine is shutting down")
    ),
    "engine cancelled": Ending(
        close_engine,
        "invocation_stopped",
        {
            "inline": "the engine was closed",
            "local": "its caller is gone",
            "link": "connection lost",
        },
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("caller", "callee"), list(itertools.product(["link", "local"], repeat=2))
)
async def test_a_call_has_one_outcome_and_leaves_nothing(
    caller: str, callee: str, ending: str, autojump_clock: MockClock
) -> None:
    expected = ENDINGS[ending]
    deadline = 10 if ending == "deadline passed" else None
    async with open_scene(caller, callee, deadline) as scene:
        done = expected.act(scene)
        if done is not None:
            await done
        await wait_all_tasks_blocked()
        assert scene.outcomes == [expected.outcome]
        assert scene.in_flight_when_settled == [0]
        assert (scene.handlers_begun, scene.handlers_done) == (1, 1)
        if expected.reasons:
            where = "inline" if caller == callee == "local" else callee
            [reason] = scene.reasons
            assert expected.reasons[where] in reason
        else:
            assert scene.reasons == []
        statistics = scene.under_test.engine.statistics()
        assert (statistics.invocations, statistics.channels) == (0, 0)


# Programs


async def test_a_cancelled_scope_cancels_the_handler_in_another_program(
    autojump_clock: MockClock,
) -> None:
    delayed: list[MemoryConnection] = []
    async with (
        open_test_engine() as t,
        t.open_link_worker("a", on_connect=delayed.append) as a,
        t.open_link_worker("b", on_connect=delayed.append) as b,
    ):
        cancelled_at: list[float] = []

        @b.function("b::work")
        async def work() -> None:
            try:
                await trio.sleep_forever()
            finally:
                cancelled_at.append(trio.current_time())

        await wait_all_tasks_blocked()
        with trio.move_on_after(7) as scope:
            await a.invoke("b::work")
        gave_up_at = trio.current_time()
        await wait_all_tasks_blocked()
        assert scope.cancelled_caught
        assert cancelled_at == [gave_up_at]
        assert t.engine.statistics().invocations == 0
        # Nothing was sent twice, and nobody reconnected to get there.
        assert len(delayed) == 2
        assert t.engine.statistics().late_answers <= 1


async def test_a_deadline_shrinks_along_a_chain_of_calls(
    autojump_clock: MockClock,
) -> None:
    left: dict[str, float] = {}

    def serve(worker: Worker, function_id: str, further: str | None) -> None:
        async def step() -> None:
            left[function_id] = current_invocation().deadline - trio.current_time()
            await trio.sleep(2)
            if further is None:
                await trio.sleep_forever()
            else:
                await worker.invoke(further)

        worker.register_function(function_id, step)

    async with (
        open_test_engine() as t,
        t.open_link_worker("a") as a,
        t.open_link_worker("b") as b,
        t.open_link_worker("c") as c,
        t.open_link_worker("user") as user,
    ):
        serve(a, "chain::a", "chain::b")
        serve(b, "chain::b", "chain::c")
        serve(c, "chain::c", None)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        with pytest.raises(InvocationError, match="TIMEOUT"):
            await user.invoke("chain::a", deadline=10)
        assert trio.current_time() - began == pytest.approx(10)
        await wait_all_tasks_blocked()
        assert t.engine.statistics().invocations == 0
    assert left == pytest.approx({"chain::a": 10, "chain::b": 8, "chain::c": 6})


@pytest.mark.parametrize("features", [None, [], [CANCEL_FEATURE + "0"]])
async def test_nothing_new_is_sent_to_a_peer_that_did_not_announce_it(
    features: list[str] | None, autojump_clock: MockClock
) -> None:
    more: dict[str, Any] = {} if features is None else {"features": features}
    async with (
        open_test_engine() as t,
        t.open_raw_peer("old", "old::work", **more) as old,
        t.open_raw_peer("new", "new::work", features=[CANCEL_FEATURE]) as new,
        t.open_worker("user") as user,
    ):
        await wait_all_tasks_blocked()
        for function_id in ("old::work", "new::work"):
            with trio.move_on_after(1):
                await user.invoke(function_id)
            with pytest.raises(InvocationError, match="TIMEOUT"):
                await user.invoke(function_id, deadline=1)
        await wait_all_tasks_blocked()
        assert t.engine.statistics().invocations == 0

        def new_things(frames: list[Any]) -> list[object]:
            calls = [one for one in frames if isinstance(one, InvokeFunction)]
            cancels = [one for one in frames if isinstance(one, CancelInvocation)]
            return [len(calls), len(cancels), [one.deadline_ms for one in calls]]

        assert new_things(old.received) == [2, 0, [None, None]]
        assert new_things(new.received) == [2, 2, [None, pytest.approx(1000)]]


async def test_the_engine_keeps_nothing_of_a_worker_that_left(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t:
        async with t.open_worker("named") as worker:
            known = weakref.ref(t.engine.roster.get(worker.worker_id))
            assert known() is not None
        del worker
        gc.collect()
        assert known() is None


async def test_a_settled_call_is_forgotten_by_both_workers(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("caller") as caller,
        t.open_raw_peer("callee", FUNCTION) as callee,
    ):
        await wait_all_tasks_blocked()
        engine, before = t.engine, t.engine.statistics().timers
        ids = [(await one.accepted()).worker_id for one in (caller, callee)]
        ports = [engine.supervisor.port_of(one) for one in ids]
        call_id = caller.call(FUNCTION, deadline_ms=5000)
        call = await callee.served(FUNCTION)
        assert [len(one.made) + len(one.executing) for one in ports] == [1, 1]
        assert engine.statistics().timers == before + 1
        callee.answer(call)
        await caller.outcome(call_id)
        assert [len(one.made) + len(one.executing) for one in ports] == [0, 0]
        assert engine.statistics().timers == before
