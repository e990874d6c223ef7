"""The counting of flakes: nothing is counted twice, nothing is forgotten."""

import itertools
import pathlib
from typing import cast

import attrs
import pytest

from iii_trio.testing import open_test_engine
from tests import flakes, shuffling


@attrs.frozen(eq=False)
class Item:
    """A test, as far as its order needs it."""

    path: pathlib.Path


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2), (2, 1), (2,), (3, 1, 2)])
def test_each_pass_has_every_test_once_and_none_follows_itself(
    sizes: tuple[int, ...],
) -> None:
    modules = [
        [Item(pathlib.Path(f"module_{number}.py")) for _ in range(size)]
        for number, size in enumerate(sizes)
    ]
    items = cast("list[pytest.Item]", [*itertools.chain(*modules)])
    order = shuffling.in_passes(items, seed=7, passes=100)
    assert len(order) == 100 * len(items)
    for begin in range(0, len(order), len(items)):
        assert set(order[begin : begin + len(items)]) == set(items)
    assert all(a is not b for a, b in itertools.pairwise(order))
    assert order == shuffling.in_passes(items, seed=7, passes=100)


async def test_each_run_of_a_test_has_another_seed(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = open_test_engine.__wrapped__.__kwdefaults__  # type: ignore[attr-defined]
    monkeypatch.setitem(defaults, "seed", defaults["seed"])
    ids = set()
    for _ in range(3):
        shuffling.seed_engines(request.node, 7)
        async with open_test_engine() as t, t.open_raw_peer("w") as peer:
            ids.add((await peer.accepted()).worker_id)
    assert len(ids) == 3


def test_counts_add_up_over_stops_and_commits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    outcomes = iter(["", "it failed", ""])
    monkeypatch.setattr(flakes, "HOME", tmp_path)
    monkeypatch.setattr(flakes, "run", lambda _group, _passes, _seed: next(outcomes))
    monkeypatch.setitem(flakes.GROUPS, "cancellation", flakes.Group("any", 50))
    monkeypatch.setattr(flakes, "commit", lambda: "first")
    assert flakes.main("cancellation", 60) == 1
    monkeypatch.setattr(flakes, "commit", lambda: "second")
    assert flakes.main("cancellation", 60) == 1  # all of them were run already
    assert flakes.main("cancellation", 70) == 1
    count = flakes.Count.load("cancellation")
    assert count.runs == {"first": 60, "second": 10}
    [[commit, seed, log]] = count.flakes
    assert (commit, (tmp_path / log).read_text()) == ("first", "it failed")
    assert log == f"flake-cancellation-{seed}.log"
