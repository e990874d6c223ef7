"""Time of tests: wall time that follows Trio's clock, and runs with a virtual one."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar, final

import attrs
import trio
from trio.testing import MockClock

from iii_trio._util import open_background_nursery

T = TypeVar("T")

YEAR: Final = 366 * 86400.0
"""Seconds of virtual time after which a test is taken to wait for ever."""

EPOCH: Final = 1_767_225_600.0
"""Where wall time begins in tests, seconds since 1970: 1 January 2026, UTC."""


@final
@attrs.define(eq=False)
class Clock:
    """Wall time for a test: an epoch plus the time of the Trio run.

    Give the object itself wherever ``now`` is wanted. Under a `trio.testing.MockClock`
    wall time jumps together with all sleeps.

    Attributes:
        epoch: wall time when the clock is made, seconds since 1970.
    """

    epoch: float = EPOCH
    _origin: float = attrs.field(init=False, factory=trio.current_time)

    def __call__(self) -> float:
        """Wall time now, seconds since 1970."""
        return self.epoch + trio.current_time() - self._origin


def is_virtual() -> bool:
    """Tell whether the clock of the current Trio run jumps when all tasks sleep."""
    clock = trio.lowlevel.current_clock()
    return isinstance(clock, MockClock) and clock.autojump_threshold != math.inf


def run(
    main: Callable[..., Awaitable[T]],
    *args: Any,  # noqa: ANN401 - those of main
    seed: int = 0,
    time_limit: float = 2 * YEAR,
) -> T:
    """Run an async function with virtual time: sleeps end at once, in their order.

    Like ``trio.run``, for harnesses without pytest-trio.

    Args:
        main: what to run.
        args: its arguments.
        seed: of the order in which tasks run that could run at the same time; the same
            seed gives the same run.
        time_limit: seconds of virtual time that it may take.

    Returns:
        What ``main`` returned.

    Raises:
        trio.TooSlowError: the time limit passed, most likely because ``main`` waits for
            something that never comes.
    """
    with repeatable(seed):
        return trio.run(
            _run_limited,
            main,
            args,
            time_limit,
            clock=MockClock(autojump_threshold=0),
        )


async def _run_limited(
    main: Callable[..., Awaitable[T]], args: tuple[Any, ...], seconds: float
) -> T:
    async with ending_within(seconds):
        result = await main(*args)
    return result  # noqa: RET504 - inside, mypy takes the block for one that swallows


@asynccontextmanager
async def ending_within(
    seconds: float, more: Callable[[], str] = str
) -> AsyncIterator[None]:
    """End a block that takes longer, also where it waits in a shield.

    Args:
        seconds: the limit; of virtual time, which passes at once when all tasks wait.
        more: what else is to be told, looked up when the limit has passed.

    Raises:
        trio.TooSlowError: it has.
    """
    texts: list[str] = []
    task = trio.lowlevel.current_task()

    async def watch(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep(seconds)
        texts.append(
            f"still running after {seconds:.0f} seconds of virtual time: "
            "this waits for something that never comes"
        )
        texts.append(more())
        scope.cancel(reason="the time limit passed")
        _lift_shields(task)

    with trio.CancelScope() as scope:
        async with open_background_nursery("the block ended in time") as nursery:
            await nursery.start(watch, name="time limit")  # no step of it comes later
            yield
    if texts:
        raise trio.TooSlowError("; ".join(filter(None, texts)))


def _lift_shields(task: trio.lowlevel.Task) -> None:
    """Let a task and what it started be cancelled; how they are nested is not public."""
    status: Any = task._cancel_status  # noqa: SLF001
    while status is not None:
        status._scope.shield = False  # noqa: SLF001
        status = status._parent  # noqa: SLF001
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            _lift_shields(child)


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Let Trio choose by ``seed`` which of the tasks that may run comes first.

    Uses what Trio has for Hypothesis, and is not public. A Trio without it runs as well,
    in an order of its own each time.
    """
    scheduler: Any = trio._core._run  # noqa: SLF001
    chance = getattr(scheduler, "_r", None)
    if chance is None:  # pragma: no cover - no such Trio is known
        yield
        return
    name = "_ALLOW_DETERMINISTIC_SCHEDULING"
    before = getattr(scheduler, name), chance.getstate()
    setattr(scheduler, name, True)
    chance.seed(seed)
    try:
        yield
    finally:
        setattr(scheduler, name, before[0])
        chance.setstate(before[1])
