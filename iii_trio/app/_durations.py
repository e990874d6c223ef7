"""Seconds that a person or a host program gives: which make sense. Pure."""

from typing import Final

__all__ = ["as_delay", "as_grace"]

MAX_DELAY: Final = 86_400.0
"""A day, as for other intervals; the file watcher counts in milliseconds."""


def as_grace(seconds: float) -> float:
    """Give it back if it is a time to wait at most, maybe for ever.

    Raises:
        ValueError: it is negative, or not a number.
    """
    if not seconds >= 0:
        raise ValueError(f"seconds to wait must be 0 or more, not {seconds:g}")
    return seconds


def as_delay(seconds: float) -> float:
    """Give it back if it is a time to wait, up to a day.

    Raises:
        ValueError: it is negative, longer, or not a number.
    """
    if not 0 <= seconds <= MAX_DELAY:
        msg = f"seconds to wait must be 0 to {MAX_DELAY:g}, not {seconds:g}"
        raise ValueError(msg)
    return seconds
