"""A day of cron ticks, each of which enqueues work that is retried or dies, at once."""

import time
from functools import partial
from typing import Any

import trio

from iii_trio.builtins.cron import CronConfig, serve_cron
from iii_trio.builtins.queue import NamedQueue
from iii_trio.errors import FunctionFailedError
from iii_trio.testing import run
from iii_trio.worker import current_invocation
from tests.component.queue_rig import QueueRig, open_queue_rig

DAY = 86_400
TICKS = 24 * 4
WORK = {"work": NamedQueue(max_retries=4, backoff_ms=60_000)}


async def live_through_a_day() -> tuple[list[tuple[float, int]], list[Any], Any]:
    """Attempts with the second of the day, the dead letters, and the queue's numbers."""
    attempts: list[tuple[float, int]] = []
    async with open_queue_rig(WORK) as rig:
        began = trio.current_time()
        sent = 0

        async def tick(_tick: Any) -> None:
            nonlocal sent
            sent += 1
            await rig.client.enqueue("day::work", sent, queue="work")

        async def work(number: int) -> None:
            await trio.lowlevel.checkpoint()
            assert current_invocation().caller_worker_id is None
            attempts.append((trio.current_time() - began, number))
            tries = sum(other == number for _, other in attempts)
            # Every second one succeeds at once, every fourth at the third attempt.
            if number % 2 and (tries < 3 or number % 4 == 1):
                raise FunctionFailedError("not today", code="busy")

        rig.client.register_function("day::tick", tick)
        rig.client.register_function("day::work", work)
        await _serve_cron(rig, DAY + 600)  # until the last ones are dead
        dead = await rig.call("engine::queue::dlq_messages", topic="work", limit=1000)
        return attempts, dead, await rig.stats("work")


async def _serve_cron(rig: QueueRig, seconds: float) -> None:
    async with (
        rig.under_test.open_worker("iii-cron") as server,
        trio.open_nursery() as nursery,
    ):
        serve = partial(serve_cron, now=rig.under_test.clock)
        await nursery.start(serve, server, CronConfig())
        await rig.client.bind("cron", "day::tick", {"expression": "*/15 * * * *"})
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel(reason="the day is over")


def test_a_day_of_ticks_retries_and_dead_letters_passes_in_a_second() -> None:
    began = time.process_time()
    attempts, dead, stats = run(live_through_a_day)
    used = time.process_time() - began

    by_number: dict[int, list[float]] = {}
    for when, number in attempts:
        by_number.setdefault(number, []).append(when)
    assert list(by_number) == list(range(1, TICKS + 1))
    for number, (first, *later) in by_number.items():
        assert round(first) == number * 900
        waits = [60, 180, 420][: {1: 3, 3: 2}.get(number % 4, 0)]
        assert [round(when - first) for when in later] == waits
    assert [row["payload"] for row in dead] == list(range(1, TICKS, 4))[::-1]
    assert {(row["retries"], row["error"]) for row in dead} == {(4, "busy: not today")}
    assert (stats["depth"], stats["dlq_depth"]) == (0, len(dead))
    assert used < 1, "seconds of processor time"
