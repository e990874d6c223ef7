"""When to dial again: the schedule of the public SDKs, as a pure function."""

from collections.abc import Callable
from typing import Final

FIRST_DELAY: Final = 1.0
"""Seconds before the first retry; doubled for each further one."""

LONGEST_DELAY: Final = 30.0
"""Seconds, before jitter."""

JITTER: Final = 0.3
"""A delay is moved by up to this share, so that workers do not return in step."""


def retry_delay(attempt: int, chance: Callable[[], float]) -> float:
    """Seconds to wait before a retry.

    Args:
        attempt: how many tries have failed since the last success, minus one.
        chance: gives a number in [0, 1), such as ``random.Random().random``.
    """
    # The exponent is bounded because a worker may retry for months.
    base = min(FIRST_DELAY * 2.0 ** min(attempt, 10), LONGEST_DELAY)
    return base * (1 + JITTER * (2 * chance() - 1))
