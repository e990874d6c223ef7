"""An engine with a configuration worker in it, and a client, for tests."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs

from iii_trio._util import open_background_nursery
from iii_trio.adapters import KeyValueStore
from iii_trio.adapters.memory import open_memory
from iii_trio.builtins.configuration import ConfigurationConfig, serve_configuration
from iii_trio.testing import open_test_engine
from tests.component.builtin_rig import BuiltinRig


@attrs.frozen
class ConfigurationRig(BuiltinRig):
    """What `open_configuration_rig` yields."""

    environ: dict[str, str]

    async def call(self, name: str, /, **payload: Any) -> Any:
        """Call ``configuration::<name>``."""
        return await self.client.invoke(f"configuration::{name}", payload)

    async def declare(self, configuration_id: str, schema: Any, **more: Any) -> Any:
        """Register a configuration."""
        about = {"id": configuration_id, "name": "A name", "description": "For tests."}
        return await self.call("register", **about, schema=schema, **more)

    async def refusal(self, name: str, /, **payload: Any) -> tuple[str, str]:
        """Call ``configuration::<name>``, which must fail; give code and message."""
        error = await self.failure(f"configuration::{name}", payload)
        return error.code, str(error).removeprefix(f"{error.code}: ")


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
        scope = nursery.cancel_scope
        yield ConfigurationRig(under_test, server, client, handle, scope, variables)
