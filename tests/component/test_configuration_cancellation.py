"""A cancelled change of a configuration happened, and was told, or did not happen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from iii_trio.adapters.memory import open_memory
from iii_trio.testing import cancel_at_every_step
from tests.component.configuration_rig import ConfigurationRig, open_configuration_rig

ABOUT = {"id": "a", "name": "A", "description": "", "schema": True}
CHANGES: dict[str, dict[str, Any]] = {
    "register": {**ABOUT, "initial_value": 1},
    "set": {"id": "a", "value": 1},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_cancelled_anywhere_is_stored_and_told_or_neither(name: str) -> None:
    happened: set[bool] = set()

    @asynccontextmanager
    async def setup() -> AsyncIterator[ConfigurationRig]:
        async with open_memory() as stores:
            store = stores.key_value("configuration")
            async with open_configuration_rig(store) as rig:
                await rig.call("register", **ABOUT)
                events = await rig.record("configuration", "test::on_change", {})
                yield rig
                stored = await store.get("configuration", "a")
                assert stored is not None
                value = msgspec.json.decode(stored).get("value")
                told = [event["new_value"] for event in events]
                assert told == ([] if value is None else [1])
                found = await rig.call("get", id="a")
                assert found["value"] == value
                happened.add(bool(told))

    async def scenario(rig: ConfigurationRig) -> None:
        await rig.call(name, **CHANGES[name])

    cancel_at_every_step(scenario, lambda _rig: None, setup=setup)
    assert happened == {True, False}
