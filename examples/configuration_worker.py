"""Settings that change while a program runs, are checked, and survive it.

Run it: ``python examples/configuration_worker.py``.
"""

import functools
import tempfile
from pathlib import Path
from typing import Any

import trio

import iii_trio
from iii_trio.adapters.sqlite import open_sqlite
from iii_trio.builtins.configuration import ConfigurationConfig, serve_configuration
from iii_trio.errors import InvocationError

SCHEMA = {
    "type": "object",
    "properties": {
        "greeting": {"type": "string"},
        "volume": {"type": "integer", "maximum": 11},
    },
    "required": ["greeting"],
}
ABOUT = {
    "id": "greeter",
    "name": "Greeter",
    "description": "How people are greeted.",
    "schema": SCHEMA,
}


async def run_greeter(iii: iii_trio.Worker) -> None:
    """Declare settings, be told of changes, change them well and badly."""
    first = {"greeting": "Hello", "volume": "${VOLUME:5}"}
    await iii.invoke("configuration::register", {**ABOUT, "seed": first})
    settings = (await iii.invoke("configuration::get", {"id": "greeter"}))["value"]
    print(f"{settings['greeting']} at volume {settings['volume']}")

    changed = trio.Event()

    async def on_change(event: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        print(f"from now on: {event['new_value']['greeting']}")
        changed.set()

    iii.register_function("greeter::on_change", on_change)
    this_one = {"configuration_id": "greeter"}
    await iii.bind("configuration", "greeter::on_change", this_one)
    change = {"id": "greeter", "value": {"greeting": "Ahoy"}}
    await iii.invoke("configuration::set", change)
    await changed.wait()

    try:
        change = {"id": "greeter", "value": {"greeting": "Hey", "volume": 12}}
        await iii.invoke("configuration::set", change)
    except InvocationError as exc:
        print(exc)


async def main() -> None:
    """Run the greeter, then look at what a later run finds."""
    with tempfile.TemporaryDirectory() as directory:
        for run in ("first", "second"):
            async with (
                open_sqlite(Path(directory) / "settings.db") as stores,
                iii_trio.open_engine() as engine,
                iii_trio.open_worker(engine, name="configuration") as server,
                iii_trio.open_worker(engine, name="greeter") as greeter,
                trio.open_nursery() as nursery,
            ):
                serve = functools.partial(
                    serve_configuration,
                    server,
                    ConfigurationConfig(),
                    store=stores.key_value("configuration"),
                )
                await nursery.start(serve)
                if run == "first":
                    await run_greeter(greeter)
                else:
                    kept = await greeter.invoke("configuration::get", {"id": "greeter"})
                    print(f"kept: {kept['value']['greeting']}")
                nursery.cancel_scope.cancel(reason="the example is over")


if __name__ == "__main__":
    trio.run(main)
