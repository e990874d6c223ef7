"""Functions that say that their handlers are brief: calls in process without a scope."""

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from iii_trio.errors import (
    InvocationError,
    InvocationStoppedError,
    InvocationTimeoutError,
)
from iii_trio.testing import cancel_at_every_step, open_test_engine
from iii_trio.worker import Worker

pytestmark = pytest.mark.cancellation


class Commit:
    """A handler that waits for one thing, and can be cancelled while it does."""

    def __init__(self, worker: Worker) -> None:
        self.began = trio.Event()
        self.may_end = trio.Event()
        self.ended = ""
        worker.register_function("commit", self, brief=True)

    async def __call__(self) -> str:
        self.began.set()
        try:
            await self.may_end.wait()
        except trio.Cancelled:
            self.ended = "cancelled"
            raise
        self.ended = "done"
        return "done"


async def test_a_brief_call_gives_its_result() -> None:
    async with open_test_engine() as under_test:
        async with under_test.open_worker("callee") as callee:
            commit = Commit(callee)
            commit.may_end.set()
            assert await callee.invoke("commit") == "done"
        assert under_test.engine.statistics().invocations == 0


async def test_cancelling_the_caller_cancels_a_brief_handler() -> None:
    async with open_test_engine() as under_test:
        async with under_test.open_worker("callee") as callee:
            commit = Commit(callee)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(callee.invoke, "commit")
                await commit.began.wait()
                nursery.cancel_scope.cancel(reason="test")
            assert commit.ended == "cancelled"
        assert under_test.engine.statistics().invocations == 0


async def test_a_deadline_cancels_a_brief_handler(autojump_clock: MockClock) -> None:
    async with open_test_engine() as under_test:
        async with under_test.open_worker("callee") as callee:
            commit = Commit(callee)
            with pytest.raises(InvocationTimeoutError):
                await callee.invoke("commit", deadline=5)
            assert commit.ended == "cancelled"


async def test_a_brief_handler_ends_though_its_worker_is_gone_its_caller_is_told() -> (
    None
):
    stopped: list[str] = []

    async def call(worker: Worker) -> None:
        with pytest.raises(InvocationStoppedError) as caught:
            await worker.invoke("commit")
        stopped.append(caught.value.code)

    async with open_test_engine() as under_test:
        async with (
            under_test.open_worker("caller") as caller,
            trio.open_nursery() as nursery,
        ):
            async with under_test.open_worker("callee") as callee:
                commit = Commit(callee)
                nursery.start_soon(call, caller)
                await commit.began.wait()
            assert not stopped
            commit.may_end.set()
        assert commit.ended == "done"
        assert stopped == ["invocation_stopped"]
        assert under_test.engine.statistics().invocations == 0


async def test_a_brief_call_is_a_checkpoint_also_when_it_fails() -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise ValueError

    async with open_test_engine() as under_test:
        async with under_test.open_worker("callee") as callee:
            callee.register_function("fail", fail, brief=True)
            for function_id in ("fail", "absent"):
                with trio.testing.assert_checkpoints(), pytest.raises(InvocationError):
                    await callee.invoke(function_id)


def test_a_brief_call_is_made_completely_or_not_at_all() -> None:
    counts: list[int] = []

    async def scenario() -> None:
        async with open_test_engine() as under_test:
            async with under_test.open_worker("callee") as callee:
                count = 0

                async def add() -> int:
                    nonlocal count
                    await trio.lowlevel.checkpoint()
                    count += 1
                    return count

                callee.register_function("add", add, brief=True)
                try:
                    await callee.invoke("add")
                finally:
                    counts.append(count)
                    assert under_test.engine.statistics().invocations == 0

    cancel_at_every_step(scenario, lambda: None)
    assert set(counts) == {0, 1}
