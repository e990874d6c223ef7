"""The ``engine::*`` functions that only read: lists and details.

Filters, order and error texts are those of the discovery sheet, sections 2 and 3.
"""

from collections.abc import Callable
from typing import Any, Final, final

import msgspec

from iii_trio.access import Session
from iii_trio.engine import _discovery as d
from iii_trio.engine._inputs import (
    ById,
    FunctionsInfo,
    FunctionsList,
    RegisteredTriggersList,
    TriggersInfo,
    TriggersList,
    WorkersInfo,
    WorkersList,
)
from iii_trio.engine._invocation import Invocation, RawOutcome
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._registry import Function
from iii_trio.protocol import DEFAULT_NAMESPACE, ErrorBody

MAX_BATCH: Final = 32
"""Ids that one ``engine::functions::info`` may ask for."""

JSON = Any


@final
class Listings:
    """Answers what is there; changes nothing."""

    def __init__(
        self, discovery: d.Discovery, port_of: Callable[[str], AnyPort]
    ) -> None:
        self._discovery = discovery
        self._port_of = port_of

    # Functions

    def functions_list(self, call: Invocation, asked: FunctionsList) -> RawOutcome:
        """Lists the functions that can be called now."""
        session = d.session_of(call)
        names = {*(asked.workers or ()), *([asked.worker] if asked.worker else ())}
        ranked: list[tuple[int, str, str, Function[AnyPort]]] = []
        for function in self._discovery.registry:
            rank = d.search_rank(function, asked.search) if asked.search else 0
            if (
                rank is None
                or not self._discovery.sees_function(session, function)
                or (not asked.include_internal and d.is_hidden(function))
                or not function.function_id.startswith(asked.prefix or "")
                or (names and self._discovery.worker_name(function) not in names)
            ):
                continue
            ranked.append((rank, function.function_id, function.namespace, function))
        ranked.sort(key=lambda row: row[:3])
        rows = [self._discovery.function_summary(row[3]) for row in ranked]
        return _encode({"functions": rows})

    def functions_info(self, call: Invocation, asked: FunctionsInfo) -> RawOutcome:
        """Tells everything about one function or several."""
        session = d.session_of(call)
        wrong = _wrong_info_arguments(asked)
        if wrong is not None:
            return ErrorBody(code="INVALID_ARGUMENTS", message=wrong)
        if asked.function_id is not None:
            found = self._find_function(asked.function_id, asked.namespace, session)
            if isinstance(found, ErrorBody):
                return found
            return _encode(self._discovery.function_detail(found))
        rows: list[JSON] = []
        for function_id in dict.fromkeys(asked.function_ids or ()):
            found = self._find_function(function_id, asked.namespace, session)
            rows.append(
                {"function_id": function_id, "error": found.code.lower()}
                if isinstance(found, ErrorBody)
                else self._discovery.function_detail(found)
            )
        return _encode({"functions": rows})

    def _find_function(
        self, function_id: str, namespace: str | None, session: Session | None
    ) -> Function[AnyPort] | ErrorBody:
        """The function that an id means, or the error; hidden ones are not told of."""
        wanted = DEFAULT_NAMESPACE if namespace is None else namespace
        visible = {
            function.namespace: function
            for function in self._discovery.registry.all_of(function_id)
            if self._discovery.sees_function(session, function)
        }
        if wanted in visible:
            return visible[wanted]
        if namespace is None and len(visible) == 1:
            return next(iter(visible.values()))
        if (
            session is not None
            and not visible
            and session.refuses_call(wanted, function_id, None)
        ):
            message = f"Function '{function_id}' is not visible to this session."
            return ErrorBody(code="FORBIDDEN", message=message)
        elsewhere = sorted(visible)
        if namespace is not None:
            message = (
                f"Function '{function_id}' is not registered in namespace "
                f"'{namespace}'.{d.names_elsewhere(elsewhere)}"
            )
        elif elsewhere:
            message = (
                f"Function '{function_id}' is ambiguous: it is registered in "
                f"namespace(s): {', '.join(elsewhere)}. Pass `namespace` to select one."
            )
        else:
            message = f"Function '{function_id}' is not registered."
        return ErrorBody(code="NOT_FOUND", message=message)

    # Trigger types

    def triggers_list(self, call: Invocation, asked: TriggersList) -> RawOutcome:
        """Lists the trigger types that have a provider."""
        session = d.session_of(call)
        rows = [
            self._discovery.type_summary(kind)
            for kind in self._discovery.triggers.types
            if self._discovery.sees_type(session, kind)
            and (asked.include_internal or not kind.trigger_type.startswith("engine::"))
            and d.contains(asked.search or "", kind.trigger_type, kind.description)
            and kind.trigger_type.startswith(asked.prefix or "")
            and asked.worker in {None, "", self._discovery.provider_name(kind)}
        ]
        rows.sort(key=lambda row: (row["id"], row["namespace"]))
        return _encode({"triggers": rows})

    def triggers_info(self, call: Invocation, asked: TriggersInfo) -> RawOutcome:
        """Tells everything about one trigger type."""
        session = d.session_of(call)
        namespace = asked.namespace or DEFAULT_NAMESPACE
        kind = self._discovery.triggers.find_type(namespace, asked.id)
        if kind is None or not self._discovery.sees_type(session, kind):
            return ErrorBody(
                code="NOT_FOUND",
                message=(
                    f"Trigger type '{asked.id}' is not registered in namespace "
                    f"'{namespace}'."
                ),
            )
        return _encode(self._discovery.type_detail(kind))

    # Triggers

    def registered_list(
        self, call: Invocation, asked: RegisteredTriggersList
    ) -> RawOutcome:
        """Lists the triggers that are bound to functions."""
        session = d.session_of(call)
        rows = []
        for trigger in self._discovery.triggers:
            spec = trigger.spec
            texts = (spec.trigger_id, spec.trigger_type, spec.function_id)
            hidden = spec.function_id.startswith("engine::")
            if (
                (asked.include_internal or not hidden)
                and self._discovery.sees_trigger(session, trigger)
                and (asked.include_pending or trigger.served_by is not None)
                and d.contains(asked.search or "", *texts)
                and asked.trigger_type in {None, "", spec.trigger_type}
                and asked.function_id in {None, "", spec.function_id}
            ):
                row = self._discovery.trigger_summary(trigger)
                if asked.worker in {None, "", row["worker_name"]}:
                    rows.append(row)
        rows.sort(key=lambda row: row["id"])
        return _encode({"registered_triggers": rows})

    def registered_info(self, call: Invocation, asked: ById) -> RawOutcome:
        """Tells everything about one bound trigger."""
        session = d.session_of(call)
        trigger = self._discovery.triggers.get(asked.id)
        if trigger is None or not self._discovery.sees_trigger(session, trigger):
            return ErrorBody(
                code="NOT_FOUND",
                message=f"Registered trigger '{asked.id}' was not found.",
            )
        return _encode(self._discovery.trigger_detail(trigger))

    # Workers

    def workers_list(self, invocation: Invocation, asked: WorkersList) -> RawOutcome:
        """Lists the workers that are attached."""
        asking = [
            port.worker_id
            for port in (invocation.caller, invocation.callee)
            if port is not None
        ]
        session = d.session_of(invocation)
        rows = []
        for record in self._discovery.visible_workers():
            if not self._discovery.sees_worker(session, record):
                continue
            discount = asking.count(record.worker_id)
            row = self._discovery.worker_summary(record, discount=discount)
            if (
                d.contains(asked.search or "", row["name"] or "")
                and asked.runtime in {None, "", row["runtime"]}
                and asked.status in {None, "", row["status"]}
            ):
                rows.append(row)
        return _encode({"workers": rows})

    def workers_info(self, call: Invocation, asked: WorkersInfo) -> RawOutcome:
        """Tells everything about one worker."""
        session = d.session_of(call)
        named = [
            r
            for r in self._discovery.roster
            if r.name == asked.name and self._discovery.sees_worker(session, r)
        ]
        inside = [
            r
            for r in named
            if (r.namespace or DEFAULT_NAMESPACE)
            == (asked.namespace or DEFAULT_NAMESPACE)
        ]
        chosen = inside or (named if asked.namespace is None else [])
        if len(chosen) != 1:
            return ErrorBody(
                code="NOT_FOUND", message=_no_such_worker(asked, named, chosen)
            )
        record = chosen[0]
        port = self._port_of(record.worker_id)
        discovery = self._discovery
        owned = discovery.registry.owned_by(port)
        functions = sorted(owned, key=lambda f: f.function_id)
        keys = {function.key for function in owned}
        return _encode(
            {
                "worker": discovery.worker_detail(record),
                "functions": [
                    discovery.function_summary(function)
                    for function in functions
                    if discovery.sees_function(session, function)
                ],
                "trigger_types": [
                    discovery.type_summary(kind)
                    for kind in discovery.triggers.types_of(port)
                    if discovery.sees_type(session, kind)
                ],
                "registered_triggers": [
                    discovery.trigger_summary(t)
                    for t in discovery.triggers
                    if (t.spec.namespace, t.spec.function_id) in keys
                    and discovery.sees_trigger(session, t)
                ],
            }
        )


def _encode(value: JSON) -> bytes:
    return msgspec.json.encode(value)


def _wrong_info_arguments(asked: FunctionsInfo) -> str | None:
    if asked.function_id is not None and asked.function_ids is not None:
        return "pass either `function_id` or `function_ids`, not both"
    if asked.function_id is None and asked.function_ids is None:
        return "missing field `function_id` (or `function_ids` for a batch)"
    if asked.function_ids is not None and not asked.function_ids:
        return "`function_ids` must be a non-empty array of function ids"
    if len(asked.function_ids or ()) > MAX_BATCH:
        return f"too many function_ids (max {MAX_BATCH})"
    return None


def _no_such_worker(asked: WorkersInfo, named: list[Any], chosen: list[Any]) -> str:
    namespaces = sorted({r.namespace or DEFAULT_NAMESPACE for r in named})
    if len(chosen) > 1:
        return (
            f"Worker '{asked.name}' is ambiguous: it is connected in namespace(s): "
            f"{', '.join(namespaces)}. Pass `namespace` to select one."
        )
    if namespaces:
        return (
            f"Worker '{asked.name}' is not connected in namespace "
            f"'{asked.namespace}', but in: {', '.join(namespaces)}."
        )
    return f"Worker '{asked.name}' is not connected."
