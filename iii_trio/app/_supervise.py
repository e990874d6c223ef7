"""Keep one bundled worker alive: restart it when it crashes, up to a point.

Backoff grows while crashes follow each other; more than ``max_restarts`` of them within
``window`` and the last crash goes on to whoever supervises the supervisor: the app.
One of the few places that may say ``except Exception``.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs
import trio

from iii_trio.errors import EngineInternalError

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class RestartPolicy:
    """How often a crashed worker is restarted. Times in seconds.

    Attributes:
        max_restarts: within ``window``; one more crash is final.
        window: crashes older than this are forgotten.
        first_delay: pause before the first restart; doubles with each further crash
            inside the window.
        max_delay: the longest pause.
    """

    max_restarts: int = 5
    window: float = 60.0
    first_delay: float = 0.1
    max_delay: float = 5.0


class _RestartBudget:
    """Counts crashes; knows no clock."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._crashes: deque[float] = deque()

    def after_crash(self, now: float) -> float | None:
        """Seconds to wait before the restart, ``None`` when there were too many."""
        while self._crashes and now - self._crashes[0] > self._policy.window:
            self._crashes.popleft()
        self._crashes.append(now)
        count = len(self._crashes)
        if count > self._policy.max_restarts:
            return None
        return float(
            min(self._policy.first_delay * 2 ** (count - 1), self._policy.max_delay)
        )


class Run(Protocol):
    """What is supervised: ``started`` once it is ready, then until it is cancelled."""

    def __call__(self, *, task_status: trio.TaskStatus[Any]) -> Awaitable[None]:
        """Run once."""


@attrs.frozen(eq=False)
class StartedCallback:
    """A task status that calls back."""

    callback: Callable[[Any], None]

    def started(self, value: Any = None) -> None:  # noqa: ANN401
        """Pass the value on."""
        self.callback(value)


def _ignore(_value: object) -> None:
    """The default of ``on_started``."""


async def supervise(
    run: Run,
    *,
    name: str,
    policy: RestartPolicy | None = None,
    on_started: Callable[[Any], None] = _ignore,
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run until ``run`` returns, restarting it when it crashes.

    A crash before it was ever ready is not restarted: a worker that cannot start is a
    mistake to report, not a fault to outlive.

    Args:
        run: called as ``run(task_status=...)``; each restart calls it again.
        name: for the log.
        policy: how often.
        on_started: called with the value of every ``started``, also after restarts.
        task_status: told at the first ``started``.

    Raises:
        Exception: the crash that was one too many, with a note that says so.

    Cancellation: of the run, at once.
    """
    policy = policy or RestartPolicy()
    budget = _RestartBudget(policy)
    ever_started = False

    def started(value: Any = None) -> None:  # noqa: ANN401
        nonlocal ever_started
        on_started(value)
        if not ever_started:
            ever_started = True
            task_status.started(value)

    while True:
        try:
            await run(task_status=StartedCallback(started))
        except Exception as exc:
            if not ever_started or _is_internal(exc):
                raise
            delay = budget.after_crash(trio.current_time())
            if delay is None:
                exc.add_note(
                    f"{name} crashed more than {policy.max_restarts} times within "
                    f"{policy.window:g} s; giving up"
                )
                raise
            logger.exception("%s crashed, restart in %.1f s", name, delay)
            await trio.sleep(delay)
        else:
            await trio.lowlevel.checkpoint()
            return


def _is_internal(exc: Exception) -> bool:
    if isinstance(exc, ExceptionGroup):
        return exc.subgroup(EngineInternalError) is not None
    return isinstance(exc, EngineInternalError)
