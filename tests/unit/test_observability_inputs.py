"""What the functions take, and the requests that are sent to collectors."""

import sys
from typing import Any

import msgspec
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from iii_trio.builtins._payloads import InputError, structure
from iii_trio.builtins.observability import _inputs as inputs
from iii_trio.builtins.observability._config import Protocol
from iii_trio.builtins.observability._logs import LogRecord
from iii_trio.builtins.observability._metrics import CallMetrics
from iii_trio.builtins.observability._otlp import read_message
from iii_trio.builtins.observability._otlp_out import (
    encode_request,
    logs_request,
    metrics_request,
    require_encoder,
    spans_request,
)
from iii_trio.builtins.observability._spans import Span
from iii_trio.errors import ConfigError

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
RESOURCE = {"service.name": "iii"}


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        (inputs.LogInput, {}, "missing field `message`"),
        (inputs.LogInput, {"message": 1}, "invalid type: integer `1`"),
        (inputs.LogsListInput, {"start_time": -1}, "start_time: invalid value: -1"),
        (inputs.LogsListInput, {"limit": -1}, "limit: invalid value: -1"),
        (inputs.TracesListInput, {"offset": "1"}, 'invalid type: string "1"'),
        (inputs.TracesListInput, {"attributes": [["k"]]}, "pairs of key and value"),
        (inputs.TraceInput, {}, "missing field `trace_id`"),
        (inputs.GroupInput, {}, "missing field `attribute`"),
        (inputs.RollupsListInput, {"level": -1}, "level: invalid value: -1"),
        (inputs.BaggageSetInput, {"key": "k"}, "missing field `value`"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(
    kind: type[Any], payload: Any, reason: str
) -> None:
    with pytest.raises(InputError, match=reason.replace("[", r"\[")):
        structure(payload, kind)


def test_inputs_have_defaults() -> None:
    listed = structure({}, inputs.TracesListInput)
    assert (listed.sort_by, listed.sort_order, listed.limit) == (
        "start_time",
        "asc",
        100,
    )
    given = structure({"attributes": [["k", "v"]]}, inputs.TracesListInput)
    assert given.attributes == [["k", "v"]]
    assert structure({"message": "m"}, inputs.LogInput).service_name == "unknown"


# --- requests


def span(**fields: Any) -> Span:
    given: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": SPAN_ID,
        "parent_span_id": None,
        "name": "trigger a",
        "start_time_unix_nano": 1_700_000_000_000_000_001,
        "end_time_unix_nano": 1_700_000_000_000_000_002,
        "status": "error",
        "status_description": "bad",
        "attributes": [("function_id", "a")],
    }
    return Span(**{**given, **fields})


def log(**fields: Any) -> LogRecord:
    given: dict[str, Any] = {
        "timestamp_unix_nano": 5,
        "observed_timestamp_unix_nano": 6,
        "severity_number": 9,
        "severity_text": "INFO",
        "body": "text",
        "attributes": {},
    }
    return LogRecord(**{**given, **fields})


def test_spans_survive_protobuf() -> None:
    request = spans_request([span(), span(parent_span_id="00f067aa0ba902b7")], RESOURCE)
    encoded = encode_request("traces", request, "http/protobuf")
    sent = ExportTraceServiceRequest.FromString(encoded).resource_spans[0]
    assert sent.resource.attributes[0].value.string_value == "iii"
    first, second = sent.scope_spans[0].spans
    assert first.trace_id.hex() == TRACE
    assert (first.span_id.hex(), first.parent_span_id) == (SPAN_ID, b"")
    assert second.parent_span_id.hex() == "00f067aa0ba902b7"
    assert first.start_time_unix_nano == 1_700_000_000_000_000_001
    assert (first.status.code, first.status.message) == (2, "bad")


def test_spans_in_json_can_be_read_again() -> None:
    request = spans_request([span()], RESOURCE)
    encoded = encode_request("traces", request, "http/json")
    [again] = read_message(b"OTLP" + encoded, now=0).spans
    assert again.attributes == [("function_id", "a")]
    assert (again.trace_id, again.status) == (TRACE, "error")


def test_logs_survive_protobuf_with_all_kinds_of_attributes() -> None:
    values = {
        "yes": True,
        "whole": 2**53 + 1,
        "huge": 2**64,
        "part": 0.5,
        "text": "t",
        "many": [1, "a"],
        "map": {"k": None},
    }
    record = log(attributes=values, trace_id=TRACE, span_id=SPAN_ID, service_name="s")
    encoded = encode_request("logs", logs_request([record], RESOURCE), "http/protobuf")
    parsed = ExportLogsServiceRequest.FromString(encoded)
    [sent] = parsed.resource_logs[0].scope_logs[0].log_records
    found = {one.key: one.value for one in sent.attributes}
    assert found["yes"].bool_value
    assert found["whole"].int_value == 2**53 + 1
    assert found["huge"].string_value == str(2**64)
    assert found["part"].double_value == 0.5
    assert found["many"].array_value.values[1].string_value == "a"
    assert found["map"].kvlist_value.values[0].key == "k"
    assert found["service.name"].string_value == "s"
    assert (sent.trace_id.hex(), sent.body.string_value) == (TRACE, "text")


def test_metrics_survive_protobuf() -> None:
    calls = CallMetrics()
    calls.call_ended("a", 0.004, failed=False)
    request = metrics_request(calls.as_metrics(7), RESOURCE)
    encoded = encode_request("metrics", request, "http/protobuf")
    parsed = ExportMetricsServiceRequest.FromString(encoded)
    sent = {
        one.name: one for one in parsed.resource_metrics[0].scope_metrics[0].metrics
    }
    total = sent["iii.invocations.total"].sum
    assert (total.is_monotonic, total.data_points[0].as_int) == (True, 1)
    histogram = sent["iii.invocation.duration"].histogram.data_points[0]
    assert (histogram.count, sum(histogram.bucket_counts)) == (1, 1)
    assert sent["iii.workers.active"].gauge.data_points[0].as_int == 0


def test_what_a_worker_sent_goes_on_as_protobuf() -> None:
    raw = {"traceId": TRACE, "spanId": "not hex", "flags": 1, "unknown": 1}
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [raw]}]}]}
    encoded = encode_request("traces", request, "http/protobuf")
    parsed = ExportTraceServiceRequest.FromString(encoded)
    [sent] = parsed.resource_spans[0].scope_spans[0].spans
    assert (sent.trace_id.hex(), sent.span_id) == (TRACE, b"")


def test_a_request_that_is_no_otlp_cannot_be_encoded() -> None:
    with pytest.raises(ValueError, match="traces"):
        encode_request("traces", {"resourceSpans": "x"}, "http/protobuf")


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_a_request_that_nests_too_deep_cannot_be_encoded(protocol: Protocol) -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"arrayValue": {"values": [deep]}}
    with pytest.raises(ValueError, match="traces"):
        encode_request("traces", {"resourceSpans": [deep]}, protocol)


def test_protobuf_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.protobuf.json_format", None)
    with pytest.raises(ConfigError, match=r"iii-trio\[otel\]"):
        require_encoder("http/protobuf")


def test_json_needs_no_extra_and_is_written_as_it_is() -> None:
    require_encoder("http/json")
    require_encoder("http/protobuf")
    request: dict[str, Any] = {"resourceLogs": []}
    assert encode_request("logs", request, "http/json") == msgspec.json.encode(request)
