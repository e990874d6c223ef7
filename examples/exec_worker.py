"""Commands that live as long as a Trio program, and never longer.

Run it: ``python examples/exec_worker.py``.
"""

import functools
import logging
import os
import tempfile

import trio

import iii_trio
from iii_trio.builtins.exec import ExecConfig, serve_exec


class Printed(logging.Handler):
    """Prints what the commands say, and sets an event at a certain line."""

    def __init__(self, last: str) -> None:
        super().__init__()
        self.last = last
        self.seen = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        line = record.getMessage()
        print(line)
        if line == self.last:
            self.seen.set()


async def main() -> None:
    """Build, then serve, until the block is left."""
    printed = Printed("command 2: serving")
    log = logging.getLogger("iii_trio.builtins.exec")
    log.setLevel(logging.INFO)
    log.addHandler(printed)
    with tempfile.TemporaryDirectory() as directory:
        os.environ["PAGES"] = f"{directory}/pages"
        serve_pages = "trap 'rmdir $PAGES; exit' TERM; echo serving; sleep 1000 & wait"
        config = ExecConfig(exec=("mkdir $PAGES", serve_pages))
        async with (
            iii_trio.open_engine() as engine,
            iii_trio.open_worker(engine, name="iii-exec") as worker,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(functools.partial(serve_exec, worker, config))
            await printed.seen.wait()
            nursery.cancel_scope.cancel(reason="the example is over")
        left = await trio.Path(directory).glob("*")
        print(f"cleaned up: {not list(left)}")


if __name__ == "__main__":
    trio.run(main)
