"""What the engine tells about itself: the objects of the ``engine::`` listings.

Reads the tables, changes nothing. Source: the discovery sheet, sections 1 and 2.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, Final, final

import msgspec

from iii_trio.access import Session
from iii_trio.engine._connection import Connection
from iii_trio.engine._invocation import Invocation
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._registry import Function, Registry
from iii_trio.engine._roster import Roster, WorkerRecord
from iii_trio.engine._triggers import Trigger, Triggers, TriggerType
from iii_trio.protocol import is_internal

JSONObject = dict[str, Any]

CONFIG_SUMMARY_CHARACTERS: Final = 80

_PROVIDER_NAMES: Final = {
    "http": "iii-http",
    "cron": "iii-cron",
    "subscribe": "iii-pubsub",
    "state": "iii-state",
    "stream": "iii-stream",
    "stream:join": "iii-stream",
    "stream:leave": "iii-stream",
    "durable:subscriber": "queue",
    "log": "iii-observability",
    "trace": "iii-observability",
    "configuration": "configuration",
}
"""Who is said to serve a known trigger type whose provider has no name."""


@final
class Discovery:
    """Builds summaries and details of functions, triggers and workers.

    Args:
        registry: functions.
        roster: workers.
        triggers: trigger types and bindings.
        port_of: the port of an attached worker.
        latest_metrics: metrics of a worker by id, ``None`` if there are none.
    """

    def __init__(
        self,
        registry: Registry[AnyPort],
        roster: Roster,
        triggers: Triggers[AnyPort],
        port_of: Callable[[str], AnyPort],
        latest_metrics: Callable[[str], JSONObject | None],
    ) -> None:
        self.registry = registry
        self.roster = roster
        self.triggers = triggers
        self._port_of = port_of
        self._latest_metrics = latest_metrics

    # What a session may see; ``None`` sees everything

    @staticmethod
    def sees_function(session: Session | None, function: Function[AnyPort]) -> bool:
        """Tell whether a session may call a function, and so may know of it."""
        return session is None or not session.refuses_call(
            *function.key, function.metadata
        )

    @staticmethod
    def sees_type(session: Session | None, kind: TriggerType[AnyPort]) -> bool:
        """Tell whether a session may bind triggers of a type."""
        return session is None or session.allows_trigger_type(kind.trigger_type)

    def sees_trigger(self, session: Session | None, trigger: Trigger[AnyPort]) -> bool:
        """Tell whether a session may call the function of a trigger."""
        if session is None:
            return True
        spec = trigger.spec
        function = self.registry.find(spec.namespace, spec.function_id)
        metadata = None if function is None else function.metadata
        return not session.refuses_call(spec.namespace, spec.function_id, metadata)

    def sees_worker(self, session: Session | None, record: WorkerRecord) -> bool:
        """Tell whether a worker is the session's own, or offers it something."""
        if session is None:
            return True
        port = self._port_of(record.worker_id)
        return (
            (isinstance(port, Connection) and port.session is session)
            or any(self.sees_function(session, f) for f in self.registry.owned_by(port))
            or any(
                self.sees_type(session, kind) for kind in self.triggers.types_of(port)
            )
        )

    def function_summaries(self, session: Session | None) -> list[JSONObject]:
        """FunctionSummary of every function that a session sees."""
        return [
            self.function_summary(function)
            for function in self.registry
            if self.sees_function(session, function)
        ]

    # Functions

    def function_summary(self, function: Function[AnyPort]) -> JSONObject:
        """FunctionSummary of the sheet."""
        row: JSONObject = {
            "function_id": function.function_id,
            "namespace": function.namespace,
            "worker_name": self.worker_name(function),
        }
        if function.description is not None:
            row["description"] = function.description
        if function.metadata is not None:
            row["metadata"] = function.metadata
        return row

    def function_detail(self, function: Function[AnyPort]) -> JSONObject:
        """FunctionDetail: the summary, its schemas, and what triggers it."""
        row = self.function_summary(function)
        if function.request_format:
            row["request_schema"] = msgspec.Raw(function.request_format)
        if function.response_format:
            row["response_schema"] = msgspec.Raw(function.response_format)
        row["registered_triggers"] = [
            {
                "id": t.spec.trigger_id,
                "trigger_type": t.spec.trigger_type,
                "config": t.spec.config,
            }
            for t in self.triggers
            if (t.spec.namespace, t.spec.function_id) == function.key
        ]
        return row

    @staticmethod
    def worker_name(function: Function[AnyPort]) -> str:
        """The name of a function's worker, else the first part of its id."""
        name: str | None = function.owner.record.name
        return name or function.function_id.split("::", 1)[0]

    # Trigger types and triggers

    @staticmethod
    def provider_name(kind: TriggerType[AnyPort]) -> str:
        """The name of a type's provider, else who is known for it."""
        name: str | None = kind.provider.record.name
        first_part = kind.trigger_type.split("::", 1)[0]
        return name or _PROVIDER_NAMES.get(kind.trigger_type, first_part)

    def type_summary(self, kind: TriggerType[AnyPort]) -> JSONObject:
        """TriggerTypeSummary of the sheet."""
        return {
            "id": kind.trigger_type,
            "namespace": kind.namespace,
            "worker_name": self.provider_name(kind),
            "description": kind.description,
        }

    def type_detail(self, kind: TriggerType[AnyPort]) -> JSONObject:
        """TriggerTypeDetail: the summary, schemas and how many bindings it serves."""
        row = self.type_summary(kind)
        schemas = {
            "configuration_schema": kind.config_format,
            "request_schema": kind.call_format,
            "response_schema": kind.return_format,
        }
        row.update({k: v for k, v in schemas.items() if v is not None})
        row["instance_count"] = len(self.triggers.served_by(kind))
        return row

    def target_worker_name(self, trigger: Trigger[AnyPort]) -> str:
        """The name of the worker that a trigger's function belongs to."""
        spec = trigger.spec
        function = self.registry.find(spec.namespace, spec.function_id)
        if function is None:
            return spec.function_id.split("::", 1)[0]
        return self.worker_name(function)

    def trigger_summary(self, trigger: Trigger[AnyPort]) -> JSONObject:
        """RegisteredTriggerSummary, with the trigger's state as additional fields."""
        spec = trigger.spec
        text = json.dumps(spec.config, separators=(",", ":"), ensure_ascii=False)
        cut = len(text) > CONFIG_SUMMARY_CHARACTERS
        row: JSONObject = {
            "id": spec.trigger_id,
            "trigger_type": spec.trigger_type,
            "function_id": spec.function_id,
            "worker_name": self.target_worker_name(trigger),
            "config": spec.config,
            "config_summary": (text[:CONFIG_SUMMARY_CHARACTERS] + "…" if cut else text),
            "namespace": spec.namespace,
            "status": "pending" if trigger.served_by is None else "active",
            "state": trigger.state,
            "fired": trigger.fired,
        }
        if trigger.last_fired_ms is not None:
            row["last_fired_ms"] = trigger.last_fired_ms
        if trigger.reason:
            row["reason"] = trigger.reason
        return row

    def trigger_detail(self, trigger: Trigger[AnyPort]) -> JSONObject:
        """RegisteredTriggerDetail: with its type, its function and the provider's view."""
        spec = trigger.spec
        row = self.trigger_summary(trigger)
        del row["config_summary"]
        if spec.metadata is not None:
            row["metadata"] = spec.metadata
        kind = trigger.served_by
        row["trigger"] = None if kind is None else self.type_detail(kind)
        if kind is not None and kind.details is not None:
            details = kind.details(spec.trigger_id)
            if details is not None:
                row["details"] = details
        function = self.registry.find(spec.namespace, spec.function_id)
        row["function"] = None if function is None else self.function_detail(function)
        return row

    # Workers

    def worker_summary(self, record: WorkerRecord, *, discount: int = 0) -> JSONObject:
        """WorkerSummary; ``discount`` takes the listing call itself out."""
        port = self._port_of(record.worker_id)
        local = record.kind == "local"
        active = len(port.executing) + len(port.made) - discount
        return {
            "name": record.name,
            "description": record.description,
            "version": record.version,
            "id": record.worker_id,
            "namespace": record.namespace or "default",
            "runtime": "engine" if local else record.runtime,
            "os": record.os,
            "status": "available" if local else "connected",
            "function_count": len(self.registry.owned_by(port)),
            "connected_at_ms": record.connected_at_ms,
            "active_invocations": max(0, active),
            "isolation": "in-process" if local else record.isolation,
            "ip_address": record.ip_address,
        }

    def worker_detail(self, record: WorkerRecord) -> JSONObject:
        """WorkerDetail: the summary, pid, and metrics if there are any."""
        row = self.worker_summary(record)
        if record.pid is not None:
            row["pid"] = record.pid
        row["internal"] = record.internal
        metrics = self._latest_metrics(record.worker_id)
        if metrics is not None:
            row["latest_metrics"] = metrics
        return row

    def visible_workers(self) -> list[WorkerRecord]:
        """Workers that listings show: named ones, and those of this process."""
        shown = [
            r
            for r in self.roster
            if r.kind == "local" or (r.name is not None and r.pid is not None)
        ]
        return sorted(shown, key=lambda r: (r.name or "", r.worker_id))


def session_of(invocation: Invocation) -> Session | None:
    """What the worker that calls may do; ``None``: everything."""
    sender = invocation.sender
    return sender.session if isinstance(sender, Connection) else None


def is_hidden(function: Function[AnyPort]) -> bool:
    """Tell whether default listings leave a function out."""
    metadata = function.metadata
    marked = isinstance(metadata, dict) and metadata.get("internal") is True
    return marked or is_internal(function.function_id)


def search_rank(function: Function[AnyPort], term: str) -> int | None:
    """How well a function fits a search, 0 best; ``None`` if it does not."""
    function_id, term = function.function_id.lower(), term.lower()
    if function_id.startswith(term) or term in function_id.split("::"):
        return 0
    if term in function_id:
        return 1
    return 2 if term in (function.description or "").lower() else None


def contains(term: str, *texts: str | None) -> bool:
    """Case-insensitive substring search; an empty term fits everything."""
    term = term.lower()
    return any(term in text.lower() for text in texts if text is not None)


def names_elsewhere(namespaces: Iterable[str]) -> str:
    """For error texts: where else something is registered."""
    names = ", ".join(sorted(namespaces))
    return f" It is registered in namespace(s): {names}." if names else ""
