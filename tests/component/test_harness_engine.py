"""The public harness itself: engine, events, peers, clock, cancellation, plugin."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import anyio
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio import testing
from iii_trio.protocol import (
    Event,
    FunctionRegistered,
    InvocationSettled,
    InvokeFunction,
    Pong,
    WorkerAnnounced,
    WorkerAttached,
    WorkerDetached,
)
from iii_trio.testing import (
    Clock,
    EngineUnderTest,
    EventRecorder,
    cancel_at_every_step,
    open_test_engine,
    run,
)
from iii_trio.testing.pytest_plugin import iii_engine, iii_run
from iii_trio.transport import MemoryConnection
from iii_trio.worker import Worker

pytest_plugins: list[str] = []
__all__ = ["iii_engine", "iii_run"]


async def add(data: dict[str, int]) -> int:
    await trio.lowlevel.checkpoint()
    return data["a"] + data["b"]


# Clock


async def test_wall_time_follows_virtual_time(autojump_clock: MockClock) -> None:
    clock = Clock(epoch=1000.0)
    await trio.sleep(86400)
    assert clock() == 87400.0


def test_run_gives_the_result_and_lets_a_day_pass_at_once() -> None:
    async def main(days: int) -> float:
        start = trio.current_time()
        await trio.sleep(days * 86400)
        return trio.current_time() - start

    assert run(main, 365) == 365 * 86400


async def test_plain_handlers_run_inline_under_a_virtual_clock(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as harness, harness.open_worker() as worker:
        worker.register_function("math::two", lambda: 2)
        start = trio.current_time()
        assert await worker.invoke("math::two") == 2
        assert trio.current_time() == start


# Engine, workers, peers


async def test_workers_of_all_three_kinds_call_each_other(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_test_engine() as harness,
        harness.open_worker("near") as near,
        harness.open_link_worker("far") as far,
        harness.open_raw_peer("raw", "raw::echo") as raw,
    ):
        near.register_function("near::add", add)
        far.register_function("far::add", add)
        await harness.events.wait_for(FunctionRegistered, function_id="far::add")
        assert await far.invoke("near::add", {"a": 1, "b": 2}) == 3
        assert await near.invoke("far::add", {"a": 1, "b": 2}) == 3
        call_id = raw.call("far::add", {"a": 2, "b": 2})
        assert bytes((await raw.outcome(call_id)).result) == b"4"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.invoke, "raw::echo", "hello")
            raw.answer(await raw.served("raw::echo"))


async def test_ids_and_events_repeat_with_the_same_seed() -> None:
    async def history(seed: int) -> list[Any]:
        async with open_test_engine(seed=seed) as harness:
            async with harness.open_raw_peer("a", "f") as peer:
                await peer.outcome(peer.call("f2"))
            await harness.events.wait_for(WorkerDetached)
            return list(harness.events.events)

    assert await history(1) == await history(1)
    assert await history(1) != await history(2)


async def test_a_link_worker_reconnects_after_a_cut(autojump_clock: MockClock) -> None:
    connections: list[MemoryConnection] = []
    async with (
        open_test_engine() as harness,
        harness.open_worker() as near,
        harness.open_link_worker("far", on_connect=connections.append) as far,
    ):
        far.register_function("far::add", add)
        await harness.events.wait_for(FunctionRegistered)
        harness.events.clear()
        connections[0].cut()
        await harness.events.wait_for(FunctionRegistered, function_id="far::add")
        assert await near.invoke("far::add", {"a": 1, "b": 2}) == 3
        assert len(connections) == 2


async def test_a_test_that_waits_for_ever_is_ended_and_told_what_it_waited_for(
    autojump_clock: MockClock,
) -> None:
    with pytest.raises(trio.TooSlowError, match=r"31622400 .* in flight: far::away$"):
        async with (
            open_test_engine() as t,
            t.open_raw_peer("far", "far::away"),
            t.open_worker("near") as near,
        ):
            await near.invoke("far::away", deadline=None)
    with pytest.raises(trio.TooSlowError, match=r" 60 seconds .* in flight: none$"):
        async with open_test_engine(time_limit=60) as t:
            await trio.Event().wait()
    async with open_test_engine(time_limit=60):
        await trio.sleep(59)
    with pytest.raises(ZeroDivisionError):
        async with open_test_engine(time_limit=60):
            raise ZeroDivisionError


def test_a_program_that_waits_for_ever_is_ended() -> None:
    with pytest.raises(trio.TooSlowError, match=r"after 60 seconds of virtual time: "):
        run(trio.sleep_forever, time_limit=60)


ORDER: Final = """
import sys, trio
from iii_trio.testing import open_test_engine, run

async def main():
    order = []
    async with trio.open_nursery() as nursery:
        for n in range(9):
            async def note(n=n):
                await trio.lowlevel.checkpoint()
                order.append(n)
            nursery.start_soon(note)
    async with open_test_engine(seed=int(sys.argv[1])) as t, t.open_worker("w") as w:
        async with t.open_link_worker("l") as far, trio.open_nursery() as nursery:
            w.register_function("w::f", order.append)
            far.register_function("l::f", order.append)
            for n in range(9, 18):
                nursery.start_soon(w.invoke, "w::f", n)
                w.fire("l::f", n + 9)
            await trio.sleep(1)
    print(order)

run(main)
"""


def test_the_same_seed_gives_the_same_run_in_any_process() -> None:
    def order(seed: int, hash_seed: int) -> bytes:
        return subprocess.run(
            [sys.executable, "-c", ORDER, str(seed)],
            env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            check=True,
        ).stdout

    first = order(0, 1)
    assert first == order(0, 2)
    assert any(first != order(seed, 1) for seed in range(1, 4))


async def test_a_real_clock_knows_no_time_limit() -> None:
    async with open_test_engine(time_limit=0):
        await wait_all_tasks_blocked()


@pytest.mark.parametrize(
    ("option", "instead"),
    [("on_event", "harness.events"), ("now", "harness.clock"), ("new_id", "seed")],
)
async def test_what_the_harness_sets_itself_is_no_option(
    option: str, instead: str
) -> None:
    options: dict[str, Any] = {option: print}
    with pytest.raises(TypeError, match=f"no option '{option}': .*{instead}"):
        async with open_test_engine(**options):
            pass


def test_an_engine_for_a_test_needs_trio() -> None:
    async def main() -> None:
        async with open_test_engine():
            pass

    with pytest.raises(RuntimeError, match=r"needs Trio.* anyio_backend return 'trio'"):
        anyio.run(main, backend="asyncio")


async def test_a_worker_that_finds_nobody_leaves_no_connection(
    autojump_clock: MockClock,
) -> None:
    connections: list[MemoryConnection] = []

    def refuse_some(connection: MemoryConnection) -> None:
        connections.append(connection)
        if 1 < len(connections) < 9:
            raise trio.BrokenResourceError("nobody is there")

    async with (
        open_test_engine() as harness,
        harness.open_link_worker("far", on_connect=refuse_some),
    ):
        connections[0].cut()
        await trio.sleep(300)
        assert len(connections) == 9
        assert harness.network._connections == [connections[-1]]


async def test_a_raw_peer_takes_frames_by_type_and_keeps_the_others() -> None:
    async with open_test_engine() as harness, harness.open_raw_peer() as peer:
        peer.send({"type": "ping"})
        await peer.expect(Pong)
        assert len(peer.unread()) == 1
        welcome = await peer.receive()
        assert welcome in peer.received
        with pytest.raises(trio.WouldBlock):
            peer.take_nowait()


async def test_a_raw_peer_is_known_when_its_block_begins_whatever_the_seed(
    autojump_clock: MockClock,
) -> None:
    for seed in range(20):
        async with (
            open_test_engine(seed=seed) as t,
            t.open_raw_peer("caller") as caller,
            t.open_raw_peer("callee", "x::y") as callee,
        ):
            call = caller.call("x::y")
            callee.answer(await callee.served("x::y"), seed)
            assert not (await caller.outcome(call)).error
            callee.register("x::z")
            await callee.flush()
            caller.call("x::z")
            await callee.served("x::z")


async def test_a_raw_peer_says_when_the_link_ends_before_the_frame() -> None:
    async with open_test_engine() as harness, harness.open_raw_peer() as peer:
        peer.close()
        with pytest.raises(trio.BrokenResourceError, match="no Pong"):
            await peer.expect(Pong)
        assert await peer.wait_closed() == "the peer left"


# Events


async def test_a_recorder_finds_events_by_class_and_fields() -> None:
    recorder = EventRecorder()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.wait_for, WorkerDetached)
        await wait_all_tasks_blocked()
        recorder(WorkerAnnounced(worker_id="w", name="n", namespace="default"))
        recorder(WorkerDetached(worker_id="w", reason="bye"))
    assert len(recorder) == 2
    assert recorder.of(WorkerAnnounced, name="n")
    assert not recorder.of(WorkerAnnounced, name="other")
    recorder.clear()
    assert len(recorder) == 0


async def test_fields_that_do_not_exist_are_refused(autojump_clock: MockClock) -> None:
    recorder = EventRecorder()
    has = "it has invocation_id, function_id, .*code"
    with pytest.raises(TypeError, match=f"^InvocationSettled .*'fucntion_id'; {has}"):
        recorder.of(InvocationSettled, fucntion_id="x")
    with pytest.raises(TypeError, match=r"'wroker_id'; it has worker_id, reason$"):
        await recorder.wait_for(WorkerDetached, wroker_id="w")
    with pytest.raises(TypeError, match=r"^Event has no field 'name'; it has none$"):
        recorder.of(Event, name="w")
    async with open_test_engine() as harness, harness.open_raw_peer() as peer:
        with pytest.raises(TypeError, match=r"^InvokeFunction .* function_id, "):
            await peer.expect(InvokeFunction, fucntion_id="x")


def test_a_field_may_be_called_kind() -> None:
    recorder = EventRecorder()
    recorder(WorkerAttached(worker_id="w", kind="link"))
    assert len(recorder.of(WorkerAttached, kind="link")) == 1
    assert recorder.of(WorkerAttached, kind="local") == []


# Cancellation


@asynccontextmanager
async def open_pair() -> AsyncIterator[tuple[EngineUnderTest, Worker]]:
    async with (
        open_test_engine() as harness,
        harness.open_worker() as near,
        harness.open_link_worker("far") as far,
    ):

        @near.function("near::slow")
        async def slow(data: object) -> object:
            await trio.sleep(1)
            return await far.invoke("far::add", data)

        far.register_function("far::add", add)
        await harness.events.wait_for(FunctionRegistered, function_id="far::add")
        yield harness, near


def nothing_in_flight(pair: tuple[EngineUnderTest, Worker]) -> None:
    harness, _ = pair
    assert harness.engine.statistics().invocations == 0
    opened = harness.engine.statistics().opened
    assert len(harness.events.of(InvocationSettled)) == opened


def test_an_invocation_may_be_cancelled_at_every_step() -> None:
    results = []

    async def scenario(pair: tuple[EngineUnderTest, Worker]) -> None:
        _, near = pair
        results.append(await near.invoke("near::slow", {"a": 1, "b": 2}))

    steps = cancel_at_every_step(scenario, nothing_in_flight, setup=open_pair)
    assert steps > 3
    assert results[-1] == 3


def test_opening_an_engine_may_be_cancelled_at_every_step() -> None:
    async def scenario() -> None:
        async with open_pair() as (_, near):
            await near.invoke("near::slow", {"a": 1, "b": 2})

    assert cancel_at_every_step(scenario) > 10


def test_every_step_is_cancelled_once_and_the_last_run_finishes() -> None:
    ends: list[str] = []

    async def scenario() -> None:
        try:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            ends.append("cancelled")
            raise
        ends.append("finished")

    assert cancel_at_every_step(scenario, lambda: None) == 4
    assert ends[-1] == "finished"
    assert ends.count("finished") <= 2  # a cancel at the last step comes too late


def test_a_broken_invariant_is_reported() -> None:
    left: list[int] = []

    async def scenario() -> None:
        left.append(1)
        await trio.sleep(1)
        left.clear()

    def invariant() -> None:
        assert not left

    with pytest.raises(AssertionError):
        cancel_at_every_step(scenario, invariant)


@pytest.mark.parametrize(
    "opening", [EngineUnderTest.open_worker, EngineUnderTest.open_link_worker]
)
def test_a_handler_is_struck_at_each_of_its_steps(
    opening: Callable[..., AbstractAsyncContextManager[Worker]],
) -> None:
    @asynccontextmanager
    async def setup() -> AsyncIterator[tuple[Worker, list[str]]]:
        locks: list[str] = []
        async with (
            open_test_engine() as t,
            t.open_worker("caller") as caller,
            opening(t, "callee") as callee,
        ):

            @callee.function("takes::lock")
            async def take() -> None:
                locks.append("taken")
                await trio.sleep(1)
                locks.clear()  # not where it is cancelled meanwhile

            await t.events.wait_for(FunctionRegistered, function_id="takes::lock")
            yield caller, locks

    async def scenario(context: tuple[Worker, list[str]]) -> None:
        await context[0].invoke("takes::lock")

    def invariant(context: tuple[Worker, list[str]]) -> None:
        assert not context[1]

    with pytest.raises(AssertionError) as caught:
        cancel_at_every_step(scenario, invariant, setup=setup)
    [note] = caught.value.__notes__
    assert re.fullmatch(
        r"cancel_at_every_step: this run was cancelled at step \d+", note
    )


async def _true() -> bool:
    await trio.lowlevel.checkpoint()
    return True


@pytest.mark.parametrize(
    ("scenario", "invariant", "error", "text"),
    [
        (_true, _true, TypeError, "is async: nobody would await it"),
        (_true, lambda: False, AssertionError, "gave False"),
        (lambda: True, lambda: True, TypeError, "is not an async function"),
        (trio.sleep_forever, lambda: True, trio.TooSlowError, "waits for something"),
    ],
)
def test_what_cannot_be_tried_at_every_step_is_refused(
    scenario: Callable[[], Any],
    invariant: Callable[[], object],
    error: type[Exception],
    text: str,
) -> None:
    with pytest.raises(error, match=text) as caught:
        cancel_at_every_step(scenario, invariant)
    assert caught.value.__notes__ == [
        "cancel_at_every_step: this run was not cancelled"
    ]


def test_cleanup_that_waits_for_ever_is_found() -> None:
    async def scenario() -> None:
        done = False
        try:
            await trio.lowlevel.checkpoint()
            done = True
        finally:
            if not done:
                with trio.CancelScope(shield=True):
                    await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError) as caught:
        cancel_at_every_step(scenario)
    assert caught.value.__notes__ == [
        "cancel_at_every_step: this run was cancelled at step 1"
    ]


def test_an_endless_scenario_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iii_trio.testing._cancel.MAX_STEPS", 5)

    async def scenario() -> None:
        await trio.lowlevel.checkpoint()
        for _ in itertools.count():
            await trio.lowlevel.checkpoint()

    with pytest.raises(RuntimeError, match="more than 5 steps"):
        cancel_at_every_step(scenario)


# Plugin and package


async def test_the_fixture_opens_engines(iii_engine: Callable[..., Any]) -> None:
    async with iii_engine() as harness, harness.open_worker() as worker:
        worker.register_function("math::add", add)
        assert await worker.invoke("math::add", {"a": 1, "b": 1}) == 2


def test_the_fixture_runs_without_an_async_plugin(iii_run: Callable[..., Any]) -> None:
    assert iii_run(trio.sleep, 1000) is None


def test_the_plugin_imports_nothing_until_it_is_used() -> None:
    code = (
        "import sys, iii_trio.testing.pytest_plugin;"
        "print(*(m for m in ('trio', 'hypothesis', 'msgspec') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == []


def test_the_package_lists_what_it_has() -> None:
    assert dir(testing) == sorted(testing.__all__)
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(testing, "nothing")  # noqa: B009 - type checkers see through it
