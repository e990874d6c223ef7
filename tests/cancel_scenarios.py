"""Scenarios to be cancelled: between them they use every public async operation.

Those of this module know no socket and no thread, so they are cancelled at every single
step (``tests/component/test_cancel_everywhere.py``); those with sockets and threads are
in ``tests/socket_scenarios.py``. A scenario leaves nothing behind, wherever it ends.
"""

import contextlib
import math
import pathlib
import random
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import attrs
import trio
from trio.testing import wait_all_tasks_blocked

from iii_trio.adapters import KeyValueStore, QueueStore
from iii_trio.adapters.memory import open_memory
from iii_trio.adapters.sqlite import open_sqlite, run_inline
from iii_trio.app import RestartPolicy, supervise
from iii_trio.engine import EngineStatistics, open_engine
from iii_trio.protocol import InvocationResult, WorkerAttached
from iii_trio.testing import (
    EngineUnderTest,
    check_kv_store,
    check_link,
    check_queue_store,
    open_test_engine,
)
from iii_trio.testing._cancel import _run_once
from iii_trio.testing._steps import CancelAtStep
from iii_trio.transport import open_memory_network
from iii_trio.worker import Trigger, Worker, open_worker
from iii_trio.worker import run_inline as run_handler_inline
from tests.component.bridge_rig import open_queue_rigs_with_handle
from tests.component.builtin_rig import open_cron_rig, open_pubsub_rig
from tests.component.queue_rig import open_queue_rig
from tests.component.state_rig import open_state_rig
from tests.component.test_trio_websocket_link import open_wire
from tests.conformance.test_links import open_memory_pair, open_trio_websocket_pair

ENQUEUE: Final = "engine::queue::enqueue"
DEBOUNCE: Final = 1
"""Timers that may be left: one soon tells that functions came or went."""


def check_empty(left: EngineStatistics) -> None:
    """An engine that everybody has left holds nothing."""
    assert left.workers == left.functions == left.invocations == 0
    assert left.triggers == left.parked == left.trigger_types == left.channels == 0
    assert left.timers <= DEBOUNCE


@attrs.frozen
class Scenario:
    """Something to cancel.

    Attributes:
        run: gets what ``setup`` yields.
        setup: what is around it, and not cancelled.
        check: raises if something is left in disorder.
        is_long: takes hundreds of steps: it is cancelled at some of them only.
    """

    run: Callable[[Any], Awaitable[object]]
    setup: Callable[[], AbstractAsyncContextManager[Any]]
    check: Callable[[Any], object] = lambda _context: None
    is_long: bool = False


@asynccontextmanager
async def nothing() -> AsyncIterator[None]:
    """No setup."""
    await trio.lowlevel.checkpoint()
    yield


# Workers and engines


@asynccontextmanager
async def only_engine() -> AsyncIterator[EngineUnderTest]:
    async with open_test_engine() as t:
        yield t


def engine_is_empty(t: EngineUnderTest) -> None:
    check_empty(t.engine.statistics())


async def echo(value: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return value


async def ready(worker: Worker) -> None:
    """Wait until the engine has read what the worker sent."""
    await worker.invoke("engine::workers::list")


async def call_each_other(t: EngineUnderTest) -> None:
    async with t.open_worker("near") as near, t.open_link_worker("far") as far:
        near.register_function("near::echo", echo)
        near.register_function(ENQUEUE, lambda _: None)
        far.register_function("far::echo", echo)
        await ready(far)
        for caller in (near, far):
            for function_id in ("near::echo", "far::echo"):
                assert await caller.invoke(function_id, [1], deadline=9) == [1]
                assert await caller.invoke_json(function_id, b"[1]") == b"[1]"
        await near.enqueue("far::echo", queue="default")
        await t.engine.drain(1)


async def ring_bells(t: EngineUnderTest) -> None:
    rung: list[Trigger] = []

    async def bind(trigger: Trigger) -> None:
        await trio.lowlevel.checkpoint()
        rung.append(trigger)

    async with t.open_worker("near") as near, t.open_link_worker("far") as far:
        near.register_trigger_type("bell", bind=bind)
        near.register_function("near::echo", echo)
        far.register_function("far::echo", echo)
        await near.bind("bell", "near::echo", {}, condition="near::echo")
        await far.bind("bell", "far::echo", {})
        await ready(far)
        for trigger in rung:
            assert await near.check_condition(trigger, 1)
            assert await near.deliver(trigger, 1) == 1
            assert await near.emit(trigger, 1) == 1
            scope = trio.CancelScope()
            assert await near.deliver_json(trigger, b"1", scope=scope) == b"1"


async def stream_bytes(t: EngineUnderTest) -> None:
    async with t.open_worker("near") as near:
        channel = await near.create_channel(buffer_size=1)

        async def write() -> None:
            async with channel.writer as writer:
                await writer.wait_peer()
                for _ in range(4):
                    await writer.send(b"x" * 70_000)

        await channel.reader.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            assert await channel.reader.receive()
            async for piece in channel.reader:
                assert piece
                break
            assert await channel.reader.read_all()
        await channel.reader.aclose()
        await channel.writer.aclose()


async def say_frames(t: EngineUnderTest) -> None:
    async with t.open_raw_peer("raw", "raw::f") as raw, t.open_worker("w") as worker:
        await raw.accepted()
        await t.events.wait_for(WorkerAttached)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.invoke, "raw::f")
            raw.answer(await raw.served("raw::f"))
        await raw.outcome(raw.call("engine::workers::list"))
        raw.call("engine::workers::list")
        await raw.expect(InvocationResult)
        raw.send({"type": "ping"})
        await raw.receive()
        raw.close()
        await raw.wait_closed()


async def live_in_an_engine(_: None) -> None:
    engine = None
    try:
        async with (
            open_engine() as engine,
            open_worker(engine, name="a") as worker,
        ):
            worker.register_function("a::echo", echo)
            assert await worker.invoke("a::echo", 1) == 1
            await engine.invocations.wait_idle()
            await engine.drain(1)
    finally:
        if engine is not None:
            check_empty(engine.statistics())


async def supervise_and_run_inline(_: None) -> None:
    lives: list[int] = []

    async def crash(*, task_status: trio.TaskStatus[None]) -> None:
        lives.append(await run_handler_inline(len, lives))
        task_status.started()
        await trio.sleep(1)
        if len(lives) < 3:
            raise ValueError

    await supervise(crash, name="crashing", policy=RestartPolicy(max_restarts=5))
    assert lives == [0, 1, 2]


# Bundled workers


async def _use(opened: AbstractAsyncContextManager[Any], *calls: Any) -> None:
    async with opened as rig:
        for function_id, payload in calls:
            await rig.client.invoke(function_id, payload)
        await rig.handle.drain(1)


async def keep_state(_: None) -> None:
    entry = {"scope": "s", "key": "k", "value": 1}
    await _use(open_state_rig(), ("state::set", entry), ("state::get", entry))


async def queue_messages(_: None) -> None:
    async with open_queue_rig() as rig:
        rig.collect()
        await rig.enqueue(1)
        await rig.settle()
        await rig.handle.drain(1)


async def drain_a_bridged_queue(_: None) -> None:
    async with open_queue_rigs_with_handle() as (rig, handle):
        rig.here.offer("on::t", None)
        await rig.here.worker.bind("durable:subscriber", "on::t", {"topic": "t"})
        message = {"topic": "t", "data": 1}
        await rig.there.worker.invoke("iii::durable::publish", message)
        await handle.drain(1)


async def tick(_: None) -> None:
    async with open_cron_rig() as rig:
        await rig.record("cron", "job::run", {"expression": "* * * * *"})
        await trio.sleep(61)
        await rig.handle.drain(1)


async def publish(_: None) -> None:
    async with open_pubsub_rig() as rig:
        got = await rig.record("subscribe", "news::hear", {"topic": "t"})
        await rig.client.invoke("publish", {"topic": "t", "data": 1})
        await rig.settle()
        assert got == [1]
        await rig.handle.drain(1)


# Links and stores


async def move_frames(_: None) -> None:
    async with open_memory_network() as network:
        network.connect()
        await trio.sleep(1)


async def keep_the_contract_of_links(_: None) -> None:
    await check_link(open_memory_pair)


async def speak_websocket(_: None) -> None:
    async with open_wire() as wire:
        wire.link.start(wire.ear)
        wire.link.send_nowait(b"hello")
        assert await wire.peer.get_message() == "hello"
        wire.link.close("enough", polite=False)
        await wire.link.wait_closed()
    async with open_trio_websocket_pair():
        pass


@asynccontextmanager
async def _key_values() -> AsyncIterator[KeyValueStore]:
    async with open_memory() as stores:
        yield stores.key_value("state")


@asynccontextmanager
async def _messages() -> AsyncIterator[QueueStore]:
    async with open_memory() as stores:
        yield stores.queue()


@asynccontextmanager
async def database() -> AsyncIterator[pathlib.Path]:
    await trio.lowlevel.checkpoint()
    with tempfile.TemporaryDirectory() as directory:
        yield pathlib.Path(directory, "engine.db")


async def write_to_disk(path: pathlib.Path) -> None:
    async with open_sqlite(path, run=run_inline) as stores:
        state = stores.key_value("state")
        await state.set("s", "k", b"1")
        assert await state.get("s", "k") == b"1"


def database_is_whole(path: pathlib.Path) -> None:
    if path.exists():
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]


async def keep_the_contract_of_stores(_: None) -> None:
    await check_kv_store(_key_values)


async def keep_the_contract_of_queues(_: None) -> None:
    await check_queue_store(_messages)


SCENARIOS: Final = {
    **{
        one.__name__: Scenario(one, only_engine, engine_is_empty)
        for one in (call_each_other, ring_bells, stream_bytes, say_frames)
    },
    **{
        one.__name__: Scenario(one, nothing)
        for one in (
            live_in_an_engine,
            supervise_and_run_inline,
            keep_state,
            queue_messages,
            drain_a_bridged_queue,
            tick,
            publish,
            move_frames,
            speak_websocket,
        )
    },
    **{
        one.__name__: Scenario(one, nothing, is_long=True)
        for one in (
            keep_the_contract_of_links,
            keep_the_contract_of_stores,
            keep_the_contract_of_queues,
        )
    },
    "write_to_disk": Scenario(write_to_disk, database, database_is_whole),
}


def run_once(
    scenario: Scenario, step: float, clock: trio.abc.Clock | None = None
) -> int:
    """Run a scenario, cancelled at a step if it takes so many; give how many it took."""
    instrument = CancelAtStep(step)
    trio.run(
        _run_once,
        instrument,
        scenario.run,
        scenario.check,
        scenario.setup,
        clock=clock,
        instruments=[instrument],
    )
    return instrument.taken


def cancel_at_some_steps(
    scenario: Scenario,
    runs: int,
    rng: random.Random,
    new_clock: Callable[[], trio.abc.Clock | None] = lambda: None,
) -> None:
    """Cancel a scenario at random instants: at steps that chance chooses."""
    steps = run_once(scenario, math.inf, new_clock())
    for _ in range(runs):
        run_once(scenario, rng.randint(1, steps), new_clock())
