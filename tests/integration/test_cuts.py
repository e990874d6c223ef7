"""Real workers come back whole from cuts at random bytes; `make cuts` makes many more."""

import functools
import os
import pathlib
import subprocess

import pytest
import trio

from iii_trio.engine import open_engine, open_listener
from iii_trio.net import open_pump
from iii_trio.protocol import FunctionRegistered, WorkerDetached
from iii_trio.testing import EventRecorder
from tests import sdks
from tests.client_stage import PATIENCE, Client
from tests.cuts import Kind, run_lanes
from tests.cutting_proxy import Cut, open_cutting_proxy


@pytest.mark.parametrize(
    ("kind", "lanes", "cuts"),
    [
        ("python", 1, 8),
        pytest.param("node", 1, 8, marks=pytest.mark.needs_node),
        ("trio", 4, 8),
    ],
)
async def test_a_worker_comes_back_whole_from_every_cut(
    kind: Kind, lanes: int, cuts: int, tmp_path: pathlib.Path
) -> None:
    tallies = await run_lanes({kind: lanes}, {kind: cuts}, 20, tmp_path)
    assert tallies[kind].cuts >= cuts
    assert all(tally.is_clean for tally in tallies.values()), tallies


@pytest.mark.parametrize(
    "client",
    [
        Client("python", sdks.NEWEST_PYTHON),
        # These cannot prove who they were. They are refused until the engine finds out
        # that nobody is at the other end of the old connection.
        pytest.param(Client("python", "0.11.6"), marks=pytest.mark.full),
        pytest.param(
            Client("node", "0.11.6"), marks=(pytest.mark.full, pytest.mark.needs_node)
        ),
    ],
    ids=str,
)
async def test_a_worker_comes_back_though_its_old_connection_seems_to_live(
    client: Client, tmp_path: pathlib.Path
) -> None:
    events = EventRecorder()
    async with (
        open_pump() as pump,
        open_engine(on_event=events) as engine,
        open_listener(engine, pump, port=0, ping_every=1) as door,
        open_cutting_proxy(door.addresses[0][1]) as proxy,
        trio.open_nursery() as nursery,
    ):
        environment = {"III_URL": f"ws://127.0.0.1:{proxy.port}", "CLIENT": "zoo"}
        run = functools.partial(
            trio.run_process,
            client.command(tmp_path),
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        process = await nursery.start(run)
        with trio.fail_after(PATIENCE):
            old = await events.wait_for(FunctionRegistered, function_id="zoo::ready")
            events.clear()
            proxy.cut_now(Cut(direction="to_engine", after=0, how="half"))
            await events.wait_for(WorkerDetached, worker_id=old.worker_id)
            new = await events.wait_for(FunctionRegistered, function_id="zoo::ready")
        assert new.worker_id != old.worker_id
        assert [one.name for one in engine.roster if one.name == "zoo"] == ["zoo"]
        process.kill()
        nursery.cancel_scope.cancel(reason="the test is over")
