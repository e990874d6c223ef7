"""A cancelled write happened completely, with its event, or not at all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import attrs
import msgspec
import pytest

from iii_trio.adapters.sqlite import open_sqlite, run_inline
from iii_trio.testing import cancel_at_every_step
from tests.component.state_rig import StateRig, open_state_rig

pytestmark = pytest.mark.cancellation


@attrs.frozen
class Scene:
    """A state worker over a file, and the events of its writes."""

    rig: StateRig
    path: str
    events: list[Any]

    def stored(self) -> list[Any]:
        """All values in the file, in order of insertion."""
        connection = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            rows = connection.execute("SELECT value FROM key_value ORDER BY place")
            return [msgspec.json.decode(value) for (value,) in rows]
        finally:
            connection.close()


WRITES: dict[str, dict[str, Any]] = {
    "set": {"value": {"n": 1}},
    "update": {"ops": [{"type": "increment", "path": "n", "by": 1}]},
    "compare_and_set": {"value": {"n": 1}},
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_cancelled_anywhere_has_its_event_or_did_not_happen(
    name: str, tmp_path: Path
) -> None:
    numbers = count()
    happened: set[bool] = set()

    @asynccontextmanager
    async def setup() -> AsyncIterator[Scene]:
        path = tmp_path / f"{next(numbers)}.db"
        async with (
            open_sqlite(path, run=run_inline) as stores,
            open_state_rig(store=stores.key_value("state")) as rig,
        ):
            events = await rig.record("test::on_state", {})
            yield Scene(rig, stores.path, events)

    async def scenario(scene: Scene) -> None:
        await scene.rig.call(name, scope="s", key="k", **WRITES[name])

    def invariant(scene: Scene) -> None:
        stored = scene.stored()
        assert [event["new_value"] for event in scene.events] == stored
        assert stored in ([], [{"n": 1}])
        happened.add(bool(stored))

    cancel_at_every_step(scenario, invariant, setup=setup)
    assert happened == {True, False}
