"""Topology: tells listeners that workers or functions came and went.

Two trigger types of the engine itself. Worker events fire at once; changes of the set of
functions are gathered for a moment, so that a starting worker causes one event.
"""

from collections.abc import Callable
from typing import Any, Final, Literal, final

import msgspec

from iii_trio.access import Session
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._router import Router
from iii_trio.engine._timers import Timers
from iii_trio.engine._triggers import Triggers
from iii_trio.protocol import DEFAULT_NAMESPACE

FUNCTIONS_AVAILABLE: Final = "engine::functions-available"
WORKERS_AVAILABLE: Final = "engine::workers-available"

DEBOUNCE: Final = 0.1
"""Seconds from the first change of the functions to the event that tells it."""

WorkerEvent = Literal[
    "worker_connected", "worker_metadata_updated", "worker_disconnected"
]


@final
class Topology:
    """Counts changes and fires the discovery triggers.

    Args:
        triggers: where listeners are.
        router: calls them.
        timers: for the debounce.
        summaries: FunctionSummary of every function that a session may see.
        note_fired: told of each trigger that fires.
    """

    def __init__(
        self,
        triggers: Triggers[AnyPort],
        router: Router,
        timers: Timers,
        summaries: Callable[[Session | None], list[dict[str, Any]]],
        note_fired: Callable[[str], None],
    ) -> None:
        self.revision = 0
        self._triggers = triggers
        self._router = router
        self._timers = timers
        self._summaries = summaries
        self._note_fired = note_fired
        self._announced = frozenset[tuple[str, str]]()
        self._waiting = False

    def begin(self) -> None:
        """What is registered now is no news: later changes are compared with it."""
        self._announced = _ids(self._summaries(None))

    def worker_changed(self, event: WorkerEvent, worker_id: str) -> None:
        """A worker connected, told who it is, or is gone."""
        self.revision += 1
        told = {"event": event, "worker_id": worker_id}
        self._fire(WORKERS_AVAILABLE, lambda _session: told)

    def functions_changed(self) -> None:
        """A function was registered or removed."""
        self.revision += 1
        if not self._waiting:
            self._waiting = True
            self._timers.call_after(DEBOUNCE, self._fire_functions)

    def _fire_functions(self) -> None:
        self._waiting = False
        present = _ids(self._summaries(None))
        if present != self._announced:
            self._announced = present
            self._fire(FUNCTIONS_AVAILABLE, self._functions_event)

    def _functions_event(self, session: Session | None) -> dict[str, Any]:
        return {"event": "functions_changed", "functions": self._summaries(session)}

    def _fire(
        self,
        trigger_type: str,
        event_for: Callable[[Session | None], dict[str, Any]],
    ) -> None:
        kind = self._triggers.find_type(DEFAULT_NAMESPACE, trigger_type)
        if kind is None:
            return
        listeners = self._triggers.served_by(kind)
        if not listeners:
            return
        payloads: dict[int, bytes] = {}
        for trigger in listeners:
            spec, session = trigger.spec, trigger.session
            if id(session) not in payloads:
                event = {**event_for(session), "revision": self.revision}
                payloads[id(session)] = msgspec.json.encode(event)
            payload = payloads[id(session)]
            metadata = (
                b"" if spec.metadata is None else msgspec.json.encode(spec.metadata)
            )
            self._note_fired(spec.trigger_id)
            self._router.fire(spec.function_id, spec.namespace, payload, metadata)


def _ids(rows: list[dict[str, Any]]) -> frozenset[tuple[str, str]]:
    return frozenset((row["namespace"], row["function_id"]) for row in rows)
