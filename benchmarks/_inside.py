"""Figures that a script of its own measures inside its process."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from benchmarks._figure import Figure
from benchmarks._load import Profile, run_load
from benchmarks._process import BenchmarkError, cores, placed, script
from benchmarks._product import Product


def _measured(name: str, *arguments: object) -> Any:
    """Run a script of this package, pinned like a server; its JSON line.

    Raises:
        BenchmarkError: it failed; with its last words.
    """
    command = script(name, *arguments)
    with placed(cores()[0]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"{name} failed:\n{done.stderr[-2000:]}"
        raise BenchmarkError(msg)
    return json.loads(done.stdout)


def in_process_calls(rounds: int) -> Iterator[Figure]:
    """An in-process call in checkpoints."""
    found = _measured("inprocess", rounds, 5000)
    rows = (
        ("inline", "in-process call, inline", 5.0, "awaited"),
        ("deadline", "in-process call, inline with a deadline", None, "awaited"),
        (
            "task",
            "in-process call, in its own task",
            9.0,
            "void, handler sets an event",
        ),
    )
    for key, name, bar, note in rows:
        yield Figure(
            name=name,
            value=found[key],
            unit="checkpoints",
            bar=bar,
            better="less",
            note=f"{note}; a checkpoint is {found['checkpoint_us']:.1f} us",
        )


def durable_state(rounds: int, seconds: float) -> Iterator[Figure]:
    """``state::set`` that is answered after the commit."""
    found = _durable("state", rounds, seconds)
    yield Figure(
        name="state::set in process, to plain group commit",
        value=found["rate_ratio"],
        bar=0.6,
        note=_beside_floors(found),
    )


def durable_queue(rounds: int, seconds: float) -> Iterator[Figure]:
    """Messages that are stored when their sender is answered, and their delivery."""
    found = _durable("queue", rounds, seconds)
    yield Figure(
        name="enqueue in process, to plain group commit",
        value=found["rate_ratio"],
        bar=0.5,
        note=_beside_floors(found),
    )
    yield Figure(
        name="delivery of a backlog, to plain group commit",
        value=found["delivered_ratio"],
        note=f"{found['delivered']:,.0f}/s, 100 at a time, taken, handled and removed; "
        f"plain group commit of inserts {found['floor']:,.0f}/s",
    )


def stream_fan_out(rounds: int) -> Iterator[Figure]:
    """Writes that 1,000 subscribers of a stream get."""
    found = _measured("fan_out", rounds, 20, cores()[1])
    yield Figure(
        name="stream write to 1,000 subscribers, to plain sends",
        value=found["ratio"],
        note=f"{found['rate']:,.0f} deliveries/s; a loop of awaited sends "
        f"{found['floor']:,.0f}/s; {found['cpu']:.2f} of its CPU",
    )


def many_cron_triggers(seconds: int) -> Iterator[Figure]:
    """10,000 cron triggers: do they drift, does memory grow."""
    found = _measured("cron_many", 10_000, seconds)
    drift = found["last"] - found["first"]
    yield Figure(
        name="drift of 10,000 cron triggers",
        value=drift * 1000,
        unit="ms",
        bar=50,
        better="less",
        note=f"1,000 ticks in each second, a tick {found['first'] * 1000:.0f} ms after "
        f"its second at first, {found['last'] * 1000:.0f} ms at last (medians); worst "
        f"{found['worst'] * 1000:.0f} ms; {found['missing']} of {found['ticks']} "
        f"missing; {found['cpu']:.0%} of a core",
    )
    yield Figure(
        name="memory with 10,000 cron triggers, to that before",
        value=found["grown"] / found["memory"],
        bar=1.05,
        better="less",
        note=f"{found['memory'] / 2**20:.1f} MiB, {seconds} s later "
        f"{found['grown'] / 2**20:.1f} MiB",
    )


def _durable(what: str, rounds: int, seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="iii-trio-bench-") as directory:
        found: dict[str, float] = _measured("durable", what, rounds, seconds, directory)
        return found


def _beside_floors(found: dict[str, float]) -> str:
    return (
        f"{found['rate']:,.0f}/s by 100 callers; plain group commit "
        f"{found['floor']:,.0f}/s; apsw without callers {found['bare']:,.0f}/s"
    )


def state_over_sockets(product: Product, seconds: float) -> Iterator[Figure]:
    """The same, by 100 workers over sockets."""
    data = '{"scope":"bench","key":"key-@@@@@@@@","value":{"n":1,"tags":["x","y"]}}'
    sample = run_load(
        product.server,
        "worker",
        Profile("100x1", callers=100, inflight=1),
        function="state::set",
        data=data,
        seconds=seconds,
    )
    yield Figure(
        name="state::set over sockets, 100 workers",
        value=sample.rate,
        unit="/s",
        note=f"new keys; p50 {sample.p50 / 1000:.1f} ms",
    )
