"""An engine with a configuration worker in it, and a client, for tests."""

from collections.abc import AsyncIterator, Mapping
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
from iii_trio.builtins.configuration import (
    ConfigurationConfig,
    ConfigurationHandle,
    serve_configuration,
)
from iii_trio.errors import InvocationError
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.worker import Worker


@attrs.frozen
class ConfigurationRig:
    """What `open_configuration_rig` yields."""

    under_test: EngineUnderTest
    client: Worker
    handle: ConfigurationHandle
    environ: dict[str, str]
    serving: trio.CancelScope

    async def call(self, name: str, /, **payload: Any) -> Any:
        """Call ``configuration::<name>``."""
        return await self.client.invoke(f"configuration::{name}", payload)

    async def declare(self, configuration_id: str, schema: Any, **more: Any) -> Any:
        """Register a configuration."""
        about = {"id": configuration_id, "name": "A name", "description": "For tests."}
        return await self.call("register", **about, schema=schema, **more)

    async def failure(self, name: str, /, **payload: Any) -> tuple[str, str]:
        """Call ``configuration::<name>``, which must fail; give code and message."""
        with pytest.raises(InvocationError) as caught:
            await self.call(name, **payload)
        code = caught.value.code
        return code, str(caught.value).removeprefix(f"{code}: ")

    async def record(
        self, function_id: str, config: object, **options: Any
    ) -> list[Any]:
        """Bind a function that collects events; give the list that they go to."""
        events: list[Any] = []

        async def collect(event: Any) -> None:
            await trio.lowlevel.checkpoint()
            events.append(event)

        self.client.register_function(function_id, collect)
        await self.client.bind("configuration", function_id, config, **options)
        return events

    async def settle(self) -> None:
        """Wait until all that was started is done."""
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def open_configuration_rig(
    store: KeyValueStore | None = None,
    *,
    config: ConfigurationConfig | None = None,
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[ConfigurationRig]:
    """Open an engine, a configuration worker (default: in memory), and a client."""
    variables = dict(environ or {})
    async with (
        open_test_engine() as under_test,
        open_memory() as stores,
        under_test.open_worker("configuration") as server,
        under_test.open_worker("client") as client,
        open_background_nursery("test over") as nursery,
    ):
        handle = await nursery.start(
            partial(
                serve_configuration,
                server,
                config or ConfigurationConfig(),
                store=store or stores.key_value("configuration"),
                environ=variables,
                **options,
            )
        )
        yield ConfigurationRig(
            under_test, client, handle, variables, nursery.cancel_scope
        )
