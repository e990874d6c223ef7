"""A peer that provokes log lines does not fill the log."""

import logging

from iii_trio.app._log_floods import LINES_PER_SECOND, FloodFilter


class Hand:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(
    name: str = "iii_trio.engine.router", line: int = 1, text: str = "%s is odd"
) -> logging.LogRecord:
    return logging.LogRecord(
        name, logging.WARNING, "place.py", line, text, ("this",), None
    )


def test_so_many_lines_of_a_place_pass_in_a_second() -> None:
    hand = Hand()
    flood = FloodFilter(hand)
    passed = [flood.filter(record()) for _ in range(LINES_PER_SECOND + 5)]
    assert passed == [True] * LINES_PER_SECOND + [False] * 5
    assert flood.filter(record(line=2)), "another place"
    hand.now = 1.0
    late = record()
    assert flood.filter(late)
    assert late.getMessage() == "this is odd (and 5 more like it)"
    again = record()
    assert flood.filter(again)
    assert again.getMessage() == "this is odd"


def test_a_second_without_a_flood_leaves_the_line_alone() -> None:
    hand = Hand()
    flood = FloodFilter(hand)
    for second in range(3):
        hand.now = float(second)
        calm = record()
        assert flood.filter(calm)
        assert calm.getMessage() == "this is odd"


def test_lines_that_no_peer_provokes_all_pass() -> None:
    flood = FloodFilter(Hand())
    assert all(flood.filter(record("iii_trio.app")) for _ in range(100))


def test_a_filter_that_does_not_tell_leaves_the_line_as_it_is() -> None:
    hand = Hand()
    flood = FloodFilter(hand, tells=False)
    kept = [flood.filter(record()) for _ in range(LINES_PER_SECOND + 5)]
    assert sum(kept) == LINES_PER_SECOND
    hand.now += 1
    later = record()
    before = later.getMessage()
    assert flood.filter(later)
    assert later.getMessage() == before
