"""Everything in turn: a JSON line per figure, then a table and a plot."""

import argparse
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs

from benchmarks import _crowd, _http, _inside, _life, _locked, _zoo
from benchmarks._figure import Figure, plot, table
from benchmarks._load import warn_without_compiler
from benchmarks._process import BenchmarkError, Server, cores, raise_file_limit
from benchmarks._product import Product, open_product
from benchmarks._rates import Target, link_rates, open_targets

PLOT = Path(".stamps") / "bench.svg"


@attrs.frozen(kw_only=True)
class Plan:
    """How long to measure."""

    rounds: int
    seconds: float
    idle: int
    full: bool


QUICK = Plan(rounds=5, seconds=0.7, idle=10_000, full=False)
FULL = Plan(rounds=12, seconds=1.5, idle=10_000, full=True)


def _rates(product: Product, plan: Plan, engine_at: str) -> Iterator[Figure]:
    with ExitStack() as stack:
        targets = open_targets(stack, product.server)
        if engine_at:
            host, _, port = engine_at.rpartition(":")
            other = Server(engine_at, int(port), 0, 0.0, host=host or "127.0.0.1")
            targets[f"engine at {engine_at}"] = Target(other, "worker")
        yield from link_rates(targets, plan.rounds, plan.seconds)


def _groups(plan: Plan, engine_at: str) -> dict[str, Callable[[], Iterator[Figure]]]:
    """The parts of the suite by name; each opens what it needs."""

    def with_product(
        measure: Callable[[Product], Iterator[Figure]],
    ) -> Callable[[], Iterator[Figure]]:
        def run() -> Iterator[Figure]:
            with open_product() as product:
                yield from measure(product)

        return run

    rounds, seconds = plan.rounds, plan.seconds
    groups = {
        "rates": with_product(lambda p: _rates(p, plan, engine_at)),
        "locked": lambda: _locked.locked(rounds, seconds),
        "calls": lambda: _inside.in_process_calls(rounds),
        "idle": with_product(
            lambda p: _crowd.idle_connections(p, plan.idle, rounds, seconds)
        ),
        "zoo": lambda: _zoo.zoo(rounds, seconds),
        "neighbour": with_product(lambda p: _crowd.neighbour(p, rounds, seconds)),
        "many": with_product(lambda p: _crowd.many_registrations(p, rounds, seconds)),
        "http": lambda: _http.http_triggers(rounds, seconds),
        "state": lambda: _inside.durable_state(rounds, seconds),
        "queue": lambda: _inside.durable_queue(rounds, seconds),
        "fan-out": lambda: _inside.stream_fan_out(rounds),
        "cron": lambda: _inside.many_cron_triggers(60 if plan.full else 20),
        "state-link": with_product(lambda p: _inside.state_over_sockets(p, seconds)),
        "start": lambda: _life.start_up(rounds),
    }
    if plan.full:
        groups["memory"] = _life.memory_over_time
    return groups


def _machine() -> str:
    server, load = cores()
    shared = (
        ", the same as the load's: the ratios mean little" if server == load else ""
    )
    return (
        f"Python {platform.python_version()}, {platform.system()} "
        f"{platform.release()}, {platform.machine()}; servers on core {server}{shared}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 1 if a part could not be measured.

    A missed bar is no failure of the run: figures of a busy machine say little.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="12 rounds, and memory")
    parser.add_argument("--only", help="parts, with commas, such as rates,http")
    parser.add_argument("--engine", default="", help="host:port of another engine")
    options = parser.parse_args(arguments)
    warn_without_compiler()
    raise_file_limit()
    groups = _groups(FULL if options.full else QUICK, options.engine)
    chosen = options.only.split(",") if options.only else list(groups)
    figures: list[Figure] = []
    failed = False
    for name in chosen:
        try:
            for figure in groups[name]():
                figures.append(figure)
                print(figure.line(), flush=True)
        except BenchmarkError as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    print(f"\n{_machine()}\n\n{table(figures)}")
    PLOT.parent.mkdir(exist_ok=True)
    plot(figures, PLOT)
    print(f"\nPlot: {PLOT}")
    return int(failed)
