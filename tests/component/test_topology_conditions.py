"""Conditions of triggers that hear of workers and functions."""

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.engine._topology import CONDITION_SECONDS, MAX_WAITING
from iii_trio.errors import FunctionFailedError
from iii_trio.protocol import Event, TriggerChanged
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.worker import Worker
from tests.component.worker_kinds import Hanging

WORKERS, FUNCTIONS = "engine::workers-available", "engine::functions-available"


async def listen(worker: Worker, trigger_type: str, condition: str) -> list[Any]:
    heard: list[Any] = []

    async def hear(event: Any) -> None:
        await trio.lowlevel.checkpoint()
        heard.append(event)

    worker.register_function("on::event", hear)
    await worker.bind(trigger_type, "on::event", condition=condition, trigger_id="t")
    return heard


async def come_and_go(t: EngineUnderTest, times: int) -> None:
    await trio.lowlevel.checkpoint()
    for _ in range(times):
        peer = t.connect_raw_peer()
        peer.announce("passing")
        await wait_all_tasks_blocked()
        peer.close()
        await wait_all_tasks_blocked()


def kinds(events: list[Any]) -> list[str]:
    return [event["event"].removeprefix("worker_") for event in events]


async def test_a_condition_chooses_among_the_events(autojump_clock: MockClock) -> None:
    async with open_test_engine() as t, t.open_worker("listener") as worker:

        @worker.function("is::loss")
        async def is_loss(event: Any) -> bool:
            await trio.lowlevel.checkpoint()
            return bool(event["event"] == "worker_disconnected")

        heard = await listen(worker, WORKERS, "is::loss")
        await come_and_go(t, 2)
        row = await worker.invoke("engine::registered-triggers::info", {"id": "t"})
    assert kinds(heard) == ["disconnected"] * 2
    assert (row["fired"], row["state"]) == (2, "invoked")


async def test_functions_are_told_if_the_condition_says_so(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("listener") as worker:

        @worker.function("is::shop")
        async def is_shop(event: Any) -> bool:
            await trio.lowlevel.checkpoint()
            return any(row["function_id"] == "shop::a" for row in event["functions"])

        heard = await listen(worker, FUNCTIONS, "is::shop")
        await trio.sleep(1)
        async with t.open_raw_peer("shop", "shop::a"):
            await trio.sleep(1)
        await trio.sleep(1)
    assert len(heard) == 1


async def test_a_slow_condition_keeps_the_order_and_drops_what_is_too_much(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_test_engine() as t, t.open_worker("listener") as worker:
        asked: list[int] = []

        @worker.function("is::slow")
        async def is_slow(event: Any) -> bool:
            asked.append(event["revision"])
            await trio.sleep(5 if len(asked) % 2 else 1)
            return True

        heard = await listen(worker, WORKERS, "is::slow")
        await come_and_go(t, MAX_WAITING)
        await trio.sleep(5 * MAX_WAITING)
    revisions = [event["revision"] for event in heard]
    assert revisions == sorted(revisions) == asked
    assert len(heard) == MAX_WAITING
    assert f"its condition is {MAX_WAITING} events behind" in caplog.text


@pytest.mark.parametrize("fault", ["missing", "failing", "stuck"])
async def test_a_condition_that_fails_skips_the_event(
    fault: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_test_engine() as t, t.open_worker("listener") as worker:

        @worker.function("is::failing")
        async def fail(_event: Any) -> None:
            await trio.lowlevel.checkpoint()
            raise FunctionFailedError("no idea", code="X")

        @worker.function("is::stuck")
        async def hang(_event: Any) -> None:
            await trio.sleep_forever()

        heard = await listen(worker, WORKERS, f"is::{fault}")
        with caplog.at_level(logging.WARNING, logger="iii_trio.engine.topology"):
            await come_and_go(t, 1)
            await trio.sleep(4 * CONDITION_SECONDS)
    assert heard == []
    assert caplog.text.count("condition failed, event skipped") == 3


@pytest.mark.parametrize("end", ["unbound", "replaced", "its worker is gone"])
async def test_a_condition_is_cancelled_with_its_trigger(
    end: str, autojump_clock: MockClock
) -> None:
    hanging = Hanging()
    async with open_test_engine() as t, t.open_worker("judge") as judge:
        judge.register_function("is::late", hanging)
        async with t.open_worker("listener") as worker:
            heard = await listen(worker, WORKERS, "is::late")
            await come_and_go(t, 1)
            assert hanging.reasons == []
            if end == "unbound":
                worker.unbind("t")
            elif end == "replaced":
                await worker.bind(WORKERS, "on::event", trigger_id="t")
            await wait_all_tasks_blocked()
            assert len(hanging.reasons) == (end != "its worker is gone")
            if end == "replaced":
                await come_and_go(t, 1)
        await wait_all_tasks_blocked()
        assert hanging.reasons == ["trigger t is gone"]
        assert t.engine._topology._asked == {}
        await trio.sleep(1)
        assert t.engine.statistics().invocations == 0
        assert t.engine.statistics().timers == 0
    assert len(heard) == (3 if end == "replaced" else 0)


async def test_a_trigger_that_another_one_ended_hears_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("listener") as worker:
        heard = await listen(worker, WORKERS, "is::missing")

        @t.engine.subscribe
        def end_the_others(event: Event) -> None:
            if isinstance(event, TriggerChanged) and event.state == "invoked":
                worker.unbind("t")

        worker.unbind("t")
        await worker.bind(WORKERS, "on::event", trigger_id="first")
        await worker.bind(WORKERS, "on::event", condition="is::missing", trigger_id="t")
        await come_and_go(t, 1)
        assert t.engine._topology._asked == {}
    assert kinds(heard)[0] == "connected"


async def test_a_trigger_that_its_own_event_ended_hears_no_other(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("listener") as worker:
        go_on = trio.Event()

        @worker.function("is::late")
        async def is_late(_event: Any) -> bool:
            await go_on.wait()
            return True

        heard = await listen(worker, WORKERS, "is::late")

        @t.engine.subscribe
        def end_it(event: Event) -> None:
            if isinstance(event, TriggerChanged) and event.state == "invoked":
                worker.unbind("t")

        await come_and_go(t, 1)
        go_on.set()
        await wait_all_tasks_blocked()
        assert t.engine._topology._asked == {}
        assert t.engine.statistics().invocations == 0
    assert kinds(heard) == ["connected"]


async def test_a_condition_that_ends_a_worker_hears_of_that_next(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("listener") as worker:
        victim = t.connect_raw_peer()
        victim.announce("victim")
        await wait_all_tasks_blocked()

        @worker.function("is::deadly")
        async def is_deadly(_event: Any) -> bool:
            victim.cut()
            await wait_all_tasks_blocked()
            return True

        heard = await listen(worker, WORKERS, "is::deadly")
        await come_and_go(t, 1)
        await trio.sleep(1)
    assert kinds(heard)[0] == "connected"
    assert sorted(kinds(heard)) == sorted(
        ["connected", "metadata_updated", "disconnected", "disconnected"]
    )
