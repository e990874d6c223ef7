"""Round trips between two sockets: rates, latency and CPU as ratios to the line relay."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Final

import attrs

from benchmarks._crossbar import open_crossbar
from benchmarks._figure import Figure, Series, median, ratio
from benchmarks._load import Profile, Sample, run_load
from benchmarks._process import Server, free_port, open_server, script
from benchmarks._product import NAME

P1X64 = Profile("340 B, 1x64", callers=1, inflight=64)
P32X1 = Profile("340 B, 32x1", callers=32, inflight=1)
P64K = Profile("64 KB, 32x1", callers=32, inflight=1, size=65536)
P1X1 = Profile("340 B, 1x1", callers=1, inflight=1)

FLOOR, COALESCED, ENGINE, NATS = "line relay", "coalesced relay", NAME, "NATS"


@attrs.frozen
class Target:
    """A server, the protocol that the load speaks with it, and what its address ends in."""

    server: Server
    protocol: str
    query: str = ""

    def run(self, profile: Profile, seconds: float) -> Sample:
        """One run of the load, callee included."""
        return run_load(
            self.server,
            self.protocol,
            profile,
            callee=True,
            seconds=seconds,
            query=self.query or None,
        )


def _rate(sample: Sample) -> float:
    return sample.rate


def _p50(sample: Sample) -> float:
    return sample.p50


def _cpu(sample: Sample) -> float:
    return sample.cpu


def open_targets(stack: ExitStack, engine: Server) -> dict[str, Target]:
    """Start the floors, and the peers that are installed; the engine runs already."""
    targets = {}
    for name, module in ((FLOOR, "line_relay"), (COALESCED, "coalesced_relay")):
        port = free_port()
        server = open_server(name, script(module, port), port)
        targets[name] = Target(stack.enter_context(server), "line")
    targets[ENGINE] = Target(engine, "worker")
    nats = shutil.which("nats-server")
    if nats and shutil.which("cc"):  # the Python load does not speak NATS
        port = free_port()
        server = open_server(NATS, [nats, "-a", "127.0.0.1", "-p", str(port)], port)
        targets[NATS] = Target(stack.enter_context(server), "nats")
    crossbar = stack.enter_context(open_crossbar())
    if crossbar is not None:
        targets[crossbar.name] = Target(crossbar, "wamp")
    return targets


def interleave(
    targets: dict[str, Target], profile: Profile, rounds: int, seconds: float
) -> Series:
    """Measure all targets in turn, ``rounds`` times."""
    series: Series = {name: [] for name in targets}
    for _ in range(rounds):
        for name, target in targets.items():
            series[name].append(target.run(profile, seconds))
    return series


def _rate_figures(
    profile: Profile, series: Series, bar: float, cpu_bar: float | None
) -> Iterator[Figure]:
    floor = median(series[FLOOR], _rate)
    for name in series:
        if name == FLOOR:
            continue
        mine = name == ENGINE
        note = (
            f"{median(series[name], _rate):,.0f}/s; line relay {floor:,.0f}/s; "
            f"load busy {median(series[name], lambda s: s.load_share):.0%}"
        )
        yield Figure(
            name=f"rate {profile.name}, {name}",
            value=ratio(series, name, FLOOR, _rate),
            bar=bar if mine else None,
            note=note,
        )
        if not median(series[name], _cpu):
            continue
        yield Figure(
            name=f"CPU per trip {profile.name}, {name}",
            value=ratio(series, name, FLOOR, _cpu),
            bar=cpu_bar if mine else None,
            better="less",
            note=f"{median(series[name], _cpu):.1f} us; "
            f"line relay {median(series[FLOOR], _cpu):.1f} us",
        )


BARS: Final[Sequence[tuple[Profile, float, float | None]]] = (
    (P1X64, 4.5, 0.20),
    (P32X1, 5.0, 0.20),
    (P64K, 1.5, None),
)
"""Rate and CPU per trip, to the line relay."""


def link_rates(
    targets: dict[str, Target], rounds: int, seconds: float
) -> Iterator[Figure]:
    """The figures of the first six rows of the table."""
    for profile, bar, cpu_bar in BARS:
        series = interleave(targets, profile, rounds, seconds)
        yield from _rate_figures(profile, series, bar, cpu_bar)
        if NATS in series:
            yield Figure(
                name=f"rate {profile.name}, {ENGINE} to NATS",
                value=ratio(series, ENGINE, NATS, _rate),
                bar=0.9 if profile is P32X1 else None,
                note=f"NATS {median(series[NATS], _rate):,.0f}/s on the same core",
            )
    series = interleave(targets, P1X1, rounds, seconds)
    for name in series:
        if name != FLOOR:
            yield Figure(
                name=f"p50 {P1X1.name}, {name}",
                value=ratio(series, name, FLOOR, _p50),
                bar=1.15 if name == ENGINE else None,
                better="less",
                note=f"{median(series[name], _p50):.0f} us; "
                f"line relay {median(series[FLOOR], _p50):.0f} us",
            )
