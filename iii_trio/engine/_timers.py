"""Timers: one heap of moments and one task for all deadlines of an engine.

A relayed call has no task and no cancel scope, so its deadline lives here, beside the
namespace grace of new connections and everything else that happens "in a while".
"""

import heapq
import itertools
import math
from collections.abc import Callable
from typing import NoReturn, final

import attrs
import trio

_COMPACT_ABOVE = 64
"""Cancelled timers are swept out once they outnumber the live ones and this."""


@final
@attrs.define(eq=False, slots=True)
class Timer:
    """One moment at which ``callback`` is called, unless cancelled before."""

    when: float
    callback: Callable[[], object] | None


@final
class Timers:
    """A heap of `Timer`; `serve` calls those that are due.

    Args:
        now: Trio time; anything else works as long as nobody runs `serve`.
    """

    def __init__(self, now: Callable[[], float] = trio.current_time) -> None:
        self.now = now
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._cancelled = 0
        self._sleep = trio.CancelScope()

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def call_after(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` (sync, quick) that many seconds from now."""
        when = self.now() + seconds
        timer = Timer(when, callback)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        self._sleep.deadline = min(self._sleep.deadline, when)
        return timer

    def cancel(self, timer: Timer) -> None:
        """Forget a timer; one that has run or was cancelled is ignored."""
        if timer.callback is None:
            return
        timer.callback = None
        self._cancelled += 1
        if self._cancelled > max(_COMPACT_ABOVE, len(self._heap) // 2):
            self._heap = [entry for entry in self._heap if entry[2].callback]
            heapq.heapify(self._heap)
            self._cancelled = 0

    async def serve(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> NoReturn:
        """Call what is due, until cancelled."""
        task_status.started()
        while True:
            self.run_due()
            next_moment = self._heap[0][0] if self._heap else math.inf
            with trio.CancelScope(deadline=next_moment) as self._sleep:
                await trio.sleep_forever()

    def run_due(self) -> None:
        """Call what is due now."""
        now = self.now()
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            callback, timer.callback = timer.callback, None
            if callback is None:
                self._cancelled -= 1
            else:
                callback()
