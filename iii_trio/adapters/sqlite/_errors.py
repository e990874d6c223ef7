"""Driver errors become `AdapterError`, with what to do about them. No I/O here."""

from typing import Final

import apsw

from iii_trio.errors import AdapterError

ADVICE: Final[tuple[tuple[type[apsw.Error], str], ...]] = (
    (apsw.FullError, "The disk is full: free space on it, then repeat the call."),
    (
        apsw.IOError,
        "The disk failed: check its health and free space, then repeat the call.",
    ),
    (
        apsw.BusyError,
        "Another process has the file: stop it, then repeat the call.",
    ),
    (
        apsw.ReadOnlyError,
        "This user may not write to it: change that, or choose another path.",
    ),
    (
        apsw.CantOpenError,
        "Check that this user may write to its directory, or choose another path.",
    ),
    (
        apsw.NotADBError,
        "It is no SQLite file: choose another path, or move the file away.",
    ),
    (
        apsw.CorruptError,
        "The file is damaged: stop the engine and restore it from a backup.",
    ),
    (apsw.TooBigError, "The value is too big for SQLite: store a smaller one."),
)
"""What the operator or caller can do, by kind of failure."""

DEFAULT_ADVICE: Final = "See the driver's error for the reason."


def advice_for(exc: apsw.Error) -> str:
    """What to do about a driver error."""
    for kind, advice in ADVICE:
        if isinstance(exc, kind):
            return advice
    return DEFAULT_ADVICE


def adapter_error(what: str, path: str, exc: apsw.Error) -> AdapterError:
    """Make the error for users, with the driver's as its cause."""
    error = AdapterError(f"{what} {path}: {exc}. {advice_for(exc)}")
    error.__cause__ = exc
    return error
