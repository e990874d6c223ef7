"""Small helpers that know nothing about iii."""

import math
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import trio

T = TypeVar("T")

__all__ = [
    "ConflictDetector",
    "NoPublicConstructor",
    "open_background_nursery",
    "require_real_time",
    "url_without_secrets",
    "uuid_source",
]


class NoPublicConstructor(type):
    """Metaclass of handles that only an ``open_x`` may make, through ``_create``."""

    def __call__(cls, *_args: object, **_kwargs: object) -> NoReturn:
        """Refuse: the class has no public constructor."""
        msg = f"{cls.__module__}.{cls.__qualname__} has no public constructor"
        raise TypeError(msg)

    def _create(cls: type[T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401
        return super().__call__(*args, **kwargs)  # type: ignore[misc, no-any-return]


class ConflictDetector:
    """Raise ``trio.BusyResourceError`` when two tasks use what is for one.

    Use it as ``with detector: ...`` around the operation.
    """

    def __init__(self, message: str) -> None:
        self._message = message
        self._busy = False

    def __enter__(self) -> None:
        if self._busy:
            raise trio.BusyResourceError(self._message)
        self._busy = True

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._busy = False


@asynccontextmanager
async def open_background_nursery(reason: str) -> AsyncIterator[trio.Nursery]:
    """Open a nursery whose tasks live exactly as long as the block.

    At the end of the block its tasks are cancelled with ``reason``. An exception of the
    body that is alone leaves unwrapped; a crash of a background task leaves as an
    ``ExceptionGroup``.
    """
    body_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as exc:
                body_error = exc
                raise
            finally:
                nursery.cancel_scope.cancel(reason=reason)
    except BaseExceptionGroup as group:
        if body_error is not None and list(group.exceptions) == [body_error]:
            context = body_error.__context__
            try:
                raise body_error from body_error.__cause__
            finally:
                # Do not show the group that we just took apart as a context.
                body_error.__context__ = context
                del body_error
        raise


def url_without_secrets(url: str) -> str:
    """A URL as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def require_real_time(what: str, instead: str) -> None:
    """Refuse to run where the clock jumps as soon as all Trio tasks are waiting.

    Threads and sockets work in real time, while such a clock (``autojump_threshold`` of
    ``trio.testing.MockClock``) passes years.

    Args:
        what: works in real time, such as ``"a front door"``.
        instead: what a test can do, as the end of a sentence.

    Raises:
        RuntimeError: the clock of this Trio run jumps.
    """
    clock = trio.lowlevel.current_clock()
    if getattr(clock, "autojump_threshold", math.inf) != math.inf:
        msg = f"{what} works in real time, but this run has a virtual clock: {instead}"
        raise RuntimeError(msg)


def uuid_source() -> Callable[[], str]:
    """A maker of random (version 4) UUID text.

    As unguessable as ``uuid.uuid4``, and several times faster: it asks the system for
    the randomness of 256 ids at a time. Not to be shared with a forked process.
    """
    digits: list[str] = []

    def new_uuid() -> str:
        if not digits:
            block = os.urandom(256 * 16).hex()
            digits.extend(block[at : at + 32] for at in range(0, len(block), 32))
        given = digits.pop()
        variant = "89ab"[int(given[16], 16) % 4]
        return (
            f"{given[:8]}-{given[8:12]}-4{given[13:16]}-{variant}{given[17:20]}-"
            f"{given[20:]}"
        )

    return new_uuid
