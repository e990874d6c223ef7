"""A real ``python -m iii_trio`` process for tests: start it, read its log, end it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from iii_trio.worker import Worker
from tests.frame_tap import REPORT, check_report

LISTENER = "{name: iii-worker-manager, config: {port: 0}}"
HTTP = "{name: iii-http, config: {port: 0}}"
VOLATILE = "{name: iii-state, config: {adapter: {name: memory}}}"

PATIENCE = 60.0
"""Seconds until a test gives up on a process; never waited for when all is well."""

COMMAND = [sys.executable, "-m", "iii_trio"]
TAPPED = [sys.executable, "-m", "tests.tapped_server"]


def environment() -> dict[str, str]:
    """This process's environment without what iii workers read from it."""
    mine = {key: value for key, value in os.environ.items() if key[:4] != "III_"}
    return mine | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def names_in(directory: Path) -> list[str]:
    """What is in a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())


@attrs.define(eq=False)
class Server:
    """A running process and the lines of its log so far."""

    process: trio.Process
    lines: list[str] = attrs.field(factory=list)
    _more: trio.Condition = attrs.field(factory=trio.Condition)
    _ended: bool = False

    async def read_log(self) -> None:
        """Collect lines until the process ends."""
        assert self.process.stderr is not None
        rest = b""
        async for piece in self.process.stderr:
            *complete, rest = (rest + piece).split(b"\n")
            async with self._more:
                self.lines += [line.decode() for line in complete]
                self._more.notify_all()
        async with self._more:
            self._ended = True
            self._more.notify_all()

    async def line(self, pattern: str, *, after: int = 0) -> re.Match[str]:
        """Wait for a line that matches; look at those from ``after`` on."""
        seen = after
        with trio.fail_after(PATIENCE):
            async with self._more:
                while True:
                    for line in self.lines[seen:]:
                        if found := re.search(pattern, line):
                            return found
                    seen = len(self.lines)
                    if self._ended:
                        raise AssertionError("\n".join(self.lines))
                    await self._more.wait()

    async def port(self, name: str = "iii-worker-manager", *, after: int = 0) -> int:
        """The port on which an entry says it listens."""
        pattern = rf"{name} listening on 127\.0\.0\.1:(\d+)"
        return int((await self.line(pattern, after=after))[1])

    async def wait(self) -> int:
        """The exit code, once all of its log is read."""
        with trio.fail_after(PATIENCE):
            code = await self.process.wait()
            async with self._more:
                while not self._ended:
                    await self._more.wait()
        return code

    async def stop(self) -> int:
        """SIGTERM, then the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.wait()


async def registered(worker: Worker) -> None:
    """Wait until the engine has read what a worker sent: its frames are in order."""
    await worker.invoke("engine::workers::list", {})


@asynccontextmanager
async def call_in_flight(caller: Worker, callee: Worker) -> AsyncIterator[None]:
    """A call runs for the length of the block, then it is answered."""
    started, release = trio.Event(), trio.Event()

    @callee.function("slow::call")
    async def slow() -> str:
        started.set()
        await release.wait()
        return "done"

    await registered(callee)
    results: list[object] = []

    async def call() -> None:
        results.append(await caller.invoke("slow::call"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await started.wait()
        yield
        release.set()
    assert results == ["done"]


@asynccontextmanager
async def open_tap_report() -> AsyncIterator[dict[str, str]]:
    """The environment of a tapped server; what it reported is checked at the end."""
    await trio.lowlevel.checkpoint()
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "report")
        yield {REPORT: str(report)}
        check_report(report)


@asynccontextmanager
async def open_server(
    directory: Path,
    config: str | None = None,
    *arguments: str,
    env: dict[str, str] | None = None,
) -> AsyncIterator[Server]:
    """Start an engine in a directory, with ``config`` as its config.yaml."""
    if config is not None:
        await trio.Path(directory, "config.yaml").write_text(config)
    async with open_tap_report() as tapped, trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            [*TAPPED, *arguments],
            cwd=directory,
            stderr=subprocess.PIPE,
            env=environment() | tapped | (env or {}),
        )
        server = Server(process)
        nursery.start_soon(server.read_log)
        try:
            yield server
        finally:
            if process.poll() is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def run_cli(
    *arguments: str, env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run the command line to its end: exit code, stdout, stderr."""
    with trio.fail_after(PATIENCE):
        done = await trio.run_process(
            [*COMMAND, *arguments],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment() | (env or {}),
        )
    return done.returncode, done.stdout.decode(), done.stderr.decode()
