"""Tests in an order and with seeds that chance chose, again and again.

For ``tests/flakes.py``. Modules are shuffled, and the tests inside each; whoever shuffles
single tests makes and drops the fixtures of modules all the time. What a seed gave, the
same seed gives again, but for what Trio itself leaves to chance.
"""

import itertools
import random
from typing import Final

import pytest

from iii_trio.testing import open_test_engine

_RUNS: Final = pytest.StashKey[int]()


def in_passes(items: list[pytest.Item], seed: int, passes: int) -> list[pytest.Item]:
    """The items so many times over, each time in another order."""
    rng = random.Random(seed)
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(str(item.path), []).append(item)
    order: list[pytest.Item] = []
    for _ in range(passes):
        shuffled = [rng.sample(tests, len(tests)) for tests in modules.values()]
        rng.shuffle(shuffled)
        if order and order[-1] is shuffled[0][0]:
            # pytest would not take it down in between
            (shuffled if len(shuffled) > 1 else shuffled[0]).reverse()
        order += itertools.chain(*shuffled)
    return order


def seed_engines(item: pytest.Item, seed: int) -> None:
    """Let engines of a test that asks for no seed take another one each time it runs.

    Args:
        item: the test that is about to run.
        seed: of its first run; the next one gets the next.
    """
    run = item.stash[_RUNS] = item.stash.get(_RUNS, -1) + 1
    open_test_engine.__wrapped__.__kwdefaults__["seed"] = seed + run  # type: ignore[attr-defined]
