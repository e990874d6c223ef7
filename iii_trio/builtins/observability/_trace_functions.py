"""The functions that show spans, and what all functions of this worker share."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, final

import trio

from iii_trio.builtins._payloads import structure_input
from iii_trio.builtins.observability import _inputs as inputs
from iii_trio.builtins.observability._intake import Intake
from iii_trio.builtins.observability._spans import (
    SORT_KEYS,
    Span,
    SpanQuery,
    groups_of,
    row_of_span,
    select,
    tree_of,
)
from iii_trio.builtins.observability._telemetry import Telemetry
from iii_trio.errors import FunctionFailedError

JSON = Any
T = TypeVar("T")

Handler = Callable[[JSON], Awaitable[JSON]]
Table = dict[str, tuple[Handler, type[Any] | None, str]]
"""Function id to its handler, its input class (``None``: takes nothing), and what it does."""

MANY_SPANS: Final = 5000
"""Spans above which a query runs in a thread."""


@final
class TraceFunctions:
    """Answers what is known of traces.

    Args:
        telemetry: what is known.
        intake: has the settings.
    """

    def __init__(self, telemetry: Telemetry, intake: Intake) -> None:
        self._telemetry = telemetry
        self._intake = intake

    def by_id(self) -> Table:
        """Every function of this class."""
        return {
            "engine::traces::list": (
                self._list,
                inputs.TracesListInput,
                "Lists spans; only roots, unless traces are named.",
            ),
            "engine::traces::tree": (
                self._tree,
                inputs.TraceInput,
                "Shows a trace as a tree.",
            ),
            "engine::traces::group_by": (
                self._group_by,
                inputs.GroupInput,
                "Groups spans by the value of an attribute.",
            ),
            "engine::traces::clear": (self._clear, None, "Drops all spans."),
        }

    async def _list(self, payload: JSON) -> JSON:
        given = read_input("engine::traces::list", payload, inputs.TracesListInput)
        traces = [*([given.trace_id] if given.trace_id else []), *given.trace_ids]
        query = SpanQuery(
            trace_ids=traces,
            service_name=given.service_name,
            name=given.name,
            status=given.status,
            min_duration_ms=given.min_duration_ms,
            max_duration_ms=given.max_duration_ms,
            start_time=given.start_time,
            end_time=given.end_time,
            attributes=_as_pairs(given.attributes),
            exclude_attributes=_as_pairs(given.exclude_attributes),
            include_internal=given.include_internal,
            search_all_spans=given.search_all_spans,
        )
        sort_by = given.sort_by if given.sort_by in SORT_KEYS else "start_time"
        found = await self._on_spans(
            query,
            lambda spans: select(
                self._telemetry.spans,
                spans,
                query,
                sort_by,
                descending=given.sort_order != "asc",
            ),
        )
        return {
            "spans": list(map(row_of_span, page(found, given.offset, given.limit))),
            "total": len(found),
            "offset": given.offset,
            "limit": given.limit,
            "storage": self._storage(),
        }

    async def _tree(self, payload: JSON) -> JSON:
        given = read_input("engine::traces::tree", payload, inputs.TraceInput)
        query = SpanQuery(trace_ids=[given.trace_id])
        return {
            "roots": await self._on_spans(query, tree_of),
            "storage": self._storage(),
        }

    async def _group_by(self, payload: JSON) -> JSON:
        given = read_input("engine::traces::group_by", payload, inputs.GroupInput)
        query = SpanQuery(
            service_name=given.service_name,
            start_time=given.start_time,
            end_time=given.end_time,
            include_internal=given.include_internal,
        )
        groups = await self._on_spans(
            query, lambda spans: groups_of(filter(query.wants, spans), given.attribute)
        )
        return {"groups": groups[: given.limit], "storage": self._storage()}

    async def _clear(self, _payload: JSON) -> JSON:
        await trio.lowlevel.checkpoint()
        self._require_spans()
        self._intake.take_spans()
        self._telemetry.spans.clear()
        return {"success": True}

    async def _on_spans(self, query: SpanQuery, work: Callable[[list[Span]], T]) -> T:
        """Work on the spans that a query looks at; in a thread if they are many."""
        await trio.lowlevel.checkpoint()
        self._require_spans()
        self._intake.take_spans()
        spans = query.candidates(self._telemetry.spans)
        if len(spans) <= MANY_SPANS:
            return work(spans)
        return await trio.to_thread.run_sync(work, spans)

    def _require_spans(self) -> None:
        if not self._intake.settings.traces_kept:
            raise FunctionFailedError(
                "spans are not kept here: set `enabled: true` and `exporter: memory` "
                "(or `both`) in the configuration of iii-observability",
                code="memory_exporter_not_enabled",
            )

    def _storage(self) -> JSON:
        spans = self._telemetry.spans
        return {
            "archive": "none",
            "completeness": "partial" if spans.dropped else "complete",
            "known_dropped_spans": spans.dropped,
            "physical_bytes": spans.bytes,
            "max_disk_bytes": 0,
            "last_error": None,
        }


def read_input(function_id: str, payload: JSON, kind: type[T]) -> T:
    """Structure a payload; nothing at all is the same as no fields."""
    return structure_input(function_id, {} if payload is None else payload, kind)


def page(found: list[T], offset: int, limit: int | None) -> list[T]:
    return found[offset : None if limit is None else offset + limit]


def _as_pairs(pairs: list[list[str]]) -> list[tuple[str, str]]:
    return [(key, value) for key, value in pairs]
