"""cancel_at_every_step: is everything in order wherever a cancellation strikes?"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar, final, overload

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

T = TypeVar("T")

MAX_STEPS: Final = 10_000
"""A scenario that is not done after so many scheduler steps is taken for endless."""


@final
class _CancelAtStep(trio.abc.Instrument):
    """Cancels a scope before the n-th scheduler step of the tasks inside it."""

    def __init__(self, step: float) -> None:
        self._step = step
        self.taken = 0
        self.task: trio.lowlevel.Task | None = None
        self.scope = trio.CancelScope()

    def enter(self) -> None:
        """The current task begins the scenario: this is its first step."""
        self.task = trio.lowlevel.current_task()
        self._count()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.task is not None and self._is_inside(task):
            self._count()

    def _count(self) -> None:
        self.taken += 1
        if self.taken == self._step:
            self.scope.cancel(reason=f"cancelled at step {self._step}")

    def _is_inside(self, task: trio.lowlevel.Task | None) -> bool:
        while task is not None and task is not self.task:
            nursery = task.parent_nursery
            task = None if nursery is None else nursery.parent_task
        return task is not None


@overload
def cancel_at_every_step(
    scenario: Callable[[], Awaitable[object]],
    invariant: Callable[[], object] = ...,
) -> int: ...


@overload
def cancel_at_every_step(
    scenario: Callable[[T], Awaitable[object]],
    invariant: Callable[[T], object] = ...,
    *,
    setup: Callable[[], AbstractAsyncContextManager[T]],
) -> int: ...


def cancel_at_every_step(
    scenario: Callable[..., Awaitable[object]],
    invariant: Callable[..., object] = lambda *_: None,
    *,
    setup: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
) -> int:
    """Run a scenario again and again, cancelled at step 1, 2, 3... until it finishes.

    Each run is a fresh ``trio.run`` with virtual time. A step is one turn that the
    scheduler gives to a task of the scenario. After each run the invariant is checked,
    after the last one too.

    Args:
        scenario: async function; gets what ``setup`` yields, if there is a setup.
        invariant: raises if something is left in disorder; same argument.
        setup: gives an async context manager around the scenario that is not
            cancelled; the invariant is checked inside it, once all tasks are at rest.

    Returns:
        The number of steps of the run that finished.

    Raises:
        RuntimeError: the scenario did not finish within `MAX_STEPS` steps.
    """
    for step in range(1, MAX_STEPS + 1):
        instrument = _CancelAtStep(step)
        trio.run(
            _run_once,
            instrument,
            scenario,
            invariant,
            setup or _no_setup,
            clock=MockClock(autojump_threshold=0),
            instruments=[instrument],
        )
        if setup is None:
            invariant()
        if not instrument.scope.cancel_called:
            return instrument.taken
    msg = f"the scenario takes more than {MAX_STEPS} steps"
    raise RuntimeError(msg)


@asynccontextmanager
async def _no_setup() -> Any:  # noqa: ANN401 - an async generator of None
    yield None


async def _run_once(
    instrument: _CancelAtStep,
    scenario: Callable[..., Awaitable[object]],
    invariant: Callable[..., object],
    setup: Callable[[], AbstractAsyncContextManager[Any]],
) -> None:
    async with setup() as context:
        # A task of its own: what the setup runs in the background must not count.
        async with trio.open_nursery() as nursery:
            args = () if setup is _no_setup else (context,)
            nursery.start_soon(_run_cancellable, instrument, scenario, args)
        if setup is not _no_setup:
            await wait_all_tasks_blocked()
            invariant(context)


async def _run_cancellable(
    instrument: _CancelAtStep,
    scenario: Callable[..., Awaitable[object]],
    args: tuple[object, ...],
) -> None:
    with instrument.scope:
        instrument.enter()
        try:
            await scenario(*args)
        finally:
            instrument.task = None
