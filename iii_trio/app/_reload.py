"""Watch a configuration file and tell of every new text in it.

The parent directory is watched, so that editors that replace the file are seen; only
events on the file itself count.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final, NoReturn

import trio
import watchfiles

from iii_trio.app._load import read_text
from iii_trio.errors import ConfigError

logger = logging.getLogger("iii_trio.app")

LOOK_EVERY: Final = 1.0
"""Seconds until the text is compared without an event: it may have changed before the
watch began, and some file systems tell nothing."""


async def watch_text(
    path: Path,
    known: str,
    apply: Callable[[str], Awaitable[None]],
    *,
    settle: float = 0.5,
) -> None:
    """Call ``apply`` with each new text of a file, until cancelled.

    A file that cannot be read is logged and waited for.

    Args:
        path: absolute.
        known: the text that is in use already.
        apply: handles one text; the next one waits for it.
        settle: seconds without a further event before a change counts as finished.
    """
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_set_when_cancelled, stop, name="config watch, end")
        changes = watchfiles.awatch(
            path.parent,
            watch_filter=lambda _change, changed: Path(changed) == path,
            step=max(1, round(settle * 1000)),
            debounce=max(2, round(settle * 4000)),
            stop_event=stop,
            rust_timeout=round(LOOK_EVERY * 1000),
            yield_on_timeout=True,
            recursive=False,
        )
        async with aclosing(changes):
            async for seen in changes:
                text = await _read(path, quiet=not seen)
                if text is not None and text != known:
                    known = text
                    await apply(text)


async def _read(path: Path, *, quiet: bool) -> str | None:
    await trio.lowlevel.checkpoint()
    try:
        return await read_text(trio.Path(path))
    except ConfigError as exc:
        if not quiet:
            logger.error(  # noqa: TRY400 - the mistake is in the file, not in our stack
                "%s %s; the running configuration is kept: parse failed", path, exc
            )
        return None


async def _set_when_cancelled(stop: trio.Event) -> NoReturn:
    # The watching thread cannot be cancelled; it looks at this event.
    try:
        await trio.sleep_forever()
    finally:
        stop.set()
