"""Running shell commands: each in a session of its own, its output in the log."""

import logging
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, final

import attrs
import trio

from iii_trio.builtins.exec._guard import GRACE, SHELL, Guard
from iii_trio.builtins.exec._output import Lines

logger = logging.getLogger("iii_trio.builtins.exec")

LAST_WORDS: Final = 1.0
"""Seconds for the rest of the output after the end of a command."""

# The command begins once the guard knows of it; if we die before, it never does.
_START: Final = f'read -r go || exit 125; exec {SHELL} -c "$1" </dev/null'


@attrs.define(eq=False)
class Command:
    """A command that runs, or whose output is still open.

    Attributes:
        label: for the log.
        process: the shell; its id is that of the process group too.
        read: set at the end of the output.
    """

    label: str
    process: trio.Process
    read: trio.Event = attrs.field(factory=trio.Event)
    _reading: trio.CancelScope = attrs.field(
        factory=lambda: trio.CancelScope(shield=True)
    )

    async def log_output(self) -> None:
        """Log what it prints, until nothing more can come."""
        assert self.process.stdout is not None
        lines = Lines()
        try:
            with self._reading:
                async for data in self.process.stdout:
                    self._log(lines.feed(bytes(data)))
        finally:
            self._log(lines.end())
            self.read.set()
        await trio.lowlevel.checkpoint()

    def _log(self, lines: list[str]) -> None:
        for line in lines:
            logger.info("%s: %s", self.label, line)

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes."""
        try:
            os.killpg(self.process.pid, number)
        except PermissionError:
            # All of them run as somebody else, as after ``sudo``.
            logger.info("%s takes no signal %d from us", self.label, number)

    async def ended(self) -> int:
        """Wait for the end of the shell, and leave it to be waited for again.

        As long as nobody has, the kernel gives its process group to nobody else: left
        processes of it can be signalled at any time, and no others.

        Returns:
            The exit code, negative for a signal.
        """
        waiting = os.WEXITED | os.WNOWAIT
        if hasattr(os, "pidfd_open"):
            descriptor = os.pidfd_open(self.process.pid)
            try:
                await trio.lowlevel.wait_readable(descriptor)
            finally:
                os.close(descriptor)
            how = os.waitid(  # noqa: ASYNC222 - it has ended
                os.P_PID, self.process.pid, waiting
            )
        else:
            how = await trio.to_thread.run_sync(
                os.waitid, os.P_PID, self.process.pid, waiting, abandon_on_cancel=True
            )
        assert how is not None, "it has ended"
        return how.si_status if how.si_code == os.CLD_EXITED else -how.si_status

    def stop_reading(self) -> None:
        """Give up on output that somebody keeps open."""
        self._reading.cancel(reason="the command was stopped")


@final
@attrs.define(eq=False)
class Commands:
    """The commands that run now."""

    _guard: Guard
    _nursery: trio.Nursery
    _running: list[Command] = attrs.field(factory=list)

    async def run(self, label: str, command: str) -> int:
        """Run a command; wait for its end.

        Returns:
            Its exit code, negative for a signal.

        Cancellation: it runs on, until `stop` or `kill`.
        """
        process = await trio.lowlevel.open_process(
            [SHELL, "-c", _START, "sh", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        running = Command(label, process)
        self._running.append(running)
        self._nursery.start_soon(running.log_output, name=f"output of {label}")
        await self._guard.begun(process.pid)
        assert process.stdin is not None
        with suppress(trio.BrokenResourceError):  # killed by somebody already
            await process.stdin.send_all(b"\n")
        await process.stdin.aclose()
        # It may leave processes behind: it is kept in mind, and ended later.
        return await running.ended()

    async def stop(self) -> None:
        """End all: SIGTERM, and SIGKILL for those that are left after `GRACE`."""
        for running in self._running:
            running.signal(signal.SIGTERM)
        with trio.move_on_after(GRACE):
            await trio.lowlevel.checkpoint()
            for running in self._running:
                await running.ended()
                await running.read.wait()
        await self.kill()

    async def kill(self) -> None:
        """End all at once."""
        await trio.lowlevel.cancel_shielded_checkpoint()
        ending = list(self._running)
        for running in ending:
            running.signal(signal.SIGKILL)
        try:
            for running in ending:
                await running.process.wait()
                self._running.remove(running)  # its group may be somebody else's now
                await self._guard.ended(running.process.pid)
            with trio.move_on_after(LAST_WORDS):
                await trio.lowlevel.checkpoint()
                for running in ending:
                    await running.read.wait()
        finally:
            for running in ending:
                running.stop_reading()


@asynccontextmanager
async def open_commands(guard: Guard) -> AsyncIterator[Commands]:
    """Open a place for commands; all of them are ended with the block."""
    async with trio.open_nursery() as nursery:
        commands = Commands(guard, nursery)
        try:
            yield commands
        finally:
            with trio.move_on_after(GRACE + 2 * LAST_WORDS, shield=True):
                await commands.stop()
