"""A stage for real clients: an app with its bundled workers, the script's own worker,
and programs on public SDKs that connect through a proxy."""

import collections
import contextlib
import functools
import os
import pathlib
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, final

import attrs
import trio

from iii_trio.app import App, open_app
from iii_trio.errors import FunctionFailedError
from iii_trio.protocol import Event
from iii_trio.testing import EventRecorder
from iii_trio.worker import Worker, open_worker
from tests import sdks
from tests.cutting_proxy import CuttingProxy, open_cutting_proxy

PROGRAMS = pathlib.Path(__file__).parent / "sdk_workers"
PATIENCE = 60.0
"""Seconds until something counts as never."""

KINDS = (
    *("http", "cron", "state", "stream", "join", "leave", "subscribe", "durable"),
    *("functions", "workers", "bell", "queue"),
)
FUNCTIONS = (
    *("echo", "fail", "size", "big", "ask", "fire", "enqueue", "bind", "unbind"),
    *("write", "read", "relay", "ring", "ready"),
)
"""What a client offers beside one function for each kind."""

CONFIG = {
    "workers": [
        {"name": "iii-worker-manager", "config": {"port": 0}},
        {"name": "iii-http", "config": {"port": 0}},
        {"name": "iii-stream", "config": {"port": 0}},
        {"name": "iii-state", "config": {"adapter": {"name": "memory"}}},
        *({"name": f"iii-{name}"} for name in ("queue", "pubsub", "cron")),
    ]
}

Language = Literal["python", "node", "rust"]


@attrs.frozen(order=True)
class Client:
    """A public SDK."""

    language: Language
    version: str

    def __str__(self) -> str:
        return f"{self.language} {self.version}"

    def command(self, directory: pathlib.Path) -> list[str]:
        """Install the SDK if need be; how to start the client program."""
        if self.language == "python":
            python = sdks.python_with_sdk(self.version)
            return [python, str(PROGRAMS / "client.py")]
        if self.language == "rust":
            return [str(sdks.rust_program(self.version, PROGRAMS / "client.rs"))]
        modules = directory / "node_modules"
        if not modules.exists():
            modules.symlink_to(sdks.node_modules_with_sdk(self.version).resolve())
        shutil.copy(PROGRAMS / "client.mjs", directory)
        return [sdks.need_node(), "client.mjs"]


@final
@attrs.define(eq=False)
class Stage:
    """What `open_stage` yields.

    Attributes:
        script: the script's own worker, in this process.
        fired: how often which client told that a trigger of which kind fired.
        noted: payloads of void calls.
    """

    app: App
    script: Worker
    events: EventRecorder
    directory: pathlib.Path
    nursery: trio.Nursery
    fired: "collections.Counter[tuple[str, str]]" = attrs.Factory(collections.Counter)
    noted: list[Any] = attrs.Factory(list)
    _lot: trio.lowlevel.ParkingLot = attrs.Factory(trio.lowlevel.ParkingLot)

    def port(self, entry: str) -> int:
        """The port of an entry of the configuration."""
        return self.app.addresses[entry][0][1]

    def wake(self, _event: Event | None = None) -> None:
        """Something happened."""
        self._lot.unpark_all()

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition on the engine, or on what was told, holds."""
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(PATIENCE):
            await trio.lowlevel.checkpoint()
            while not condition():
                await self._lot.park()
        assert condition(), f"never: {what}"

    async def start(
        self, client: Client, name: str, port: int, **environment: str
    ) -> trio.Process:
        """Start a client program; its output goes to a file."""
        command = client.command(self.directory)
        with (self.directory / f"{name}.log").open("ab") as log:
            run = functools.partial(
                trio.run_process,
                command,
                cwd=self.directory,
                env={
                    **{key: at for key, at in os.environ.items() if key[:4] != "III_"},
                    "III_URL": f"ws://127.0.0.1:{port}",
                    "CLIENT": name,
                    "CLIENT_KINDS": ",".join(KINDS),
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
            process: trio.Process = await self.nursery.start(run)
        return process

    def owner_of(self, function_id: str, namespace: str = "default") -> str | None:
        """The id of the worker that serves a function."""
        function = self.app.engine.registry.find(namespace, function_id)
        return None if function is None else function.owner.worker_id

    async def ready(self, name: str, namespace: str = "default") -> str:
        """Wait until a client has registered everything; its worker id."""
        last = f"{name}::ready"
        await self.until(lambda: self.owner_of(last, namespace), f"{last} registered")
        owner = self.owner_of(last, namespace)
        assert owner is not None
        return owner

    def offer(self) -> None:
        """Register what clients call."""
        worker = self.script

        @worker.function("script::double")
        async def double(payload: dict[str, int]) -> int:
            await trio.lowlevel.checkpoint()
            return 2 * payload["n"]

        @worker.function("script::refuse")
        async def refuse() -> None:
            await trio.lowlevel.checkpoint()
            msg = "no coffee"
            raise FunctionFailedError(msg, code="teapot")

        @worker.function("script::big")
        async def big(payload: dict[str, int]) -> str:
            await trio.lowlevel.checkpoint()
            return "x" * payload["size"]

        @worker.function("script::fired")
        async def fired(payload: dict[str, str]) -> None:
            await trio.lowlevel.checkpoint()
            self.fired[payload["client"], payload["kind"]] += 1
            self.wake()

        @worker.function("script::note")
        async def note(payload: Any) -> None:
            await trio.lowlevel.checkpoint()
            self.noted.append(payload)
            self.wake()

        @worker.function("script::write")
        async def write(payload: dict[str, Any]) -> None:
            async with worker.open_writer(payload["writer"]) as writer:
                for _ in range(payload["pieces"]):
                    await writer.send(bytes(payload["bytes"]))

        @worker.function("script::taken")
        async def taken() -> str:
            await trio.lowlevel.checkpoint()
            return "the script"


@contextlib.asynccontextmanager
async def open_stage(directory: pathlib.Path) -> AsyncIterator[Stage]:
    """Open an app on free ports, and the script's worker in it."""
    async with (
        open_app(CONFIG, data_dir=directory / "data") as app,
        open_worker(app.engine, name="script") as script,
        trio.open_nursery() as nursery,
    ):
        events = EventRecorder()
        stage = Stage(app, script, events, directory, nursery)
        app.engine.subscribe(events, calls=False)
        app.engine.subscribe(stage.wake, calls=False)
        stage.offer()
        yield stage
        nursery.cancel_scope.cancel(reason="the curtain falls")


@contextlib.asynccontextmanager
async def open_proxy(stage: Stage) -> AsyncIterator[CuttingProxy]:
    """Open a proxy in front of a stage's worker port."""
    async with open_cutting_proxy(stage.port("iii-worker-manager")) as proxy:
        yield proxy
