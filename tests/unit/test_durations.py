import math

import pytest

from iii_trio.app._durations import as_delay, as_grace


@pytest.mark.parametrize("seconds", [0, 0.5, 1e9, math.inf])
def test_a_grace_may_last_for_ever(seconds: float) -> None:
    assert as_grace(seconds) == seconds


@pytest.mark.parametrize("seconds", [-3, -math.inf, math.nan])
def test_a_grace_is_never_negative(seconds: float) -> None:
    with pytest.raises(ValueError, match="must be 0 or more, not"):
        as_grace(seconds)


@pytest.mark.parametrize("seconds", [0, 0.5, 86_400])
def test_a_delay_is_at_most_a_day(seconds: float) -> None:
    assert as_delay(seconds) == seconds


@pytest.mark.parametrize("seconds", [-1, 86_401, math.inf, math.nan])
def test_no_other_delay_is_taken(seconds: float) -> None:
    with pytest.raises(ValueError, match="must be 0 to 86400, not"):
        as_delay(seconds)
