"""Stores against plain models, trees that lose nothing, readers that never crash."""

import contextlib
import json
from collections import OrderedDict
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.builtins.observability._config import Protocol
from iii_trio.builtins.observability._gauges import LatestGauges
from iii_trio.builtins.observability._guard import ECHO, REMEMBERED_FOR, DeliveryGuard
from iii_trio.builtins.observability._logs import row_of, without_terminal_codes
from iii_trio.builtins.observability._metrics import (
    aggregated,
    aggregated_histograms,
    row_of_metric,
)
from iii_trio.builtins.observability._otlp import (
    REDACTED,
    SECRET_KEYS,
    SIGNALS,
    BadTelemetryError,
    read_message,
)
from iii_trio.builtins.observability._otlp_out import encode_request
from iii_trio.builtins.observability._ring import Ring
from iii_trio.builtins.observability._spans import (
    MAX_DEPTH,
    Span,
    SpanStore,
    row_of_span,
    tree_of,
)

IDS = st.sampled_from("abcdef")
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


# --- rings

STEPS = st.lists(
    st.tuples(st.just("add"), st.integers(0, 60))
    | st.tuples(st.just("wait"), st.integers(0, 8))
    | st.tuples(st.just("bound"), st.integers(0, 5)),
    max_size=30,
)


@given(STEPS)
def test_a_ring_is_the_end_of_everything_that_was_added(
    steps: list[tuple[str, int]],
) -> None:
    ring: Ring[int] = Ring(max_count=4, max_bytes=100, max_age=10)
    model: list[tuple[int, int, int]] = []
    now, dropped = 0, 0
    for number, (what, value) in enumerate(steps):
        if what == "add":
            ring.add(number, size=value, now=now)
            model.append((now, value, number))
        elif what == "wait":
            now += value
            ring.sweep(now)
            model = [one for one in model if now - one[0] <= 10]
        else:
            ring.max_count = value
            ring.fit()
        while len(model) > ring.max_count or sum(size for _, size, _ in model) > 100:
            del model[0]
            dropped += 1
        assert list(ring) == [number for _, _, number in model]
        assert list(reversed(ring)) == [number for _, _, number in model][::-1]
        assert ring.bytes == sum(size for _, size, _ in model)
        assert (len(ring), ring.dropped) == (len(model), dropped)


# --- spans


def span(trace_id: str, span_id: str, parent: str | None, start: int = 0) -> Span:
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent,
        name="",
        start_time_unix_nano=start,
        end_time_unix_nano=start + 1,
    )


@given(st.lists(st.tuples(IDS, IDS), max_size=30), st.integers(1, 8))
def test_a_store_keeps_the_spans_that_came_first_last(
    added: list[tuple[str, str]], count: int
) -> None:
    one = span("t", "s", None).size
    store = SpanStore(max_count=count, max_bytes=5 * one)
    model: OrderedDict[tuple[str, str], None] = OrderedDict()
    for trace_id, span_id in added:
        store.add(span(trace_id, span_id, None))
        model.setdefault((trace_id, span_id))
        while len(model) > min(count, 5):
            model.popitem(last=False)
        assert {(one.trace_id, one.span_id) for one in store.all()} == model.keys()
        assert (len(store), store.bytes) == (len(model), one * len(model))
    for trace_id in "abcdef":
        kept = [one.span_id for one in store.trace(trace_id)]
        assert sorted(kept) == sorted(s for t, s in model if t == trace_id)


@given(
    st.dictionaries(
        st.integers(0, 20).map(str),
        st.tuples(st.none() | st.integers(0, 22).map(str), st.integers(0, 5)),
        max_size=21,
    )
)
def test_every_span_is_in_its_tree_exactly_once_below_its_parent(
    parents: dict[str, tuple[str | None, int]],
) -> None:
    spans = [span("t", one, *given) for one, given in parents.items()]
    seen: list[str] = []

    def walk(rows: list[Any], above: str | None) -> None:
        starts = [row["start_time_unix_nano"] for row in rows]
        if above is not None:
            assert starts == sorted(starts)
        for row in rows:
            seen.append(row["span_id"])
            if above is not None:
                assert row["parent_span_id"] == above
            walk(row["children"], row["span_id"])

    walk(tree_of(spans), None)
    assert sorted(seen) == sorted(parents)
    assert len(parents) < MAX_DEPTH


# --- telemetry


@given(st.sampled_from(sorted(SIGNALS)) | st.binary(max_size=4), st.binary(max_size=50))
def test_any_bytes_are_telemetry_or_refused(prefix: bytes, body: bytes) -> None:
    try:
        read_message(prefix + body, now=0)
    except BadTelemetryError:
        return
    assert prefix[:4] in SIGNALS or (prefix + body)[:4] in SIGNALS


OTLP_KEYS = st.sampled_from(
    [
        "resourceSpans",
        "scopeSpans",
        "spans",
        "resource",
        "scope",
        "attributes",
        "key",
        "value",
        "stringValue",
        "intValue",
        "arrayValue",
        "values",
        "kvlistValue",
        "traceId",
        "spanId",
        "status",
        "code",
        "events",
        "links",
        "resourceLogs",
        "scopeLogs",
        "logRecords",
        "body",
        "severityNumber",
        "severityText",
        "timeUnixNano",
        "observedTimeUnixNano",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "flags",
        "traceState",
        "parentSpanId",
        "resourceMetrics",
        "scopeMetrics",
        "metrics",
        "name",
        "gauge",
        "sum",
        "histogram",
        "dataPoints",
        "asInt",
        "asDouble",
        "bucketCounts",
        "explicitBounds",
        "count",
        "min",
        "max",
    ]
)
OTLP_LIKE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["a", "1", "-5", "ab" * 16, "cd" * 8, "password", "\x1b[1m"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(OTLP_KEYS, inner, max_size=4)
    ),
    max_leaves=40,
)


@given(st.sampled_from(sorted(SIGNALS)), st.dictionaries(OTLP_KEYS, OTLP_LIKE))
def test_a_request_of_any_shape_is_read(prefix: bytes, request: Any) -> None:
    message = read_message(prefix + json.dumps(request).encode(), now=7)
    for record in message.spans:
        assert len(record.trace_id) == 32
        assert record.size > 0
    for log in message.logs:
        assert log.size > 0
        msgspec.json.encode(log.attributes)
    for metric in message.metrics:
        assert metric.size > 0


LEAVES = {
    b"OTLP": ("resourceSpans", "scopeSpans", "spans"),
    b"LOGS": ("resourceLogs", "scopeLogs", "logRecords"),
    b"MTRC": ("resourceMetrics", "scopeMetrics", "metrics"),
}
USABLE = {
    "traceId": "ab" * 16,
    "spanId": "cd" * 8,
    "name": "iii.worker.memory.rss",
    "endTimeUnixNano": 5,
}
PROTOCOLS: tuple[Protocol, ...] = ("http/protobuf", "http/json")
POINTS = st.fixed_dictionaries(
    {"attributes": st.just([{"key": "worker.id", "value": {"stringValue": "w"}}])},
    optional=dict.fromkeys(("asInt", "asDouble", "count", "bucketCounts"), OTLP_LIKE),
)


@given(
    st.sampled_from(sorted(LEAVES)),
    st.dictionaries(OTLP_KEYS, OTLP_LIKE),
    st.none() | POINTS,
)
def test_a_record_with_any_fields_is_read_kept_and_shown(
    prefix: bytes, fields: dict[str, Any], point: Any
) -> None:
    outer, inner, leaf = LEAVES[prefix]
    record = {**USABLE, **fields}
    if point is not None:
        record["gauge"] = {"dataPoints": [point]}
    request = {outer: [{inner: [{leaf: [record]}]}]}
    message = read_message(prefix + json.dumps(request).encode(), now=7)
    for protocol in PROTOCOLS:
        with contextlib.suppress(ValueError):
            encode_request(message.signal, message.request, protocol)
    store, gauges = SpanStore(max_count=9, max_bytes=10**6), LatestGauges()
    for one in message.spans:
        store.add(one)
        msgspec.json.encode(row_of_span(one))
    for log in message.logs:
        assert log.size > 0
        msgspec.json.encode(row_of(log))
    for metric in message.metrics:
        gauges.take(metric, 0.0)
        msgspec.json.encode([row_of_metric(metric), gauges.all(0.0)])
        msgspec.json.encode(aggregated([metric], 10**9))
        msgspec.json.encode(aggregated_histograms([metric], 10**9))


@given(JSON_VALUES)
def test_attributes_can_always_be_shown(value: Any) -> None:
    msgspec.json.encode(without_terminal_codes(value))


@given(st.sampled_from(sorted(SECRET_KEYS)), st.lists(st.booleans()), JSON_VALUES)
def test_a_secret_never_survives_however_its_key_is_written(
    key: str, upper: list[bool], value: Any
) -> None:
    written = "".join(
        letter.upper() if flag else letter
        for letter, flag in zip(key, [*upper, *[False] * len(key)], strict=False)
    )
    secret = {"key": written, "value": {"stringValue": "hunter2", "more": value}}
    raw = {
        "traceId": "ab" * 16,
        "spanId": "cd" * 8,
        "endTimeUnixNano": 1,
        "attributes": [secret],
    }
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [raw]}]}]}
    message = read_message(b"OTLP" + msgspec.json.encode(request), now=0)
    assert message.spans[0].attributes == [(written, REDACTED)]
    assert b"hunter2" not in msgspec.json.encode(message.request)


# --- guard

DELIVERIES = st.lists(
    st.tuples(IDS, st.booleans(), st.integers(0, 700)), min_size=1, max_size=20
)


@given(DELIVERIES)
def test_the_guard_covers_what_runs_and_what_ran_lately(
    steps: list[tuple[str, bool, int]],
) -> None:
    guard, now = DeliveryGuard(), 0.0
    running: dict[str, str] = {}
    ended: dict[str, float] = {}
    last: dict[str, float] = {}
    for number, (worker, begins, pause) in enumerate(steps):
        trace_id = str(number)
        if begins:
            guard.begin(trace_id, [worker])
            running[trace_id] = worker
        elif running:
            trace_id = next(iter(running))
            worker = running.pop(trace_id)  # noqa: PLW2901 - whose it was
            guard.end(trace_id, [worker], now)
            ended[trace_id] = last[worker] = now
        now += pause
        guard.sweep(now)
        for one in map(str, range(len(steps))):
            recent = one in ended and ended[one] + REMEMBERED_FOR >= now
            assert guard.covers(one, None, now) is (one in running or recent)
        for one in "abcdef":
            recent = one in last and last[one] + ECHO >= now
            busy = one in running.values()
            assert guard.covers(None, one, now) is (busy or recent)
