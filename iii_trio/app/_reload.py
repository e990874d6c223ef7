"""Watch a configuration file and tell of every new text in it.

The parent directory is watched, so that editors that replace the file are seen; only
events on the file itself count.
"""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NoReturn

import trio

from iii_trio._watch import LOOK_EVERY, watch
from iii_trio.app._load import read_text
from iii_trio.errors import ConfigError

logger = logging.getLogger("iii_trio.app")

_STEP: Final = 0.1
"""Seconds in which events are gathered. A thread waits for them, which also hears of the
end no sooner."""


async def watch_text(
    path: Path,
    known: str,
    apply: Callable[[str], Awaitable[bool]],
    *,
    settle: float = 0.5,
) -> NoReturn:
    """Call ``apply`` with each new text of a file, until cancelled.

    A text counts once it was read twice, so that none is taken that is still being
    written. A file that cannot be read is logged and waited for. Where the system does
    not tell of changes, the file is looked at now and then.

    Args:
        path: absolute.
        known: the text that is in use already.
        apply: handles one text; the next one waits for it. False: something of it
            failed, and may not when the same text is saved again.
        settle: seconds between the two readings.
    """
    done = True

    async def look(seen: bool) -> None:
        nonlocal known, done
        text = await _read(path, quiet=not seen)
        again = seen and not done
        while text is not None and (text != known or again):
            await trio.sleep(max(0.0, settle))
            before, text = text, await _read(path, quiet=not seen)
            if text == before:
                known, again = text, False
                done = await apply(text)

    try:
        await watch(
            path.parent,
            wanted=lambda changed: changed == path,
            on_change=look,
            settle=_STEP,
            recursive=False,
        )
    except* OSError as group:
        # Such as the system's limit of watches, or a directory that may not be listed.
        logger.warning(
            "%s cannot be watched, it is read every %g s instead: %s",
            path,
            LOOK_EVERY,
            group.exceptions[0],
        )
    while True:
        await trio.sleep(LOOK_EVERY)
        await look(seen=False)


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
