"""When a remote worker dials again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from iii_trio.worker._reconnect import retry_delay


def test_delays_double_from_one_second_to_thirty() -> None:
    delays = [retry_delay(attempt, lambda: 0.5) for attempt in range(7)]
    assert delays == [1, 2, 4, 8, 16, 30, 30]


@given(attempt=st.integers(0, 10**9), seed=st.integers())
def test_jitter_moves_a_delay_by_thirty_percent_at_most(
    attempt: int, seed: int
) -> None:
    middle = retry_delay(attempt, lambda: 0.5)
    delay = retry_delay(attempt, random.Random(seed).random)
    assert 0.7 * middle <= delay <= 1.3 * middle


def test_jitter_reaches_both_ends() -> None:
    assert retry_delay(0, lambda: 0.0) == 0.7
    assert 1.29 < retry_delay(0, lambda: 0.9999) <= 1.3
