"""Many cron triggers at once; arguments: triggers, seconds.

Each fires every ten seconds, a tenth of them in each second, into one function of the same
process. Prints one JSON line: how late they are at first and at last (drift would add up),
how many ticks are missing, and resident memory at first and at last.
"""

import collections
import json
import statistics
import sys
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import trio

from iii_trio.builtins.cron import CronConfig, serve_cron
from iii_trio.engine import open_engine
from iii_trio.worker import open_worker

EVERY = 10  # seconds
PAGE = 4096


def rss() -> int:
    """Resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def main(triggers: int, seconds: int) -> None:
    """Bind, wait, count."""
    late: dict[int, list[float]] = collections.defaultdict(list)

    async def tick(payload: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        due = datetime.fromisoformat(payload["scheduled_time"]).timestamp()
        late[int(due)].append(time.time() - due)

    async with (
        open_engine() as engine,
        open_worker(engine, name="cron") as cron,
        open_worker(engine, name="worker") as worker,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(partial(serve_cron, cron, CronConfig()))
        worker.register_function("bench::tick", tick)
        for number in range(triggers):
            expression = f"{number % EVERY}/{EVERY} * * * * *"
            await worker.bind("cron", "bench::tick", {"expression": expression})
        bound = int(time.time())
        await trio.sleep(EVERY)
        memory, cpu = rss(), time.process_time()
        await trio.sleep(seconds)
        used, grown = time.process_time() - cpu, rss()
        nursery.cancel_scope.cancel(reason="measured")
    whole = sorted(second for second in late if second > bound)[1:-1]
    third = len(whole) // 3
    result = {
        "first": _median(late, whole[:third]),
        "last": _median(late, whole[-third:]),
        "worst": max(max(late[second]) for second in whole),
        "missing": sum(triggers // EVERY - len(late[second]) for second in whole),
        "ticks": sum(len(late[second]) for second in whole),
        "cpu": used / seconds,
        "memory": memory,
        "grown": grown,
    }
    print(json.dumps(result))


def _median(late: dict[int, list[float]], seconds: list[int]) -> float:
    return statistics.median(value for second in seconds for value in late[second])


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]))
