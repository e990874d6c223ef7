from collections.abc import Callable

import pytest
import trio
import trio.testing

from iii_trio.app._supervise import RestartPolicy, supervise
from iii_trio.errors import EngineInternalError
from iii_trio.testing import cancel_at_every_step

Starts = list[float]


def crashing_after(seconds: float, starts: Starts, *, times: int = 1_000) -> object:
    """A run that is ready at once and crashes after some time, ``times`` times."""

    async def run(*, task_status: trio.TaskStatus[str]) -> None:
        starts.append(trio.current_time())
        task_status.started("ready")
        await trio.sleep(seconds)
        if len(starts) <= times:
            raise ValueError("boom")

    return run


async def test_run_that_returns_is_not_restarted(autojump_clock: object) -> None:
    starts: Starts = []
    await supervise(crashing_after(1, starts, times=0), name="x")  # type: ignore[arg-type]
    assert len(starts) == 1


async def test_crash_is_followed_by_a_restart_after_a_growing_pause(
    autojump_clock: object,
) -> None:
    starts: Starts = []
    policy = RestartPolicy(first_delay=1.0, max_delay=3.0)
    began = trio.current_time()
    await supervise(crashing_after(0, starts, times=4), name="x", policy=policy)  # type: ignore[arg-type]
    assert [start - began for start in starts] == pytest.approx([0, 1, 3, 6, 9])


async def test_one_crash_too_many_goes_on_with_a_note(autojump_clock: object) -> None:
    starts: Starts = []
    policy = RestartPolicy(max_restarts=2)
    with pytest.raises(ValueError, match="boom") as caught:
        await supervise(crashing_after(1, starts), name="state", policy=policy)  # type: ignore[arg-type]
    assert len(starts) == 3
    assert caught.value.__notes__ == [
        "state crashed more than 2 times within 60 s; giving up"
    ]


async def test_crashes_outside_the_window_are_forgotten(autojump_clock: object) -> None:
    starts: Starts = []
    policy = RestartPolicy(max_restarts=1, window=10.0)
    await supervise(crashing_after(20, starts, times=50), name="x", policy=policy)  # type: ignore[arg-type]
    assert len(starts) == 51


async def test_crash_before_the_first_start_is_not_restarted() -> None:
    calls = 0

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal calls
        calls += 1
        await trio.lowlevel.checkpoint()
        if calls:
            raise OSError("busy")
        task_status.started()

    async with trio.open_nursery() as nursery:
        with pytest.raises(OSError, match="busy"):
            await nursery.start(
                lambda task_status: supervise(run, name="x", task_status=task_status)
            )
    assert calls == 1


async def test_crash_before_a_later_start_counts_as_a_crash(
    autojump_clock: object,
) -> None:
    calls = 0

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            task_status.started()
        await trio.lowlevel.checkpoint()
        raise OSError("busy")

    with pytest.raises(OSError, match="busy"):
        await supervise(run, name="x", policy=RestartPolicy(max_restarts=3))
    assert calls == 4


async def test_every_start_is_reported_but_the_nursery_is_told_once(
    autojump_clock: object,
) -> None:
    starts: Starts = []
    seen: list[object] = []
    on_started: Callable[[object], None] = seen.append
    run = crashing_after(1, starts, times=2)
    async with trio.open_nursery() as nursery:
        value = await nursery.start(
            lambda task_status: supervise(
                run,  # type: ignore[arg-type]
                name="x",
                on_started=on_started,
                task_status=task_status,
            )
        )
        assert value == "ready"
    assert seen == ["ready"] * 3


async def test_cancellation_ends_run_and_pause_at_once(autojump_clock: object) -> None:
    for delay in (0.5, 1.5):
        starts: Starts = []
        policy = RestartPolicy(first_delay=1.0)
        with trio.move_on_after(delay) as scope:
            await supervise(crashing_after(1, starts), name="x", policy=policy)  # type: ignore[arg-type]
        assert scope.cancelled_caught
        assert len(starts) == 1


@pytest.mark.parametrize("grouped", [False, True])
async def test_bugs_of_ours_are_never_caught(grouped: bool) -> None:
    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.lowlevel.checkpoint()
        bug: Exception = EngineInternalError("bug")
        raise ExceptionGroup("", [bug]) if grouped else bug

    with pytest.RaisesGroup(EngineInternalError, allow_unwrapped=True):
        await supervise(run, name="x")


def test_cancelled_anywhere_it_leaves_nothing_running() -> None:
    running: list[str] = []

    async def scenario() -> None:
        starts = 0

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            nonlocal starts
            starts += 1
            running.append("run")
            try:
                await trio.sleep(1)
                task_status.started()
                await trio.sleep(1)
                if starts < 3:
                    raise ValueError("boom")
            finally:
                running.remove("run")

        await supervise(run, name="x")

    assert cancel_at_every_step(scenario, lambda: assert_empty(running)) > 5


def assert_empty(items: list[str]) -> None:
    assert not items


async def test_crash_of_a_task_in_the_run_is_a_crash_of_the_run(
    autojump_clock: object,
) -> None:
    calls = 0

    async def boom() -> None:
        await trio.sleep(1)
        raise ValueError("boom")

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal calls
        calls += 1
        async with trio.open_nursery() as nursery:
            if calls == 1:
                nursery.start_soon(boom)
            task_status.started()
            await trio.sleep(2)

    await supervise(run, name="x")
    assert calls == 2
