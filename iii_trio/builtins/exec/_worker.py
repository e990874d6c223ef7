"""`serve_exec`: runs the commands, and runs them again when a watched file changes."""

import logging
import sys
from collections import deque
from pathlib import Path
from typing import Final, NoReturn

import attrs
import trio

from iii_trio._watch import watch
from iii_trio.builtins.exec._commands import Commands, open_commands
from iii_trio.builtins.exec._config import ExecConfig
from iii_trio.builtins.exec._guard import open_guard
from iii_trio.builtins.exec._patterns import Pattern, parse_pattern
from iii_trio.errors import ConfigError
from iii_trio.worker import Worker

logger = logging.getLogger("iii_trio.builtins.exec")

SETTLE: Final = 0.05
"""Seconds without a further event: an editor may write a file in several steps."""

KILL_GRACE: Final = 5.0
"""Seconds; the kernel takes milliseconds, unless a process hangs in it."""

MANY_RUNS: Final = 10
"""As many within a minute, and the commands may be the ones who change the files."""


async def serve_exec(
    worker: Worker,
    config: ExecConfig,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run the commands of a configuration, until cancelled.

    Args:
        worker: of the entry; the exec worker offers nothing to others.
        config: what runs, and what is watched.
        task_status: told at once: nobody waits for the commands.

    Raises:
        ConfigError: this system has no process groups.
        OSError: it has no ``/bin/sh``.

    Cancellation: SIGTERM to all processes of the commands, SIGKILL three seconds later.
    """
    if sys.platform == "win32":
        raise ConfigError("commands need a POSIX system", path="iii-exec")
    base = Path(await trio.Path.cwd())
    patterns = [parse_pattern(text, base) for text in config.watch or ()]
    async with (
        open_guard() as guard,
        open_commands(guard) as commands,
        trio.open_nursery() as nursery,
    ):
        pipeline = _Pipeline(config.exec, commands)
        for recursive in (True, False):
            wanted = [one for one in patterns if one.recursive == recursive]
            nursery.start_soon(
                _watch_files, wanted, recursive, pipeline, name="watch of exec"
            )
        task_status.started()
        await pipeline.run_for_ever()
    raise AssertionError  # pragma: no cover - it does not return


@attrs.define(eq=False)
class _Pipeline:
    """The commands in their order."""

    _texts: tuple[str, ...]
    _commands: Commands
    _changed: trio.Event = attrs.field(factory=trio.Event)
    _runs: deque[float] = attrs.field(factory=lambda: deque(maxlen=MANY_RUNS))

    async def run_for_ever(self) -> NoReturn:
        """Run the commands, again after each change."""
        while True:
            self._changed = trio.Event()
            self._count()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run, name="commands of exec")
                await self._changed.wait()
                nursery.cancel_scope.cancel(reason="a watched file changed")
            with trio.move_on_after(KILL_GRACE, shield=True):
                await self._commands.kill()

    async def note_change(self, seen: bool) -> None:
        """Begin anew, if something changed."""
        await trio.lowlevel.checkpoint()
        if seen:
            logger.info("a watched file changed: the commands run again")
            self._changed.set()

    async def _run(self) -> None:
        await trio.lowlevel.checkpoint()
        for number, text in enumerate(self._texts, start=1):
            label = f"command {number}"
            logger.info("%s begins: %s", label, text)
            code = await self._commands.run(label, text)
            if code == 0:
                logger.info("%s has ended", label)
            elif number < len(self._texts):
                logger.error(
                    "%s failed with exit code %d: the rest is skipped", label, code
                )
                return
            else:
                logger.error("%s failed with exit code %d", label, code)

    def _count(self) -> None:
        now = trio.current_time()
        if len(self._runs) == MANY_RUNS and now - self._runs[0] < 60:
            logger.warning(
                "the commands ran %d times within a minute: do they write files that "
                "are watched?",
                MANY_RUNS,
            )
            self._runs.clear()
        self._runs.append(now)


async def _watch_files(
    patterns: list[Pattern], recursive: bool, pipeline: _Pipeline
) -> None:
    await trio.lowlevel.checkpoint()
    found = []
    for pattern in patterns:
        if await trio.Path(pattern.directory).is_dir():
            found.append(pattern)
        else:
            logger.warning(
                "nothing is watched for %r: %s is no directory",
                pattern.text,
                pattern.directory,
            )
    if not found:
        return
    try:
        await watch(
            *{pattern.directory for pattern in found},
            wanted=lambda path: any(pattern.matches(path) for pattern in found),
            on_change=pipeline.note_change,
            settle=SETTLE,
            recursive=recursive,
        )
    except* OSError as group:
        # Such as the system's limit of watches, which a large tree exceeds.
        logger.error(  # noqa: TRY400 - it says all there is
            "nothing is watched for %s: %s",
            ", ".join(repr(pattern.text) for pattern in found),
            group.exceptions[0],
        )
