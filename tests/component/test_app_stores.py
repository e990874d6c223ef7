"""Where the app's data rests, when everything is cancelled at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import outcome
import pytest
import trio
import trio.testing

from iii_trio.app import open_app
from iii_trio.errors import InvocationStoppedError
from iii_trio.worker import Worker, open_worker
from tests.component.test_app import config

READ = ("state::get", {"scope": "s", "key": "k"})
WRITE = ("state::set", {"scope": "s", "key": "k", "value": 1})


@pytest.mark.parametrize("call", [READ, WRITE])
async def test_a_store_stays_open_while_a_cancelled_worker_uses_it(
    tmp_path: Path, call: tuple[str, Any]
) -> None:
    outcomes: list[outcome.Outcome[Any]] = []
    is_held, held, released = False, trio.Event(), trio.Event()

    async def run(fn: Callable[[], Any], *, limiter: trio.CapacityLimiter) -> Any:
        if is_held:
            held.set()
            with trio.CancelScope(shield=True):  # a thread
                await released.wait()
        await trio.lowlevel.cancel_shielded_checkpoint()
        outcomes.append(outcome.capture(fn))
        return outcomes[-1].unwrap()

    with trio.CancelScope() as everything:
        async with (
            open_app(config({"name": "iii-state"}), data_dir=tmp_path, run=run) as app,
            open_worker(app.engine) as worker,
            trio.open_nursery() as nursery,
        ):
            await worker.invoke("state::set", {"scope": "s", "key": "k", "value": 0})
            is_held = True
            nursery.start_soon(_call, worker, *call)
            await held.wait()
            nursery.start_soon(_release_later, released)
            everything.cancel(reason="the test says so")
            await trio.sleep_forever()
    assert len(outcomes) > 2
    assert [one for one in outcomes if isinstance(one, outcome.Error)] == []


async def _call(worker: Worker, function_id: str, payload: dict[str, Any]) -> None:
    try:
        await worker.invoke(function_id, payload)
    except InvocationStoppedError:  # whichever is cancelled first
        await trio.lowlevel.checkpoint()


async def _release_later(released: trio.Event) -> None:
    with trio.CancelScope(shield=True):
        await trio.testing.wait_all_tasks_blocked()
    released.set()
