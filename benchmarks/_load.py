"""The load: compiles ``load/*.c`` once, runs it on its own core, reads its figures."""

import functools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks._process import BenchmarkError, Server, cores, placed, script

SOURCES = Path(__file__).with_name("load")


@attrs.frozen
class Profile:
    """How many callers, how many calls each keeps in flight, bytes per call frame."""

    name: str
    callers: int
    inflight: int
    size: int = 340


@attrs.frozen
class Sample:
    """What one run of the load saw.

    Attributes:
        rate: round trips per second.
        p50: microseconds.
        cpu: microseconds of the server's processor time per round trip.
        load_share: share of its core that the load used.
        errors: calls that were answered, but with a failure.
        probe_p50: microseconds, of the callers that keep one call in flight.
    """

    rate: float
    p50: float
    p99: float
    cpu: float
    load_share: float
    errors: int
    probe_p50: float
    probe_rate: float


@functools.cache
def load_command() -> tuple[str, ...]:
    """Compile the load with ``cc``; without a compiler take the Python one."""
    compiler = shutil.which("cc")
    if compiler is None:
        return tuple(script("_load_fallback"))
    target = Path(tempfile.mkdtemp(prefix="iii-trio-bench-")) / "load"
    sources = [str(path) for path in sorted(SOURCES.glob("*.c"))]
    subprocess.run([compiler, "-O2", "-o", str(target), *sources], check=True)
    return (str(target),)


def _arguments(options: dict[str, object]) -> list[str]:
    words: list[str] = []
    for name, value in options.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value not in (None, False):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def run_load(
    server: Server, protocol: str, profile: Profile, **options: object
) -> Sample:
    """One run against a server; further options as in ``load/main.c``.

    Raises:
        BenchmarkError: the load failed, or calls were answered with failures.
    """
    words = _arguments(
        {
            "protocol": protocol,
            "host": server.host,
            "port": server.port,
            "server_pid": server.pid,
            "callers": profile.callers,
            "inflight": profile.inflight,
            "size": profile.size,
        }
        | options
    )
    command = [*load_command(), *words]
    with placed(cores()[1]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"load against {server.name} ({profile.name}): {done.stderr.strip()}"
        raise BenchmarkError(msg)
    seen = json.loads(done.stdout)
    trips = seen["round_trips"] + seen["probe"]["round_trips"]
    if seen["errors"] or not trips:
        msg = f"{server.name} ({profile.name}): {trips} trips, {seen['errors']} failed"
        raise BenchmarkError(msg)
    return Sample(
        rate=seen["rate"],
        p50=seen["p50_us"],
        p99=seen["p99_us"],
        cpu=seen["server_cpu"] / trips * 1e6,
        load_share=seen["load_cpu"] / seen["seconds"],
        errors=seen["errors"],
        probe_p50=seen["probe"]["p50_us"],
        probe_rate=seen["probe"]["rate"],
    )


@contextmanager
def hold_idle(server: Server, count: int) -> Iterator[None]:
    """Keep ``count`` announced workers without functions connected."""
    command = [*load_command(), "--port", str(server.port), "--idle", str(count)]
    with placed(cores()[1]):
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise BenchmarkError("the idle connections could not be made")
        yield
        process.stdin.close()


def warn_without_compiler() -> None:
    """Say on stderr that the load is the slow one, if it is."""
    if shutil.which("cc") is None:
        print("no cc: the load is Python and may be the bottleneck", file=sys.stderr)
