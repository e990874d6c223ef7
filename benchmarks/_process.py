"""Processes under test: started on one core, observed from outside, always ended."""

import functools
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

START_LIMIT = 30.0  # seconds until a server must listen
PAGE = resource.getpagesize()  # bytes


class BenchmarkError(Exception):
    """A server or the load did not do its part; the figure cannot be had."""


@functools.cache
def cores() -> tuple[int, int]:
    """The core of the servers and the core of the load (the same, if there is one)."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


@contextmanager
def placed(core: int) -> Iterator[None]:
    """Start processes on one core: they inherit the binding of this thread."""
    cores()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit() -> int:
    """Lift the soft limit of open files to the hard one; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@attrs.frozen
class Server:
    """A running process that listens.

    Attributes:
        port: where it listens on ``host``.
        pid: 0 if it is not ours to observe.
        listening_after: seconds from the start of the process.
    """

    name: str
    port: int
    pid: int
    listening_after: float
    host: str = "127.0.0.1"

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE

    def cpu(self) -> float:
        """Processor time used so far, in seconds."""
        # CPUCLOCK_SCHED of a process: see clock_getcpuclockid(3).
        return time.clock_gettime((~self.pid << 3) | 2)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def open_server(
    name: str,
    argv: Sequence[str],
    port: int,
    *,
    core: int | None = None,
    directory: Path | None = None,
) -> Iterator[Server]:
    """Run a server for the length of a block, on the servers' core.

    Raises:
        BenchmarkError: it ended or did not listen in time; with its output.
    """
    place = cores()[0] if core is None else core
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        with placed(place):
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
            )
        try:
            while not _listens(port):
                late = time.perf_counter() - start > START_LIMIT
                if process.poll() is not None or late:
                    output.seek(0)
                    text = output.read()[-4000:].decode(errors="replace")
                    msg = f"{name} did not start: {' '.join(argv)}\n{text}"
                    raise BenchmarkError(msg)
                time.sleep(0.002)
            yield Server(name, port, process.pid, time.perf_counter() - start)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def script(name: str, *arguments: object) -> list[str]:
    """The command line of a module of this package."""
    return [
        sys.executable,
        str(Path(__file__).with_name(f"{name}.py")),
        *map(str, arguments),
    ]
