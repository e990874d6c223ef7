"""Cancelling at a step of the scheduler, which two kinds of checks do."""

import math
from typing import final

import trio


@final
class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope before the n-th scheduler step, of any task, since `begin`.

    Any task, because while one waits others act for it: what tells it of an outcome is
    a step of theirs.

    Args:
        step: which one, counted from 1, which is `begin` itself; ``math.inf``: none.
        limit: steps after which the scope is cancelled all the same.

    Attributes:
        taken: steps so far.
        scope: the scope.
    """

    def __init__(self, step: float, limit: float = math.inf) -> None:
        self._step = step
        self._limit = limit
        self._is_on = False
        self.taken = 0
        self.scope = trio.CancelScope()

    def begin(self) -> None:
        """Count from now on; this is the first step."""
        self._is_on = True
        self._count()

    def end(self) -> None:
        """Count no more."""
        self._is_on = False

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        del task
        if self._is_on:
            self._count()

    @property
    def is_endless(self) -> bool:
        """Whether there were more steps than there may be."""
        return self.taken > self._limit

    def _count(self) -> None:
        self.taken += 1
        if self.taken == self._step:
            self.scope.cancel(reason=f"cancelled at step {self._step}")
        elif self.is_endless:
            self.scope.cancel(reason="this takes too many steps")
