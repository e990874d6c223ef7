"""State that another engine keeps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.adapters.memory import open_memory
from iii_trio.builtins._finish import FINISH_SECONDS
from iii_trio.builtins.state import StateConfig, serve_bridged_state, serve_state
from iii_trio.errors import InvocationTimeoutError
from iii_trio.testing import cancel_at_every_step
from iii_trio.worker import NULL
from tests.component.bridge_rig import BridgeRig, open_bridge_rig


@asynccontextmanager
async def open_state_rigs(
    config: StateConfig | None = None,
) -> AsyncIterator[BridgeRig]:
    async with open_bridge_rig() as rig, open_memory() as stores:
        store = stores.key_value("state")
        await rig.serve(rig.there, serve_state, config=StateConfig(), store=store)
        await rig.serve_bridged(serve_bridged_state, config or StateConfig())
        yield rig


STEPS: list[tuple[str, dict[str, Any]]] = [
    ("get", {"scope": "s", "key": "a"}),
    ("set", {"scope": "s", "key": "a", "value": {"n": 1}}),
    ("set", {"scope": "s", "key": "a", "data": [1, None]}),
    ("get", {"scope": "s", "key": "a"}),
    ("set", {"scope": "s", "key": "null", "value": None}),
    ("get", {"scope": "s", "key": "null"}),
    ("list", {"scope": "s"}),
    ("list_groups", {}),
    ("update", {"scope": "s", "key": "n", "ops": [{"type": "increment", "path": "c", "by": 2}]}),
    ("update", {"scope": "s", "key": "a", "ops": [{"type": "increment", "path": "c", "by": 2}]}),
    ("compare_and_set", {"scope": "s", "key": "n", "value": 1, "expected": {"c": 2}}),
    ("compare_and_set", {"scope": "s", "key": "n", "value": 1, "expected": {"c": 2}}),
    ("compare_and_set", {"scope": "s", "key": "new", "value": 1}),
    ("delete", {"scope": "s", "key": "a"}),
    ("delete", {"scope": "s", "key": "a"}),
    ("list", {"scope": "nobody"}),
    ("set", {"scope": "s"}),
    ("get", {"scope": 5, "key": "a"}),
]  # fmt: skip


async def outcomes(rig: BridgeRig, side: str) -> list[Any]:
    """What each step answers: its JSON text, or its error."""
    caller = getattr(rig, side)
    results: list[Any] = []
    await trio.lowlevel.checkpoint()
    for name, payload in STEPS:
        try:
            results.append(await caller.worker.invoke(f"state::{name}", payload))
        except Exception as exc:  # noqa: BLE001 - compared below
            results.append(str(exc))
    return results


async def test_functions_answer_as_if_the_data_were_here(
    autojump_clock: MockClock,
) -> None:
    async with open_state_rigs() as rig:
        bridged = await outcomes(rig, "here")
    async with open_state_rigs() as rig:
        direct = await outcomes(rig, "there")
    assert bridged == direct


async def test_both_engines_see_one_state_and_fire_their_own_triggers(
    autojump_clock: MockClock,
) -> None:
    async with open_state_rigs() as rig:
        here = await rig.here.record("state", "on::here", {"scope": "s"})
        there = await rig.there.record("state", "on::there", {"scope": "s"})
        for name, payload in (
            ("set", {"value": 1}),
            ("set", {"value": 2}),
            ("compare_and_set", {"value": 3, "expected": 2}),
            ("compare_and_set", {"value": 4, "expected": 2}),
            ("update", {"ops": [{"type": "set", "path": "", "value": 5}]}),
            ("delete", {}),
        ):
            await rig.here.worker.invoke(
                f"state::{name}", {"scope": "s", "key": "k", **payload}
            )
            await wait_all_tasks_blocked()
        assert here == there
        assert [one["event_type"] for one in here] == [
            "state:created",
            *["state:updated"] * 3,
            "state:deleted",
        ]
        # What is written over there shows here, and fires there alone.
        asked = {"scope": "s", "key": "k"}
        await rig.there.worker.invoke("state::set", {**asked, "value": "theirs"})
        await wait_all_tasks_blocked()
        assert await rig.here.worker.invoke("state::get", asked) == "theirs"
        assert (len(here), len(there)) == (5, 6)


async def test_settings_of_this_engine_hold(autojump_clock: MockClock) -> None:
    config = StateConfig(triggers_enabled=False, max_value_bytes=5)
    async with open_state_rigs(config) as rig:
        here = await rig.here.record("state", "on::here", {})
        asked = {"scope": "s", "key": "k"}
        await rig.here.worker.invoke("state::set", {**asked, "value": 1})
        failure = await rig.here.failure("state::set", {**asked, "value": "too long"})
        await wait_all_tasks_blocked()
    assert failure.code == "VALUE_TOO_LARGE"
    assert here == []


@pytest.mark.parametrize(
    ("name", "fields", "code"),
    [
        ("get", {"key": "k"}, "GET_ERROR"),
        ("set", {"key": "k", "value": 1}, "SET_ERROR"),
        ("delete", {"key": "k"}, "DELETE_ERROR"),
        ("update", {"key": "k", "ops": []}, "UPDATE_ERROR"),
        ("compare_and_set", {"key": "k", "value": 1}, "COMPARE_AND_SET_ERROR"),
        ("list", {}, "LIST_ERROR"),
        ("list_groups", {}, "LIST_GROUPS_ERROR"),
    ],
)
async def test_a_lost_engine_is_an_error_of_the_function_that_says_where(
    autojump_clock: MockClock, name: str, fields: dict[str, Any], code: str
) -> None:
    async with open_state_rigs() as rig:
        rig.here.wire.cut(stay_down=True)
        failure = await rig.here.failure(f"state::{name}", {"scope": "s", **fields})
        assert failure.code == code
        assert "ws://other.example:49134: TIMEOUT" in failure.message
        assert "not connected" in failure.message
        await rig.here.wire.come_back()
        # Calls wait for the connection.
        await rig.here.worker.invoke("state::get", {"scope": "s", "key": "k"})


async def test_answers_that_are_no_state_workers_are_refused(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:
        await rig.serve_bridged(serve_bridged_state, StateConfig())
        rig.there.offer("state::set", [1])
        rig.there.offer("state::list", NULL)
        asked = {"scope": "s", "key": "k", "value": 1}
        failure = await rig.here.failure("state::set", asked)
        assert "answer does not fit" in failure.message
        failure = await rig.here.failure("state::list", {"scope": "s"})
        assert failure.code == "LIST_ERROR"
        # Whatever else goes wrong over there is told with its code.
        failure = await rig.here.failure("state::get", {"scope": "s", "key": "k"})
        assert "function_not_found" in failure.message


async def test_two_engines_that_keep_each_others_state_are_a_loop(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:
        await rig.serve_bridged(serve_bridged_state, StateConfig())
        await rig.serve(
            rig.there,
            serve_bridged_state,
            config=StateConfig(),
            url="ws://back.example",
            new_id=lambda: "b0b0b0b0-0000-4000-8000-000000000000",
            connect=rig.there.wire.connect,
        )
        failure = await rig.here.failure("state::get", {"scope": "s", "key": "k"})
    assert "form a loop" in failure.message


WRITES: dict[str, dict[str, Any]] = {
    "set": {"value": 1},
    "update": {"ops": [{"type": "set", "path": "", "value": 1}]},
    "compare_and_set": {"value": 1},
    "delete": {},
}


@attrs.define
class Scene:
    """An engine that keeps state slowly, one that asks it, and the events of both."""

    rig: BridgeRig
    here: list[Any]
    there: list[Any]

    async def write(self, name: str, **options: Any) -> None:
        payload = {"scope": "s", "key": "k", **WRITES[name]}
        await self.rig.here.worker.invoke(f"state::{name}", payload, **options)


@asynccontextmanager
async def open_scene(seconds: float) -> AsyncIterator[Scene]:
    async with open_bridge_rig() as rig:

        async def answer() -> Any:
            await trio.sleep(seconds)
            return {"old_value": 0, "new_value": 1, "swapped": True, "value": 1}

        there: list[Any] = []
        for name in (*WRITES, "get"):

            async def write(_given: Any, name: str = name) -> Any:
                there.append(name)
                return await answer()

            rig.there.worker.register_function(f"state::{name}", write)
        await rig.serve_bridged(serve_bridged_state, StateConfig())
        here = await rig.here.record("state", "on::here", {"scope": "s"})
        yield Scene(rig, here, there)


@pytest.mark.cancellation
@pytest.mark.parametrize("gone", ["cancelled", "late"])
@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_was_sent_is_waited_for_and_fires_here(
    autojump_clock: MockClock, name: str, gone: str
) -> None:
    async with open_scene(seconds=FINISH_SECONDS) as scene:
        if gone == "cancelled":
            with trio.move_on_after(1):
                await scene.write(name)
        else:
            with pytest.raises(InvocationTimeoutError):
                await scene.write(name, deadline=1)
        await trio.sleep(FINISH_SECONDS)
        assert scene.there == [name]
        assert len(scene.here) == 1


@pytest.mark.cancellation
async def test_a_read_and_what_is_not_sent_end_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_scene(seconds=20) as scene:
        began = trio.current_time()
        with trio.move_on_after(1):
            await scene.rig.here.worker.invoke("state::get", {"scope": "s", "key": "k"})
        scene.rig.here.wire.cut(stay_down=True)
        with trio.move_on_after(1):
            await scene.write("set")
        assert trio.current_time() - began == pytest.approx(2, abs=0.1)
        await scene.rig.here.wire.come_back()
        await trio.sleep(100)
        assert scene.there == ["get"]
        assert scene.here == []


@pytest.mark.cancellation
@pytest.mark.parametrize("name", WRITES)
def test_a_write_cancelled_anywhere_fires_here_if_it_was_sent(name: str) -> None:
    happened: set[int] = set()

    @asynccontextmanager
    async def setup() -> AsyncIterator[Scene]:
        async with open_scene(seconds=1) as scene:
            yield scene

    async def scenario(scene: Scene) -> None:
        await scene.write(name)

    def invariant(scene: Scene) -> None:
        assert len(scene.here) == len(scene.there)
        happened.add(len(scene.here))

    cancel_at_every_step(scenario, invariant, setup=setup)
    assert happened == {0, 1}
