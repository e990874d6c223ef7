"""``kill -9`` of the server, again and again, while public SDKs use everything durable.

``CRASH_RUNS`` rounds, 20 if it is not set; ``make crash RUNS=1000``.
"""

import logging
import os
import random
from pathlib import Path

import pytest

from tests.integration.crash_rig import WRITES, open_rounds
from tests.integration.crash_server import POINTS

RUNS = int(os.environ.get("CRASH_RUNS", "20"))
SEED = int(os.environ.get("CRASH_SEED", "1"))

logger = logging.getLogger("tests.crash")


@pytest.mark.needs_node
async def test_kills_lose_and_repeat_nothing(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    points: list[str] = []
    async with open_rounds(tmp_path, rng) as rounds:
        for number in range(RUNS):
            if number % 3 == 0:
                await rounds.kill_at_random()
            else:
                # Each point once before any comes again.
                points = points or rng.sample(POINTS, len(POINTS))
                await rounds.kill_at(points.pop())
            if number % 20 == 19:
                for client in rounds.clients:
                    logger.info("after %d kills: %s", number + 1, client)
        await rounds.finish()
    logger.info("killed: %s", rounds.killed)
    assert sum(rounds.killed.values()) == RUNS
    for client in rounds.clients:
        assert all(client.history.acknowledged[kind] for kind in WRITES)
