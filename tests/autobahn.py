"""Autobahn's fuzzing client against an echo on the front door: ``make autobahn``.

The client is a program of Python 2.7 (``PYTHON27=`` names the interpreter) and is
installed once below ``.sdks/``. The cases of compression are left out: the front door
declines it. Ends with exit code 1 when a case fails, 2 when the client cannot be had.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import final

import trio

from iii_trio.net import HTTPExchange, WebSocket, open_front_door, open_pump

HOME = pathlib.Path(__file__).parent.parent / ".sdks" / "autobahn"
# The last virtualenv that runs on Python 2.7.
VIRTUALENV = "virtualenv==20.15.1"
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


@final
class Echo:
    """Sends every message back."""

    def __init__(self) -> None:
        self.socket: WebSocket | None = None

    def on_text(self, data: bytes) -> None:
        assert self.socket is not None
        self.socket.send_text_nowait(data)

    def on_binary(self, data: bytes) -> None:
        assert self.socket is not None
        self.socket.send_binary_nowait(data)

    def on_writable(self) -> None:
        """Nothing waits for it: the client waits for each echo."""

    def on_closed(self, reason: str) -> None:
        """Nothing is kept for a connection."""


@final
class EchoDoor:
    """Takes every WebSocket."""

    def on_request(self, exchange: HTTPExchange) -> None:
        echo = Echo()
        echo.socket = exchange.accept_websocket(echo)


def run(*command: object) -> bool:
    """Run a program that talks to the terminal."""
    return subprocess.run([str(one) for one in command], check=False).returncode == 0


def install() -> pathlib.Path | None:
    """Return the fuzzing client, installed if it is not yet."""
    client = HOME / "env" / "bin" / "wstest"
    if (HOME / ".complete").exists():
        return client
    python = shutil.which(os.environ.get("PYTHON27", "python2.7"))
    if python is None:
        print("The fuzzing client needs Python 2.7 with pip: PYTHON27=/path/to/python")
        return None
    HOME.mkdir(parents=True, exist_ok=True)
    tools = HOME / "tools"
    own_python = HOME / "env" / "bin" / "python"
    pip = ("-m", "pip", "install", "--quiet")
    if (
        run(python, *pip, "--target", tools, VIRTUALENV)
        and run("env", f"PYTHONPATH={tools}", python, "-m", "virtualenv", HOME / "env")
        and run(own_python, *pip, "autobahntestsuite")
    ):
        (HOME / ".complete").touch()
        return client
    return None


def failures(report: pathlib.Path) -> tuple[list[str], int]:
    """Read the report: what failed, and the number of cases."""
    [cases] = json.loads(report.read_text()).values()
    bad = [
        f"{name}: {case['behavior']}, close {case['behaviorClose']}"
        for name, case in cases.items()
        if case["behavior"] not in GOOD or case["behaviorClose"] not in GOOD
    ]
    return bad, len(cases)


async def fuzz(client: pathlib.Path, directory: pathlib.Path) -> int:
    """Run all cases and return the exit code."""
    async with (
        open_pump() as pump,
        open_front_door(pump, EchoDoor(), host="127.0.0.1", port=0) as door,
    ):
        url = f"ws://127.0.0.1:{door.addresses[0][1]}"
        spec = {
            "outdir": str(directory),
            "servers": [{"agent": "iii_trio", "url": url}],
            "cases": ["*"],
            "exclude-cases": ["12.*", "13.*"],
        }
        path = directory / "fuzzingclient.json"
        path.write_text(json.dumps(spec))
        command = [str(client), "-m", "fuzzingclient", "-s", str(path)]
        await trio.run_process(command)
    bad, count = failures(directory / "index.json")
    print("\n".join(bad))
    print(f"{count - len(bad)} passed, {len(bad)} failed")
    return 1 if bad else 0


def main() -> int:
    """Install the client, run it, and return the exit code."""
    client = install()
    if client is None:
        return 2
    with tempfile.TemporaryDirectory() as directory:
        return trio.run(fuzz, client, pathlib.Path(directory))


if __name__ == "__main__":
    sys.exit(main())
