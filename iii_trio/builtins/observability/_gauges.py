"""What workers told of themselves last: gauges by worker. Pure."""

from typing import Any, Final, final

from iii_trio.builtins.observability._metrics import Metric

JSON = Any

MAX_WORKERS: Final = 10_000
"""Workers whose gauges are kept; those that were silent longest make room."""

MAX_ID_CHARACTERS: Final = 128
"""What has a longer id is none of ours."""

MAX_LANGUAGE_CHARACTERS: Final = 64
"""Of a worker's language; the rest is cut."""

LATEST_FOR: Final = 120.0
"""Seconds that a worker's gauges count as its latest ones (observability, section 6)."""

_GAUGES: Final = {
    "iii.worker.memory.heap_used": "memory_heap_used",
    "iii.worker.memory.heap_total": "memory_heap_total",
    "iii.worker.memory.rss": "memory_rss",
    "iii.worker.memory.external": "memory_external",
    "iii.worker.cpu.user_micros": "cpu_user_micros",
    "iii.worker.cpu.system_micros": "cpu_system_micros",
    "iii.worker.cpu.percent": "cpu_percent",
    "iii.worker.event_loop.lag_ms": "event_loop_lag_ms",
    "iii.worker.uptime_seconds": "uptime_seconds",
}
_FRACTIONS: Final = frozenset({"cpu_percent", "event_loop_lag_ms"})


@final
class LatestGauges:
    """What each worker told of itself last, for `engine::workers::info`."""

    def __init__(self) -> None:
        self._workers: dict[str, tuple[float, dict[str, JSON]]] = {}

    def take(self, metric: Metric, now: float) -> None:
        """Note a metric if it is one of those gauges."""
        field = _GAUGES.get(metric.name)
        if field is None:
            return
        for point in metric.data_points:
            worker_id = point["attributes"].get("worker.id")
            if not isinstance(worker_id, str) or "value" not in point:
                continue
            if len(worker_id) > MAX_ID_CHARACTERS:
                continue
            _, values = self._workers.pop(worker_id, (now, {}))
            value = point["value"]
            values[field] = float(value) if field in _FRACTIONS else int(value)
            values["timestamp_ms"] = point["timestamp_unix_nano"] // 1_000_000
            values["runtime"] = _runtime(metric.language)
            self._workers[worker_id] = (now, values)  # the newest stand last
            if len(self._workers) > MAX_WORKERS:
                del self._workers[next(iter(self._workers))]

    def of(self, worker_id: str, now: float) -> dict[str, JSON] | None:
        """The gauges of a worker, ``None`` if it sent none lately."""
        taken, values = self._workers.get(worker_id, (0.0, {}))
        if not values or now - taken > LATEST_FOR:
            return None
        return dict(values)

    def all(self, now: float) -> dict[str, dict[str, JSON]]:
        """The gauges of all workers that sent some lately."""
        found = ((one, self.of(one, now)) for one in self._workers)
        return {one: values for one, values in found if values is not None}

    def sweep(self, now: float) -> None:
        """Forget workers that sent none lately."""
        for worker_id in list(self._workers):
            if self.of(worker_id, now) is None:
                del self._workers[worker_id]


def _runtime(language: str | None) -> str:
    known = {"nodejs": "node", "webjs": "browser"}
    shown = (language or "unknown")[:MAX_LANGUAGE_CHARACTERS]
    return known.get(shown, shown)
