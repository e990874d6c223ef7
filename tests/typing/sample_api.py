"""What users write, checked by mypy and never run: a changed type breaks this file."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, assert_type

import attrs
import trio

import iii_trio
from iii_trio.protocol import InvocationResult, WorkerDetached
from iii_trio.testing import (
    Clock,
    EngineUnderTest,
    EventRecorder,
    RawPeer,
    cancel_at_every_step,
    open_test_engine,
    run,
)
from iii_trio.worker import Worker


@attrs.frozen
class Pair:
    """Two numbers."""

    a: int
    b: int


@attrs.frozen
class Sum:
    """Their sum."""

    c: int


async def use_an_engine() -> None:
    """The sketch of the design: an engine in process and a worker."""
    async with iii_trio.open_engine() as engine:
        assert_type(engine, iii_trio.Engine)
        async with iii_trio.open_worker(engine, name="math-worker") as worker:
            assert_type(worker, iii_trio.Worker)

            @worker.function("math::add", description="Adds two numbers.")
            async def add(pair: Pair) -> Sum:
                await trio.lowlevel.checkpoint()
                return Sum(c=pair.a + pair.b)

            assert_type(await add(Pair(1, 2)), Sum)
            total = await worker.invoke("math::add", {"a": 2, "b": 3}, deadline=1.5)
            worker.fire("audit::log", {"total": total})
            assert_type(await worker.enqueue("mail::send", {}, queue="mail"), str)
            await worker.bind("http", "math::add", {"api_path": "/add"})
            assert_type(await worker.invoke_json("math::add", b"{}"), bytes)
        await engine.drain(5.0)
        assert_type(engine.statistics().invocations, int)


async def use_the_harness() -> None:
    """A test of somebody else's worker."""
    async with open_test_engine(epoch=0.0, seed=1) as harness:
        assert_type(harness, EngineUnderTest)
        assert_type(harness.events, EventRecorder)
        assert_type(harness.clock, Clock)
        assert_type(harness.clock(), float)
        async with (
            harness.open_worker("near") as near,
            harness.open_link_worker("far") as far,
            harness.open_raw_peer("raw", "raw::f") as peer,
        ):
            assert_type(near, Worker)
            assert_type(far, Worker)
            assert_type(peer, RawPeer)
            assert_type(await peer.outcome(peer.call("x")), InvocationResult)
        assert_type(await harness.events.wait_for(WorkerDetached), WorkerDetached)


async def main(n: int) -> str:
    """Something to run."""
    await trio.sleep(n)
    return "done"


def use_runners(open_it: Callable[[], AbstractAsyncContextManager[int]]) -> None:
    """Virtual time without an async plugin."""
    assert_type(run(main, 1), str)
    assert_type(cancel_at_every_step(use_the_harness), int)

    async def scenario(number: int) -> None:
        await trio.sleep(number)

    assert_type(cancel_at_every_step(scenario, setup=open_it), int)


def catch_errors(error: iii_trio.InvocationError) -> tuple[str, Any]:
    """Errors tell what happened."""
    assert_type(error.code, str)
    return error.code, error.details
