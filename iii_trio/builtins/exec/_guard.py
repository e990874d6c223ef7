"""Commands end with the engine, also when nobody of it is left to end them.

The guard is a small shell that reads from a pipe whose other end only the engine holds.
The engine writes to it which process groups run. When the engine is gone, in whatever
way, the kernel closes the pipe; the guard then ends those groups. The kernel's own means,
``PR_SET_PDEATHSIG``, will not do: it reaches one process and none of its children, it
belongs to the thread that started the process, and only Linux has it.
"""

import logging
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, final

import attrs
import trio

logger = logging.getLogger("iii_trio.builtins.exec")

GRACE: Final = 3
"""Whole seconds between SIGTERM and SIGKILL."""

CLEANUP_GRACE: Final = 5.0

SHELL: Final = "/bin/sh"

_SCRIPT: Final = """\
trap '' HUP INT TERM
groups=
while read -r change group; do
    kept=
    for one in $groups; do [ "$one" = "$group" ] || kept="$kept $one"; done
    groups=$kept
    [ "$change" = begun ] && groups="$groups $group"
done
[ -n "$groups" ] || exit 0
for one in $groups; do kill -s TERM -- "-$one"; done
sleep "$1"
for one in $groups; do kill -s KILL -- "-$one"; done
"""


@final
@attrs.define(eq=False)
class Guard:
    """Knows which process groups must not outlive the engine."""

    _process: trio.Process

    async def begun(self, group: int) -> None:
        """Guard a process group."""
        await self._tell(f"begun {group}\n")

    async def ended(self, group: int) -> None:
        """Guard it no more."""
        await self._tell(f"ended {group}\n")

    async def _tell(self, line: str) -> None:
        await trio.lowlevel.checkpoint()
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(line.encode())
        except trio.BrokenResourceError:
            logger.warning("the guard of the commands is gone: they may outlive us")


@asynccontextmanager
async def open_guard() -> AsyncIterator[Guard]:
    """Run a guard; it ends with the block, and ends what it guards then.

    Raises:
        OSError: there is no shell.
    """
    process = await trio.lowlevel.open_process(
        [SHELL, "-c", _SCRIPT, "iii-trio-guard", str(GRACE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        yield Guard(process)
    finally:
        with trio.move_on_after(CLEANUP_GRACE, shield=True):
            await process.stdin.aclose()
            await process.wait()
