"""An engine with its worker port and nothing else; argument: the port.

The suite measures ``python -m iii_trio``; this one is for profiling the hot path alone.
"""

import sys

import trio

from iii_trio.engine import open_engine, open_listener
from iii_trio.net import open_pump


async def main() -> None:
    """Serve until killed."""
    async with (
        open_pump() as pump,
        open_engine() as engine,
        open_listener(engine, pump, host="127.0.0.1", port=int(sys.argv[1])),
    ):
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
