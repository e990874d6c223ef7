"""Reading OTLP/JSON: spans, logs, metrics, secrets, and what cannot be used."""

from typing import Any

import msgspec
import pytest

from iii_trio.builtins.observability._logs import MAX_NESTING, TOO_DEEP
from iii_trio.builtins.observability._otlp import (
    REDACTED,
    SECRET_KEYS,
    BadTelemetryError,
    Message,
    read_message,
    text_of,
)

NOW = 1_700_000_000_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


def attributes(**values: Any) -> list[Any]:
    return [{"key": key, "value": value} for key, value in values.items()]


def resource(name: str = "shop") -> Any:
    return {
        "attributes": [
            {"key": "service.name", "value": {"stringValue": name}},
            {"key": "service.number", "value": {"intValue": "7"}},
        ]
    }


def request(outer: str, inner: str, leaf: str, *records: Any) -> Any:
    scope = {"scope": {"name": "lib", "version": "1"}, leaf: list(records)}
    return {outer: [{"resource": resource(), inner: [scope]}]}


def read(prefix: bytes, body: Any) -> Message:
    return read_message(prefix + msgspec.json.encode(body), now=NOW)


def spans(*records: Any) -> Message:
    return read(b"OTLP", request("resourceSpans", "scopeSpans", "spans", *records))


def logs(*records: Any) -> Message:
    return read(b"LOGS", request("resourceLogs", "scopeLogs", "logRecords", *records))


def metrics(*records: Any) -> Message:
    body = request("resourceMetrics", "scopeMetrics", "metrics", *records)
    return read(b"MTRC", body)


def raw_span(**fields: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": SPAN,
        "name": "work",
        "startTimeUnixNano": "1700000000000000001",
        "endTimeUnixNano": 1700000000000000002,
        **fields,
    }


# --- messages


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"OTL",
        b"otlp{}",
        b"NOPE{}",
        b"OTLP",
        b"OTLP{",
        b"LOGS[]",
        b"MTRC1",
        b'LOGS"\xff"',
        b"OTLP" + b"[" * 100_000,
    ],
)
def test_what_is_no_telemetry_is_refused(data: bytes) -> None:
    with pytest.raises(BadTelemetryError):
        read_message(data, now=NOW)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"resourceSpans": 3},
        {"resourceSpans": [7, None, {}]},
        {"resourceSpans": [{"scopeSpans": "x"}]},
        {"resourceSpans": [{"resource": [], "scopeSpans": [{"spans": [4]}]}]},
    ],
)
def test_parts_of_a_wrong_shape_are_passed_over(body: Any) -> None:
    assert read(b"OTLP", body).spans == []


# --- spans


def test_a_span_is_read_exactly() -> None:
    message = spans(
        raw_span(
            traceId=TRACE.upper(),
            parentSpanId="00f067aa0ba902b7",
            status={"code": 2, "message": "broken"},
            flags=257,
            traceState="a=b",
            attributes=attributes(
                text={"stringValue": "t"},
                yes={"boolValue": True},
                whole={"intValue": "9007199254740993"},
                part={"doubleValue": 0.5},
                many={"arrayValue": {"values": [{"intValue": 1}, {}]}},
                map={"kvlistValue": {"values": attributes(a={"stringValue": "b"})}},
                blob={"bytesValue": "00ff"},
                nothing={},
                odd={"newValue": 1},
            ),
            events=[{"name": "e", "timeUnixNano": "5", "attributes": attributes()}],
            links=[{"traceId": TRACE, "spanId": SPAN}],
        )
    )
    [span] = message.spans
    assert (span.trace_id, span.span_id) == (TRACE, SPAN)
    assert span.parent_span_id == "00f067aa0ba902b7"
    assert span.start_time_unix_nano == 1700000000000000001
    assert span.duration == 1
    assert (span.status, span.status_description) == ("error", "broken")
    assert dict(span.attributes) == {
        "text": "t",
        "yes": "true",
        "whole": "9007199254740993",
        "part": "0.5",
        "many": "[1,null]",
        "map": '{"a":"b"}',
        "blob": "00ff",
        "nothing": "",
        "odd": "",
    }
    assert span.events == [{"name": "e", "timestamp_unix_nano": 5, "attributes": []}]
    assert span.links == [{"trace_id": TRACE, "span_id": SPAN, "attributes": []}]
    assert (span.service_name, span.scope_name, span.scope_version) == (
        "shop",
        "lib",
        "1",
    )
    assert (span.flags, span.trace_state) == (257, "a=b")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0, "unset"),
        (1, "ok"),
        (2, "error"),
        ("STATUS_CODE_OK", "ok"),
        ("STATUS_CODE_ERROR", "error"),
        (None, "unset"),
        (9, "unset"),
        ([], "unset"),
        ({"code": 1}, "unset"),
    ],
)
def test_the_status_of_a_span(code: Any, status: str) -> None:
    assert spans(raw_span(status={"code": code})).spans[0].status == status


@pytest.mark.parametrize(
    "wrong",
    [
        {"traceId": "0" * 32},
        {"traceId": "abc"},
        {"traceId": None},
        {"spanId": "0" * 16},
        {"spanId": "x" * 16},
    ],
)
def test_a_span_without_ids_is_left_out_and_counted(wrong: Any) -> None:
    message = spans(raw_span(**wrong), raw_span())
    assert (len(message.spans), message.left_out) == (1, 1)


def test_a_span_that_still_runs_is_left_out() -> None:
    message = spans(raw_span(endTimeUnixNano="0"), raw_span(endTimeUnixNano=True))
    assert (message.spans, message.left_out) == ([], 0)


def test_secrets_are_replaced_in_what_is_kept_and_in_what_is_sent_on() -> None:
    secret = {"stringValue": "hunter2"}
    pairs = [{"key": key.title(), "value": secret} for key in sorted(SECRET_KEYS)]
    pairs.append({"key": "password_hint", "value": secret})
    message = spans(
        raw_span(
            attributes=pairs,
            events=[{"name": "e", "attributes": [{"key": "Cookie", "value": secret}]}],
            links=[{"attributes": [{"key": "SECRET", "value": secret}]}],
        )
    )
    [span] = message.spans
    *hidden, (_, shown) = span.attributes
    assert {value for _, value in hidden} == {REDACTED}
    assert shown == "hunter2"
    assert span.events[0]["attributes"] == [("Cookie", REDACTED)]
    assert span.links[0]["attributes"] == [("SECRET", REDACTED)]
    assert msgspec.json.encode(message.request).count(b"hunter2") == 1


def test_values_that_nest_too_deep_are_replaced() -> None:
    value: Any = {"stringValue": "bottom"}
    for _ in range(MAX_NESTING + 1):
        value = {"arrayValue": {"values": [value]}}
    [log] = logs({"attributes": attributes(deep=value)}).logs
    deep = log.attributes["deep"]
    for _ in range(MAX_NESTING - 1):
        [deep] = deep
    assert deep == TOO_DEEP


# --- logs


def test_a_log_record_is_read_exactly() -> None:
    [log] = logs(
        {
            "timeUnixNano": "1700000000000000003",
            "observedTimeUnixNano": "1700000000000000004",
            "severityNumber": 13,
            "severityText": "WARN",
            "body": {"stringValue": "\x1b[1mhot\x1b[0m"},
            "attributes": attributes(n={"intValue": 5}),
            "traceId": TRACE,
            "spanId": SPAN,
        }
    ).logs
    assert log.timestamp_unix_nano == 1700000000000000003
    assert log.observed_timestamp_unix_nano == 1700000000000000004
    assert (log.severity_number, log.severity_text) == (13, "WARN")
    assert (log.body, log.attributes) == ("hot", {"n": 5})
    assert (log.trace_id, log.span_id) == (TRACE, SPAN)
    assert log.resource == {"service.name": "shop", "service.number": "7"}
    assert (log.service_name, log.scope_name, log.source) == ("shop", "lib", "worker")


def test_an_empty_log_record_gets_the_time_at_which_it_came() -> None:
    [log] = logs({}).logs
    assert log.timestamp_unix_nano == log.observed_timestamp_unix_nano == NOW
    assert (log.body, log.severity_number, log.level) == ("", 0, "info")
    assert (log.trace_id, log.span_id) == (None, None)


def test_a_missing_severity_number_comes_from_a_known_text() -> None:
    first, second = logs({"severityText": "ERROR"}, {"severityText": "odd"}).logs
    assert (first.severity_number, second.severity_number) == (17, 0)


def test_a_missing_severity_text_comes_from_the_number() -> None:
    first, second = logs({"severityNumber": 14}, {"severityNumber": 0}).logs
    assert (first.severity_text, second.severity_text) == ("WARN", "INFO")


def test_a_trace_may_come_as_attributes() -> None:
    pairs = attributes(trace_id={"stringValue": TRACE}, span_id={"stringValue": SPAN})
    first, second = logs(
        {"attributes": pairs}, {"attributes": pairs, "traceId": "1" * 32}
    ).logs
    assert (first.trace_id, first.span_id) == (TRACE, SPAN)
    assert second.trace_id == "1" * 32


def test_the_logger_s_own_service_name_wins_unless_it_is_blank() -> None:
    named = attributes(**{"service.name": {"stringValue": "till"}})
    blank = attributes(**{"service.name": {"stringValue": ""}})
    first, second = logs({"attributes": named}, {"attributes": blank}).logs
    assert (first.service_name, second.service_name) == ("till", "shop")


def test_a_body_that_is_no_text_is_shown_as_json() -> None:
    body = {"kvlistValue": {"values": attributes(a={"intValue": "1"})}}
    [log] = logs({"body": body}).logs
    assert log.body == '{"a":1}'
    assert text_of(None) == ""


def test_without_a_resource_the_service_is_unknown() -> None:
    [log] = read(
        b"LOGS", {"resourceLogs": [{"scopeLogs": [{"logRecords": [{}]}]}]}
    ).logs
    assert (log.service_name, log.scope_name) == ("unknown", None)


# --- metrics


def test_a_gauge_is_read_exactly() -> None:
    point = {
        "attributes": attributes(**{"worker.id": {"stringValue": "w"}}),
        "timeUnixNano": "12",
        "asInt": "9007199254740993",
    }
    [metric] = metrics(
        {
            "name": "g",
            "description": "d",
            "unit": "By",
            "gauge": {"dataPoints": [point, {"asDouble": 0.5}, {"asDouble": "3"}]},
        }
    ).metrics
    first, second, third = metric.data_points
    assert first == {
        "attributes": {"worker.id": "w"},
        "timestamp_unix_nano": 12,
        "value": 9007199254740993,
    }
    assert (second["value"], second["timestamp_unix_nano"]) == (0.5, NOW)
    assert third["value"] == 3.0
    assert (metric.metric_type, metric.unit, metric.timestamp_unix_nano) == (
        "gauge",
        "By",
        NOW,
    )


def test_a_histogram_is_read_exactly() -> None:
    point = {
        "count": "3",
        "sum": 1.5,
        "min": 0,
        "bucketCounts": ["1", 2, "x"],
        "explicitBounds": [1, 2.5],
    }
    [metric] = metrics(
        {"name": "h", "histogram": {"dataPoints": [point, {"asInt": "x"}, {}]}}
    ).metrics
    first, second, third = metric.data_points
    assert first["count"] == 3
    assert (first["sum"], first["min"]) == (1.5, 0.0)
    assert first["bucket_counts"] == [1, 2, 0]
    assert first["explicit_bounds"] == [1.0, 2.5]
    assert second["value"] == 0
    assert third["count"] == 0
    assert "bucket_counts" not in third
    assert metric.size > 600


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "x"},
        {"gauge": {"dataPoints": [{}]}},
        {"name": "x", "gauge": {"dataPoints": []}},
        {"name": "x", "gauge": 3},
    ],
)
def test_a_metric_without_name_kind_or_points_is_left_out(wrong: Any) -> None:
    message = metrics(wrong)
    assert (message.metrics, message.left_out) == ([], 1)


def test_a_number_of_more_than_64_bits_is_none() -> None:
    huge = 10**400
    [metric] = metrics(
        {"name": "g", "gauge": {"dataPoints": [{"asInt": huge}, {"asDouble": huge}]}}
    ).metrics
    assert [point["value"] for point in metric.data_points] == [0, 0.0]
    assert spans(raw_span(startTimeUnixNano=huge)).spans[0].start_time_unix_nano == 0


def test_a_double_that_is_no_number_counts_as_zero() -> None:
    [metric] = metrics(
        {"name": "g", "sum": {"dataPoints": [{"asDouble": "NaN"}]}}
    ).metrics
    assert metric.data_points[0]["value"] == 0.0
