"""Rings and log records: bounds, levels, filters, sizes, terminal codes."""

from typing import Any

import pytest

from iii_trio.builtins.observability._inputs import (
    log_trigger_config,
    trace_trigger_config,
)
from iii_trio.builtins.observability._logs import (
    MAX_NESTING,
    TOO_DEEP,
    LogQuery,
    LogRecord,
    row_of,
    without_terminal_codes,
)
from iii_trio.builtins.observability._ring import Ring


def record(text: str = "INFO", number: int = 9, **fields: Any) -> LogRecord:
    given: dict[str, Any] = {
        "timestamp_unix_nano": 5_000_000,
        "observed_timestamp_unix_nano": 6_000_000,
        "severity_number": number,
        "severity_text": text,
        "body": "text",
        "attributes": {},
    }
    return LogRecord(**{**given, **fields})


# --- rings


def ring(count: int = 3, size: int = 100, age: float = 10) -> Ring[str]:
    return Ring(max_count=count, max_bytes=size, max_age=age)


def test_a_ring_drops_the_oldest_over_its_count() -> None:
    kept = ring(count=2)
    for one in "abc":
        kept.add(one, size=1, now=0)
    assert (list(kept), list(reversed(kept))) == (["b", "c"], ["c", "b"])
    assert (len(kept), kept.bytes, kept.dropped) == (2, 2, 1)


def test_a_ring_drops_the_oldest_over_its_bytes() -> None:
    kept = ring(size=100)
    kept.add("a", size=60, now=0)
    kept.add("b", size=60, now=0)
    assert (list(kept), kept.bytes) == (["b"], 60)


def test_a_record_larger_than_the_ring_is_not_kept() -> None:
    kept = ring(size=100)
    kept.add("huge", size=101, now=0)
    assert (len(kept), kept.bytes, kept.dropped) == (0, 0, 1)


def test_a_sweep_drops_what_is_too_old_and_counts_nothing() -> None:
    kept = ring(age=10)
    kept.add("a", size=1, now=0)
    kept.add("b", size=1, now=5)
    kept.sweep(10)
    assert list(kept) == ["a", "b"]
    kept.sweep(11)
    assert (list(kept), kept.bytes, kept.dropped) == (["b"], 1, 0)


def test_smaller_bounds_hold_at_once() -> None:
    kept = ring()
    for one in "abc":
        kept.add(one, size=1, now=0)
    kept.max_count = 1
    kept.fit()
    assert list(kept) == ["c"]
    kept.clear()
    assert (len(kept), kept.bytes) == (0, 0)


# --- levels


@pytest.mark.parametrize(
    ("text", "number", "level"),
    [
        ("INFO", 9, "info"),
        (" Warn ", 0, "warn"),
        ("error", 9, "error"),
        ("WARNING", 13, "warn"),
        ("WARNING", 0, "warn"),
        ("Information", 0, "info"),
        ("", 17, "error"),
        ("", 20, "error"),
        ("", 24, "fatal"),
        ("", 1, "trace"),
        ("", 8, "debug"),
        ("custom", 5, "debug"),
        ("custom", 0, "info"),
        ("", -3, "info"),
        ("critical", 0, "fatal"),
    ],
)
def test_the_level_comes_from_the_text_or_else_from_the_number(
    text: str, number: int, level: str
) -> None:
    assert record(text, number).level == level


def test_a_row_leaves_an_unknown_scope_out_and_a_complete_one_shows_null() -> None:
    row = row_of(record())
    assert "instrumentation_scope_name" not in row
    complete = row_of(record(), complete=True)
    assert complete["instrumentation_scope_name"] is None
    assert complete["instrumentation_scope_version"] is None
    named = row_of(record(scope_name="s", scope_version="1"))
    assert named["instrumentation_scope_name"] == "s"
    assert named["instrumentation_scope_version"] == "1"


def test_the_size_of_a_record_grows_with_what_is_in_it() -> None:
    small = record().size
    assert record(body="x" * 1000).size == small + 996
    assert record(body="\N{SNOWMAN}" * 1000).size > small + 1990
    nested = {"a": ["b" * 100, {"c": 1.5}], "d": None}
    assert record(attributes=nested).size > small + 100


@pytest.mark.parametrize(
    "field",
    ["severity_text", "trace_id", "span_id", "service_name", "scope_name"],
)
def test_the_size_of_a_record_grows_with_every_text(field: str) -> None:
    """Else a thousand records of a ring hold as many messages of megabytes."""
    fields: dict[str, Any] = {field: "x" * 10**6}
    assert record(**fields).size > 10**6
    assert record(resource={"x" * 10**6: "x" * 10**6}).size > 2 * 10**6


# --- queries


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, True),
        ({"start_time": 5, "end_time": 5}, True),
        ({"start_time": 6}, False),
        ({"end_time": 4}, False),
        ({"trace_id": "t"}, True),
        ({"trace_id": "u"}, False),
        ({"span_id": "s"}, True),
        ({"span_id": "u"}, False),
        ({"severity_min": 9}, True),
        ({"severity_min": 9.5}, False),
        ({"severity_text": "info"}, True),
        ({"severity_text": "inf"}, False),
    ],
)
def test_a_query_wants_records_that_fit_all_it_says(
    query: dict[str, Any], wanted: bool
) -> None:
    asked = record(trace_id="t", span_id="s", timestamp_unix_nano=5_999_999)
    assert LogQuery(**query).wants(asked) is wanted


# --- terminal codes


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x9b1mbold", "bold"),
        ("\x1b(Bascii", "ascii"),
        ("half \x1b", "half \x1b"),
    ],
)
def test_escape_codes_for_terminals_are_taken_out(text: str, clean: str) -> None:
    assert without_terminal_codes(text) == clean
    nested = {"a": [text, 1, None], "b": {"c": text}}
    assert without_terminal_codes(nested) == {"a": [clean, 1, None], "b": {"c": clean}}


def test_what_nests_too_deep_is_replaced() -> None:
    value: Any = "bottom"
    for _ in range(MAX_NESTING + 5):
        value = [value]
    cleaned = without_terminal_codes(value)
    for _ in range(MAX_NESTING):
        [cleaned] = cleaned
    assert cleaned == TOO_DEEP


# --- trigger configs


@pytest.mark.parametrize(
    ("config", "text", "fires"),
    [
        (None, "DEBUG", True),
        ({}, "ERROR", True),
        ({"level": "all"}, "TRACE", True),
        ({"level": "WARN"}, "warn", True),
        ({"level": "warn"}, "error", False),
        ({"level": "warn"}, "WARNING", True),
        ({"level": 7}, "info", True),
        ({"level": None}, "info", True),
        ({"min_level": "Warn"}, "error", True),
        ({"min_level": "warn"}, "info", False),
        ({"level": "error", "min_level": "warn"}, "fatal", False),
        ({"min_level": 3}, "info", True),
    ],
)
def test_a_log_trigger_wants_exactly_its_level_or_all_from_one_on(
    config: Any, text: str, fires: bool
) -> None:
    assert log_trigger_config(config).wants(record(text, 0)) is fires


@pytest.mark.parametrize("field", ["level", "min_level"])
def test_an_unknown_level_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be one of .*, not 'loud'"):
        log_trigger_config({field: "loud"})


@pytest.mark.parametrize(
    ("config", "fires"),
    [
        (None, True),
        ({"service_name": "SHOP"}, True),
        ({"service_name": "other"}, False),
        ({"status": "ERROR"}, True),
        ({"status": "ok"}, False),
        ({"service_name": "shop", "status": "error"}, True),
    ],
)
def test_a_trace_trigger_wants_spans_that_fit_all_it_says(
    config: Any, fires: bool
) -> None:
    assert trace_trigger_config(config).wants("shop", "error") is fires


@pytest.mark.parametrize("config", [{"status": "good"}, {"status": 1}])
def test_an_unknown_status_is_refused(config: Any) -> None:
    with pytest.raises(ValueError, match="status must be ok, error or unset"):
        trace_trigger_config(config)


def test_a_service_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="service_name must be a text, not 3"):
        trace_trigger_config({"service_name": 3})
