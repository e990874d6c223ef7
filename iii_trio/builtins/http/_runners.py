"""Who runs the requests: a few tasks, each for many requests in a row.

A task and a cancel scope for every request would cost as much as all the rest of a request
whose handler does not wait. So a runner takes one request after the other, as long as
each ends without waiting. One that begins to wait keeps the runner and its scope, and
another runner goes on with the rest. Each request has a context of its own, as a task has.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from time import perf_counter
from typing import Any, Final, Protocol, final

import trio

TURN_SECONDS: Final = 0.002
"""Work of requests in a row before other tasks and the sockets get their turn."""

IDLE_RUNNERS: Final = 64
"""Runners that are kept for later; more of them end when they have nothing to do."""


class Run(Protocol):
    """A request, as its runner sees it."""

    @property
    def timeout(self) -> float:
        """Seconds that it may take."""

    @property
    def name(self) -> str:
        """For the task that runs it, while it waits."""

    def run(self, scope: trio.CancelScope) -> Coroutine[Any, Any, None]:
        """Serve the request, in a scope that is not its own until `keep`."""

    def keep(self, scope: trio.CancelScope) -> None:
        """It begins to wait: the scope, with its deadline, is its own now."""

    def cancelled(self) -> None:
        """The scope was cancelled, and what ran in it has unwound."""

    def drop(self, reason: str) -> None:
        """It is not run any more: leave nothing behind."""


@final
class Runners:
    """Runs requests in the order in which they come.

    Args:
        nursery: the runners live in it.
        turn: see `TURN_SECONDS`.
    """

    def __init__(self, nursery: trio.Nursery, turn: float = TURN_SECONDS) -> None:
        self._nursery = nursery
        self._turn = turn
        self._queue: deque[Run] = deque()
        self._idle = trio.lowlevel.ParkingLot()
        self._is_served = False  # a runner is at the queue, or on its way
        self._context = copy_context()  # never that of a handler that submits

    def submit(self, run: Run) -> None:
        """Run a request soon."""
        self._queue.append(run)
        if not self._is_served:
            self._call()

    def close(self, reason: str) -> None:
        """Drop what nobody has begun: the runners end, perhaps before its turn."""
        while self._queue:
            self._queue.popleft().drop(reason)

    def _call(self) -> None:
        """Send a runner to the queue."""
        self._is_served = True
        if self._idle:
            self._idle.unpark()
        else:
            self._context.run(self._start)

    def _start(self) -> None:
        self._nursery.start_soon(self._serve, name="http requests")

    async def _serve(self) -> None:
        """Be a runner."""
        while True:
            if self._queue:
                await self._serve_queue()
            else:  # they were all dropped, before this came to be
                self._is_served = False
                await trio.lowlevel.checkpoint()
            if len(self._idle) >= IDLE_RUNNERS:
                return
            await self._idle.park()

    async def _serve_queue(self) -> None:
        """Run what is in the queue, until nothing is or another runner is at it."""
        while True:
            turn = _Turn(self._queue, perf_counter() + self._turn, self._on_wait)
            with trio.CancelScope(deadline=turn.deadline) as turn.scope:
                await turn
            if turn.scope.cancelled_caught:
                turn.run.cancelled()
            if turn.has_waited:
                if self._is_served:
                    return
                self._is_served = True
            elif self._queue:
                await trio.lowlevel.checkpoint()
            if not self._queue:
                self._is_served = False
                return

    def _on_wait(self) -> None:
        """A runner is kept by its request: another one goes on."""
        self._is_served = False
        if self._queue:
            self._call()


@final
class _Turn:
    """The requests that one runner runs in one scope; await it once.

    Only a request that waits needs the scope, and is then the last of the turn.

    Args:
        queue: where the requests are; there is one.
        end: of ``perf_counter``; no request is begun after it.
        on_wait: called when a request begins to wait.

    Attributes:
        scope: around the turn; set it first.
        deadline: of the first request.
        run: the request that was begun last.
        has_waited: it has.
    """

    __slots__ = ("_end", "_on_wait", "_queue", "deadline", "has_waited", "run", "scope")

    scope: trio.CancelScope

    def __init__(
        self, queue: deque[Run], end: float, on_wait: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._end = end
        self._on_wait = on_wait
        self.run = queue[0]
        self.deadline = trio.current_time() + self.run.timeout
        self.has_waited = False

    def __await__(self) -> Generator[Any, Any, None]:
        queue, scope = self._queue, self.scope
        timeout = self.run.timeout
        while queue:
            self.run = run = queue.popleft()
            step, coroutine = copy_context().run, run.run(scope)
            try:
                message = step(coroutine.send, None)
            except StopIteration:
                if scope.cancel_called or perf_counter() >= self._end:
                    return
                continue
            if run.timeout != timeout:
                scope.deadline += run.timeout - timeout
            yield from self._wait(message, step, coroutine)
            return

    def _wait(
        self,
        message: object,
        step: Callable[..., object],
        coroutine: Coroutine[Any, Any, None],
    ) -> Generator[Any, Any, None]:
        """Go on with a request that waits; ``message`` is what it told Trio."""
        self.has_waited = True
        self.run.keep(self.scope)
        self._on_wait()
        task = trio.lowlevel.current_task()
        name, task.name = task.name, self.run.name
        try:
            yield from _Rest(message, step, coroutine)
        finally:
            task.name = name


@final
class _Rest(Generator[Any, Any, None]):
    """The rest of a coroutine that waits, each step in a context of its own.

    Args:
        message: what it told Trio.
        step: runs a step.
        coroutine: whose steps they are.
    """

    __slots__ = ("_coroutine", "_message", "_step")

    def __init__(
        self,
        message: object,
        step: Callable[..., object],
        coroutine: Coroutine[Any, Any, None],
    ) -> None:
        self._message = message
        self._step = step
        self._coroutine = coroutine

    def __next__(self) -> object:
        return self._message

    def send(self, value: Any, /) -> object:  # noqa: ANN401 - of Trio
        """Take the next step."""
        return self._step(self._coroutine.send, value)

    def throw(self, *exception: Any) -> object:  # noqa: ANN401 - of Trio
        """Take the next step with an exception."""
        return self._step(self._coroutine.throw, *exception)
