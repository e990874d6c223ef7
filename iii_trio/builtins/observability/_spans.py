"""Spans: what one is, where they are kept, which ones a query wants. Pure."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, final

import attrs

from iii_trio.builtins.observability._logs import bytes_of_texts

JSON = Any

Pairs = Sequence[tuple[str, str]]
Status = Literal["ok", "error", "unset"]


@attrs.frozen(kw_only=True)
class Span:
    """One finished span. Times in nanoseconds since 1970; attributes as text."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    start_time_unix_nano: int
    end_time_unix_nano: int
    status: Status = "unset"
    status_description: str | None = None
    attributes: Pairs = ()
    service_name: str = "unknown"
    events: Sequence[JSON] = ()
    links: Sequence[JSON] = ()
    scope_name: str | None = None
    scope_version: str | None = None
    flags: int | None = None
    trace_state: str | None = None

    @property
    def duration(self) -> int:
        """In nanoseconds."""
        return max(0, self.end_time_unix_nano - self.start_time_unix_nano)

    @property
    def is_internal(self) -> bool:
        """Whether it is about the engine's own functions."""
        for key, value in self.attributes:
            if key == "iii.function.kind" and value == "internal":
                return True
            if key in _FUNCTION_KEYS and value.startswith("engine::"):
                return True
        return False

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        pairs = sum(bytes_of_texts(pair) + 50 for pair in self.attributes)
        more = sum(len(str(one)) * 3 + 300 for one in (*self.events, *self.links))
        texts = (
            self.name,
            self.status_description,
            self.service_name,
            self.scope_name,
            self.scope_version,
            self.trace_state,
        )
        return _SPAN_BYTES + bytes_of_texts(texts) + pairs + more


_FUNCTION_KEYS: Final = ("function_id", "iii.function.id")
_SPAN_BYTES: Final = 700
"""Of a span without attributes, with its places in the tables."""


def row_of_span(span: Span) -> dict[str, JSON]:
    """A span as queries show it."""
    row: dict[str, JSON] = {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "name": span.name,
        "start_time_unix_nano": span.start_time_unix_nano,
        "end_time_unix_nano": span.end_time_unix_nano,
        "status": span.status,
        "attributes": span.attributes,
        "service_name": span.service_name,
        "events": span.events,
        "links": span.links,
    }
    optional = {
        "status_description": span.status_description,
        "instrumentation_scope_name": span.scope_name,
        "instrumentation_scope_version": span.scope_version,
        "flags": span.flags,
        "trace_state": span.trace_state,
    }
    row |= {key: value for key, value in optional.items() if value is not None}
    return row


@final
class SpanStore:
    """Spans by trace; the oldest go first when a bound is passed.

    Args:
        max_count: spans.
        max_bytes: about, of all spans together.

    Attributes:
        dropped: spans lost to the bounds.
    """

    def __init__(self, *, max_count: int, max_bytes: int) -> None:
        self.max_count = max_count
        self.max_bytes = max_bytes
        self.dropped = 0
        self._bytes = 0
        self._traces: dict[str, dict[str, Span]] = {}
        self._order: deque[tuple[str, str]] = deque()

    def __len__(self) -> int:
        return len(self._order)

    @property
    def bytes(self) -> int:
        """About, of all spans together."""
        return self._bytes

    def add(self, span: Span) -> None:
        """Keep a span; one that came already is replaced."""
        trace = self._traces.setdefault(span.trace_id, {})
        known = trace.get(span.span_id)
        trace[span.span_id] = span
        self._bytes += span.size
        if known is None:
            self._order.append((span.trace_id, span.span_id))
        else:
            self._bytes -= known.size
        self.fit()

    def fit(self) -> None:
        """Drop what is over the bounds, also after they changed."""
        while len(self._order) > self.max_count or self._bytes > self.max_bytes:
            trace_id, span_id = self._order.popleft()
            trace = self._traces[trace_id]
            self._bytes -= trace.pop(span_id).size
            self.dropped += 1
            if not trace:
                del self._traces[trace_id]

    def clear(self) -> None:
        """Drop everything."""
        self._traces.clear()
        self._order.clear()
        self._bytes = 0

    def all(self) -> list[Span]:
        """Every span, by trace."""
        return [span for trace in self._traces.values() for span in trace.values()]

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of a trace, in the order in which they came."""
        return list(self._traces.get(trace_id, {}).values())

    def is_root(self, span: Span) -> bool:
        """Whether a span has no parent here."""
        parent = span.parent_span_id
        return parent is None or parent not in self._traces.get(span.trace_id, {})


SortKey = Literal["start_time", "duration", "duration_ms", "service_name", "name"]

_SORT_KEYS: Final[Mapping[str, Callable[[Span], Any]]] = {
    "start_time": lambda span: span.start_time_unix_nano,
    "duration": lambda span: span.duration,
    "duration_ms": lambda span: span.duration,
    "service_name": lambda span: span.service_name,
    "name": lambda span: span.name,
}

SORT_KEYS: Final = tuple(_SORT_KEYS)


@attrs.frozen(kw_only=True)
class SpanQuery:
    """Which spans are wanted. Times and durations in milliseconds.

    Attributes:
        name: part of it, in any case; so ``service_name``.
        attributes: all of these pairs.
        exclude_attributes: none of these pairs.
    """

    trace_ids: Sequence[str] = ()
    service_name: str | None = None
    name: str | None = None
    status: str | None = None
    min_duration_ms: float | None = None
    max_duration_ms: float | None = None
    start_time: int | None = None
    end_time: int | None = None
    attributes: Pairs = ()
    exclude_attributes: Pairs = ()
    include_internal: bool = False
    search_all_spans: bool = False

    def candidates(self, store: SpanStore) -> list[Span]:
        """The spans to look at: those of the traces asked for, or of all."""
        if self.trace_ids:
            wanted = dict.fromkeys(self.trace_ids)
            return [span for one in wanted for span in store.trace(one)]
        return store.all()

    def wants(self, span: Span) -> bool:
        """Whether a span fits; whether it is a root is not asked."""
        start = span.start_time_unix_nano
        milliseconds = span.duration / 1_000_000
        return (
            (self.include_internal or not span.is_internal)
            and _contains(span.service_name, self.service_name)
            and _contains(span.name, self.name)
            and (self.status is None or self.status.lower() == span.status)
            and (self.min_duration_ms is None or milliseconds >= self.min_duration_ms)
            and (self.max_duration_ms is None or milliseconds <= self.max_duration_ms)
            and (self.start_time is None or start >= self.start_time * 1_000_000)
            and (self.end_time is None or start < (self.end_time + 1) * 1_000_000)
            and self._fits_attributes(span)
        )

    def _fits_attributes(self, span: Span) -> bool:
        if not self.attributes and not self.exclude_attributes:
            return True
        pairs = set(map(tuple, span.attributes))
        return all(tuple(pair) in pairs for pair in self.attributes) and not any(
            tuple(pair) in pairs for pair in self.exclude_attributes
        )


def select(
    store: SpanStore,
    spans: Iterable[Span],
    query: SpanQuery,
    sort_by: str,
    *,
    descending: bool,
) -> list[Span]:
    """The spans that a query wants, sorted; equal ones by their ids."""
    roots_only = not query.trace_ids and not query.search_all_spans
    chosen = [
        span
        for span in spans
        if query.wants(span) and (not roots_only or store.is_root(span))
    ]
    chosen.sort(key=lambda span: (span.trace_id, span.span_id))
    chosen.sort(key=_SORT_KEYS[sort_by], reverse=descending)
    return chosen


MAX_DEPTH: Final = 100
"""How deep a tree nests; deeper spans stay at that depth, beside their parents."""


def tree_of(spans: Sequence[Span]) -> list[JSON]:
    """The spans of a trace as a forest: rows with ``children``, each by start time.

    Every span is in it exactly once: one whose parent is not here is a root, and so is
    the first of spans that are each other's parents.
    """
    ordered = sorted(spans, key=lambda span: (span.start_time_unix_nano, span.span_id))
    by_id = {span.span_id: span for span in ordered}
    children: dict[str, list[Span]] = {}
    roots: list[Span] = []
    for span in ordered:
        if span.parent_span_id in by_id:
            children.setdefault(span.parent_span_id or "", []).append(span)
        else:
            roots.append(span)
    placed: set[str] = set()
    forest: list[JSON] = []
    for root in (*roots, *ordered):
        _plant(root, children, placed, forest)
    return forest


def _plant(
    root: Span, children: Mapping[str, list[Span]], placed: set[str], forest: list[JSON]
) -> None:
    """Add a span and all below it, unless it is there already. No recursion."""
    waiting = deque([(root, forest, 1)])
    while waiting:
        span, siblings, depth = waiting.popleft()
        if span.span_id in placed:
            continue
        placed.add(span.span_id)
        own: list[JSON] = []
        siblings.append({**row_of_span(span), "children": own})
        below = own if depth < MAX_DEPTH else siblings
        for child in children.get(span.span_id, ()):
            waiting.append((child, below, min(depth + 1, MAX_DEPTH)))


def groups_of(spans: Iterable[Span], attribute: str) -> list[JSON]:
    """Spans by the value of an attribute, the group that was active last first."""
    groups: dict[str, dict[str, JSON]] = {}
    traces: dict[str, dict[str, None]] = {}
    for span in spans:
        for key, value in span.attributes:
            if key != attribute:
                continue
            group = groups.setdefault(
                value,
                {
                    "value": value,
                    "span_count": 0,
                    "error_count": 0,
                    "first_start_time_unix_nano": span.start_time_unix_nano,
                    "last_start_time_unix_nano": span.start_time_unix_nano,
                },
            )
            group["span_count"] += 1
            group["error_count"] += span.status == "error"
            first, last = "first_start_time_unix_nano", "last_start_time_unix_nano"
            group[first] = min(group[first], span.start_time_unix_nano)
            group[last] = max(group[last], span.start_time_unix_nano)
            traces.setdefault(value, {})[span.trace_id] = None
    rows = [
        {**group, "trace_count": len(traces[value]), "trace_ids": list(traces[value])}
        for value, group in groups.items()
    ]
    rows.sort(key=lambda row: (-row["last_start_time_unix_nano"], row["value"]))
    return rows


def _contains(text: str, part: str | None) -> bool:
    return part is None or part.lower() in text.lower()
