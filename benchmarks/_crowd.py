"""What the others cost: idle connections, a busy neighbour, many registrations."""

import resource
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from statistics import median

from benchmarks._client import Client
from benchmarks._figure import Figure
from benchmarks._load import Profile, hold_idle, run_load
from benchmarks._product import Product, config, open_product
from benchmarks._rates import P1X1, P1X64, P32X1, Target

WITH_NEIGHBOUR = Profile("1x64 and 1x1", callers=1, inflight=64)
ALONE = Profile("1x1", callers=0, inflight=1)
FUNCTIONS, TRIGGERS = 100_000, 10_000


def _paired_rates(
    crowded: Product, empty: Product, profile: Profile, rounds: int, seconds: float
) -> list[float]:
    """Per-round ratios of the rate with the crowd to the rate without it."""
    ratios = []
    for _ in range(rounds):
        base = Target(empty.server, "worker").run(profile, seconds)
        mine = Target(crowded.server, "worker").run(profile, seconds)
        ratios.append(mine.rate / base.rate)
    return ratios


def idle_connections(
    empty: Product, wanted: int, rounds: int, seconds: float
) -> Iterator[Figure]:
    """Memory per idle connection, and the rate of the others beside them."""
    # Both ends of a connection have a descriptor, each in its own process.
    count = min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)
    one_address = partial(config, limits={"connections_per_address": 0})
    with open_product(configured=one_address) as crowded, ExitStack() as stack:
        Target(crowded.server, "worker").run(P32X1, 0.5)
        before = crowded.server.rss()
        stack.enter_context(hold_idle(crowded.server, count))
        grown = (crowded.server.rss() - before) / count / 1024
        yield Figure(
            name="RSS per idle connection",
            value=grown,
            unit="KB",
            bar=6,
            better="less",
            note=f"{count:,} announced workers without functions",
        )
        for profile in (P1X64, P32X1):
            ratios = _paired_rates(crowded, empty, profile, rounds, seconds)
            yield Figure(
                name=f"rate {profile.name} with idle connections",
                value=median(ratios),
                bar=0.95,
                note=f"{count:,} idle, to the rate without",
            )


def many_registrations(empty: Product, rounds: int, seconds: float) -> Iterator[Figure]:
    """The rate beside many functions and triggers."""
    with (
        open_product() as crowded,
        Client(crowded.server.port) as provider,
        Client(crowded.server.port) as owner,
    ):
        provider.announce("bench-provider")
        provider.send(
            {"type": "registertriggertype", "id": "bench-event", "description": ""}
        )
        provider.sync()
        owner.announce("bench-owner")
        owner.register_many(FUNCTIONS, TRIGGERS)
        provider.sync(provides="bench-event")
        provider.sync()
        for profile in (P1X64, P32X1):
            ratios = _paired_rates(crowded, empty, profile, rounds, seconds)
            yield Figure(
                name=f"rate {profile.name} with many registrations",
                value=median(ratios),
                bar=0.95,
                note=f"{FUNCTIONS:,} functions, {TRIGGERS:,} triggers, "
                "to the rate without",
            )


def neighbour(product: Product, rounds: int, seconds: float) -> Iterator[Figure]:
    """How a caller at full speed slows another one, that has one call in flight."""
    ratios: list[float] = []
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(rounds):
        for profile, found in ((ALONE, alone), (WITH_NEIGHBOUR, beside)):
            sample = run_load(
                product.server,
                "worker",
                profile,
                callee=True,
                probes=1,
                seconds=seconds,
            )
            found.append(sample.probe_p50)
        ratios.append(beside[-1] / alone[-1])
    yield Figure(
        name="p50 beside a neighbour at full speed",
        value=median(ratios),
        bar=4,
        better="less",
        note=f"{median(beside):.0f} us beside {WITH_NEIGHBOUR.inflight} in flight; "
        f"{median(alone):.0f} us alone ({P1X1.name})",
    )
