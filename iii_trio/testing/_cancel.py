"""cancel_at_every_step: is everything in order wherever a cancellation strikes?"""

import inspect
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar, overload

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.testing._checking import noting
from iii_trio.testing._clock import YEAR, ending_within, repeatable
from iii_trio.testing._steps import CancelAtStep

T = TypeVar("T")

MAX_STEPS: Final = 10_000
"""A scenario that is not done after so many scheduler steps is taken for endless."""


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

    Each run is a fresh ``trio.run`` with virtual time, in the same order of tasks. A step
    is one turn that the scheduler gives to any task while the scenario goes on: so it is
    struck also while it waits, at each step of the handlers that work for it.
    After each run the invariant is checked, also after one that is not cancelled at all.

    Args:
        scenario: async function; gets what ``setup`` yields, if there is a setup.
        invariant: sync function with the same argument; raises if something is left in
            disorder, or gives ``False``.
        setup: gives an async context manager around the scenario that is not
            cancelled; the invariant is checked inside it, once all tasks wait. What a
            link with a delay has under way may not have come by then.

    Returns:
        The number of steps of the run that finished.

    Raises:
        RuntimeError: the scenario did not finish within `MAX_STEPS` steps.
        trio.TooSlowError: it, or what follows a cancellation, waits for something that
            never comes.
        TypeError: ``invariant`` is async, or ``scenario`` is not.

    What a run raises has a note that names its step.
    """

    def attempt(step: float, limit: float = math.inf) -> CancelAtStep:
        instrument = CancelAtStep(step, limit)
        where = "not cancelled" if step == math.inf else f"cancelled at step {step}"
        with noting(f"cancel_at_every_step: this run was {where}"):
            _run(scenario, invariant, setup or _no_setup, instrument)
        return instrument

    attempt(math.inf, MAX_STEPS)
    step = 1
    while (last := attempt(step)).scope.cancel_called:
        step += 1
    return last.taken


def _run(
    scenario: Callable[..., Awaitable[object]],
    invariant: Callable[..., object],
    setup: Callable[[], AbstractAsyncContextManager[Any]],
    instrument: CancelAtStep,
) -> None:
    with repeatable(0):
        trio.run(
            _run_once,
            instrument,
            scenario,
            invariant,
            setup,
            clock=MockClock(autojump_threshold=0),
            instruments=[instrument],
        )
    if setup is _no_setup:
        _check(invariant)


def _check(invariant: Callable[..., object], *args: object) -> None:
    verdict = invariant(*args)
    if inspect.isawaitable(verdict):
        if inspect.iscoroutine(verdict):
            verdict.close()
        msg = f"the invariant {invariant!r} is async: nobody would await it"
        raise TypeError(msg)
    if verdict is False:
        msg = f"the invariant {invariant!r} gave False"
        raise AssertionError(msg)


@asynccontextmanager
async def _no_setup() -> Any:  # noqa: ANN401 - an async generator of None
    yield None


async def _run_once(
    instrument: CancelAtStep,
    scenario: Callable[..., Awaitable[object]],
    invariant: Callable[..., object],
    setup: Callable[[], AbstractAsyncContextManager[Any]],
) -> None:
    async with ending_within(YEAR), setup() as context:
        args = () if setup is _no_setup else (context,)
        with instrument.scope:
            instrument.begin()
            try:
                await _awaitable(scenario, args)
            finally:
                instrument.end()
        if instrument.is_endless:
            msg = f"the scenario takes more than {MAX_STEPS} steps"
            raise RuntimeError(msg)
        if setup is not _no_setup:
            await wait_all_tasks_blocked()
            _check(invariant, context)


def _awaitable(
    scenario: Callable[..., object], args: tuple[object, ...]
) -> Awaitable[object]:
    running = scenario(*args)
    if not inspect.isawaitable(running):
        msg = f"the scenario {scenario!r} is not an async function"
        raise TypeError(msg)
    return running
