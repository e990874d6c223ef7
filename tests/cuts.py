"""Cuts the connections of real workers at random bytes: ``python -m tests.cuts``.

Each lane is one worker behind a proxy. Again and again its link is cut, in the middle of
calls and HTTP requests or while it connects and registers, and once it is back it must be
complete: every function is called or listed, its route answers, and nobody else is listed
under its name. What is missing after a minute is counted as lost.
"""

import argparse
import contextlib
import functools
import json
import logging
import pathlib
import random
import sys
import tempfile
from typing import Any, Final, Literal, final

import attrs
import httpx2
import trio

from iii_trio.errors import InvocationError
from iii_trio.worker import Worker, open_worker
from tests import sdks
from tests.client_stage import (
    FUNCTIONS,
    PATIENCE,
    Client,
    Stage,
    open_proxy,
    open_stage,
)
from tests.cutting_proxy import Cut, CuttingProxy, Direction, How

YOUNG_BYTES: Final = 9000
"""A connection that has registered everything has moved about as many, either way."""

LIVE_BYTES: Final = 6000
"""Some calls and requests."""

DIRECTIONS: Final[tuple[Direction, ...]] = ("to_engine", "to_client")
HOWS: Final[tuple[How, ...]] = ("fin", "reset", "half")

Kind = Literal["python", "node", "trio"]
CLIENTS: Final = {
    "python": Client("python", sdks.NEWEST_PYTHON),
    "node": Client("node", sdks.NEWEST_NODE),
}


@attrs.define
class Tally:
    """What the lanes of a kind counted.

    Attributes:
        cuts: staged cuts, each at a byte of its own.
        returns: how often the worker was back, and whole, afterwards.
    """

    cuts: int = 0
    returns: int = 0
    lost_functions: int = 0
    lost_routes: int = 0
    ghosts: int = 0

    @property
    def is_clean(self) -> bool:
        """The worker always came back, nothing was lost, and nobody haunts."""
        lost = self.lost_functions or self.lost_routes or self.ghosts
        return not lost and self.returns == self.cuts


@final
@attrs.define(eq=False)
class Lane:
    """One worker behind its proxy."""

    kind: Kind
    name: str
    stage: Stage
    proxy: CuttingProxy
    rng: random.Random
    tally: Tally = attrs.Factory(Tally)

    async def start(self) -> None:
        """Start the worker; it serves the route ``/NAME``."""
        if self.kind == "trio":
            await self.stage.nursery.start(self._serve_trio_worker)
        else:
            await self.stage.start(
                CLIENTS[self.kind],
                self.name,
                self.proxy.port,
                CLIENT_KINDS="http",
                CLIENT_QUIET="1",
                CLIENT_RECONNECT_MS="20",
            )
            await self.stage.ready(self.name)
            config = {"api_path": f"/{self.name}", "http_method": "GET"}
            request = {"kind": "http", "type": "http", "config": config}
            await self.stage.script.invoke(f"{self.name}::bind", request)
        await self.stage.until(self.is_complete, f"{self.name} complete")

    async def _serve_trio_worker(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async with open_worker(
            f"ws://127.0.0.1:{self.proxy.port}", name=self.name
        ) as worker:
            await self._offer(worker)
            task_status.started()
            await trio.sleep_forever()

    async def _offer(self, worker: Worker) -> None:
        async def echo(payload: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return {"from": self.name, "payload": payload}

        async def on_http() -> Any:
            await trio.lowlevel.checkpoint()
            return {"status_code": 200, "body": {"from": self.name}}

        for function in FUNCTIONS:
            worker.register_function(f"{self.name}::{function}", echo)
        worker.register_function(f"{self.name}::on_http", on_http)
        config = {"api_path": f"/{self.name}", "http_method": "GET"}
        await worker.bind("http", f"{self.name}::on_http", config)

    # What the engine has of the worker

    def _owner(self) -> str | None:
        return self.stage.owner_of(f"{self.name}::ready")

    def _namesakes(self) -> set[str]:
        roster = self.stage.app.engine.roster
        return {one.worker_id for one in roster if one.name == self.name}

    def _missing(self) -> list[str]:
        mine = self._namesakes()
        functions = [f"{self.name}::{one}" for one in (*FUNCTIONS, "on_http")]
        return [one for one in functions if self.stage.owner_of(one) not in mine]

    def _routes(self) -> int:
        function_id = f"{self.name}::on_http"
        return sum(
            trigger.spec.function_id == function_id and trigger.served_by is not None
            for trigger in self.stage.app.engine.triggers
        )

    def is_complete(self) -> bool:
        """One worker of the name, all of its functions, and its route."""
        return (
            len(self._namesakes()) == 1 and not self._missing() and self._routes() == 1
        )

    # The staged cuts

    async def run(self, cuts: int) -> None:
        """Cut so many times."""
        await trio.lowlevel.checkpoint()
        while self.tally.cuts < cuts:
            old = self._owner()
            wanted = self.proxy.cuts + self._arm()
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._call_on)
                    nursery.start_soon(self._request_on)
                    await self.proxy.wait_cuts(wanted)
                    scope.cancel(reason="cut")
            self.tally.cuts += 1
            await self._recover(old)

    def _arm(self) -> int:
        """Choose the next cut, of the link that is up or of the one after it.

        Returns:
            How many links are cut with it.
        """
        direction = self.rng.choice(DIRECTIONS)
        if self.rng.random() < 0.5:
            how = self.rng.choice(HOWS)
            after = self.rng.randrange(LIVE_BYTES)
            self.proxy.arm(Cut(direction=direction, after=after, how=how))
            return 1
        how = self.rng.choice(HOWS[:2])
        after = self.rng.randrange(YOUNG_BYTES)
        self.proxy.arm_next(Cut(direction=direction, after=after, how=how))
        self.proxy.cut_now()
        return 2

    async def _call_on(self) -> None:
        """Call again and again, whatever comes of it."""
        await trio.lowlevel.checkpoint()
        while True:
            await self.stage.until(self._owner, f"{self.name} back")
            payload = {"pad": "x" * self.rng.randrange(1000)}
            with contextlib.suppress(InvocationError):
                await self.stage.script.invoke(f"{self.name}::echo", payload)

    async def _request_on(self) -> None:
        """Make HTTP requests again and again, whatever comes of them."""
        async with self._open_http() as client:
            while True:
                await self.stage.until(self._owner, f"{self.name} back")
                await client.get(f"/{self.name}")

    def _open_http(self) -> httpx2.AsyncClient:
        base = f"http://127.0.0.1:{self.stage.port('iii-http')}"
        return httpx2.AsyncClient(base_url=base, trust_env=False, timeout=PATIENCE)

    async def _recover(self, old: str | None) -> None:
        """Wait until the worker is back, and see that it is whole."""
        await trio.lowlevel.checkpoint()
        stage, roster = self.stage, self.stage.app.engine.roster
        try:
            await stage.until(
                lambda: all(one.worker_id != old for one in roster), "the old one gone"
            )
            while True:
                await stage.until(self.is_complete, f"{self.name} complete")
                worker_id = self._owner()
                if await self._is_whole():
                    break
                # Its cut may have been on its way to the engine still.
                await stage.until(
                    functools.partial(self._differs, worker_id), "another"
                )
            self.tally.returns += 1
        except AssertionError:
            self.tally.lost_functions += len(self._missing())
            self.tally.lost_routes += self._routes() != 1
            self.tally.ghosts += max(len(self._namesakes()) - 1, 0)

    def _differs(self, worker_id: str | None) -> bool:
        return self._owner() != worker_id

    async def _is_whole(self) -> bool:
        """Whether what is listed is served, and by nobody else."""
        invoke = self.stage.script.invoke
        workers = (await invoke("engine::workers::list", {}))["workers"]
        rows = await invoke("engine::functions::list", {"worker": self.name})
        found = {row["function_id"] for row in rows["functions"]}
        listed = [row for row in workers if row["name"] == self.name]
        try:
            answer = await invoke(f"{self.name}::echo", {"n": 1})
            ready = await invoke(f"{self.name}::ready", {})
        except InvocationError:
            return False
        async with self._open_http() as client:
            page = await client.get(f"/{self.name}")
        return (
            len(listed) == 1
            and found == {f"{self.name}::{one}" for one in (*FUNCTIONS, "on_http")}
            and answer["from"] == ready["from"] == self.name
            and (page.status_code, page.json().get("from")) == (200, self.name)
        )


async def run_lanes(
    lanes: dict[Kind, int], cuts: dict[Kind, int], seed: int, directory: pathlib.Path
) -> dict[str, Tally]:
    """Run some lanes of each kind side by side.

    Args:
        lanes: how many workers of each kind.
        cuts: how many cuts for all workers of each kind together.
        seed: of everything that is chosen.
        directory: for programs and their output.

    Returns:
        The tally of each kind; ``engine`` counts what is left over in the end.
    """
    tallies: dict[str, Tally] = {}
    async with contextlib.AsyncExitStack() as stack:
        stage = await stack.enter_async_context(open_stage(directory))
        statistics = stage.app.engine.statistics
        others = len(stage.app.engine.roster)
        all_lanes: list[Lane] = []
        for kind, count in lanes.items():
            tally = tallies[kind] = Tally()
            for number in range(count):
                proxy = await stack.enter_async_context(open_proxy(stage))
                rng = random.Random(f"{seed} {kind} {number}")
                lane = Lane(kind, f"{kind}{number}", stage, proxy, rng, tally)
                await lane.start()
                all_lanes.append(lane)
        async with trio.open_nursery() as nursery:
            for lane in all_lanes:
                nursery.start_soon(lane.run, cuts[lane.kind])
        with contextlib.suppress(AssertionError):
            await stage.until(
                lambda: len(stage.app.engine.roster) == others + len(all_lanes),
                "nobody but the workers",
            )
        extra = len(stage.app.engine.roster) - others - len(all_lanes)
        tallies["engine"] = Tally(ghosts=abs(extra) + statistics().invocations)
        stage.nursery.cancel_scope.cancel(reason="the curtain falls")
    return tallies


def main() -> int:
    """Run many cuts and print what they did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    logging.getLogger("iii_trio").setLevel(logging.CRITICAL)
    cuts: dict[Kind, int] = dict.fromkeys(("python", "node"), options.runs // 2)
    cuts["trio"] = max(options.runs // 5, 1)
    lanes: dict[Kind, int] = {"python": 2, "node": 2, "trio": 4}
    with tempfile.TemporaryDirectory() as directory:
        tallies = trio.run(
            run_lanes, lanes, cuts, options.seed, pathlib.Path(directory)
        )
    for kind, tally in tallies.items():
        sys.stdout.write(f"{kind}: {json.dumps(attrs.asdict(tally))}\n")
    clean = [tally.is_clean for tally in tallies.values()]
    sys.stdout.write(f"seed {options.seed}\n")
    sys.stdout.write(f"{sum(clean)} passed, {len(clean) - sum(clean)} failed\n")
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
