"""`serve_configuration`, and the handle of what it runs."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import NoReturn, final

import attrs
import trio

from iii_trio.adapters import KeyValueStore
from iii_trio.builtins.configuration._config import ConfigurationConfig
from iii_trio.builtins.configuration._configurations import Check, Configurations
from iii_trio.worker import Worker


@final
@attrs.define(eq=False)
class ConfigurationHandle:
    """What a running configuration worker offers to whoever serves it."""

    _configurations: "Configurations"

    def reconfigure(self, config: ConfigurationConfig) -> None:
        """Use other settings from now on."""
        self._configurations.reconfigure(config)

    async def drain(self, grace: float) -> None:
        """Wait until all triggers were told, at most ``grace`` seconds."""
        with trio.move_on_after(grace):
            await self._configurations.wait_all_told()


async def serve_configuration(
    worker: Worker,
    config: ConfigurationConfig,
    *,
    store: KeyValueStore,
    environ: Mapping[str, str] = os.environ,
    checks: Mapping[str, Check] | None = None,
    task_status: trio.TaskStatus[ConfigurationHandle] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Offer the ``configuration::*`` functions and trigger type, until cancelled.

    Args:
        worker: what offers them.
        config: settings; changed later through the handle.
        store: where values rest; an answered change is as durable as the store is.
        environ: where the placeholders in values are looked up, whenever one is read.
        checks: what else must hold for the values of some ids, besides their schemas;
            looked at whenever a value is set.
        task_status: gets a `ConfigurationHandle` once everything is registered.

    Raises:
        RegistrationError: another worker offers one of the functions.
        AdapterError: what is stored cannot be read.

    Cancellation: the functions and the trigger type are withdrawn.
    """
    configurations = Configurations(
        worker=worker,
        config=config,
        store=store,
        environ=environ,
        checks={} if checks is None else checks,
    )
    await configurations.load()
    with ExitStack() as stack:
        configurations.register(worker, stack)
        task_status.started(ConfigurationHandle(configurations))
        await configurations.expire()
    raise AssertionError  # pragma: no cover - it does not return
