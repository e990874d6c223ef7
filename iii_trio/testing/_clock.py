"""Time of tests: wall time that follows Trio's clock, and runs with a virtual one."""

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, final

import attrs
import trio
from trio.testing import MockClock

T = TypeVar("T")

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


def run(main: Callable[..., Awaitable[T]], *args: Any) -> T:  # noqa: ANN401
    """Run an async function with virtual time: sleeps end at once, in their order.

    Like ``trio.run``, for harnesses without pytest-trio.

    Args:
        main: what to run.
        args: its arguments.

    Returns:
        What ``main`` returned.
    """
    return trio.run(main, *args, clock=MockClock(autojump_threshold=0))
