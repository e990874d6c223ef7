"""The pump: one task that moves the bytes of all connections.

A pass takes what is ready, lets every connection handle its bytes synchronously, then
runs what was put off (`Pump.defer`) and flushes every connection that has something to
send, and returns to Trio. A second task, the clerk, does the same for what appears
outside a pass, and for the timers. Nobody awaits anything while a pass runs.

This is the fault border of ``net``: an exception of a callback ends the connection that
it came from and no other.
"""

import heapq
import logging
import math
import mmap
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from time import perf_counter, time
from typing import Final, Literal, Protocol, final

import attrs
import trio

from iii_trio._util import (
    NoPublicConstructor,
    open_background_nursery,
    require_real_time,
)
from iii_trio.net._outboxes import Outboxes
from iii_trio.net._pump_statistics import PumpStatistics
from iii_trio.net._readiness import (
    Readiness,
    ReadinessSet,
    TaskReadiness,
    Watched,
    open_readiness_set,
)
from iii_trio.net._turns import Turns

__all__ = ["Driver", "Pump", "Timed", "open_pump"]

_logger = logging.getLogger("iii_trio.net")

Driver = Literal["auto", "tasks"]

_TURN_SECONDS: Final = 0.002
"""Work of passes in a row before tasks and timers get their turn."""

_SHORT_WAIT_SECONDS: Final = 60e-6
_LOOKS: Final = 10
"""After a wait this short the pump looks so often, with a checkpoint before each, before
it parks again: to be woken costs a thread more than half of that."""

_READ_BUFFER: Final = 256 * 1024
"""All reads go through one buffer, on a page boundary: 64 KB through loopback cost 18 us
with it, 40 us where malloc puts such a buffer, and 160 us with a fresh one each."""

_SETTLE_ROUNDS: Final = 8
"""How often a pass looks for what its own callbacks put off, before it yields."""


_TIMERS_MAX: Final = 1024
"""Entries at which those of closed connections are first swept out."""


class Flushed(Watched, Protocol):
    """A connection, as the pump sees it."""

    dirty: bool

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it."""


class Timed(Protocol):
    """Something with at most one deadline at a time."""

    due: float
    timer: float

    @property
    def closed(self) -> bool:
        """Whether it may be forgotten."""

    def on_deadline(self) -> None:
        """The time in ``due`` has come; it is ``math.inf`` again."""

    def on_fault(self) -> None:
        """`on_deadline` raised: give up."""


class _Faulty(Protocol):
    def on_fault(self) -> None: ...


@final
@attrs.define(eq=False, kw_only=True, repr=False)
class Pump(metaclass=NoPublicConstructor):
    """Moves the bytes of all front doors that were given it. Made by `open_pump`.

    Attributes:
        read_buffer: for one read; what it holds is copied before the next.
        turns: who waits for a turn, and how long a turn is.
        outboxes: what waits for all peers together.
    """

    read_buffer: memoryview = attrs.Factory(
        lambda: memoryview(mmap.mmap(-1, _READ_BUFFER))
    )
    turns: Turns = attrs.Factory(Turns)
    outboxes: Outboxes
    _crash_on_bug: bool
    _wall_clock: Callable[[], float]
    _readiness: Readiness = attrs.field(init=False)
    _running: bool = False
    _now: float = 0.0
    _ready: deque[tuple[Watched, int]] = attrs.Factory(deque)
    _dirty: list[Flushed] = attrs.Factory(list)
    _deferred: list[tuple[_Faulty, Callable[[], None]]] = attrs.Factory(list)
    _timers: list[tuple[float, int, Timed]] = attrs.Factory(list)
    _timer_count: int = 0
    _timers_max: int = _TIMERS_MAX
    _wakeup: trio.Event = attrs.Factory(trio.Event)
    _crash: Exception | None = None
    _passes: int = 0
    _faults: int = 0
    _date: tuple[int, bytes] = (0, b"")

    def statistics(self) -> PumpStatistics:
        """Counts, as of now."""
        return PumpStatistics(
            passes=self._passes,
            faults=self._faults,
            timers=len(self._timers),
            waiting_bytes=self.outboxes.total,
            overflows=self.outboxes.dropped,
            unread=self.outboxes.overflown,
        )

    # What connections and front doors ask for.

    def now(self) -> float:
        """Trio's time; inside a pass, that of its begin."""
        return self._now if self._running else trio.current_time()

    def date_line(self) -> bytes:
        """The Date header line, made once a second."""
        second = int(self._wall_clock())
        if second != self._date[0]:
            line = f"date: {formatdate(second, usegmt=True)}\r\n"
            self._date = (second, line.encode())
        return self._date[1]

    def change(self, watched: Watched, old: int, new: int) -> None:
        """Watch a socket for ``new`` instead of ``old``."""
        self._readiness.change(watched, old, new)

    def touch(self, connection: Flushed) -> None:
        """Flush this connection at the end of the pass, or soon."""
        connection.dirty = True
        self._dirty.append(connection)
        if not self._running:
            self._wakeup.set()

    def defer(self, owner: _Faulty, callback: Callable[[], None]) -> None:
        """Call back at the end of the pass, or soon; never from inside this call."""
        self._deferred.append((owner, callback))
        if not self._running:
            self._wakeup.set()

    def put_off(self, watched: Watched, callback: Callable[[], None]) -> None:
        """Call back when no other socket is ready, or it took too long; see `Turns`.

        Until then this one is not read.
        """
        self.turns.later(watched, callback)
        if not self._running:
            self._wakeup.set()

    def schedule(self, timed: Timed, due: float) -> None:
        """Set the one deadline of ``timed``; ``math.inf`` takes it away."""
        timed.due = due
        if due < timed.timer:
            timed.timer = due
            self._push(timed, due)

    def settle(self) -> None:
        """Run what was put off and flush, now. Not for use inside a pass."""
        self._run(self._nothing)

    # The pass.

    def handle(self, watched: Watched, mask: int) -> None:
        """A pass over one socket: the driver with a task for each."""
        self._run(lambda: self._step(watched, mask))
        self._catch_up()

    def _catch_up(self, until: float = math.inf) -> None:
        """Do what was put off, now, where no turn will; go on soon after ``until``."""
        while self.turns.put_off:
            if perf_counter() >= until:
                self._wakeup.set()
                return
            self._run(self._take_turn)

    def handle_ready(self, readiness: ReadinessSet) -> bool:
        """Passes over what is ready, as long as more is; gives whether anything was."""
        ready = self._ready
        if not ready:
            self._poll(readiness)
            if not ready and not self.turns.put_off:
                return False
        end = perf_counter() + _TURN_SECONDS
        while (ready or self.turns.put_off) and perf_counter() < end:
            if ready and not self.turns.overdue:
                self._run(lambda: self._steps(end))
            else:
                self._run(self._take_turn)
            if not ready:
                self._poll(readiness)
        return True

    def _poll(self, readiness: ReadinessSet) -> None:
        self._ready.extend(self.turns.fresh(readiness.poll()))

    def _nothing(self) -> None:
        """The work of a pass that only settles."""

    def _run(self, work: Callable[[], None]) -> None:
        self._running = True
        self._now = trio.current_time()
        self._passes += 1
        self.turns.next_pass()
        try:
            self._run_deferred()
            work()
            self._settle()
        finally:
            self._running = False
        if self._dirty or self._deferred:
            self._wakeup.set()
        if self._crash is not None:
            crash, self._crash = self._crash, None
            raise crash

    def _steps(self, end: float) -> None:
        # What does not fit in this turn is handled before the set is asked again, so
        # that nobody starves.
        ready = self._ready
        while ready:
            watched, mask = ready.popleft()
            try:
                watched.on_ready(mask)
            except Exception as exc:  # noqa: BLE001 - the fault border
                self._on_fault(watched, exc)
            if perf_counter() >= end:
                return

    def _take_turn(self) -> None:
        watched, callback = self.turns.take()
        try:
            callback()
        except Exception as exc:  # noqa: BLE001 - the fault border
            self._on_fault(watched, exc)

    def _step(self, watched: Watched, mask: int) -> None:
        try:
            watched.on_ready(mask)
        except Exception as exc:  # noqa: BLE001 - the fault border
            self._on_fault(watched, exc)

    def _settle(self) -> None:
        for _ in range(_SETTLE_ROUNDS):
            if self._deferred:
                self._run_deferred()
            dirty, self._dirty = self._dirty, []
            for connection in dirty:
                connection.dirty = False
                try:
                    connection.flush()
                except Exception as exc:  # noqa: BLE001 - the fault border
                    self._on_fault(connection, exc)
            if not self._dirty and not self._deferred:
                return

    def _run_deferred(self) -> None:
        deferred, self._deferred = self._deferred, []
        for owner, callback in deferred:
            try:
                callback()
            except Exception as exc:  # noqa: BLE001 - the fault border
                self._on_fault(owner, exc)

    def _on_fault(self, owner: _Faulty, exc: Exception) -> None:
        self._faults += 1
        owner.on_fault()
        if not self._crash_on_bug:
            _logger.error("A callback failed; its connection is closed.", exc_info=exc)
        elif self._crash is None:
            self._crash = exc

    # The clerk.

    def _push(self, timed: Timed, due: float) -> None:
        self._timer_count += 1
        timers = self._timers
        if len(timers) >= self._timers_max:
            timers[:] = [entry for entry in timers if not entry[2].closed]
            heapq.heapify(timers)
            self._timers_max = max(_TIMERS_MAX, 2 * len(timers))
        heapq.heappush(timers, (due, self._timer_count, timed))
        if timers[0][2] is timed:
            self._wakeup.set()  # the clerk sleeps until a later one

    def _run_timers(self) -> None:
        now = self._now
        while self._timers and self._timers[0][0] <= now:
            when, _, timed = heapq.heappop(self._timers)
            if timed.closed or when != timed.timer:
                continue  # gone, or an earlier entry stands for it
            timed.timer = math.inf
            if timed.due > now:
                self.schedule(timed, timed.due)
                continue
            timed.due = math.inf
            try:
                timed.on_deadline()
            except Exception as exc:  # noqa: BLE001 - the fault border
                self._on_fault(timed, exc)

    async def _clerk(self) -> None:
        while True:
            due = self._timers[0][0] if self._timers else math.inf
            with trio.move_on_at(due):
                await self._wakeup.wait()
            self._wakeup = trio.Event()
            self._run(self._run_timers)
            self._catch_up(perf_counter() + _TURN_SECONDS)

    async def _pump(self, readiness: ReadinessSet, fileno: int) -> None:
        looks, in_vain = 0, 0
        while True:
            if in_vain < looks:
                await trio.lowlevel.checkpoint()
            else:
                parked = perf_counter()
                await trio.lowlevel.wait_readable(fileno)
                looks = _LOOKS if perf_counter() - parked < _SHORT_WAIT_SECONDS else 1
            in_vain = 0 if self.handle_ready(readiness) else in_vain + 1

    @asynccontextmanager
    async def _open(self, driver: Driver) -> AsyncIterator[None]:
        readiness = open_readiness_set()
        fileno = readiness.fileno() if driver != "tasks" else None
        try:
            async with open_background_nursery("pump closed") as nursery:
                if fileno is None:
                    self._readiness = TaskReadiness(nursery, self.handle)
                else:
                    self._readiness = readiness
                    nursery.start_soon(self._pump, readiness, fileno, name="pump")
                nursery.start_soon(self._clerk, name="clerk of the pump")
                yield
        finally:
            readiness.close()


@asynccontextmanager
async def open_pump(
    *,
    crash_on_bug: bool = True,
    driver: Driver = "auto",
    wall_clock: Callable[[], float] = time,
    outboxes_bytes: float = math.inf,
) -> AsyncIterator[Pump]:
    """Open a pump for the length of a block; its front doors live inside the block.

    Args:
        crash_on_bug: an exception of a callback ends its connection and crashes the
            pump, so that it leaves this block in an ``ExceptionGroup``. ``False``, for
            engines that serve: it is logged with its traceback and counted instead.
        driver: ``tasks`` asks for a task per connection; ``auto`` is one task for all
            where the platform can.
        wall_clock: seconds since the epoch, for Date headers.
        outboxes_bytes: what may wait for all peers together; see `Outboxes`.

    Raises:
        RuntimeError: the clock of this run is virtual and would not wait for sockets.
    """
    require_real_time("a pump of sockets", "use memory links, or a real clock")
    pump = Pump._create(
        crash_on_bug=crash_on_bug,
        wall_clock=wall_clock,
        outboxes=Outboxes(outboxes_bytes),
    )
    async with pump._open(driver):  # noqa: SLF001 - of this module
        yield pump
