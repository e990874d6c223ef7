"""Normal load beside the hostile traffic: calls that must be answered, and how fast.

A program: it takes the address of an engine, and answers each line of its input with one
line of JSON about the time since the line before.
"""

import json
import statistics
import sys
import time
from typing import Any

import attrs
import trio

from iii_trio.worker import Worker, open_worker

PAUSE = 0.002
"""Seconds between calls: normal load, not all that fits."""


@attrs.define
class Tally:
    """What was seen.

    Attributes:
        seconds: of each call since the last report.
        wrong: answers that were not right, ever.
        smuggled: requests that should not have come, ever.
    """

    seconds: list[float] = attrs.Factory(list)
    wrong: int = 0
    smuggled: int = 0

    def report(self) -> str:
        """One line, about the time since the last one."""
        seconds, self.seconds = self.seconds, []
        return json.dumps(
            {
                "calls": len(seconds),
                "p50_ms": statistics.median(seconds) * 1000 if seconds else None,
                "wrong": self.wrong,
                "smuggled": self.smuggled,
            }
        )


async def serve(worker: Worker, tally: Tally) -> None:
    """Offer what the load and the attackers call."""

    @worker.function("good::add")
    async def add(numbers: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return {"c": numbers["a"] + numbers["b"]} if "a" in numbers else None

    @worker.function("good::never")
    async def never(_payload: Any) -> None:
        await trio.sleep(60)

    @worker.function("good::echo")
    async def echo(request: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return {"status_code": 200, "body": {"got": type(request["body"]).__name__}}

    @worker.function("good::smuggled")
    async def smuggled(_request: Any) -> Any:
        await trio.lowlevel.checkpoint()
        tally.smuggled += 1
        return {"status_code": 200, "body": {}}

    for method in ("GET", "POST"):
        for path, function_id in (("/echo", echo), ("/smuggled", smuggled)):
            name = f"good::{function_id.__name__}"
            config = {"api_path": path, "http_method": method}
            await worker.bind("http", name, config)


async def call(worker: Worker, tally: Tally) -> None:
    """Call for ever."""
    number = 0
    while True:
        number += 1
        begin = time.perf_counter()
        answer = await worker.invoke("good::add", {"a": number, "b": 1})
        tally.seconds.append(time.perf_counter() - begin)
        tally.wrong += answer != {"c": number + 1}
        await trio.sleep(PAUSE)


async def main(url: str) -> None:
    """Live until the input ends."""
    tally = Tally()
    async with (
        open_worker(url, name="good") as server,
        open_worker(url, name="caller") as caller,
        trio.open_nursery() as nursery,
    ):
        await serve(server, tally)
        await server.invoke("engine::workers::list", {})  # all of it has arrived
        nursery.start_soon(call, caller, tally)
        stdin = trio.wrap_file(sys.stdin)
        async for _ in stdin:
            sys.stdout.write(tally.report() + "\n")
            sys.stdout.flush()
        nursery.cancel_scope.cancel(reason="the input ended")


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
