"""crossbar, a WAMP router, as a peer: its configuration and its process."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks._process import Server, free_port, open_server

NAME = "crossbar"


def _config(port: int) -> dict[str, object]:
    """One realm, in which anybody may register and call."""
    role = {
        "name": "anybody",
        "permissions": [
            {"uri": "", "match": "prefix", "allow": {"call": True, "register": True}}
        ],
    }
    transport = {
        "type": "websocket",
        "endpoint": {"type": "tcp", "interface": "127.0.0.1", "port": port},
        "serializers": ["json"],
        "auth": {"anonymous": {"type": "static", "role": "anybody"}},
    }
    router = {
        "type": "router",
        "realms": [{"name": "bench", "roles": [role]}],
        "transports": [transport],
    }
    return {"version": 2, "workers": [router]}


@contextmanager
def open_crossbar() -> Iterator[Server | None]:
    """Run crossbar if it is on PATH.

    Its router is a child of its process: there are no figures of its processor time.
    """
    program = shutil.which("crossbar")
    if program is None:
        yield None
        return
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="iii-trio-bench-") as name:
        home = Path(name)
        (home / "config.json").write_text(json.dumps(_config(port)))
        command = [program, "start", "--cbdir", str(home), "--loglevel", "error"]
        with open_server(NAME, command, port) as server:
            yield attrs.evolve(server, pid=0)
