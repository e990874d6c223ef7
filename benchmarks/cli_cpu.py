"""CPU of one whole ``iii-trio trigger`` call, as a ratio to importing its libraries.

The floor is ``python -c "import trio, trio_websocket, cyclopts"``: what any command line
on these libraries pays before its first own line. Call and floor alternate; the figure is
the ratio of the medians. Prints one JSON line; the bar is 1.6.
"""

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = int(os.environ.get("ROUNDS", "15"))
BAR = 1.6
FLOOR = [sys.executable, "-c", "import trio, trio_websocket, cyclopts"]
CONFIG = "workers: [{name: iii-worker-manager, config: {port: 0}}]\n"


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def main() -> None:
    """Start an engine, measure against it, print the line."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory, "config.yaml")
        config.write_text(CONFIG)
        command = [sys.executable, "-m", "iii_trio", "-c", str(config)]
        with subprocess.Popen(
            command, cwd=directory, stderr=subprocess.PIPE, text=True
        ) as server:
            try:
                print(json.dumps(measure(port_of(server))))
            finally:
                server.terminate()
                server.communicate()


def port_of(server: subprocess.Popen[str]) -> int:
    """The port from the line that says where the engine listens."""
    assert server.stderr is not None
    for line in server.stderr:
        match = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
        if match:
            return int(match[1])
    raise SystemExit("the engine did not start")


def measure(port: int) -> dict[str, float | int]:
    """Alternate call and floor; the first pair warms caches and does not count."""
    call = [sys.executable, "-m", "iii_trio", "trigger", "engine::workers::list"]
    call += ["--address", "127.0.0.1", "--port", str(port)]
    pairs = [(cpu_seconds(FLOOR), cpu_seconds(call)) for _ in range(ROUNDS + 1)][1:]
    floor, trigger = (statistics.median(each) for each in zip(*pairs, strict=True))
    return {
        "benchmark": "cli_cpu",
        "rounds": ROUNDS,
        "floor_ms": round(floor * 1000, 1),
        "trigger_ms": round(trigger * 1000, 1),
        "ratio": round(trigger / floor, 3),
        "bar": BAR,
    }


if __name__ == "__main__":
    main()
