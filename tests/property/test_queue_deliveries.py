"""Random messages through a queue worker in virtual time, with restarts, keep the rules.

Each message says how often its function fails. Whatever the settings, whenever the worker
is stopped and however often dead messages are sent again: every message is delivered until it succeeds or is dead, none is
delivered again after it succeeded, and groups keep their order.
"""

from collections import Counter, defaultdict
from typing import Any

import attrs
import hypothesis
import trio
from hypothesis import strategies as st

from iii_trio.adapters.memory import MemoryStores, open_memory
from iii_trio.builtins.queue import NamedQueue
from iii_trio.builtins.queue._config import check_queue
from iii_trio.errors import FunctionFailedError
from iii_trio.testing import run
from tests.component.queue_rig import QueueRig, open_queue_rig


@attrs.frozen
class Job:
    """A message: when it is sent, how long it takes, how often it fails."""

    at: int
    group: int
    takes: int
    failures: int
    delay: int


@attrs.frozen
class Scenario:
    queue: NamedQueue
    jobs: list[Job]
    stops: list[int]
    redrives: int


jobs = st.builds(
    Job,
    at=st.integers(0, 20),
    group=st.integers(0, 2),
    takes=st.integers(0, 3),
    failures=st.integers(0, 4),
    delay=st.sampled_from([0, 0, 0, 5]),
)
queues = st.builds(
    NamedQueue,
    type=st.sampled_from(["standard", "fifo"]),
    message_group_field=st.just("group"),
    max_retries=st.integers(0, 4),
    concurrency=st.integers(1, 4),
    backoff_ms=st.sampled_from([0, 100, 3000]),
)
scenarios = st.builds(
    Scenario,
    queue=queues,
    jobs=st.lists(jobs, min_size=1, max_size=12).map(
        lambda jobs: sorted(jobs, key=lambda job: job.at)
    ),
    stops=st.lists(st.integers(1, 30), max_size=3, unique=True).map(sorted),
    redrives=st.integers(0, 2),
)


@attrs.define
class World:
    """What happened, across the lives of the queue worker."""

    scenario: Scenario
    begun: list[int] = attrs.field(factory=list)
    finished: list[int] = attrs.field(factory=list)
    attempts: Counter[int] = attrs.field(factory=Counter)
    running: int = 0
    dead: list[int] = attrs.field(factory=list)
    sent: int = 0

    async def work(self, data: Any) -> None:
        number = data["number"]
        job = self.scenario.jobs[number]
        self.begun.append(number)
        self.running += 1
        assert self.running <= self.scenario.queue.concurrency
        try:
            await trio.sleep(job.takes)
            self.attempts[number] += 1
            if self.attempts[number] <= job.failures:
                raise FunctionFailedError("again", code="busy")
            self.finished.append(number)
        finally:
            self.running -= 1

    async def send(self, rig: QueueRig, start: float, until: float) -> None:
        """Send what is to be sent before ``until``."""
        await trio.lowlevel.checkpoint()
        jobs = self.scenario.jobs
        while self.sent < len(jobs) and jobs[self.sent].at < until:
            job = jobs[self.sent]
            await trio.sleep_until(start + job.at)
            await rig.client.enqueue(
                "job::run",
                {"number": self.sent, "group": job.group},
                queue="q",
                delay=job.delay or None,
            )
            self.sent += 1

    async def live(self, stores: MemoryStores) -> None:
        """Run the lives of the queue worker, one after another."""
        start = trio.current_time()
        for number, stop in enumerate(self.scenario.stops, 1):
            # Never in the instant in which a handler returns, of this life or an
            # earlier one: that message may come again.
            await self.one_life(stores, start, stop + 0.0137 * number)
        for number in range(self.scenario.redrives):
            await self.one_life(stores, start, 1000 * (number + 1), redrive=True)
        await self.one_life(stores, start, 5000)

    async def one_life(
        self,
        stores: MemoryStores,
        start: float,
        until: float,
        *,
        redrive: bool = False,
    ) -> None:
        queues = {"q": self.scenario.queue}
        async with open_queue_rig(queues, stores=stores, since=start) as rig:
            rig.client.register_function("job::run", self.work)
            await self.send(rig, start, until)
            await trio.sleep_until(start + until)
            rows = await rig.dead("q")
            self.dead = [row["payload"]["number"] for row in rows]
            if redrive:
                answer = await rig.call("iii::queue::redrive", queue="q")
                assert answer == {"queue": "q", "redriven": len(rows)}


@hypothesis.given(scenarios)
def test_messages_are_delivered_until_they_succeed_or_are_dead(
    scenario: Scenario,
) -> None:
    check_queue("q", scenario.queue)
    world = World(scenario)

    async def main() -> None:
        async with open_memory() as stores:
            await world.live(stores)

    run(main)
    limit = max(scenario.queue.max_retries, 1) * (1 + scenario.redrives)
    for number, job in enumerate(scenario.jobs):
        succeeds = job.failures < limit
        assert world.finished.count(number) == succeeds
        assert world.dead.count(number) == (not succeeds)
        assert world.attempts[number] == min(job.failures + 1, limit)
        cut_off = world.begun.count(number) - world.attempts[number]
        assert 0 <= cut_off <= len(scenario.stops) + scenario.redrives
    if scenario.queue.type == "fifo" and not scenario.redrives:
        check_group_order(world)


def check_group_order(world: World) -> None:
    """Inside of a group a message begins only when those before it have ended."""
    by_group: dict[int, list[int]] = defaultdict(list)
    for number in world.begun:
        by_group[world.scenario.jobs[number].group].append(number)
    for begun in by_group.values():
        assert begun == sorted(begun)
