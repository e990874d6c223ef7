"""Being told of changes in the file system."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final, NoReturn

import trio
import watchfiles
from watchfiles._rust_notify import WatchfilesRustInternalError

LOOK_EVERY: Final = 1.0
"""Seconds between calls without an event: something may have changed before the watch
began, and some file systems tell nothing."""


async def watch(
    *directories: Path,
    wanted: Callable[[Path], bool],
    on_change: Callable[[bool], Awaitable[None]],
    settle: float,
    recursive: bool,
) -> None:
    """Call ``on_change`` when something changes, until cancelled.

    Args:
        directories: absolute, and they exist.
        wanted: whether a change of that path counts.
        on_change: called with true after events, and with false every `LOOK_EVERY`
            seconds without one; the next call waits for it.
        settle: seconds without a change of one more path before ``on_change`` is called;
            the watching thread hears of the end no sooner.
        recursive: whether directories below count too.

    Raises:
        ExceptionGroup: of an ``OSError``: a directory does not exist, or the system cannot
            watch it, such as for its limit of watches.
    """
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_set_when_cancelled, stop, name="file watch, end")
        changes = watchfiles.awatch(
            *directories,
            watch_filter=lambda _change, changed: wanted(Path(changed)),
            step=max(1, round(settle * 1000)),
            debounce=max(2, round(settle * 4000)),
            stop_event=stop,
            rust_timeout=round(LOOK_EVERY * 1000),
            yield_on_timeout=True,
            recursive=recursive,
        )
        async with aclosing(changes):
            try:
                async for seen in changes:
                    await on_change(bool(seen))
            except WatchfilesRustInternalError as exc:
                # Such as no descriptor, or instance of inotify, left.
                raise OSError(str(exc)) from exc


async def _set_when_cancelled(stop: trio.Event) -> NoReturn:
    # The watching thread cannot be cancelled; it looks at this event.
    try:
        await trio.sleep_forever()
    finally:
        stop.set()
