"""The product under test: ``python -m iii_trio`` with its bundled workers switched on."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks._process import Server, free_port, open_server, script

NAME = "iii_trio"


@attrs.frozen
class Product:
    """A running product.

    Attributes:
        server: its port for workers.
        http_port: its port for HTTP triggers.
    """

    server: Server
    http_port: int

    @property
    def http(self) -> Server:
        """The same process, at its port for HTTP triggers."""
        return attrs.evolve(self.server, port=self.http_port)


def config(
    port: int, http_port: int, limits: Mapping[str, int] | None = None
) -> dict[str, object]:
    """The configuration: what runs by default, on these ports.

    Args:
        port: for workers.
        http_port: for HTTP triggers.
        limits: of the workers' port, as far as they are not those by default.
    """
    return {
        "workers": [
            {"name": "iii-http", "config": {"port": http_port, "host": "127.0.0.1"}},
            {"name": "iii-state"},
            {
                "name": "iii-worker-manager",
                "config": {
                    "port": port,
                    "host": "127.0.0.1",
                    "limits": dict(limits or {}),
                },
            },
        ]
    }


@contextmanager
def open_product(
    *,
    host_program: str = "",
    configured: Callable[[int, int], dict[str, object]] = config,
) -> Iterator[Product]:
    """Run the product in a directory of its own.

    Args:
        configured: makes the configuration from the two ports.
        host_program: a module of this package that runs the same app in its own
            process, with functions of its own; it gets the path of the configuration.
    """
    port, http_port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="iii-trio-bench-") as name:
        directory = Path(name)
        file = directory / "config.yaml"
        file.write_text(json.dumps(configured(port, http_port)))  # JSON is YAML
        argv = [sys.executable, "-m", "iii_trio", "-c", str(file)]
        if host_program:
            argv = script(host_program, file)
        with open_server(NAME, argv, port, directory=directory) as server:
            yield Product(server, http_port)
