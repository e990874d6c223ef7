"""The counting of flakes: nothing is counted twice, nothing is forgotten."""

import collections
import itertools
import pathlib

import pytest

from tests import flakes, shuffling


def test_each_pass_has_every_test_once_and_none_follows_itself(
    request: pytest.FixtureRequest,
) -> None:
    items = list(dict.fromkeys(request.session.items))[:20]
    order = shuffling.in_passes(items, seed=7, passes=30)
    assert set(collections.Counter(order).values()) == {30}
    if len(items) > 1:
        assert all(a is not b for a, b in itertools.pairwise(order))
    assert order == shuffling.in_passes(items, seed=7, passes=30)


def test_counts_add_up_over_stops_and_commits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    outcomes = iter(["", "it failed", ""])
    monkeypatch.setattr(flakes, "HOME", tmp_path)
    monkeypatch.setattr(flakes, "run", lambda _group, _passes, _seed: next(outcomes))
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
