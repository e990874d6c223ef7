"""The whole of it: a server, normal load, hostile traffic, and what came of them.

``make hostile RUNS=1000000`` sends as many bad frames and a tenth as many bad requests.
Ends with 1 if the server did not hold.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

from tests.hostile.attack import Attack
from tests.integration.server_rig import Server, environment, open_server

CONFIG: Final = """
workers:
- {name: iii-worker-manager, config: {port: 0, handshake_timeout_ms: 5000}}
- {name: iii-http, config: {port: 0, handshake_timeout_ms: 5000}}
- {name: iii-state, config: {adapter: {name: memory}}}
- name: iii-observability
  config: {memory_max_spans: 200, logs_max_count: 200, metrics_max_count: 200}
"""
"""What observability keeps is small, so that it is full after the warm-up."""

ROOT: Final = pathlib.Path(__file__).parent.parent.parent
WARM_UP: Final = 0.2
STEPS: Final = 10
"""How often it says how far it is."""
"""Of the traffic, before memory is measured."""

DRIPS: Final = 10
GROWTH: Final = 1.05
SLOWDOWN: Final = 2.0
BUGS: Final = ("Traceback", "A callback failed", "internal error")


@attrs.frozen(kw_only=True)
class Report:
    """What came of it.

    Attributes:
        frames: bad frames sent.
        requests: bad requests sent.
        violations: what the server did not do as it should.
        bugs: log lines that only a bug of ours makes.
        wrong: wrong answers to others.
        smuggled: requests that nobody sent.
        calls: of others, meanwhile.
        quiet_p50_ms: of others' calls before.
        p50_ms: of others' calls meanwhile.
        warm_rss: bytes after the warm-up.
        rss: bytes at the end.
        cpu_seconds: of the server, from the warm-up on.
        exit_code: of the server.
    """

    frames: int
    requests: int
    violations: tuple[str, ...]
    bugs: tuple[str, ...]
    wrong: int
    smuggled: int
    calls: int
    quiet_p50_ms: float
    p50_ms: float
    warm_rss: int
    rss: int
    cpu_seconds: float
    exit_code: int

    @property
    def held(self) -> bool:
        """Whether the server did what it should; time and memory are not in it."""
        failed = self.violations or self.bugs or self.wrong or self.smuggled
        return not failed and self.calls > 0 and self.exit_code == 0

    @property
    def is_within_bounds(self) -> bool:
        """Whether memory and others' calls stayed within the bounds of the full form."""
        return (
            self.rss <= GROWTH * self.warm_rss
            and self.p50_ms <= SLOWDOWN * self.quiet_p50_ms
        )


@attrs.define(eq=False)
class Witness:
    """The program with the normal load."""

    process: trio.Process

    async def ask(self) -> dict[str, Any]:
        """What it saw since it was last asked."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        await self.process.stdin.send_all(b"\n")
        line = b""
        while not line.endswith(b"\n"):
            more = await self.process.stdout.receive_some()
            assert more, "the witness is gone"
            line += more
        told: dict[str, Any] = json.loads(line)
        return told


@asynccontextmanager
async def open_witness(port: int) -> AsyncIterator[Witness]:
    """Start it, and wait until it calls."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.hostile.witness", f"ws://127.0.0.1:{port}"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    try:
        witness = Witness(process)
        await witness.ask()
        yield witness
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def rss_of(server: Server) -> int:
    """Resident memory of the server, in bytes."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def cpu_of(server: Server) -> float:
    """Processor seconds that the server has used."""
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def shares(total: int) -> list[int]:
    """A number in `STEPS` parts."""
    return [total * (n + 1) // STEPS - total * n // STEPS for n in range(STEPS)]


async def hostile(
    directory: pathlib.Path,
    runs: int,
    *,
    seed: int = 0,
    rate: float = math.inf,
    quiet: float = 1.0,
    on_progress: Callable[[str], None] = lambda _said: None,
) -> Report:
    """Send ``runs`` bad frames and a tenth as many bad requests.

    Args:
        directory: for the server's files.
        runs: see above.
        seed: another one makes other traffic.
        rate: frames a second at most, and a tenth as many requests.
        quiet: seconds of normal load before, for comparison.
        on_progress: told now and then what was sent so far.
    """
    async with open_server(directory, CONFIG) as server:
        port, http_port = await server.port(), await server.port("iii-http")
        async with open_witness(port) as witness, trio.open_nursery() as nursery:
            await trio.sleep(quiet)
            before = await witness.ask()
            attack = Attack(port, http_port, seed, rate)
            for _ in range(DRIPS):
                nursery.start_soon(attack.drip)
            warm = int(runs * WARM_UP)
            await attack.run(warm, warm // 10)
            warm_rss, warm_cpu = rss_of(server), cpu_of(server)
            rest = runs - warm
            for frames, requests in zip(shares(rest), shares(rest // 10), strict=True):
                await attack.run(frames, requests)
                on_progress(f"{attack.frames} frames, {attack.requests} requests")
            rss, cpu = rss_of(server), cpu_of(server) - warm_cpu
            after = await witness.ask()
            nursery.cancel_scope.cancel(reason="enough")
        exit_code = await server.stop()
    bugs = [line for line in server.lines if any(bug in line for bug in BUGS)]
    return Report(
        frames=attack.frames,
        requests=attack.requests,
        violations=tuple(attack.violations),
        bugs=tuple(bugs),
        wrong=after["wrong"],
        smuggled=after["smuggled"],
        calls=after["calls"],
        quiet_p50_ms=before["p50_ms"],
        p50_ms=after["p50_ms"],
        warm_rss=warm_rss,
        rss=rss,
        cpu_seconds=cpu,
        exit_code=exit_code,
    )


def say(said: str) -> None:
    """Tell people who wait how far it is."""
    sys.stderr.write(f"{said}\n")


def main() -> int:
    """Run it and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1000.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        report = trio.run(
            lambda: hostile(
                pathlib.Path(directory),
                arguments.runs,
                seed=arguments.seed,
                rate=arguments.rate,
                quiet=10,
                on_progress=say,
            )
        )
    for name, value in attrs.asdict(report).items():
        if isinstance(value, tuple):
            sys.stdout.write(f"{name}: {len(value)}\n")
            sys.stdout.writelines(f"  {line}\n" for line in value[:20])
        else:
            sys.stdout.write(f"{name}: {value}\n")
    sys.stdout.write(f"others' p50: {report.p50_ms / report.quiet_p50_ms:.2f} times\n")
    sys.stdout.write(f"memory: {report.rss / report.warm_rss:.3f} times\n")
    good = report.held and report.is_within_bounds
    sys.stdout.write("held\n" if good else "DID NOT HOLD\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
