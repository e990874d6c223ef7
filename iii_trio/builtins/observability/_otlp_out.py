"""Writing OTLP requests: of what the engine itself has to tell, and their encodings. Pure.

What workers sent goes on as it came, without secrets. ``http/json`` needs nothing more;
``http/protobuf`` needs the extra ``otel``.
"""

import base64
import importlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from iii_trio.builtins.observability._config import Protocol
from iii_trio.builtins.observability._logs import LogRecord
from iii_trio.builtins.observability._metrics import Metric
from iii_trio.builtins.observability._otlp import Signal
from iii_trio.builtins.observability._spans import Span
from iii_trio.errors import ConfigError

JSON = Any

_SCOPE: Final = {"name": "iii"}
_STATUS: Final = {"unset": 0, "ok": 1, "error": 2}
_INTERNAL_KIND: Final = 1
_CUMULATIVE: Final = 2


def spans_request(spans: Iterable[Span], resource: Mapping[str, str]) -> JSON:
    """A request that tells of spans of the engine."""
    records = [
        {
            "traceId": span.trace_id,
            "spanId": span.span_id,
            **({"parentSpanId": span.parent_span_id} if span.parent_span_id else {}),
            "name": span.name,
            "kind": _INTERNAL_KIND,
            "startTimeUnixNano": str(span.start_time_unix_nano),
            "endTimeUnixNano": str(span.end_time_unix_nano),
            "attributes": _attributes(dict(span.attributes)),
            "status": {
                "code": _STATUS[span.status],
                "message": span.status_description or "",
            },
        }
        for span in spans
    ]
    return _request("resourceSpans", "scopeSpans", "spans", records, resource)


def logs_request(logs: Iterable[LogRecord], resource: Mapping[str, str]) -> JSON:
    """A request that tells of log records of the engine and of ``engine::log::*``."""
    records = [
        {
            "timeUnixNano": str(log.timestamp_unix_nano),
            "observedTimeUnixNano": str(log.observed_timestamp_unix_nano),
            "severityNumber": log.severity_number,
            "severityText": log.severity_text,
            "body": {"stringValue": log.body},
            "attributes": _attributes(
                {**log.attributes, "service.name": log.service_name}
            ),
            **({"traceId": log.trace_id} if log.trace_id else {}),
            **({"spanId": log.span_id} if log.span_id else {}),
        }
        for log in logs
    ]
    return _request("resourceLogs", "scopeLogs", "logRecords", records, resource)


def metrics_request(metrics: Iterable[Metric], resource: Mapping[str, str]) -> JSON:
    """A request that tells of metrics of the engine."""
    records = [
        {
            "name": metric.name,
            "description": metric.description,
            "unit": metric.unit,
            metric.metric_type: _data(metric),
        }
        for metric in metrics
    ]
    return _request("resourceMetrics", "scopeMetrics", "metrics", records, resource)


def _data(metric: Metric) -> JSON:
    points = [_point(point) for point in metric.data_points]
    if metric.metric_type == "gauge":
        return {"dataPoints": points}
    data: dict[str, JSON] = {
        "dataPoints": points,
        "aggregationTemporality": _CUMULATIVE,
    }
    if metric.metric_type == "sum":
        data["isMonotonic"] = True
    return data


def _point(point: Mapping[str, JSON]) -> JSON:
    written: dict[str, JSON] = {
        "timeUnixNano": str(point["timestamp_unix_nano"]),
        "attributes": _attributes(point["attributes"]),
    }
    if "value" in point:
        return {**written, "asInt": str(point["value"])}
    return {
        **written,
        "count": str(point["count"]),
        "sum": point["sum"],
        "bucketCounts": [str(count) for count in point["bucket_counts"]],
        "explicitBounds": point["explicit_bounds"],
    }


def _request(
    outer: str,
    inner: str,
    leaf: str,
    records: list[JSON],
    resource: Mapping[str, str],
) -> JSON:
    return {
        outer: [
            {
                "resource": {"attributes": _attributes(resource)},
                inner: [{"scope": _SCOPE, leaf: records}],
            }
        ]
    }


def _attributes(values: Mapping[str, JSON]) -> list[JSON]:
    return [{"key": key, "value": _any_value(value)} for key, value in values.items()]


def _any_value(value: JSON) -> JSON:
    match value:
        case bool():
            return {"boolValue": value}
        case int() if -(2**63) <= value < 2**63:
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case list() | tuple():
            return {"arrayValue": {"values": [_any_value(one) for one in value]}}
        case dict():
            return {"kvlistValue": {"values": _attributes(value)}}
        case None:
            return {}
        case _:
            return {"stringValue": str(value)}


CONTENT_TYPES: Final[Mapping[Protocol, str]] = {
    "http/protobuf": "application/x-protobuf",
    "http/json": "application/json",
}


def require_encoder(protocol: Protocol) -> None:
    """Look whether requests can be encoded.

    Raises:
        ConfigError: the extra ``otel`` is missing.
    """
    if protocol == "http/protobuf":
        _protobuf_classes()


def encode_request(signal: Signal, request: JSON, protocol: Protocol) -> bytes:
    """Encode a request.

    Raises:
        ValueError: it has parts that OTLP does not know, or nests too deep.
    """
    if protocol == "http/json":
        try:
            return msgspec.json.encode(request)
        except RecursionError as exc:
            # What could just be read cannot always be written.
            raise ValueError(f"{signal}: {exc}") from exc
    parse, error, classes = _protobuf_classes()
    message = classes[signal]()
    try:
        parse(_with_base64_ids(request), message, ignore_unknown_fields=True)
        encoded: bytes = message.SerializeToString()
    except (error, RecursionError, AttributeError, TypeError, OverflowError) as exc:
        # What a worker sent may have any shape at all.
        raise ValueError(f"{signal}: {exc}") from exc
    return encoded


_REQUESTS: Final[Mapping[Signal, tuple[str, str]]] = {
    "traces": ("trace.v1.trace_service_pb2", "ExportTraceServiceRequest"),
    "metrics": ("metrics.v1.metrics_service_pb2", "ExportMetricsServiceRequest"),
    "logs": ("logs.v1.logs_service_pb2", "ExportLogsServiceRequest"),
}


def _protobuf_classes() -> tuple[Any, Any, Mapping[Signal, Any]]:
    """What parses, what it raises, and the class of each signal's request."""
    package = "opentelemetry.proto.collector"
    try:
        json_format = importlib.import_module("google.protobuf.json_format")
        classes = {
            signal: getattr(importlib.import_module(f"{package}.{module}"), name)
            for signal, (module, name) in _REQUESTS.items()
        }
    except ImportError as exc:
        raise ConfigError(
            "sending OTLP as protobuf needs the extra `otel`: pip install "
            "'iii-trio[otel]' (or set OTEL_EXPORTER_OTLP_PROTOCOL=http/json)"
        ) from exc
    return json_format.ParseDict, json_format.ParseError, classes


_IDS: Final = frozenset({"traceId", "spanId", "parentSpanId"})


def _with_base64_ids(value: JSON) -> JSON:
    """A copy in which ids are base64, as protobuf's JSON has them, instead of hex."""
    match value:
        case dict():
            return {
                key: _base64(one) if key in _IDS else _with_base64_ids(one)
                for key, one in value.items()
            }
        case list():
            return [_with_base64_ids(one) for one in value]
        case _:
            return value


def _base64(value: JSON) -> str:
    try:
        return base64.b64encode(bytes.fromhex(str(value))).decode()
    except ValueError:
        return ""
