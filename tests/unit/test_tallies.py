"""Calls that nobody was told of, counted by function id."""

import pytest

from iii_trio.engine import _tallies
from iii_trio.engine._tallies import OTHERS, Tallies


def test_a_tally_belongs_to_its_id_for_ever() -> None:
    tallies = Tallies()
    tallies.of("a").ended += 2
    tallies.of("a").failed += 1
    tallies.of("b").ended += 1
    assert tallies.counts() == {"a": (2, 1), "b": (1, 0)}


def test_too_many_ids_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tallies, "MAX_IDS", 2)
    tallies = Tallies()
    for function_id in ("a", "b", "c", "d", "a"):
        tallies.of(function_id).ended += 1
    assert tallies.counts() == {"a": (2, 0), "b": (1, 0), OTHERS: (2, 0)}
