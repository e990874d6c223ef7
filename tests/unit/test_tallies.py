"""Calls that nobody was told of, counted by function id."""

import pytest

from iii_trio.engine import _tallies
from iii_trio.engine._tallies import OTHERS, STRIDES, Pace, Tallies


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


def test_ids_of_any_length_are_not_kept() -> None:
    tallies = Tallies()
    for function_id in ("a" * 1024, "b" * 1025, "c" * 2**20):
        tallies.of(function_id).ended += 1
    assert tallies.counts() == {"a" * 1024: (1, 0), OTHERS: (2, 0)}


def test_few_of_many_calls_are_told_of() -> None:
    pace = Pace()
    for number in range(1, 10):
        pace.told(number, 0.0001 * number)
    assert pace.due == 9 + STRIDES[-1]


def test_more_are_told_of_when_it_is_calm() -> None:
    pace = Pace()
    for number in range(1, 10):
        pace.told(number, 0.0001 * number)
    pace.told(10, 0.003)
    assert pace.due == 10 + STRIDES[-1], "neither busy nor calm"
    for number in range(11, 20):
        pace.told(number, float(number))
    assert pace.due == 19 + STRIDES[0]
