"""Deadlines, the number of requests at once, clients that leave, new settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from iii_trio.builtins.http import CORSConfig, HTTPConfig, MiddlewareConfig
from iii_trio.testing import cancel_at_every_step
from tests.component.http_rig import HTTPRig, MemoryExchange, open_http_rig


class Gate:
    """A handler that waits, and knows how its calls ended."""

    def __init__(self) -> None:
        self.opened = trio.Event()
        self.started = 0
        self.cancelled = 0

    async def __call__(self, _payload: Any) -> Any:
        self.started += 1
        try:
            await self.opened.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return {"body": "done"}


async def serve_gate(rig: HTTPRig, path: str = "/a", **config: Any) -> Gate:
    gate = Gate()
    await rig.serve("GET", path, gate, **config)
    return gate


# Deadlines


async def test_a_slow_handler_is_a_504_and_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_http_rig(default_timeout=1500) as rig:
        gate = await serve_gate(rig)
        began = trio.current_time()
        answer = await rig.request("GET", "/a")
        assert trio.current_time() - began == 1.5
        assert answer.error() == (504, "TIMEOUT", "no response within 1500 ms")
        assert answer.values("access-control-allow-origin") == ["*"]
        assert answer.json()["error"]["error_id"]
        await rig.settle()
        assert gate.cancelled == 1
        assert rig.is_idle()


async def test_slow_middleware_is_a_504_of_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    middleware = (MiddlewareConfig(function_id="on::GET /m"),)
    async with open_http_rig(middleware=middleware) as rig:
        gate = await serve_gate(rig, "/m")
        calls = await rig.serve("GET", "/a", 1)
        answer = await rig.request("GET", "/a")
        assert answer.error() == (504, "MIDDLEWARE_TIMEOUT", "Middleware timeout")
        assert "error_id" not in answer.json()["error"]
        assert (calls, gate.cancelled) == ([], 1)


async def test_slow_middleware_of_a_route_is_a_504_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_http_rig() as rig:
        await serve_gate(rig, "/m")
        await rig.serve("GET", "/a", 1, middleware_function_ids=["on::GET /m"])
        answer = await rig.request("GET", "/a")
        assert answer.error()[1] == "MIDDLEWARE_TIMEOUT"


async def test_a_slow_condition_is_a_504(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_http_rig() as rig:
        await serve_gate(rig, "/m")
        calls = await rig.serve("GET", "/a", 1, condition_function_id="on::GET /m")
        answer = await rig.request("GET", "/a")
        assert (answer.error()[:2], calls) == ((504, "TIMEOUT"), [])


# Clients that leave


async def test_a_client_that_hangs_up_cancels_the_handler() -> None:
    async with open_http_rig() as rig:
        gate = await serve_gate(rig)
        exchange = rig.start("GET", "/a")
        await rig.settle()
        exchange.hang_up()
        await rig.settle()
        assert (gate.started, gate.cancelled) == (1, 1)
        assert exchange.status == 0
        assert rig.is_idle()


@pytest.mark.parametrize(
    "asked",
    [
        {"condition_function_id": "on::GET /m"},
        {"middleware_function_ids": ["on::GET /m"]},
    ],
)
async def test_a_client_that_hangs_up_cancels_condition_and_middleware(
    asked: dict[str, Any],
) -> None:
    async with open_http_rig() as rig:
        gate = await serve_gate(rig, "/m")
        calls = await rig.serve("GET", "/a", 1, **asked)
        exchange = rig.start("GET", "/a")
        await rig.settle()
        exchange.hang_up()
        await rig.settle()
        assert (gate.cancelled, calls) == (1, [])
        assert rig.is_idle()


async def test_a_client_that_hangs_up_before_its_task_runs_costs_nothing() -> None:
    async with open_http_rig() as rig:
        calls = await rig.serve("GET", "/a", 1)
        exchange = rig.start("GET", "/a")
        exchange.hang_up()
        await rig.settle()
        assert rig.is_idle()
        assert (calls, exchange.status) == ([], 0)


# How many at once


async def test_requests_over_the_limit_wait_and_then_are_refused() -> None:
    async with open_http_rig(concurrency_request_limit=2) as rig:
        gate = await serve_gate(rig)
        exchanges = [rig.start("GET", "/a") for _ in range(5)]
        await rig.settle()
        assert gate.started == 2
        refused = exchanges[4]
        assert refused.error()[:2] == (503, "SERVICE_UNAVAILABLE")
        assert refused.values("retry-after") == ["1"]
        assert refused.values("access-control-allow-origin") == ["*"]
        gate.opened.set()
        for exchange in exchanges[:4]:
            await exchange.done.wait()
        assert [exchange.status for exchange in exchanges] == [200] * 4 + [503]
        await rig.settle()
        assert rig.is_idle()


async def test_the_wait_for_a_place_does_not_count_against_the_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handler(_payload: Any) -> None:
        await trio.sleep(0.9)

    async with open_http_rig(concurrency_request_limit=1, default_timeout=1000) as rig:
        await rig.serve("GET", "/a", handler)
        first, second = rig.start("GET", "/a"), rig.start("GET", "/a")
        await first.done.wait()
        await second.done.wait()
        assert (first.status, second.status) == (200, 200)


async def test_who_hangs_up_while_waiting_leaves_its_place() -> None:
    async with open_http_rig(concurrency_request_limit=1) as rig:
        gate = await serve_gate(rig)
        first, second = rig.start("GET", "/a"), rig.start("GET", "/a")
        second.hang_up()
        third = rig.start("GET", "/a")
        await rig.settle()
        assert third.status == 0
        gate.opened.set()
        await first.done.wait()
        await third.done.wait()
        await rig.settle()
        assert (gate.started, second.status, third.status) == (2, 0, 200)


async def test_requests_without_a_route_take_no_place() -> None:
    async with open_http_rig(concurrency_request_limit=1) as rig:
        await serve_gate(rig)
        rig.start("GET", "/a")
        rig.start("GET", "/a")
        assert (await rig.request("GET", "/nothing")).status == 404
        assert (await rig.request("OPTIONS", "/a")).status == 200


# New settings


async def test_new_settings_hold_for_new_requests(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_http_rig() as rig:
        await serve_gate(rig)
        old = rig.start("GET", "/a")
        await rig.settle()
        rig.dispatcher.reconfigure(
            HTTPConfig(default_timeout=1000, cors=CORSConfig(allowed_origins=("x",)))
        )
        new = await rig.request("GET", "/a")
        assert (new.status, new.values("access-control-allow-origin")) == (504, [])
        assert old.status == 0
        await old.done.wait()
        assert old.values("access-control-allow-origin") == ["*"]


async def test_a_larger_limit_lets_those_who_wait_in() -> None:
    async with open_http_rig(concurrency_request_limit=1) as rig:
        gate = await serve_gate(rig)
        rig.start("GET", "/a")
        rig.start("GET", "/a")
        await rig.settle()
        assert gate.started == 1
        rig.dispatcher.reconfigure(HTTPConfig(concurrency_request_limit=2))
        await rig.settle()
        assert gate.started == 2


async def test_any_number_that_waited_is_answered_when_their_worker_is_gone() -> None:
    async with open_http_rig(concurrency_request_limit=1000) as rig:
        gate = await serve_gate(rig)
        await rig.bind("GET", "/gone", "nobody::here")
        running = [rig.start("GET", "/a") for _ in range(1000)]
        waiting = [rig.start("GET", "/gone") for _ in range(1000)]
        await rig.settle()
        gate.opened.set()
        for exchange in running + waiting:
            await exchange.done.wait()
        assert {exchange.status for exchange in running} == {200}
        assert {exchange.error()[1] for exchange in waiting} == {"function_not_found"}
        assert rig.is_idle()


async def test_nothing_is_started_or_left_after_the_end() -> None:
    started = trio.Event()

    async def hang() -> None:
        started.set()
        await trio.sleep_forever()

    async with open_http_rig(concurrency_request_limit=1) as rig:
        async with rig.under_test.open_link_worker("far") as far:
            far.register_function("far::hang", hang)
            await far.bind("http", "far::hang", {"api_path": "/a"})
            await rig.settle()
            first, second = rig.start("GET", "/a"), rig.start("GET", "/a")
            await started.wait()
            rig.dispatcher.close()
            first.hang_up()  # the door drops them, one after the other
            second.hang_up()
            await rig.settle()
            assert (first.status, second.status) == (0, 0)
            assert rig.dispatcher.admission.running == 0
            assert rig.under_test.engine.statistics().invocations == 0


async def test_whoever_waits_is_not_begun_when_all_are_cancelled() -> None:
    async with open_http_rig(concurrency_request_limit=1) as rig:
        gate = await serve_gate(rig)
        async with rig.under_test.open_link_worker("far") as far:
            await far.bind("http", "far::f", {"api_path": "/far"})
            await rig.settle()
            rig.start("GET", "/a")
            await rig.settle()
            waiting = rig.start("GET", "/far")
            rig.nursery.cancel_scope.cancel(reason="the worker ends")
            with trio.CancelScope(shield=True):
                await rig.settle()
            assert gate.cancelled == 1
            assert waiting.status == 0  # begun, it would have been told of its failure


async def test_whoever_waits_is_begun_when_another_client_hangs_up() -> None:
    async with open_http_rig(concurrency_request_limit=1) as rig:
        gate = await serve_gate(rig)
        first, second = rig.start("GET", "/a"), rig.start("GET", "/a")
        await rig.settle()
        first.hang_up()
        await rig.settle()
        assert (gate.started, gate.cancelled) == (2, 1)
        gate.opened.set()
        await second.done.wait()
        assert second.status == 200


# Cancellation


@pytest.mark.parametrize("path", ["/a", "/channels"])
def test_a_request_cancelled_at_any_step_leaves_nothing_behind(path: str) -> None:
    @asynccontextmanager
    async def setup() -> AsyncIterator[HTTPRig]:
        async with open_http_rig() as rig:
            await rig.serve("POST", "/m", {"action": "continue"})
            await rig.serve(
                "POST",
                path,
                {"body": 1},
                channels=path == "/channels",
                condition_function_id="on::POST /m",
                middleware_function_ids=["on::POST /m"],
            )
            yield rig

    async def scenario(rig: HTTPRig) -> None:
        run = rig.run_of(MemoryExchange("POST", path, (), [b"{}"]))
        with trio.CancelScope() as scope:
            run.keep(scope)
            await run.run(scope)

    def invariant(rig: HTTPRig) -> None:
        assert rig.is_idle()
        statistics = rig.under_test.engine.statistics()
        assert (statistics.invocations, statistics.channels) == (0, 0)

    assert cancel_at_every_step(scenario, invariant, setup=setup) > 5
