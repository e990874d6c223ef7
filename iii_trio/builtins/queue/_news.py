"""Hearing from the engine that functions came or went: some message may wait for one."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from iii_trio.worker import Worker

FUNCTIONS_CHANGED: Final = "iii-queue::functions_changed"
"""Called by the engine when functions came or went."""


@asynccontextmanager
async def hearing_of_functions(
    worker: Worker, changed: Callable[[], None]
) -> AsyncIterator[None]:
    """Have ``changed`` called for the length of the block when functions came or went.

    The engine gathers such news for 0.1 s, and does not tell of what is back by then.

    Raises:
        RegistrationError: another worker offers `FUNCTIONS_CHANGED`.
    """

    async def functions_changed() -> None:
        await trio.lowlevel.checkpoint()
        changed()

    worker.register_function(
        FUNCTIONS_CHANGED, functions_changed, metadata={"internal": True}
    )
    try:
        trigger_id = await worker.bind(
            "engine::functions-available", FUNCTIONS_CHANGED, {}
        )
        try:
            yield
        finally:
            worker.unbind(trigger_id)
    finally:
        worker.unregister_function(FUNCTIONS_CHANGED)
