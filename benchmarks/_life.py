"""Start-up times and memory over time."""

import threading
import time
from collections.abc import Iterator
from statistics import median

from benchmarks._client import Client
from benchmarks._figure import Figure
from benchmarks._load import Profile, run_load
from benchmarks._product import open_product

FULL_LOAD = Profile("full load", callers=32, inflight=4)
FIRST, LAST = 60.0, 600.0  # seconds after the start of the load


def start_up(rounds: int) -> Iterator[Figure]:
    """Seconds from the start of the process to its port, and to an answered call."""
    listening, answered = [], []
    for _ in range(rounds):
        with open_product() as product:
            start = time.perf_counter()
            with Client(product.server.port) as client:
                client.first_answer("engine::workers::list")
                taken = time.perf_counter() - start
            listening.append(product.server.listening_after)
            answered.append(product.server.listening_after + taken)
    for name, values in (("listening", listening), ("first answered call", answered)):
        yield Figure(
            name=f"start-up to {name}",
            value=median(values),
            unit="s",
            better="less",
            note="a new process, with http and state",
        )


def memory_over_time() -> Iterator[Figure]:
    """Resident memory after ten minutes at full load, to that after one."""
    with open_product() as product:
        load = threading.Thread(
            target=run_load,
            args=(product.server, "worker", FULL_LOAD),
            kwargs={"callee": True, "seconds": LAST + 5},
        )
        load.start()
        time.sleep(FIRST)
        early = product.server.rss()
        time.sleep(LAST - FIRST)
        late = product.server.rss()
        load.join()
    yield Figure(
        name="memory after 10 minutes, to after 1",
        value=late / early,
        bar=1.01,
        better="less",
        note=f"{early / 2**20:.1f} MiB, then {late / 2**20:.1f} MiB; "
        "1% is allowed for noise",
    )
