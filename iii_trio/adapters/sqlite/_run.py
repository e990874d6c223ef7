"""Where blocking calls run: in a thread, or in the loop for tests in virtual time."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

from iii_trio._util import require_real_time

T = TypeVar("T")


class RunSync(Protocol):
    """Runs a blocking function and waits for it.

    Cancellation: a checkpoint before the function; never midway.
    """

    async def __call__(
        self, fn: Callable[[], T], *, limiter: trio.CapacityLimiter
    ) -> T: ...


async def run_in_thread(fn: Callable[[], T], *, limiter: trio.CapacityLimiter) -> T:
    """Run ``fn`` in a thread: one hop is about 0.15 ms.

    Raises:
        RuntimeError: the clock of this run is virtual and would not wait for a thread.
    """
    require_real_time("a thread", "open SQLite with run=run_inline")
    return await trio.to_thread.run_sync(fn, limiter=limiter)


async def run_inline(fn: Callable[[], T], *, limiter: trio.CapacityLimiter) -> T:
    """Run ``fn`` in the loop, which it blocks: for tests with a virtual clock.

    A thread works in real time, in which an autojump clock would jump over years.
    """
    async with limiter:
        return fn()
