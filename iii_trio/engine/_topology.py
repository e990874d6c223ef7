"""Topology: tells listeners that workers or functions came and went.

Two trigger types of the engine itself. Worker events fire at once; changes of the set of
functions are gathered for a moment, so that a starting worker causes one event. A trigger
with a condition asks it about one event after another, so that events keep their order.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal, final

import attrs
import msgspec

from iii_trio.access import Session
from iii_trio.engine._inquiries import Inquiries
from iii_trio.engine._invocation import Calls, RawOutcome
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._router import Router
from iii_trio.engine._timers import Timers
from iii_trio.engine._triggers import Trigger, Triggers
from iii_trio.protocol import DEFAULT_NAMESPACE, ErrorBody, condition_of, is_truthy

logger = logging.getLogger("iii_trio.engine.topology")

FUNCTIONS_AVAILABLE: Final = "engine::functions-available"
WORKERS_AVAILABLE: Final = "engine::workers-available"

DEBOUNCE: Final = 0.1
"""Seconds from the first change of the functions to the event that tells it."""

CONDITION_SECONDS: Final = 30.0
"""What a condition may take for one event; then it has failed."""

MAX_WAITING: Final = 64
"""Events that wait for the condition of one trigger; what is more is dropped."""

CONFIG_FORMAT: Final[Mapping[str, Any]] = {
    "title": "TopologyTriggerConfig",
    "type": ["object", "null"],
    "properties": {"condition_function_id": {"type": "string"}},
}

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
        self._inquiries = Inquiries(router)
        self._asked: dict[str, _Asked] = {}  # by ids of triggers

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
            if self._triggers.get(trigger.spec.trigger_id) is not trigger:
                continue  # what another one called has ended it
            session = trigger.session
            if id(session) not in payloads:
                event = {**event_for(session), "revision": self.revision}
                payloads[id(session)] = msgspec.json.encode(event)
            if condition_of(trigger.spec.config) is None:
                self._call(trigger, payloads[id(session)])
            else:
                self._consider(trigger, payloads[id(session)])

    def _call(self, trigger: Trigger[AnyPort], payload: bytes) -> None:
        spec = trigger.spec
        metadata = b"" if spec.metadata is None else msgspec.json.encode(spec.metadata)
        self._note_fired(spec.trigger_id)
        self._router.fire(spec.function_id, spec.namespace, payload, metadata)

    def let_go(self, trigger_id: str) -> None:
        """A trigger is gone, or another one has its id: its condition is off."""
        asked = self._asked.pop(trigger_id, None)
        if asked is not None:
            reason = f"trigger {trigger_id} is gone"
            self._router.invocations.cancel_all(asked.inquiries, reason)

    def _consider(self, trigger: Trigger[AnyPort], payload: bytes) -> None:
        asked = self._asked.setdefault(trigger.spec.trigger_id, _Asked())
        waiting = asked.waiting
        if len(waiting) >= MAX_WAITING:
            logger.warning(
                "trigger %s: event dropped, its condition is %d events behind",
                trigger.spec.trigger_id,
                MAX_WAITING,
            )
            return
        waiting.append(payload)
        if len(waiting) == 1:
            self._ask(trigger, asked)

    def _ask(self, trigger: Trigger[AnyPort], asked: "_Asked") -> None:
        condition = condition_of(trigger.spec.config)
        assert condition is not None, "it had one"
        self._inquiries.ask(
            condition,
            asked.waiting[0],
            partial(self._answered, trigger, asked),
            made=asked.inquiries,
            timeout=CONDITION_SECONDS,
            namespace=trigger.spec.namespace,
        )

    def _answered(
        self, trigger: Trigger[AnyPort], asked: "_Asked", outcome: RawOutcome
    ) -> None:
        trigger_id, waiting = trigger.spec.trigger_id, asked.waiting
        # It stays the first until this is over: a call may cause the next event.
        if isinstance(outcome, ErrorBody):
            logger.warning(
                "trigger %s: condition failed, event skipped: %s: %s",
                trigger_id,
                outcome.code,
                outcome.message,
            )
        elif is_truthy(outcome):
            self._call(trigger, waiting[0])
        if self._asked.get(trigger_id) is not asked:
            return  # the call has ended the trigger
        waiting.popleft()
        if waiting:
            self._ask(trigger, asked)
        else:
            del self._asked[trigger_id]


@final
@attrs.define(eq=False)
class _Asked:
    """Events that a condition is asked about, the first one just now."""

    waiting: deque[bytes] = attrs.field(factory=deque)
    inquiries: Calls = attrs.field(factory=dict)


def _ids(rows: list[dict[str, Any]]) -> frozenset[tuple[str, str]]:
    return frozenset((row["namespace"], row["function_id"]) for row in rows)
