"""What keeps log and trace triggers from feeding themselves. Pure: time is an argument.

A function that a trigger calls may log, and its SDK sends spans: telling the trigger of
those would call the function again, for ever. Every delivery therefore gets a trace of
its own, and nothing of such a trace is told to any trigger. Workers on links may not pass
the trace on: a record without a trace is not told while its worker runs a delivery, and
for a second after.
"""

from collections.abc import Iterable
from math import inf
from typing import Final, final

REMEMBERED_FOR: Final = 600.0
"""Seconds after a delivery during which its trace is known: workers send late."""

REMEMBERED: Final = 10_000
"""Traces of deliveries that are known at most; the oldest are forgotten first."""

ECHO: Final = 1.0
"""Seconds after a delivery during which untraced records of its worker belong to it."""


@final
class DeliveryGuard:
    """Knows which traces and workers belong to deliveries."""

    def __init__(self) -> None:
        self._traces: dict[str, float] = {}
        self._workers: dict[str, tuple[int, float]] = {}

    def begin(self, trace_id: str, worker_ids: Iterable[str]) -> None:
        """A delivery begins, in a new trace.

        Args:
            trace_id: that trace.
            worker_ids: those on links that run its function and its condition.
        """
        self._traces[trace_id] = inf
        while len(self._traces) > REMEMBERED:
            del self._traces[next(iter(self._traces))]
        for worker_id in worker_ids:
            running, until = self._workers.get(worker_id, (0, 0.0))
            self._workers[worker_id] = running + 1, until

    def end(self, trace_id: str, worker_ids: Iterable[str], now: float) -> None:
        """A delivery is over."""
        if trace_id in self._traces:
            self._traces[trace_id] = now + REMEMBERED_FOR
        for worker_id in worker_ids:
            running, _ = self._workers[worker_id]
            self._workers[worker_id] = running - 1, now + ECHO

    def covers(self, trace_id: str | None, worker_id: str | None, now: float) -> bool:
        """Whether a record or a span belongs to a delivery.

        Args:
            trace_id: its trace, if it has one.
            worker_id: who sent it, if that is known.
            now: seconds.
        """
        if trace_id is not None:
            return self._traces.get(trace_id, -inf) >= now
        running, until = self._workers.get(worker_id or "", (0, -inf))
        return running > 0 or until >= now

    def sweep(self, now: float) -> None:
        """Forget what is over."""
        self._traces = {one: end for one, end in self._traces.items() if end >= now}
        self._workers = {
            one: (running, until)
            for one, (running, until) in self._workers.items()
            if running or until >= now
        }
