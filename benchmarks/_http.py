"""Requests per second through HTTP triggers, against FastAPI on uvicorn."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks._figure import Figure, Series, median, ratio
from benchmarks._load import Profile, Sample, run_load
from benchmarks._process import Server, free_port, open_server
from benchmarks._product import Product, open_product

HERE = Path(__file__).parent
PEERS = HERE.parent / ".stamps" / "bench-peers"
PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools")
FASTAPI, LOCAL, LINK = "FastAPI on uvicorn", "in-process function", "link worker"
P32 = Profile("32 connections", callers=32, inflight=1)
BODY = '{"a": 2, "b": 3, "note": "a body of some length, as requests have one"}'


def fastapi_python() -> str | None:
    """A Python that has FastAPI, in a throw-away environment; ``None``: no network."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
    found = [str(python), "-c", f"import {','.join(PACKAGES)}"]
    if subprocess.run(found, capture_output=True, check=False).returncode:
        install = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES]
        if subprocess.run(install, check=False).returncode:
            print("FastAPI cannot be installed: its figures are left out")
            return None
    return str(python)


def _rate(sample: Sample) -> float:
    return sample.rate


def _local(server: Server, seconds: float) -> Sample:
    return run_load(
        server, "http", P32, path="/bench/local", data=BODY, seconds=seconds
    )


def _link(product: Product, seconds: float) -> Sample:
    return run_load(
        product.http,
        "http",
        P32,
        path="/bench/link",
        data=BODY,
        seconds=seconds,
        callee=True,
        callee_port=product.server.port,
        api_path="bench/link",
        function="bench::http",
    )


def http_triggers(rounds: int, seconds: float) -> Iterator[Figure]:
    """Both rows of the table; without FastAPI the rates are only reported."""
    python = fastapi_python()
    port = free_port()
    argv = [python or sys.executable, str(HERE / "fastapi_peer.py"), str(port)]
    with open_product(host_program="http_host") as product:
        series: Series = {FASTAPI: [], LOCAL: [], LINK: []}
        if python is None:
            for _ in range(rounds):
                series[LOCAL].append(_local(product.http, seconds))
                series[LINK].append(_link(product, seconds))
        else:
            with open_server(FASTAPI, argv, port) as peer:
                for _ in range(rounds):
                    series[FASTAPI].append(_local(peer, seconds))
                    series[LOCAL].append(_local(product.http, seconds))
                    series[LINK].append(_link(product, seconds))
    for name, bar in ((LOCAL, 3.5), (LINK, 2.0)):
        rate = median(series[name], _rate)
        if not series[FASTAPI]:
            yield Figure(name=f"HTTP trigger, {name}", value=rate, unit="req/s")
            continue
        yield Figure(
            name=f"HTTP trigger to {name}, to FastAPI",
            value=ratio(series, name, FASTAPI, _rate),
            bar=bar,
            note=f"{rate:,.0f} req/s; "
            f"FastAPI on uvicorn {median(series[FASTAPI], _rate):,.0f} req/s; "
            f"CPU {median(series[name], lambda s: s.cpu):.0f} us",
        )
