"""Requests per second through HTTP triggers, against FastAPI on uvicorn."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks._figure import Figure, Series, median, ratio
from benchmarks._load import Profile, Sample, run_load
from benchmarks._process import Server, free_port, open_server, script
from benchmarks._product import Product, open_product

HERE = Path(__file__).parent
PEERS = HERE.parent / ".stamps" / "bench-peers"
PACKAGES = {
    "fastapi": "0.165.0",
    "starlette": "1.10.0",
    "pydantic": "2.14.4",
    "uvicorn": "0.54.0",
    "uvloop": "0.23.0",
    "httptools": "0.9.0",
}
"""What the peer is made of, so that figures of different days mean the same."""

FASTAPI, LOCAL, LINK = "FastAPI on uvicorn", "in-process function", "link worker"
FLOOR = "the front door alone"
P32 = Profile("32 connections", callers=32, inflight=1)
BODY = '{"a": 2, "b": 3, "note": "a body of some length, as requests have one"}'


def fastapi_python() -> str | None:
    """A Python that has FastAPI, in a throw-away environment; ``None``: no network."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
    wanted = [f"{name}=={version}" for name, version in PACKAGES.items()]
    listed = [str(python), "-m", "pip", "list", "--format", "freeze"]
    found = subprocess.run(listed, capture_output=True, text=True, check=False).stdout
    if not set(wanted) <= set(found.split()):
        install = [str(python), "-m", "pip", "install", "--quiet", *wanted]
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
    """The rows of the table; without FastAPI the rates are only reported."""
    python = fastapi_python()
    port, floor_port = free_port(), free_port()
    series: Series = {FASTAPI: [], LOCAL: [], LINK: [], FLOOR: []}
    with (
        open_product(host_program="http_host") as product,
        open_server(FLOOR, script("http_floor", floor_port), floor_port) as floor,
        ExitStack() as stack,
    ):
        peer = None
        if python is not None:
            argv = [python, str(HERE / "fastapi_peer.py"), str(port)]
            peer = stack.enter_context(open_server(FASTAPI, argv, port))
        for _ in range(rounds):
            if peer is not None:
                series[FASTAPI].append(_local(peer, seconds))
            series[LOCAL].append(_local(product.http, seconds))
            series[LINK].append(_link(product, seconds))
            series[FLOOR].append(_local(floor, seconds))
    for name, bar in ((LOCAL, 3.5), (LINK, 2.0), (FLOOR, None)):
        rate = median(series[name], _rate)
        if not series[FASTAPI]:
            yield Figure(name=f"HTTP trigger, {name}", value=rate, unit="req/s")
            continue
        yield Figure(
            name=f"HTTP: {name}, to FastAPI"
            if name is FLOOR
            else f"HTTP trigger to {name}, to FastAPI",
            value=ratio(series, name, FASTAPI, _rate),
            bar=bar,
            note=f"{rate:,.0f} req/s; "
            f"FastAPI {PACKAGES['fastapi']} on uvicorn "
            f"{median(series[FASTAPI], _rate):,.0f} req/s; "
            f"CPU {median(series[name], lambda s: s.cpu):.0f} us",
        )
