"""Log lines that a peer provokes at will are written so often, and counted."""

import logging

import pytest

from iii_trio.engine._complaints import LINES_PER_SECOND, Complaints

LOG = logging.getLogger("tests.complaints")


class Hand:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_so_many_lines_of_a_second_are_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hand = Hand()
    complaints = Complaints(LOG, hand, "odd things")
    written = [complaints.may_write() for _ in range(LINES_PER_SECOND + 5)]
    assert written == [True] * LINES_PER_SECOND + [False] * 5
    hand.now = 1.0
    assert complaints.may_write()
    assert caplog.messages == ["5 more odd things within a second"]
    hand.now = 2.0
    assert complaints.may_write()
    assert len(caplog.messages) == 1, "nothing was left out of the last second"
