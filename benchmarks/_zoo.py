"""What a misbehaving worker costs another one: latency beside it, to latency alone."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks._crowd import ALONE
from benchmarks._figure import Figure
from benchmarks._load import run_load
from benchmarks._process import BenchmarkError, Server, cores, placed, script
from benchmarks._product import open_product
from benchmarks.zoo import ANIMALS

SETTLE = 0.3  # seconds until an animal has begun


@contextmanager
def _beside(server: Server, animal: str) -> Iterator[None]:
    """Let an animal live on the load's core for the length of a block."""
    with placed(cores()[1]):
        process = subprocess.Popen(
            script("zoo", server.port, animal), stderr=subprocess.PIPE
        )
    with process:
        time.sleep(SETTLE)
        try:
            yield
            if process.poll() is not None:
                assert process.stderr is not None
                words = process.stderr.read()[-1000:].decode(errors="replace")
                msg = f"the {animal} worker ended by itself: {words}"
                raise BenchmarkError(msg)
        finally:
            process.kill()


def _p50(server: Server, seconds: float) -> float:
    sample = run_load(server, "worker", ALONE, callee=True, probes=1, seconds=seconds)
    return sample.probe_p50


def zoo(rounds: int, seconds: float) -> Iterator[Figure]:
    """The median latency of an honest caller beside each kind of worker."""
    for animal in ANIMALS:
        ratios, alone, beside = [], [], []
        with open_product() as product:
            for _ in range(rounds):
                alone.append(_p50(product.server, seconds))
                with _beside(product.server, animal):
                    beside.append(_p50(product.server, seconds))
                ratios.append(beside[-1] / alone[-1])
        yield Figure(
            name=f"p50 beside a {animal} worker",
            value=median(ratios),
            bar=2,
            better="less",
            note=f"{median(beside):.0f} us; {median(alone):.0f} us alone (340 B, 1x1)",
        )
