"""What waits for all peers together: the cap, who is dropped, who is told."""

import math

from hypothesis import given
from hypothesis import strategies as st

from iii_trio.net._outboxes import Outboxes


def test_below_the_cap_everybody_may_wait() -> None:
    outboxes = Outboxes(100)
    assert outboxes.weigh(0, 100)
    assert outboxes.weigh(100, 0)
    assert (outboxes.total, outboxes.waiting, outboxes.dropped) == (0, 0, 0)


def test_above_the_cap_who_has_more_than_its_share_and_grows_is_dropped() -> None:
    outboxes = Outboxes(100)
    assert outboxes.weigh(0, 40)
    assert outboxes.weigh(0, 10)
    assert not outboxes.weigh(0, 60)
    assert outboxes.weigh(60, 0)  # it is gone
    assert outboxes.weigh(10, 20)
    assert outboxes.weigh(0, 30)
    assert outboxes.weigh(30, 33), "its share"
    assert outboxes.weigh(40, 48) is False
    assert outboxes.dropped == 2


def test_one_that_shrinks_is_not_dropped() -> None:
    outboxes = Outboxes(10)
    outboxes.weigh(0, 100)
    assert outboxes.weigh(100, 90)


def test_listeners_hear_when_it_begins_and_when_it_is_well_over() -> None:
    outboxes = Outboxes(100)
    heard: list[bool] = []
    with outboxes.telling(heard.append):
        outboxes.weigh(0, 50)
        outboxes.weigh(0, 51)
        outboxes.weigh(51, 40)  # 90: not yet
        outboxes.weigh(50, 70)
        outboxes.weigh(70, 35)
    outboxes.weigh(0, 1000)
    assert heard == [False, True, False]


def test_without_a_cap_nobody_is_dropped() -> None:
    outboxes = Outboxes()
    assert outboxes.limit == math.inf
    assert all(outboxes.weigh(0, 2**40) for _ in range(100))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 300)), max_size=60))
def test_who_stays_holds_together_no_more_than_the_cap_and_a_step(
    steps: list[tuple[int, int]],
) -> None:
    outboxes = Outboxes(1000)
    held = dict.fromkeys(range(6), 0)
    for who, more in steps:
        old, held[who] = held[who], held[who] + more
        if not outboxes.weigh(old, held[who]):
            outboxes.weigh(held[who], 0)
            held[who] = 0
        assert outboxes.total == sum(held.values())
        assert outboxes.waiting == sum(size > 0 for size in held.values())
        assert outboxes.total <= 1000 + 6 * 300
