"""A host program: the app, and one function of its own behind an HTTP trigger.

Argument: the configuration file. ``POST /bench/local`` adds two numbers.
"""

import sys
from typing import Any

import trio

from iii_trio.app import load_config, open_app
from iii_trio.worker import open_worker


async def add(request: dict[str, Any]) -> dict[str, Any]:
    """Add ``a`` and ``b`` of the body."""
    body = request["body"]
    return {"sum": body["a"] + body["b"], "ok": True}


async def main() -> None:
    """Serve until killed."""
    config = await load_config(sys.argv[1])
    async with open_app(config) as app, open_worker(app.engine, name="host") as worker:
        worker.register_function("bench::add", add)
        await worker.bind(
            "http", "bench::add", {"api_path": "bench/local", "http_method": "POST"}
        )
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
