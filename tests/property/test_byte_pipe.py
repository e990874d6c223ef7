"""A byte pipe delivers a prefix of what was put in, in order, up to its fault."""

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.testing import strategies
from iii_trio.transport import BytePipe, FaultPlan


class Clock:
    """A time that the test moves."""

    def __init__(self) -> None:
        self.time = 0.0
        self.changes = 0

    def changed(self) -> None:
        self.changes += 1


def pipe_with(plan: FaultPlan) -> tuple[BytePipe, Clock]:
    clock = Clock()
    return BytePipe(plan, now=lambda: clock.time, on_change=clock.changed), clock


def everything(pipe: BytePipe, now: float = math.inf) -> tuple[bytes, bool]:
    """All that arrives until ``now``, and whether the end came."""
    arrived = b""
    while pipe.ready_at() <= now and pipe.ready_at() != math.inf:
        piece = pipe.take()
        if piece is None:
            return arrived, True
        arrived += piece
    return arrived, False


@given(st.lists(st.binary(max_size=12), max_size=6), strategies.fault_plans())
def test_what_arrives_is_the_sent_bytes_up_to_the_first_fault(
    pieces: list[bytes], plan: FaultPlan
) -> None:
    pipe, _ = pipe_with(plan)
    for piece in pieces:
        pipe.put(piece)
    sent = b"".join(pieces)
    arrived, ended = everything(pipe)
    first = min(plan.cut_after, plan.end_after, plan.drop_after, plan.stall_after)
    assert arrived == sent[: int(min(first, len(sent)))]
    assert pipe.waiting_bytes == 0 or plan.stall_after <= len(sent)
    if sent and plan.cut_after <= min(len(sent), plan.end_after, plan.stall_after):
        assert pipe.is_cut
    assert not (ended and pipe.is_cut)


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=5), st.data())
def test_a_released_stall_loses_nothing(
    pieces: list[bytes], data: st.DataObject
) -> None:
    sent = b"".join(pieces)
    stop = data.draw(st.integers(0, len(sent)))
    pipe, clock = pipe_with(FaultPlan(stall_after=stop, piece=2))
    for piece in pieces:
        pipe.put(piece)
    before, _ = everything(pipe)
    changes = clock.changes
    pipe.release()
    pipe.end()
    assert clock.changes == changes + 2
    after, ended = everything(pipe)
    assert before == sent[:stop]
    assert before + after == sent
    assert ended


def test_a_delayed_piece_arrives_when_it_is_due() -> None:
    pipe, clock = pipe_with(FaultPlan(delay=2.0))
    clock.time = 1.0
    pipe.put(b"abc")
    assert pipe.ready_at() == 3.0
    assert everything(pipe, now=3.0) == (b"abc", False)


def test_a_stalled_pipe_keeps_what_is_put_in() -> None:
    pipe, _ = pipe_with(FaultPlan())
    pipe.stall()
    pipe.put(b"abc")
    assert pipe.ready_at() == math.inf
    assert pipe.waiting_bytes == 3


def test_a_cut_loses_what_was_on_its_way_and_refuses_more() -> None:
    pipe, _ = pipe_with(FaultPlan())
    pipe.put(b"abc")
    pipe.cut()
    pipe.put(b"def")
    assert not pipe.is_open
    assert pipe.waiting_bytes == 0
    assert pipe.ready_at() == math.inf


def test_the_end_is_told_once_and_after_everything_else() -> None:
    pipe, _ = pipe_with(FaultPlan())
    pipe.put(b"abc")
    pipe.end()
    pipe.put(b"late")
    assert everything(pipe) == (b"abc", True)
    assert pipe.ready_at() == math.inf


@pytest.mark.parametrize(
    "field", ["cut_after", "end_after", "drop_after", "stall_after"]
)
@pytest.mark.parametrize("value", [-1, 2.5, -0.5, math.nan, -math.inf, "7", None])
def test_a_count_of_bytes_is_whole_or_never(field: str, value: Any) -> None:
    expected = f"{field} is {value!r}, not a whole number of bytes >= 0, or math.inf"
    with pytest.raises(ValueError, match=re.escape(expected)):
        FaultPlan(**{field: value})


@pytest.mark.parametrize("value", [-1, -0.1, math.nan, math.inf, "1"])
def test_a_delay_is_finite_and_not_negative(value: Any) -> None:
    expected = f"delay is {value!r}, not a finite number of seconds >= 0"
    with pytest.raises(ValueError, match=re.escape(expected)):
        FaultPlan(delay=value)


@pytest.mark.parametrize("value", [0, -1, 1.5, 2.0, math.inf, "1"])
def test_a_piece_is_at_least_a_byte(value: Any) -> None:
    expected = f"piece is {value!r}, not an int of bytes >= 1"
    with pytest.raises(ValueError, match=re.escape(expected)):
        FaultPlan(piece=value)


def test_a_count_may_be_a_whole_float() -> None:
    pipe, _ = pipe_with(FaultPlan(stall_after=2.0))
    pipe.put(b"abc")
    assert everything(pipe) == (b"ab", False)
