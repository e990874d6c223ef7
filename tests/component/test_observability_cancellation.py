"""Cancelled anywhere, the observability worker is as it was, or as it should be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from iii_trio.builtins.observability import ObservabilityConfig
from iii_trio.testing import cancel_at_every_step
from tests.component.observability_rig import (
    ObservabilityRig,
    log_frame,
    open_observability_rig,
    span_frame,
)

pytestmark = pytest.mark.cancellation


@attrs.frozen
class Scene:
    """An observability worker with a record, a span and a trigger that collects."""

    rig: ObservabilityRig
    got: list[Any]


@asynccontextmanager
async def setup() -> AsyncIterator[Scene]:
    async with open_observability_rig() as rig:
        await rig.tell(log_frame(body="old"), span_frame())
        yield Scene(rig, await rig.record("log", {}))


CALLS: dict[str, dict[str, Any]] = {
    "engine::log::info": {"message": "new"},
    "engine::logs::list": {},
    "engine::logs::clear": {},
    "engine::traces::list": {},
    "engine::traces::tree": {"trace_id": "t"},
    "engine::traces::group_by": {"attribute": "a"},
    "engine::traces::clear": {},
    "engine::metrics::list": {},
    "engine::rollups::list": {},
    "engine::health::check": {},
    "engine::baggage::set": {"key": "k", "value": "v"},
}


@pytest.mark.parametrize("function_id", CALLS)
def test_a_call_cancelled_anywhere_happened_or_did_not(function_id: str) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.rig.call(function_id, **CALLS[function_id])

    def invariant(scene: Scene) -> None:
        telemetry = scene.rig.telemetry
        bodies = [record.body for record in telemetry.logs]
        assert bodies in (["old"], ["old", "new"], [])
        told = [record["body"] for record in scene.got]
        assert told == bodies[1:]
        kept = len(telemetry.spans) + len(telemetry.ended)
        assert kept in {0, 1 + len(told)}
        assert len(telemetry.inbox) == 0

    cancel_at_every_step(scenario, invariant, setup=setup)


def test_a_change_of_settings_cancelled_anywhere_is_whole() -> None:
    async def scenario(scene: Scene) -> None:
        config = ObservabilityConfig(logs_max_count=7, memory_max_spans=7)
        await scene.rig.handle.reconfigure(config)

    def invariant(scene: Scene) -> None:
        telemetry = scene.rig.telemetry
        bounds = telemetry.logs.max_count, telemetry.spans.max_count
        assert bounds in {(1000, 1_000_000), (7, 7)}

    cancel_at_every_step(scenario, invariant, setup=setup)


def test_a_drain_cancelled_anywhere_loses_no_record() -> None:
    async def scenario(scene: Scene) -> None:
        scene.rig.telemetry.take(log_frame(body="new"))
        await scene.rig.handle.drain(60)

    def invariant(scene: Scene) -> None:
        telemetry = scene.rig.telemetry
        assert [record.body for record in telemetry.logs] == ["old", "new"]
        assert len(telemetry.inbox) == 0

    async def settled(scene: Scene) -> None:
        await scenario(scene)
        await trio.lowlevel.checkpoint()

    cancel_at_every_step(settled, invariant, setup=setup)
