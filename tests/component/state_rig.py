"""An engine with a state worker in it, and a client, for tests of state."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from iii_trio._util import open_background_nursery
from iii_trio.adapters import KeyValueStore
from iii_trio.adapters.memory import open_memory
from iii_trio.builtins.state import StateConfig, StateHandle, serve_state
from iii_trio.errors import InvocationError
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.worker import Worker


@attrs.frozen
class StateRig:
    """What `open_state_rig` yields."""

    under_test: EngineUnderTest
    client: Worker
    handle: StateHandle
    serving: trio.CancelScope

    async def call(self, name: str, **payload: Any) -> Any:
        """Call ``state::<name>``."""
        return await self.client.invoke(f"state::{name}", payload)

    async def failure(self, name: str, payload: object) -> InvocationError:
        """Call ``state::<name>``, which must fail; give how."""
        with pytest.raises(InvocationError) as caught:
            await self.client.invoke(f"state::{name}", payload)
        return caught.value

    async def record(
        self, function_id: str, config: object, **options: Any
    ) -> list[Any]:
        """Bind a function that collects events; give the list that they go to."""
        events: list[Any] = []

        async def collect(event: Any) -> None:
            await trio.lowlevel.checkpoint()
            events.append(event)

        self.client.register_function(function_id, collect)
        await self.client.bind("state", function_id, config, **options)
        return events

    async def settle(self) -> None:
        """Wait until all that was started is done."""
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def open_state_rig(
    config: StateConfig | None = None, store: KeyValueStore | None = None
) -> AsyncIterator[StateRig]:
    """Open an engine, a state worker on a store (default: memory), and a client."""
    async with (
        open_test_engine() as under_test,
        open_memory() as stores,
        under_test.open_worker("iii-state") as server,
        under_test.open_worker("client") as client,
        open_background_nursery("test over") as nursery,
    ):
        handle = await nursery.start(
            partial(
                serve_state,
                server,
                config or StateConfig(),
                store=store or stores.key_value("state"),
            )
        )
        yield StateRig(under_test, client, handle, nursery.cancel_scope)
