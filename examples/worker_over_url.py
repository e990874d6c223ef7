"""A worker that attaches by URL and serves until it is told to stop.

Start a server (``iii-trio``), then this: ``python examples/worker_over_url.py``, then
``iii-trio trigger greet::hello name=Ada``. ``III_URL`` names another server. When the
server goes away the worker waits for it and registers everything again.
"""

import signal

import attrs
import trio

import iii_trio


@attrs.frozen
class Person:
    """Who is to be greeted."""

    name: str = "nobody"


async def main() -> None:
    """Serve ``greet::hello`` until SIGINT or SIGTERM."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with iii_trio.open_worker(name="greeter") as worker:

            @worker.function("greet::hello", description="Greets a person by name.")
            async def hello(person: Person) -> str:
                await trio.lowlevel.checkpoint()
                return f"Hello, {person.name}!"

            print(f"serving as {worker.worker_id}", flush=True)
            async for _ in signals:
                break
    print("left in order")


if __name__ == "__main__":
    trio.run(main)
