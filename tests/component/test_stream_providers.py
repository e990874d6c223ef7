"""Writes by custom providers whose caller goes: told, whoever the provider is."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.adapters.memory import open_memory
from iii_trio.builtins._finish import FINISH_SECONDS
from iii_trio.builtins.stream._triggers import StreamTriggers
from iii_trio.builtins.stream._worker import _compose, _register
from iii_trio.errors import InvocationStoppedError, InvocationTimeoutError
from iii_trio.testing import EngineUnderTest, cancel_at_every_step, open_test_engine
from iii_trio.worker import Worker

pytestmark = pytest.mark.cancellation

ITEM = {"stream_name": "chat", "group_id": "g", "item_id": "i"}
OPS = [{"type": "set", "path": "", "value": 1}]
WRITES: dict[str, tuple[Any, Any, str]] = {
    "set": ({"data": 1}, {"old_value": None, "new_value": 1}, "create"),
    "delete": ({}, {"old_value": 1}, "delete"),
    "update": ({"ops": OPS}, {"old_value": 0, "new_value": 1}, "update"),
}
"""By operation: what is asked besides the item, the answer, the event."""


@attrs.frozen
class Stage:
    """An engine with streams, somebody who writes, and the events that were told."""

    engine: EngineUnderTest
    streams: Worker
    caller: Worker
    events: list[Any]

    async def write(self, operation: str, **options: Any) -> Any:
        payload = {**ITEM, **WRITES[operation][0]}
        return await self.caller.invoke(f"stream::{operation}", payload, **options)


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    async with (
        open_test_engine() as engine,
        open_memory() as stores,
        engine.open_worker("iii-stream") as streams,
        engine.open_worker("caller") as caller,
    ):
        triggers = StreamTriggers(streams)
        store = stores.key_value("stream")
        hub, functions = _compose(streams, store, triggers, engine.clock)
        events: list[Any] = []

        async def hear(event: Any) -> None:
            events.append(event["event"]["type"])
            await trio.lowlevel.checkpoint()

        caller.register_function("test::hear", hear)
        with ExitStack() as registered:
            _register(streams, hub, triggers, functions, registered)
            await caller.bind("stream", "test::hear", {"stream_name": "chat"})
            await wait_all_tasks_blocked()
            yield Stage(engine, streams, caller, events)


@pytest.mark.parametrize("gone", ["cancelled", "late"])
@pytest.mark.parametrize("operation", WRITES)
async def test_a_provider_that_cannot_be_cancelled_is_waited_for_and_told(
    autojump_clock: MockClock, operation: str, gone: str
) -> None:
    _, answer, event = WRITES[operation]
    async with open_stage() as stage, stage.engine.open_raw_peer() as peer:
        function_id = f"stream::{operation}(chat)"
        peer.announce("provider")
        peer.register(function_id)
        await peer.flush()

        async def ask() -> None:
            if gone == "cancelled":
                with trio.move_on_after(1):
                    await stage.write(operation)
            else:
                with pytest.raises(InvocationTimeoutError):
                    await stage.write(operation, deadline=1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            call = await peer.served(function_id)
            await trio.sleep(2)
            assert stage.events == []
            peer.answer(call, answer)
        await wait_all_tasks_blocked()
        assert stage.events == [event]
        assert stage.engine.engine.statistics().invocations == 0


async def test_an_update_by_get_and_set_is_told_too(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:

        @stage.caller.function("stream::get(chat)")
        async def get(_given: Any) -> Any:
            await trio.sleep(1)

        @stage.caller.function("stream::set(chat)")
        async def set_(given: Any) -> Any:
            await trio.sleep(1)
            return {"new_value": given["data"]}

        with trio.move_on_after(0.5):  # it reads: nothing has begun
            await stage.write("update")
        await trio.sleep(100)
        assert stage.events == []
        with trio.move_on_after(1.5):
            await stage.write("update")
        await wait_all_tasks_blocked()
        assert stage.events == ["create"]


async def test_in_the_end_a_provider_is_cancelled_and_others_may_write(
    autojump_clock: MockClock,
) -> None:
    async with open_stage() as stage:
        ended: list[float] = []

        @stage.caller.function("stream::set(chat)")
        async def set_(given: Any) -> Any:
            if not ended:
                try:
                    await trio.sleep_forever()
                finally:
                    ended.append(trio.current_time())
            await trio.lowlevel.checkpoint()
            return {"new_value": given["data"]}

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.write, "set")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel(reason="no longer wanted")
        assert ended == [pytest.approx(began + FINISH_SECONDS, abs=0.1)]
        await stage.write("set")
        await wait_all_tasks_blocked()
        assert stage.events == ["create"]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_provider_that_hangs_does_not_hold_up_the_end(
    autojump_clock: MockClock, cancelled: bool
) -> None:
    began = trio.current_time()
    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery, open_stage() as stage:

        @stage.caller.function("stream::set(chat)")
        async def hang(_given: Any) -> None:
            await trio.sleep_forever()

        async def ask() -> None:
            with scope, pytest.raises(InvocationStoppedError):
                await stage.write("set")

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        if cancelled:
            scope.cancel(reason="no longer wanted")
            await wait_all_tasks_blocked()
    assert trio.current_time() - began < 1


@pytest.mark.parametrize("operation", WRITES)
def test_a_write_cancelled_anywhere_has_its_event_or_did_not_begin(
    operation: str,
) -> None:
    _, answer, event = WRITES[operation]
    begun: list[Any] = []
    happened: set[bool] = set()

    @asynccontextmanager
    async def setup() -> AsyncIterator[Stage]:
        begun.clear()
        async with open_stage() as stage, stage.engine.open_link_worker("p") as far:

            async def write() -> Any:
                begun.append(event)
                await trio.lowlevel.checkpoint()
                return answer

            far.register_function(f"stream::{operation}(chat)", write)
            await wait_all_tasks_blocked()
            yield stage

    async def scenario(stage: Stage) -> None:
        await stage.write(operation)

    def invariant(stage: Stage) -> None:
        assert stage.events == begun
        happened.add(bool(begun))

    cancel_at_every_step(scenario, invariant, setup=setup)
    assert happened == {True, False}
