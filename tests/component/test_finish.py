"""A write elsewhere is finished, though nobody waits for it any more."""

import logging

import pytest
import trio
from trio.testing import MockClock

from iii_trio.builtins._finish import FINISH_SECONDS, finish
from iii_trio.testing import cancel_at_every_step

pytestmark = pytest.mark.cancellation


async def test_what_nobody_gives_up_may_take_any_time(
    autojump_clock: MockClock,
) -> None:
    async def call() -> int:
        await trio.sleep(10 * FINISH_SECONDS)
        return 1

    assert await finish(call, "a write") == 1


@pytest.mark.parametrize("after", [1.0, FINISH_SECONDS - 1])
async def test_the_result_is_given_as_if_nothing_had_been_cancelled(
    autojump_clock: MockClock, after: float
) -> None:
    async def call() -> int:
        await trio.sleep(5 + after)
        return 1

    with trio.move_on_after(5) as scope:
        result = await finish(call, "a write")
        told = result
        await trio.lowlevel.checkpoint()
        told = 2
    assert scope.cancelled_caught
    assert told == 1
    assert trio.current_time() == pytest.approx(5 + after, abs=0.1)


async def test_in_the_end_it_is_given_up(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    ended: list[float] = []

    async def call() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    began = trio.current_time()
    with trio.move_on_after(5) as scope:
        await finish(call, "stream::set(chat)")
        raise AssertionError
    assert scope.cancelled_caught
    assert ended == [pytest.approx(began + 5 + FINISH_SECONDS, abs=0.1)]
    assert "stream::set(chat) had no answer 5 s after" in caplog.text


async def test_a_second_cancellation_gives_no_more_time(
    autojump_clock: MockClock,
) -> None:
    began = trio.current_time()
    with trio.move_on_after(20), trio.move_on_after(10):
        await finish(trio.sleep_forever, "a write")
    assert trio.current_time() - began == pytest.approx(10 + FINISH_SECONDS, abs=0.1)


async def test_what_ends_while_it_is_given_up_counts(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def call() -> int:
        with trio.move_on_after(FINISH_SECONDS + 2):
            await trio.sleep_forever()
        return 1

    results: list[int] = []
    with trio.move_on_after(1):
        results.append(await finish(call, "a write"))
    assert results == []
    assert caplog.text.count("no answer") == 1

    async def stubborn() -> int:
        with trio.move_on_after(FINISH_SECONDS + 2, shield=True):
            await trio.sleep_forever()
        return 1

    with trio.move_on_after(1):
        results.append(await finish(stubborn, "a write"))
    assert results == [1]
    assert caplog.text.count("no answer") == 1


@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_error_leaves_as_it_is(
    autojump_clock: MockClock, cancelled: bool
) -> None:
    async def call() -> None:
        await trio.sleep(2)
        raise LookupError("gone")

    with trio.move_on_after(1 if cancelled else 3):
        with pytest.raises(LookupError, match="gone"):
            await finish(call, "a write")


def test_it_is_done_and_told_wherever_a_cancellation_strikes() -> None:
    done: list[bool] = []
    told: list[bool] = []

    async def call() -> bool:
        await trio.sleep(1)
        done.append(True)
        await trio.sleep(1)
        return True

    async def scenario() -> None:
        done.clear()
        told.clear()
        told.append(await finish(call, "a write"))

    def invariant() -> None:
        assert told == done == [True]

    cancel_at_every_step(scenario, invariant)
