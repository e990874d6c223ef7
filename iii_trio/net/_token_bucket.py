"""A token bucket: how much of something may come in a time. Pure: told what time it is."""

from typing import Final, final

__all__ = ["TokenBucket"]


_PLENTY: Final = 1e15
"""Stands for no limit: arithmetic with infinity ends in no number."""


@final
class TokenBucket:
    """Fills at a rate, holds what comes in one second.

    What is there already is taken even if it is too much: the bucket goes into debt, and
    says how long it takes to pay that off.

    Args:
        rate: units per second; ``math.inf`` for no limit.
        now: seconds of some clock.
    """

    __slots__ = ("_level", "_rate", "_then")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = self._level = min(rate, _PLENTY)
        self._then = now

    def take(self, amount: int, now: float) -> float:
        """Take that much.

        Returns:
            Seconds until the bucket is out of debt, 0 if it is not in debt.
        """
        filled = self._level + (now - self._then) * self._rate
        self._then = now
        self._level = min(filled, self._rate) - amount
        return max(0.0, -self._level / self._rate)
