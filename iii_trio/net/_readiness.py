"""Who waits for sockets: one readiness set for all of them, or a task for each.

A set is the way of the pump: sockets are registered once in a set of our own, and one
Trio task waits for the set's descriptor. `EpollReadiness` is that set on Linux,
`SelectorReadiness` where the standard library knows another with a descriptor (macOS).
`TaskReadiness` drives the same functions where there is none (Windows), or where it is
asked for. Nothing here reads, writes or knows what the sockets carry.
"""

import select
import selectors
import sys
from collections.abc import Callable
from typing import Final, Protocol

import trio

__all__ = [
    "READ",
    "WRITE",
    "Readiness",
    "ReadinessSet",
    "TaskReadiness",
    "Watched",
    "open_readiness_set",
]

_POLL_EVENTS: Final = 256
"""Sockets that one poll tells of at most."""

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE


class HasFileno(Protocol):
    """A socket, or what stands for one."""

    def fileno(self) -> int:
        """The descriptor."""


class Watched(Protocol):
    """A socket and what to do when it is ready."""

    closed: bool

    @property
    def sock(self) -> HasFileno:
        """What is watched."""

    def on_ready(self, mask: int) -> None:
        """The socket is ready for what ``mask`` says, or was a moment ago."""

    def on_fault(self) -> None:
        """One of our callbacks raised: give up this socket."""


class Readiness(Protocol):
    """Something that watches sockets."""

    def change(self, watched: Watched, old: int, new: int) -> None:
        """Watch for ``new`` instead of ``old``; 0 is nothing. Before it is closed: 0."""


class ReadinessSet(Readiness, Protocol):
    """A readiness set with a descriptor of its own, if the platform has such."""

    def fileno(self) -> int | None:
        """The descriptor to wait for, ``None`` if this platform's set has none."""

    def poll(self) -> list[tuple[Watched, int]]:
        """What is ready now and what for; does not wait."""

    def close(self) -> None:
        """Release the descriptor."""


class SelectorReadiness:
    """A set by the standard library's best selector."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def fileno(self) -> int | None:
        """See `ReadinessSet`."""
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

    def poll(self) -> list[tuple[Watched, int]]:
        """See `ReadinessSet`."""
        return [(key.data, mask) for key, mask in self._selector.select(0)]

    def close(self) -> None:
        """See `ReadinessSet`."""
        self._selector.close()


if sys.platform == "linux":
    # A hang-up or an error shows at the next read or write, so whoever waits is told.
    _EPOLL_MASKS: Final = (
        0,
        select.EPOLLIN,
        select.EPOLLOUT,
        select.EPOLLIN | select.EPOLLOUT,
    )
    _NOT_READ: Final = ~select.EPOLLIN
    _NOT_WRITE: Final = ~select.EPOLLOUT

    class EpollReadiness:
        """A set by epoll itself: a selector's keys cost more than a short read."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self._watched: dict[int, Watched] = {}

        def fileno(self) -> int | None:
            """See `ReadinessSet`."""
            return self._epoll.fileno()

        def change(self, watched: Watched, old: int, new: int) -> None:
            """See `Readiness`."""
            fileno = watched.sock.fileno()
            if not old:
                self._epoll.register(fileno, _EPOLL_MASKS[new])
                self._watched[fileno] = watched
            elif new:
                self._epoll.modify(fileno, _EPOLL_MASKS[new])
            else:
                del self._watched[fileno]
                self._epoll.unregister(fileno)

        def poll(self) -> list[tuple[Watched, int]]:
            """See `ReadinessSet`."""
            watched = self._watched
            return [
                (
                    watched[fileno],
                    READ
                    if event == select.EPOLLIN
                    else (READ if event & _NOT_WRITE else 0)
                    | (WRITE if event & _NOT_READ else 0),
                )
                for fileno, event in self._epoll.poll(0, _POLL_EVENTS)
            ]

        def close(self) -> None:
            """See `ReadinessSet`."""
            self._epoll.close()


def open_readiness_set() -> ReadinessSet:
    """The best set of this platform."""
    return EpollReadiness() if sys.platform == "linux" else SelectorReadiness()


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
