"""Autobahn's fuzzing client against an echo server behind our front door.

Not a test of the suite: ``make autobahn`` runs it. The client needs Python 2.7, which is
looked for as ``$PYTHON27`` and then as ``python2.7`` on PATH; a virtual environment with
the PyPI package ``autobahntestsuite`` is made below ``.venvs`` at the first run. Its
compression cases (12.*, 13.*) are left out: we decline every extension.

Prints a summary; ends with 1 if a case failed, 2 if the client could not be had.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys

import trio

from iii_trio.net import (
    HTTPExchange,
    WebSocket,
    open_front_door,
    open_pump,
)

ROOT = pathlib.Path(__file__).parent.parent
HOME = ROOT / ".venvs" / "autobahn"
REPORT = HOME / "report"
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


class Echo:
    """Sends every message back."""

    websocket: WebSocket

    def on_text(self, data: bytes) -> None:
        """Echo."""
        self.websocket.send_text_nowait(data)

    def on_binary(self, data: bytes) -> None:
        """Echo."""
        self.websocket.send_binary_nowait(data)

    def on_writable(self) -> None:
        """Nothing waits."""

    def on_closed(self, reason: str) -> None:
        """Nothing to release."""


class EchoHandler:
    """Accepts every WebSocket."""

    def on_request(self, exchange: HTTPExchange) -> None:
        """Accept, or 404."""
        if exchange.request.is_websocket_upgrade:
            sink = Echo()
            sink.websocket = exchange.accept_websocket(sink)
        else:
            exchange.respond(404)


def install_client() -> pathlib.Path:
    """Make the client's environment, once; gives its ``wstest``."""
    wstest = HOME / "py27" / "bin" / "wstest"
    if wstest.exists():
        return wstest
    python27 = os.environ.get("PYTHON27") or shutil.which("python2.7")
    if python27 is None:
        sys.stderr.write("Python 2.7 is needed: on PATH as python2.7, or $PYTHON27\n")
        raise SystemExit(2)
    shutil.rmtree(HOME, ignore_errors=True)
    maker = HOME / "maker"  # the last virtualenv that makes environments for 2.7
    steps = (
        (sys.executable, "-m", "venv", maker),
        (maker / "bin" / "pip", "install", "-q", "virtualenv<20.22"),
        (maker / "bin" / "virtualenv", "-q", "-p", python27, HOME / "py27"),
        (HOME / "py27" / "bin" / "pip", "install", "-q", "autobahntestsuite"),
    )
    for step in steps:
        if subprocess.run(step, check=False).returncode:
            sys.stderr.write(f"failed: {' '.join(map(str, step))}\n")
            raise SystemExit(2)
    return wstest


async def run_client(wstest: pathlib.Path, cases: list[str], driver: str) -> None:
    """Serve, and let the client talk to us."""
    async with (
        open_pump(driver="tasks" if driver == "tasks" else "auto") as pump,
        open_front_door(pump, EchoHandler(), host="127.0.0.1") as door,
    ):
        spec = {
            "outdir": str(REPORT),
            "servers": [
                {"agent": "iii_trio", "url": f"ws://127.0.0.1:{door.addresses[0][1]}"}
            ],
            "cases": cases,
            "exclude-cases": ["12.*", "13.*"],
            "exclude-agent-cases": {},
        }
        path = HOME / "fuzzingclient.json"
        path.write_text(json.dumps(spec))
        await trio.run_process(
            [wstest, "-m", "fuzzingclient", "-s", path],
            cwd=HOME,
            capture_stdout=True,
        )


def summarise() -> bool:
    """Print what became of the cases; gives whether all are good."""
    results = json.loads((REPORT / "index.json").read_text())["iii_trio"]
    for kind in ("behavior", "behaviorClose"):
        counts = collections.Counter(result[kind] for result in results.values())
        parts = (f"{count} {name}" for name, count in sorted(counts.items()))
        print(f"{kind}: {', '.join(parts)}")
    bad = {
        case: (result["behavior"], result["behaviorClose"])
        for case, result in results.items()
        if not {result["behavior"], result["behaviorClose"]} <= GOOD
    }
    for case, (behavior, close) in sorted(bad.items()):
        print(f"FAILED {case}: {behavior}, close {close}")
    not_strict = [c for c, r in results.items() if r["behavior"] == "NON-STRICT"]
    print(f"{len(results)} cases, {len(bad)} failed; non-strict: {sorted(not_strict)}")
    return bool(results) and not bad


def main() -> None:
    """Install, run, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=["*"], help="such as 1.* 6.4.1")
    parser.add_argument("--driver", choices=("auto", "tasks"), default="auto")
    arguments = parser.parse_args()
    wstest = install_client()
    shutil.rmtree(REPORT, ignore_errors=True)
    trio.run(run_client, wstest, arguments.cases or ["*"], arguments.driver)
    raise SystemExit(0 if summarise() else 1)


if __name__ == "__main__":
    main()
