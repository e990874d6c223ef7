"""An engine with one bundled worker in it, and a client: for tests of small builtins."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from iii_trio._util import open_background_nursery
from iii_trio.builtins.cron import CronConfig, serve_cron
from iii_trio.builtins.pubsub import PubSubConfig, serve_pubsub
from iii_trio.errors import InvocationError
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.worker import Worker


@attrs.frozen
class BuiltinRig:
    """What the functions below yield."""

    under_test: EngineUnderTest
    server: Worker
    client: Worker
    handle: Any
    serving: trio.CancelScope

    async def failure(self, function_id: str, payload: object) -> InvocationError:
        """Call a function, which must fail; give how."""
        with pytest.raises(InvocationError) as caught:
            await self.client.invoke(function_id, payload)
        return caught.value

    async def record(
        self, trigger_type: str, function_id: str, config: object, **options: Any
    ) -> list[Any]:
        """Bind a function that collects payloads; give the list that they go to."""
        got: list[Any] = []

        async def collect(payload: Any) -> None:
            got.append(payload)  # at once: handlers begin in the order of their calls
            await trio.lowlevel.checkpoint()

        self.client.register_function(function_id, collect)
        await self.client.bind(trigger_type, function_id, config, **options)
        return got

    async def settle(self) -> None:
        """Wait until all that was started is done."""
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def _open_rig(
    name: str, serve: Callable[..., Any], *, epoch: float, on_clock: bool
) -> AsyncIterator[BuiltinRig]:
    async with (
        open_test_engine(epoch=epoch) as under_test,
        under_test.open_worker(name) as server,
        under_test.open_worker("client") as client,
        open_background_nursery("test over") as nursery,
    ):
        options = {"now": under_test.clock} if on_clock else {}
        handle = await nursery.start(partial(serve, server, **options))
        yield BuiltinRig(under_test, server, client, handle, nursery.cancel_scope)


@asynccontextmanager
async def open_cron_rig(
    epoch: float = 1_767_225_600.0, now: Callable[[], float] | None = None
) -> AsyncIterator[BuiltinRig]:
    """Open an engine with a cron worker; it is 1 January 2026, 00:00 UTC.

    Args:
        epoch: another time.
        now: another clock than that of the engine.
    """
    serve = partial(serve_cron, config=CronConfig())
    on_clock = now is None
    if now is not None:
        serve = partial(serve, now=now)
    async with _open_rig("iii-cron", serve, epoch=epoch, on_clock=on_clock) as rig:
        yield rig


@asynccontextmanager
async def open_pubsub_rig() -> AsyncIterator[BuiltinRig]:
    """Open an engine with a pub/sub worker."""
    serve = partial(serve_pubsub, config=PubSubConfig())
    async with _open_rig("iii-pubsub", serve, epoch=0.0, on_clock=False) as rig:
        yield rig
