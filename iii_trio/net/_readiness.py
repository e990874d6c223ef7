"""Who waits for sockets: one readiness set for all of them, or a task for each.

`SelectorReadiness` is the way of the pump: sockets are registered once in a selector of
our own, and one Trio task waits for the selector's descriptor. `TaskReadiness` drives the
same functions where a selector has no descriptor (Windows), or where it is asked for.
Nothing here reads, writes or knows what the sockets carry.
"""

import selectors
import socket
from collections.abc import Callable
from typing import Final, Protocol

import trio

__all__ = [
    "READ",
    "WRITE",
    "Readiness",
    "SelectorReadiness",
    "TaskReadiness",
    "Watched",
]

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE


class Watched(Protocol):
    """A socket and what to do when it is ready."""

    sock: socket.socket
    closed: bool

    def on_ready(self, mask: int) -> None:
        """The socket is ready for what ``mask`` says, or was a moment ago."""

    def on_fault(self) -> None:
        """One of our callbacks raised: give up this socket."""


class Readiness(Protocol):
    """Something that watches sockets."""

    def change(self, watched: Watched, old: int, new: int) -> None:
        """Watch for ``new`` instead of ``old``; 0 is nothing. Before it is closed: 0."""


class SelectorReadiness:
    """A readiness set of our own."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def fileno(self) -> int | None:
        """The descriptor to wait for, ``None`` if this platform's selector has none."""
        try:
            return int(self._selector.fileno())
        except AttributeError:
            return None

    def change(self, watched: Watched, old: int, new: int) -> None:
        """See `Readiness`."""
        if not old:
            self._selector.register(watched.sock, new, watched)
        elif new:
            self._selector.modify(watched.sock, new, watched)
        else:
            self._selector.unregister(watched.sock)

    def poll(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Everything that is ready now; the key's ``data`` is the `Watched`."""
        return self._selector.select(0)

    def close(self) -> None:
        """Release the descriptor."""
        self._selector.close()


class TaskReadiness:
    """A task for each socket and direction that is watched.

    Args:
        nursery: where the tasks live.
        run: called with a socket and the direction it is ready for.
    """

    def __init__(
        self, nursery: trio.Nursery, run: Callable[[Watched, int], None]
    ) -> None:
        self._nursery = nursery
        self._run = run
        self._scopes: dict[tuple[Watched, int], trio.CancelScope] = {}

    def change(self, watched: Watched, old: int, new: int) -> None:
        """See `Readiness`."""
        for bit in (READ, WRITE):
            if new & bit and not old & bit:
                scope = trio.CancelScope()
                self._scopes[watched, bit] = scope
                self._nursery.start_soon(
                    self._wait, watched, bit, scope, name=f"watch {watched.sock}"
                )
            elif old & bit and not new & bit:
                # Trio aborts the wait at once, so the socket may be closed next.
                self._scopes.pop((watched, bit)).cancel(reason="not watched any more")

    async def _wait(self, watched: Watched, bit: int, scope: trio.CancelScope) -> None:
        wait = (
            trio.lowlevel.wait_readable if bit == READ else trio.lowlevel.wait_writable
        )
        with scope:
            await trio.lowlevel.checkpoint()
            while not scope.cancel_called:  # which `_run` may have done
                await wait(watched.sock)
                if not scope.cancel_called:  # between the wake-up and now
                    self._run(watched, bit)
