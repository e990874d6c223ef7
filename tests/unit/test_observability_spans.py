"""Spans: bounds of the store, filters, order, trees, groups."""

from typing import Any

import pytest

from iii_trio.builtins.observability._spans import (
    MAX_DEPTH,
    Span,
    SpanQuery,
    SpanStore,
    groups_of,
    row_of_span,
    select,
    tree_of,
)

MS = 1_000_000


def span(
    span_id: str = "a", parent: str | None = None, trace: str = "t", **fields: Any
) -> Span:
    given: dict[str, Any] = {
        "name": f"do {span_id}",
        "start_time_unix_nano": 10 * MS,
        "end_time_unix_nano": 12 * MS,
    }
    return Span(
        trace_id=trace, span_id=span_id, parent_span_id=parent, **{**given, **fields}
    )


def store(*spans: Span, count: int = 100, size: int = 10**6) -> SpanStore:
    made = SpanStore(max_count=count, max_bytes=size)
    for one in spans:
        made.add(one)
    return made


# --- store


def test_the_oldest_spans_go_first_over_the_count() -> None:
    kept = store(span("a"), span("b", trace="u"), span("c"), count=2)
    assert [one.span_id for one in kept.all()] == ["c", "b"]
    assert (len(kept), kept.dropped) == (2, 1)
    assert [one.span_id for one in kept.trace("t")] == ["c"]
    kept.max_count = 1
    kept.fit()
    assert kept.trace("u") == []


def test_the_oldest_spans_go_first_over_the_bytes() -> None:
    large = span("b", attributes=[("k", "v" * 5000)])
    kept = store(span("a"), large, size=6000)
    assert [one.span_id for one in kept.all()] == ["b"]
    assert kept.bytes == large.size


def test_a_span_that_comes_again_replaces_itself() -> None:
    kept = store(span("a"), span("a", name="again"))
    [only] = kept.all()
    assert (only.name, len(kept), kept.bytes) == ("again", 1, only.size)
    kept.clear()
    assert (len(kept), kept.bytes, kept.all()) == (0, 0, [])


def test_a_span_whose_parent_is_not_here_is_a_root() -> None:
    kept = store(span("a"), span("b", "a"), span("c", "elsewhere"))
    assert [kept.is_root(one) for one in kept.all()] == [True, False, True]


def test_the_size_of_a_span_grows_with_its_events() -> None:
    event = {"name": "e", "timestamp_unix_nano": 1, "attributes": [("k", "v" * 100)]}
    assert span(events=[event]).size > span().size + 100


# --- rows


@pytest.mark.parametrize(
    "field",
    ["name", "status_description", "service_name", "scope_name", "trace_state"],
)
def test_the_size_of_a_span_grows_with_every_text(field: str) -> None:
    assert span(**{field: "x" * 10**6}).size > 10**6


def test_a_row_shows_optional_fields_only_when_they_are_known() -> None:
    row = row_of_span(span())
    assert row["parent_span_id"] is None
    assert row["status"] == "unset"
    assert not {"status_description", "flags", "trace_state"} & row.keys()
    full = row_of_span(
        span(status_description="bad", scope_name="s", scope_version="1", flags=0)
    )
    assert full["status_description"] == "bad"
    assert full["instrumentation_scope_name"] == "s"
    assert full["flags"] == 0


@pytest.mark.parametrize(
    ("attributes", "internal"),
    [
        ([], False),
        ([("iii.function.kind", "internal")], True),
        ([("iii.function.kind", "user")], False),
        ([("function_id", "engine::traces::list")], True),
        ([("iii.function.id", "engine::x")], True),
        ([("function_id", "shop::pay")], False),
    ],
)
def test_spans_of_the_engine_s_own_functions_are_internal(
    attributes: Any, internal: bool
) -> None:
    assert span(attributes=attributes).is_internal is internal
    assert SpanQuery().wants(span(attributes=attributes)) is not internal
    query = SpanQuery(include_internal=True)
    assert query.wants(span(attributes=attributes))


# --- queries


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"service_name": "SHO"}, True),
        ({"service_name": "bank"}, False),
        ({"name": "DO"}, True),
        ({"name": "undo"}, False),
        ({"status": "ERROR"}, True),
        ({"status": "ok"}, False),
        ({"min_duration_ms": 2}, True),
        ({"min_duration_ms": 2.1}, False),
        ({"max_duration_ms": 2}, True),
        ({"max_duration_ms": 1.9}, False),
        ({"start_time": 10}, True),
        ({"start_time": 11}, False),
        ({"end_time": 10}, True),
        ({"end_time": 9}, False),
        ({"attributes": [("k", "v")]}, True),
        ({"attributes": [("k", "v"), ("k", "w")]}, False),
        ({"exclude_attributes": [("k", "v")]}, False),
        ({"exclude_attributes": [("k", "w")]}, True),
    ],
)
def test_a_query_wants_spans_that_fit_all_it_says(query: Any, wanted: bool) -> None:
    asked = span(service_name="shop", status="error", attributes=[("k", "v")])
    assert SpanQuery(**query).wants(asked) is wanted


def chosen(kept: SpanStore, query: SpanQuery, sort_by: str = "start_time") -> list[str]:
    spans = query.candidates(kept)
    return [
        one.span_id for one in select(kept, spans, query, sort_by, descending=False)
    ]


def test_only_roots_are_listed_unless_traces_or_all_spans_are_asked_for() -> None:
    kept = store(span("a"), span("b", "a"), span("c", trace="u"))
    assert chosen(kept, SpanQuery()) == ["a", "c"]
    assert chosen(kept, SpanQuery(search_all_spans=True)) == ["a", "b", "c"]
    assert chosen(kept, SpanQuery(trace_ids=["t", "t", "none"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("sort_by", "order"),
    [
        ("start_time", ["b", "a", "c"]),
        ("duration", ["c", "a", "b"]),
        ("duration_ms", ["c", "a", "b"]),
        ("service_name", ["b", "a", "c"]),
        ("name", ["c", "b", "a"]),
    ],
)
def test_spans_are_sorted_by_what_is_asked_for(sort_by: str, order: list[str]) -> None:
    kept = store(
        span("a", start_time_unix_nano=11 * MS, service_name="n", name="z"),
        span("b", start_time_unix_nano=1 * MS, service_name="m", name="y"),
        span("c", start_time_unix_nano=11_500_000, service_name="o", name="x"),
    )
    assert chosen(kept, SpanQuery(), sort_by) == order
    reversed_order = select(kept, kept.all(), SpanQuery(), sort_by, descending=True)
    assert [one.span_id for one in reversed_order] == order[::-1]


# --- trees


def shape(rows: list[Any]) -> list[Any]:
    return [[row["span_id"], *shape(row["children"])] for row in rows]


def test_a_tree_nests_children_by_start_time() -> None:
    spans = [
        span("late", "root", start_time_unix_nano=30),
        span("leaf", "early", start_time_unix_nano=25),
        span("early", "root", start_time_unix_nano=20),
        span("root", start_time_unix_nano=10),
        span("orphan", "gone", start_time_unix_nano=40),
    ]
    assert shape(tree_of(spans)) == [
        ["root", ["early", ["leaf"]], ["late"]],
        ["orphan"],
    ]


def test_spans_that_are_each_other_s_parents_are_shown_once() -> None:
    spans = [span("a", "b"), span("b", "a"), span("self", "self")]
    assert shape(tree_of(spans)) == [["a", ["b"]], ["self"]]
    assert tree_of([]) == []


def test_a_tree_too_deep_stays_at_the_bound() -> None:
    spans = [
        span(str(at), str(at - 1) if at else None, start_time_unix_nano=at)
        for at in range(MAX_DEPTH + 3)
    ]
    rows, depth = tree_of(spans), 0
    last: list[Any] = []
    while rows:
        depth += 1
        last, rows = rows, rows[0]["children"]
    assert depth == MAX_DEPTH
    assert [row["span_id"] for row in last] == ["99", "100", "101", "102"]


# --- groups


def test_groups_count_spans_traces_and_errors() -> None:
    user = [("user", "ada")]
    spans = [
        span("a", attributes=user, start_time_unix_nano=5),
        span("b", attributes=user, start_time_unix_nano=3, status="error"),
        span("c", trace="u", attributes=user, start_time_unix_nano=4),
        span("d", attributes=[("user", "bob")], start_time_unix_nano=9),
        span("e", attributes=[("other", "x")]),
    ]
    bob, ada = groups_of(spans, "user")
    assert bob["value"] == "bob"
    assert ada == {
        "value": "ada",
        "span_count": 3,
        "error_count": 1,
        "trace_count": 2,
        "trace_ids": ["t", "u"],
        "first_start_time_unix_nano": 3,
        "last_start_time_unix_nano": 5,
    }
