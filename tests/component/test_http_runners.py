"""Runners: requests that do not wait share a task, those that wait have one each."""

from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from types import coroutine
from typing import Any, final

import pytest
import trio
import trio.testing

from iii_trio.builtins.http._runners import IDLE_RUNNERS, Run, Runners
from tests.component.http_rig import open_http_rig

NAME: ContextVar[str] = ContextVar("NAME", default="nobody")


@final
class _Maybe:
    """Awaits something or nothing."""

    def __init__(self, waiting: Awaitable[None] | None) -> None:
        self._waiting = waiting

    def __await__(self) -> Generator[Any, Any, None]:
        if self._waiting is not None:
            yield from self._waiting.__await__()


@final
class Job:
    """A request that a test makes up."""

    def __init__(
        self,
        work: "Work",
        *,
        timeout: float = 30.0,
        name: str = "job",
    ) -> None:
        self.work = work
        self.timeout = timeout
        self.name = name
        self.own: trio.CancelScope | None = None
        self.scope: trio.CancelScope | None = None
        self.task: trio.lowlevel.Task | None = None
        self.was_cancelled = False
        self.was_dropped = ""
        self.done = trio.Event()

    async def run(self, scope: trio.CancelScope) -> None:
        self.scope = scope
        self.task = trio.lowlevel.current_task()
        await _Maybe(self.work(self))
        self.done.set()

    def keep(self, scope: trio.CancelScope) -> None:
        self.own = scope

    def cancelled(self) -> None:
        self.was_cancelled = True
        self.done.set()

    def drop(self, reason: str) -> None:
        self.was_dropped = reason


Work = Callable[[Job], Awaitable[None] | None]


def at_once(job: Job) -> None:
    """Work that does not wait."""


async def briefly(job: Job) -> None:
    await trio.lowlevel.checkpoint()


async def for_ever(job: Job) -> None:
    await trio.sleep_forever()


def test_jobs_of_tests_are_requests() -> None:
    run: Run = Job(at_once)
    assert run.timeout == 30


async def test_requests_that_do_not_wait_share_one_task_and_scope() -> None:
    async with trio.open_nursery() as nursery:
        runners = Runners(nursery, turn=60)
        jobs = [Job(at_once) for _ in range(5)]
        for job in jobs:
            runners.submit(job)
        await jobs[-1].done.wait()
        assert len({job.task for job in jobs}) == 1
        assert len({job.scope for job in jobs}) == 1
        assert all(job.own is None for job in jobs)
        nursery.cancel_scope.cancel(reason="test over")


async def test_who_waits_does_not_hold_the_others_up() -> None:
    async with trio.open_nursery() as nursery:
        runners = Runners(nursery)
        order: list[int] = []

        def numbered(number: int) -> Work:
            def work(job: Job) -> Awaitable[None] | None:
                order.append(number)
                return for_ever(job) if number % 2 else None

            return work

        jobs = [Job(numbered(number)) for number in range(6)]
        for job in jobs:
            runners.submit(job)
        await trio.testing.wait_all_tasks_blocked()
        assert order == [0, 1, 2, 3, 4, 5], "in the order they came"
        waiting = [jobs[n] for n in (1, 3, 5)]
        assert len({job.task for job in waiting}) == 3
        assert len({job.own for job in waiting}) == 3
        for job in waiting:
            job.own.cancel(reason="the test says so")  # type: ignore[union-attr]
        await trio.testing.wait_all_tasks_blocked()
        assert [job.was_cancelled for job in jobs] == [False, True] * 3
        nursery.cancel_scope.cancel(reason="test over")


async def test_runners_are_used_again_and_few_are_kept() -> None:
    async with trio.open_nursery() as nursery:
        runners = Runners(nursery)
        for _ in range(3):
            gate = trio.Event()

            async def wait(job: Job, gate: trio.Event = gate) -> None:
                await gate.wait()

            jobs = [Job(wait) for _ in range(IDLE_RUNNERS + 10)]
            for job in jobs:
                runners.submit(job)
            await trio.testing.wait_all_tasks_blocked()
            gate.set()
            await trio.testing.wait_all_tasks_blocked()
            assert all(job.done.is_set() for job in jobs)
            assert len({job.task for job in jobs}) == len(jobs)
            assert len(nursery.child_tasks) == IDLE_RUNNERS
        job = Job(briefly)
        runners.submit(job)
        await job.done.wait()
        assert len(nursery.child_tasks) == IDLE_RUNNERS
        nursery.cancel_scope.cancel(reason="test over")


async def test_each_request_has_a_context_of_its_own() -> None:
    async with trio.open_nursery() as nursery:
        runners = Runners(nursery)
        seen: list[str] = []
        seen_later: list[str] = []

        async def look_again(job: Job) -> None:
            await trio.lowlevel.checkpoint()
            seen_later.append(NAME.get())
            NAME.set("somebody")

        def rename(job: Job) -> Awaitable[None] | None:
            seen.append(NAME.get())
            NAME.set(job.name)
            return look_again(job) if job.name == "patient" else None

        for name in ("first", "patient", "last"):
            runners.submit(Job(rename, name=name))
        await trio.testing.wait_all_tasks_blocked()
        assert (seen, seen_later) == (["nobody"] * 3, ["patient"])
        runners.submit(Job(rename))
        await trio.testing.wait_all_tasks_blocked()
        assert seen[-1] == "nobody", "the runner's own context stays as it was"
        nursery.cancel_scope.cancel(reason="test over")


async def test_a_task_is_named_after_the_request_that_keeps_it() -> None:
    async with trio.open_nursery() as nursery:
        runners = Runners(nursery)
        job = Job(for_ever, name="http GET /a")
        runners.submit(job)
        await trio.testing.wait_all_tasks_blocked()
        assert job.task is not None
        assert job.task.name == "http GET /a"
        assert job.own is not None
        job.own.cancel(reason="the test says so")
        await job.done.wait()
        assert job.task.name == "http requests"
        nursery.cancel_scope.cancel(reason="test over")


async def test_each_request_has_its_own_time(autojump_clock: trio.abc.Clock) -> None:
    async with trio.open_nursery() as nursery:
        runners = Runners(nursery)
        deadlines: list[float] = []

        async def wait(job: Job) -> None:
            deadlines.append(trio.current_effective_deadline())
            await trio.sleep_forever()

        began = trio.current_time()
        slow, fast = Job(wait, timeout=20), Job(wait, timeout=10)
        for job in (Job(at_once, timeout=10), slow, Job(at_once, timeout=20), fast):
            runners.submit(job)
        await fast.done.wait()
        assert trio.current_time() - began == pytest.approx(10)
        await slow.done.wait()
        assert trio.current_time() - began == pytest.approx(20)
        assert slow.was_cancelled
        assert fast.was_cancelled
        assert deadlines[0] == pytest.approx(began + 10), "of the first of the turn"
        nursery.cancel_scope.cancel(reason="test over")


async def test_a_scope_that_was_cancelled_in_vain_is_not_used_again() -> None:
    async with trio.open_nursery() as nursery:
        runners = Runners(nursery)

        def cancel(job: Job) -> None:
            assert job.scope is not None
            job.scope.cancel(reason="the test says so")

        first, second = Job(cancel), Job(briefly)
        runners.submit(first)
        runners.submit(second)
        await second.done.wait()
        assert not first.was_cancelled
        assert not second.was_cancelled
        nursery.cancel_scope.cancel(reason="test over")


async def test_others_get_their_turn_between_requests() -> None:
    async with trio.open_nursery() as nursery:
        runners = Runners(nursery, turn=0)
        order: list[str] = []

        async def other(number: int) -> None:
            await trio.lowlevel.checkpoint()
            order.append(f"other {number}")

        def look(job: Job) -> None:
            order.append(job.name)
            nursery.start_soon(other, len(order))

        for _ in range(3):
            runners.submit(Job(look))
        await trio.testing.wait_all_tasks_blocked()
        assert "other 1" in order[:-2], "before the last request"
        nursery.cancel_scope.cancel(reason="test over")


async def test_who_was_not_begun_when_the_runners_ended_is_dropped() -> None:
    async with trio.open_nursery() as nursery:
        runners = Runners(nursery, turn=0)

        def end(_job: Job) -> None:
            nursery.cancel_scope.cancel(reason="the test says so")

        jobs = [Job(end), Job(for_ever), Job(at_once)]
        for job in jobs:
            runners.submit(job)
    assert [job.task is None for job in jobs] == [False, True, True]
    runners.close("the runners ended")
    assert [job.was_dropped for job in jobs] == ["", *["the runners ended"] * 2]


async def test_a_runner_that_comes_when_all_were_dropped_does_nothing() -> None:
    async with trio.open_nursery() as nursery:
        runners = Runners(nursery)
        dropped, later = Job(at_once), Job(at_once)
        runners.submit(dropped)
        runners.close("no more")
        await trio.testing.wait_all_tasks_blocked()
        assert (dropped.was_dropped, dropped.task) == ("no more", None)
        runners.submit(later)
        await later.done.wait()
        nursery.cancel_scope.cancel(reason="test over")


@pytest.mark.parametrize("waits", [False, True])
async def test_a_request_that_fails_is_a_crash(waits: bool) -> None:
    def crash(job: Job) -> None:
        raise ZeroDivisionError

    async def crash_later(job: Job) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with trio.open_nursery() as nursery:
            Runners(nursery).submit(Job(crash_later if waits else crash))
            await trio.sleep_forever()


@coroutine
def _say(what: str) -> Generator[str, Any, Any]:
    return (yield what)


async def test_what_trio_throws_reaches_the_request() -> None:
    async with trio.open_nursery() as nursery:
        runners = Runners(nursery)

        async def talk_nonsense(job: Job) -> None:
            with pytest.raises(TypeError, match="nonsense"):
                await _say("nonsense")
            await trio.lowlevel.checkpoint()

        job = Job(talk_nonsense)
        runners.submit(job)
        await job.done.wait()
        nursery.cancel_scope.cancel(reason="test over")


async def test_handlers_that_wait_for_each_other_all_run() -> None:
    async with open_http_rig() as rig:
        everybody = trio.Event()
        here = 0

        async def meet(_payload: object) -> int:
            nonlocal here
            here += 1
            if here == 100:
                everybody.set()
            await everybody.wait()
            return here

        await rig.serve("GET", "/meet", meet)
        exchanges = [rig.start("GET", "/meet") for _ in range(100)]
        for exchange in exchanges:
            await exchange.done.wait()
            assert (exchange.status, exchange.json()) == (200, 100)


async def test_a_handler_that_does_not_wait_is_told_its_deadline(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with open_http_rig(default_timeout=5000) as rig:

        async def time_left() -> float:
            left = trio.current_effective_deadline() - trio.current_time()
            await trio.lowlevel.checkpoint()
            return left

        rig.client.register_function("left", time_left)
        await rig.bind("GET", "/left", "left")
        exchange = await rig.request("GET", "/left")
        assert exchange.json() == pytest.approx(5)
