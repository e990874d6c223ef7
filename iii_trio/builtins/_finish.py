"""Finishing a write elsewhere, though nobody waits for it any more.

It happens there whatever becomes of whoever asked for it, and has to be told here. So it
is as with a store: what cannot be taken back is waited for.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import outcome
import trio

from iii_trio.worker import beyond_deadline

T = TypeVar("T")

logger = logging.getLogger("iii_trio.builtins")

FINISH_SECONDS: Final = 5.0
"""For a write whose caller is gone, who may have to wait for it."""


async def finish(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Make a call and wait for its end, `FINISH_SECONDS` after a cancellation too.

    Nor does the deadline of the handler end it.

    Args:
        call: makes it.
        what: names it in the log.

    Returns:
        What the call gives, as if nothing had been cancelled. The caller has to use it
        before its next checkpoint.

    Cancellation: once the time is over, the call is cancelled and the cancellation goes
    on. Whether the write happened is not known then, as the log says.
    """
    task, scope = trio.lowlevel.current_task(), trio.CancelScope(shield=True)
    ended: list[outcome.Outcome[T]] = []

    async def run() -> None:
        with beyond_deadline(), scope:
            ended.append(await outcome.acapture(call))
        trio.lowlevel.reschedule(task)

    def on_cancelled(_raise_cancel: object) -> trio.lowlevel.Abort:
        scope.deadline = min(scope.deadline, trio.current_time() + FINISH_SECONDS)
        return trio.lowlevel.Abort.FAILED  # it waits on, for `run`

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, name=f"finishing {what}")
        await trio.lowlevel.wait_task_rescheduled(on_cancelled)
    if isinstance(getattr(ended[0], "error", None), trio.Cancelled):
        logger.warning(
            "%s had no answer %g s after its caller was gone: whether it was done is "
            "not known, and it is not told",
            what,
            FINISH_SECONDS,
        )
    return ended.pop().unwrap()
