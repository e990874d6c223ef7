"""An engine that really listens, and programs that attach to it: for integration tests."""

import contextlib
import functools
import os
import pathlib
import subprocess
from collections.abc import AsyncIterator, Sequence

import attrs
import trio

from iii_trio.access import Access
from iii_trio.engine import Engine, open_engine, open_listener
from iii_trio.net import Pump, TLSConfig, open_pump
from iii_trio.protocol import FunctionRegistered
from iii_trio.testing import EventRecorder
from iii_trio.worker import Worker, open_worker
from tests import sdks

ZOO = sdks.PROGRAMS
PATIENCE = 60.0
"""Seconds that anything may take on a slow and shared machine."""

Language = sdks.Language
LAST_FUNCTION: dict[Language, str] = {"py": "py::stream", "ts": "ts::ring"}
"""What each zoo registers last: when it is there, all of them are."""


@attrs.frozen(eq=False, kw_only=True)
class LiveEngine:
    """An engine on a free port, what happened in it, and a worker in this process.

    Attributes:
        told: further variables for the environment of programs.
    """

    engine: Engine
    events: EventRecorder
    pump: Pump
    port: int
    caller: Worker
    directory: pathlib.Path
    ca: pathlib.Path | None
    told: dict[str, str] = attrs.field(factory=dict)
    _nursery: trio.Nursery

    @property
    def url(self) -> str:
        """What workers dial."""
        return f"{'wss' if self.ca else 'ws'}://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What programs are told: where the engine is and, with TLS, whom to trust."""
        told = {**os.environ, "III_URL": self.url}
        if self.ca is not None:
            told |= {"SSL_CERT_FILE": str(self.ca), "NODE_EXTRA_CA_CERTS": str(self.ca)}
        return told | self.told

    async def start(self, command: Sequence[object]) -> trio.Process:
        """Start a program that lives until the test ends; its output is a file."""
        with (self.directory / "output.log").open("ab") as log:
            run = functools.partial(
                trio.run_process,
                [str(part) for part in command],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
            process: trio.Process = await self._nursery.start(run)
        return process

    async def start_zoo(self, language: Language) -> trio.Process:
        """Start the zoo of a language and wait for all of its functions."""
        process = await self.start(sdks.program(language, "zoo", self.directory))
        last = LAST_FUNCTION[language]
        with trio.move_on_after(PATIENCE):
            await self.events.wait_for(FunctionRegistered, function_id=last)
            return process
        output = (self.directory / "output.log").read_text()
        raise AssertionError(f"{last} was not registered: {output}")


@contextlib.asynccontextmanager
async def open_live_engine(
    directory: pathlib.Path,
    *,
    tls: TLSConfig | None = None,
    ca: pathlib.Path | None = None,
    access: Access | None = None,
    told: dict[str, str] | None = None,
) -> AsyncIterator[LiveEngine]:
    """Open an engine on a free port; programs write and live in ``directory``.

    Args:
        directory: see above.
        tls: certificates of the port.
        ca: with ``tls``, the authority that clients trust.
        access: rules of the port; the worker in this process is free.
        told: further variables for the environment of programs.
    """
    events = EventRecorder()
    with trio.fail_after(2 * PATIENCE):
        async with (
            open_pump() as pump,
            open_engine(on_event=events) as engine,
            open_listener(engine, pump, port=0, tls=tls, access=access) as door,
            open_worker(engine, name="test") as caller,
            trio.open_nursery() as nursery,
        ):
            yield LiveEngine(
                engine=engine,
                events=events,
                pump=pump,
                port=door.addresses[0][1],
                caller=caller,
                directory=directory,
                ca=ca,
                told=told or {},
                nursery=nursery,
            )
            nursery.cancel_scope.cancel(reason="the test is over")
