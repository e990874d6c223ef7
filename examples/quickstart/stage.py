"""What the Quickstart needs around its 20 steps: processes, files, calls, and order after it.

`open_stage` owns one directory and every process that is started in it; when its block
ends, by success or failure, all of them are gone. Nothing here knows a step.
"""

import contextlib
import functools
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Self

import attrs
import httpx2
import trio

import iii_trio

HERE = pathlib.Path(__file__).parent
PATIENCE = 90.0
"""Seconds to wait for anything; CI machines are slow and shared, and a port that a closed
connection holds is free again after a minute."""
POLL = 0.05
"""Seconds between two looks at something that tells nobody when it changes."""
GRACE = 15.0
"""Seconds that a process has to leave after SIGTERM."""


class StageError(Exception):
    """Something did not become true; the text says what was seen instead."""


@attrs.frozen(kw_only=True)
class Settings:
    """Where the engine listens, and which SDKs the workers use."""

    port: int = 49134
    http_port: int = 3111
    python: str = sys.executable
    node_modules: pathlib.Path = HERE / "node_modules"
    math_worker: pathlib.Path = HERE / "math_worker.py"
    caller_worker: pathlib.Path = HERE / "caller_worker.ts"

    def busy_port(self) -> str | None:
        """Say which port is taken and what to do, or return ``None``."""
        for port, variable in ((self.port, "PORT"), (self.http_port, "HTTP_PORT")):
            for host in ("127.0.0.1", "::1"):
                if _answers(host, port):
                    return (
                        f"port {port} on {host} is busy: stop what listens there,"
                        f" or choose another one: make quickstart {variable}=..."
                    )
        return None


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False


@attrs.frozen(kw_only=True)
class Answer:
    """What the command line printed."""

    exit_code: int
    value: Any
    error: dict[str, Any] | None

    @classmethod
    def parse(cls, exit_code: int, stdout: str, stderr: str) -> Self:
        """Read the output of ``iii-trio trigger``."""
        error = None
        if exit_code:
            text = stderr.partition("Error: ")[2]
            with contextlib.suppress(ValueError):
                error = json.loads(text)
            if not isinstance(error, dict):
                error = {"code": None, "message": stderr.strip()}
        value = json.loads(stdout) if stdout.strip() else None
        return cls(exit_code=exit_code, value=value, error=error)

    def __str__(self) -> str:
        if self.error is not None:
            return (
                f"exit {self.exit_code}, {self.error['code']}: {self.error['message']}"
            )
        return json.dumps(self.value)


@attrs.define(eq=False, kw_only=True)
class Stage:
    """One directory, its config file, and the processes that run in it."""

    settings: Settings
    directory: pathlib.Path
    _nursery: trio.Nursery
    _processes: dict[str, trio.Process] = attrs.Factory(dict)

    @property
    def url(self) -> str:
        """The address that the workers dial."""
        return f"ws://localhost:{self.settings.port}"

    # Processes ---------------------------------------------------------------------

    async def start_engine(self) -> None:
        """Start the server and wait until it listens."""
        await self._start("engine", [*_iii_trio(), "-c", "config.yaml"])

        async def listens() -> bool:
            try:
                stream = await trio.open_tcp_stream("localhost", self.settings.port)
            except OSError:
                await trio.lowlevel.checkpoint()
                return False
            await stream.aclose()
            return True

        await self.until("the engine listens", listens)

    async def start_math_worker(self) -> None:
        """Start the Python worker; it is not connected yet."""
        await self._start("math-worker", [self.settings.python, "math_worker.py"])

    async def start_caller_worker(self) -> None:
        """Start the TypeScript worker; it is not connected yet."""
        command = ["node", "--import", "tsx", "caller_worker.ts"]
        await self._start("caller-worker", command)

    async def stop(self, name: str) -> int:
        """Ask a process to leave, wait for it, and return its exit code."""
        process = self._processes.pop(name)
        process.terminate()
        with trio.move_on_after(GRACE) as scope:
            await process.wait()
        if scope.cancelled_caught:
            process.kill()
            raise StageError(f"{name} did not leave within {GRACE:.0f} s of SIGTERM")
        return await process.wait()

    async def _start(self, name: str, command: list[str]) -> None:
        environment = {**os.environ, "III_URL": self.url}
        with (self.directory / f"{name}.log").open("ab") as log:
            run = functools.partial(
                trio.run_process,
                command,
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
                deliver_cancel=_end,
            )
            self._processes[name] = await self._nursery.start(run)

    def dead(self) -> str | None:
        """Name a process that ended by itself."""
        for name, process in self._processes.items():
            if process.returncode is not None:
                return f"{name} ended with exit code {process.returncode}"
        return None

    # Files -------------------------------------------------------------------------

    def configure(self, **workers: Mapping[str, Any]) -> None:
        """Write the engine's config file: its listener and these workers."""
        entries = {"iii-worker-manager": {"port": self.settings.port}, **workers}
        lines = ["workers:"]
        for name, config in entries.items():
            lines.append(f"  - name: {name}")
            if config:
                lines.append(f"    config: {json.dumps(config)}")
        (self.directory / "config.yaml").write_text("\n".join(lines) + "\n")

    def edit(self, file_name: str, old: str, new: str) -> None:
        """Change one line of a worker, as a user does in an editor."""
        path = self.directory / file_name
        before = path.read_text()
        if before.count(old) != 1:
            raise StageError(f"{file_name} does not contain {old!r} once")
        path.write_text(before.replace(old, new))

    # Calls -------------------------------------------------------------------------

    async def call(self, function_id: str, *arguments: str) -> Answer:
        """Run ``iii-trio trigger FUNCTION_ID ARGUMENTS`` and return what it printed."""
        port = ["--port", str(self.settings.port)]
        finished = await trio.run_process(
            [*_iii_trio(), "trigger", function_id, *arguments, *port],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        return Answer.parse(
            finished.returncode, finished.stdout.decode(), finished.stderr.decode()
        )

    async def http(
        self, method: str, path: str, body: object = None
    ) -> httpx2.Response | None:
        """Send one HTTP request; ``None`` when nobody listens."""
        address = f"http://localhost:{self.settings.http_port}{path}"
        async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            with contextlib.suppress(httpx2.ConnectError):
                return await client.request(method, address, json=body)
        return None

    async def listed(self, kind: str, key: str) -> dict[str, dict[str, Any]]:
        """Return a listing of the engine (``workers``, ``functions``) by one field."""
        async with iii_trio.open_worker(self.url, name="quickstart") as control:
            answer: Any = await control.invoke(
                f"engine::{kind}::list", {"include_internal": True}
            )
        return {row[key]: row for row in answer[kind.replace("-", "_")]}

    async def until(self, what: str, check: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something is true.

        Raises:
            StageError: it did not become true in time, or a process ended meanwhile.
        """
        with trio.move_on_after(PATIENCE):
            while not await check():
                if (dead := self.dead()) is not None:
                    raise StageError(f"while waiting until {what}: {dead}")
                await trio.sleep(POLL)
            return
        raise StageError(f"not true within {PATIENCE:.0f} s: {what}")

    def logs(self, lines: int = 15) -> str:
        """Return the last lines that each process wrote."""
        parts = []
        for path in sorted(self.directory.glob("*.log")):
            tail = path.read_text(errors="replace").splitlines()[-lines:]
            parts.append(f"--- {path.stem}\n" + "\n".join(tail))
        return "\n".join(parts)


def _iii_trio() -> list[str]:
    return [sys.executable, "-m", "iii_trio"]


async def _end(process: trio.Process) -> None:
    """End a process when its stage ends: ask first, then do not."""
    process.send_signal(signal.SIGTERM)
    with trio.move_on_after(GRACE):
        await process.wait()
        return
    process.kill()


@contextlib.asynccontextmanager
async def open_stage(settings: Settings) -> AsyncIterator[Stage]:
    """Prepare a directory with copies of the workers; leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="quickstart-") as name:
        directory = pathlib.Path(name)
        shutil.copy(settings.math_worker, directory / "math_worker.py")
        shutil.copy(settings.caller_worker, directory / "caller_worker.ts")
        (directory / "package.json").write_text('{"type": "module"}')
        (directory / "node_modules").symlink_to(settings.node_modules.resolve())
        async with trio.open_nursery() as nursery:
            stage = Stage(settings=settings, directory=directory, nursery=nursery)
            yield stage
            nursery.cancel_scope.cancel(reason="the Quickstart is over")
        if (busy := settings.busy_port()) is not None:
            raise StageError(f"a port stayed open: {busy}")
