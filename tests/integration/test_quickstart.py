"""The Quickstart's 20 steps with real SDKs: the newest pair, and all pairs in full."""

import contextlib
import os
import pathlib
import random
import re
import socket
import sys
from collections.abc import Iterator

import pytest
import trio

from tests import sdks
from tests.integration.server_rig import open_tap_report

PAIRS = [
    pytest.param(python, node, marks=pytest.mark.full)
    for python in sdks.PYTHON_VERSIONS
    for node in sdks.NODE_VERSIONS
    if (python, node) != (sdks.NEWEST_PYTHON, sdks.NEWEST_NODE)
]


def free_ports() -> Iterator[int]:
    """Ports that nobody uses, below those that the kernel gives to clients."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            yield port


def two_free_ports() -> tuple[int, int]:
    ports = free_ports()
    return next(ports), next(ports)


async def run_quickstart(
    *arguments: str, env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run it; ``env`` tells its engine where the tap on its links reports."""
    path = os.pathsep.join(filter(None, sys.path))
    finished = await trio.run_process(
        [sys.executable, "-m", "tests.tapped_quickstart", *arguments],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, **(env or {})},
    )
    return finished.returncode, finished.stdout.decode(), finished.stderr.decode()


@pytest.mark.needs_node
@pytest.mark.parametrize(
    ("python_version", "node_version"),
    [pytest.param(sdks.NEWEST_PYTHON, sdks.NEWEST_NODE), *PAIRS],
)
async def test_the_twenty_steps_hold_and_nothing_is_left_running(
    python_version: str, node_version: str, tmp_path: pathlib.Path
) -> None:
    port, http_port = two_free_ports()
    async with open_tap_report() as tapped:
        exit_code, out, err = await run_quickstart(
            f"--port={port}",
            f"--http-port={http_port}",
            f"--python={sdks.python_with_sdk(python_version)}",
            f"--node-modules={sdks.node_modules_with_sdk(node_version)}",
            f"--math-worker={sdks.math_worker(python_version, tmp_path)}",
            f"--caller-worker={sdks.caller_worker(node_version, tmp_path)}",
            env=tapped,
        )

    assert exit_code == 0, out + err
    numbers = [int(number) for number in re.findall(r"(?m)^ ?(\d+)\. ", out)]
    assert numbers == list(range(1, 21))
    assert out.endswith("nothing left running, no port left open.\n")


@pytest.mark.parametrize("option", ["--port", "--http-port"])
async def test_a_busy_port_is_named_before_anything_is_started(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = busy.getsockname()[1]
        ports = dict(zip(("--port", "--http-port"), two_free_ports(), strict=True))
        ports[option] = taken
        exit_code, out, err = await run_quickstart(
            *(f"{name}={port}" for name, port in ports.items())
        )

    assert exit_code == 1
    assert out == ""
    assert f"port {taken} on 127.0.0.1 is busy" in err
