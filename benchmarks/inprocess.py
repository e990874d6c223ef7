"""Calls inside one process, in checkpoints; arguments: rounds, calls per round.

Prints one JSON line with medians. A call takes plain JSON and returns plain JSON, encoded
and decoded both ways. "Inline" is an awaited call; "own task" a void call, whose handler
runs in a task of its worker, awaited by an event that the handler sets.
"""

import json
import statistics
import sys
import time
from typing import Any

import trio

from iii_trio.engine import open_engine
from iii_trio.worker import Worker, open_worker

PAYLOAD = {"a": 2, "b": 3, "who": "bench", "tags": ["x", "y"]}


async def checkpoints(count: int) -> float:
    """Seconds per checkpoint."""
    start = time.perf_counter()
    for _ in range(count):
        await trio.lowlevel.checkpoint()
    return (time.perf_counter() - start) / count


async def inline(worker: Worker, count: int, deadline: float | None) -> float:
    """Seconds per awaited call."""
    start = time.perf_counter()
    for _ in range(count):
        await worker.invoke("bench::add", PAYLOAD, deadline=deadline)
    return (time.perf_counter() - start) / count


class Ring:
    """A handler that tells that it ran."""

    def __init__(self) -> None:
        self.event = trio.Event()

    async def handle(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Add, and wake the caller."""
        self.event.set()
        return {"sum": payload["a"] + payload["b"]}

    async def own_task(self, worker: Worker, count: int) -> float:
        """Seconds per call that runs in its own task."""
        start = time.perf_counter()
        for _ in range(count):
            self.event = trio.Event()
            worker.fire("bench::ring", PAYLOAD)
            await self.event.wait()
        return (time.perf_counter() - start) / count


async def add(payload: dict[str, Any]) -> dict[str, Any]:
    """Add two numbers."""
    return {"sum": payload["a"] + payload["b"]}


async def main() -> None:
    """Measure in turn and print medians of per-round ratios."""
    rounds, count = int(sys.argv[1]), int(sys.argv[2])
    ring = Ring()
    found: dict[str, list[float]] = {"inline": [], "deadline": [], "task": []}
    floors = []
    async with (
        open_engine() as engine,
        open_worker(engine, name="callee") as callee,
        open_worker(engine, name="caller") as caller,
    ):
        callee.register_function("bench::add", add)
        callee.register_function("bench::ring", ring.handle)
        for _ in range(rounds):
            floor = await checkpoints(count)
            floors.append(floor)
            found["inline"].append(await inline(caller, count, None) / floor)
            found["deadline"].append(await inline(caller, count, 30) / floor)
            found["task"].append(await ring.own_task(caller, count) / floor)
    result = {name: statistics.median(values) for name, values in found.items()}
    print(json.dumps(result | {"checkpoint_us": statistics.median(floors) * 1e6}))


if __name__ == "__main__":
    trio.run(main)
