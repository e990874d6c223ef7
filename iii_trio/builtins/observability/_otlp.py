"""Reading what workers send: OTLP/JSON requests behind a prefix of four letters. Pure.

Tolerant: what cannot be used is left out and counted, the rest is kept. Ids are lowercase
hex, 64-bit numbers come as numbers or as decimal text (observability, section 2).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, final

import attrs
import msgspec

from iii_trio.builtins.observability._logs import (
    MAX_NESTING,
    SEVERITIES,
    TOO_DEEP,
    LogRecord,
    level_of,
    without_terminal_codes,
)
from iii_trio.builtins.observability._metrics import Metric
from iii_trio.builtins.observability._spans import Span, Status

JSON = Any

Signal = Literal["traces", "metrics", "logs"]

SIGNALS: Final[Mapping[bytes, Signal]] = {
    b"OTLP": "traces",
    b"MTRC": "metrics",
    b"LOGS": "logs",
}

REDACTED: Final = "[REDACTED]"
SECRET_KEYS: Final = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "api-key",
        "api_key",
        "access_token",
        "refresh_token",
        "password",
        "secret",
        "credential",
    }
)
"""Whole keys, in any case, of span attributes whose values nobody may see."""

_TRACE_ID: Final = re.compile("(?!0{32})[0-9a-f]{32}")
_SPAN_ID: Final = re.compile("(?!0{16})[0-9a-f]{16}")


class BadTelemetryError(ValueError):
    """A message that is no telemetry at all."""


@final
@attrs.define
class Message:
    """One message, read.

    Attributes:
        request: the OTLP/JSON request as it came, secrets replaced; for exporters.
        left_out: parts that could not be used.
    """

    signal: Signal
    request: dict[str, JSON]
    spans: list[Span] = attrs.field(factory=list)
    logs: list[LogRecord] = attrs.field(factory=list)
    metrics: list[Metric] = attrs.field(factory=list)
    left_out: int = 0


def read_message(data: bytes, *, now: int) -> Message:
    """Read one telemetry message.

    Args:
        data: prefix and JSON.
        now: nanoseconds since 1970, for records without a time.

    Raises:
        BadTelemetryError: no such prefix, or no JSON object behind it.
    """
    signal = SIGNALS.get(data[:4])
    if signal is None:
        raise BadTelemetryError(f"unknown prefix {data[:4]!r}")
    try:
        request = msgspec.json.decode(data[4:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadTelemetryError(f"{signal}: no JSON: {exc}") from exc
    if not isinstance(request, dict):
        raise BadTelemetryError(f"{signal}: no JSON object")
    message = Message(signal, request)
    if signal == "traces":
        _read_spans(message)
    elif signal == "logs":
        _read_logs(message, now)
    else:
        _read_metrics(message, now)
    return message


@attrs.frozen
class _Origin:
    """Who made some records: the resource and the scope that they have in common."""

    resource: dict[str, str]
    scope_name: str | None
    scope_version: str | None

    @property
    def service_name(self) -> str:
        return self.resource.get("service.name") or "unknown"


def _parts(
    request: Mapping[str, JSON], outer: str, inner: str, leaf: str
) -> Iterator[tuple[_Origin, JSON]]:
    """Every record of a request with its origin."""
    for group in _objects(request.get(outer)):
        resource = {
            key: text_of(value)
            for key, value in _attributes(_object(group.get("resource"))).items()
        }
        for scoped in _objects(group.get(inner)):
            scope = _object(scoped.get("scope"))
            origin = _Origin(
                resource,
                _text(scope.get("name")) or None,
                _text(scope.get("version")) or None,
            )
            for record in _objects(scoped.get(leaf)):
                yield origin, record


# Spans


def _read_spans(message: Message) -> None:
    for origin, raw in _parts(message.request, "resourceSpans", "scopeSpans", "spans"):
        redact(raw)
        span = _span(origin, raw)
        if span is None:
            message.left_out += 1
        elif span.end_time_unix_nano:  # else a snapshot of one that still runs
            message.spans.append(span)


def redact(span: Mapping[str, JSON]) -> None:
    """Replace the secrets of a span, of its events and of its links, in place."""
    within = (*_objects(span.get("events")), *_objects(span.get("links")))
    for holder in (span, *within):
        for pair in _objects(holder.get("attributes")):
            if _text(pair.get("key")).lower() in SECRET_KEYS:
                pair["value"] = {"stringValue": REDACTED}


def _span(origin: _Origin, raw: Mapping[str, JSON]) -> Span | None:
    trace_id = _id(raw.get("traceId"), _TRACE_ID)
    span_id = _id(raw.get("spanId"), _SPAN_ID)
    if trace_id is None or span_id is None:
        return None
    status = _object(raw.get("status"))
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=_id(raw.get("parentSpanId"), _SPAN_ID),
        name=_text(raw.get("name")),
        start_time_unix_nano=_integer(raw.get("startTimeUnixNano")) or 0,
        end_time_unix_nano=_integer(raw.get("endTimeUnixNano")) or 0,
        status=_STATUS.get(str(status.get("code")), "unset"),
        status_description=_text(status.get("message")) or None,
        attributes=_pairs(raw),
        service_name=origin.service_name,
        events=[
            {
                "name": _text(event.get("name")),
                "timestamp_unix_nano": _integer(event.get("timeUnixNano")) or 0,
                "attributes": _pairs(event),
            }
            for event in _objects(raw.get("events"))
        ],
        links=[
            {
                "trace_id": _text(link.get("traceId")),
                "span_id": _text(link.get("spanId")),
                "attributes": _pairs(link),
            }
            for link in _objects(raw.get("links"))
        ],
        scope_name=origin.scope_name,
        scope_version=origin.scope_version,
        flags=_integer(raw.get("flags")),
        trace_state=_text(raw.get("traceState")) or None,
    )


_STATUS: Final[Mapping[str, Status]] = {
    "1": "ok",
    "2": "error",
    "STATUS_CODE_OK": "ok",
    "STATUS_CODE_ERROR": "error",
}


# Logs


def _read_logs(message: Message, now: int) -> None:
    for origin, raw in _parts(
        message.request, "resourceLogs", "scopeLogs", "logRecords"
    ):
        message.logs.append(_log(origin, raw, now))


def _log(origin: _Origin, raw: Mapping[str, JSON], now: int) -> LogRecord:
    attributes = without_terminal_codes(_attributes(raw))
    observed = _integer(raw.get("observedTimeUnixNano")) or now
    number = _integer(raw.get("severityNumber")) or 0
    named = attributes.get("service.name")
    text = _text(raw.get("severityText"))
    if not number:
        number = SEVERITIES.get(text.lower(), 0)
    # The Logger of the Node SDK names no severity, and may give a trace as attributes.
    text = text or level_of("", number).upper()
    trace_id, span_id = attributes.get("trace_id"), attributes.get("span_id")
    return LogRecord(
        timestamp_unix_nano=_integer(raw.get("timeUnixNano")) or observed,
        observed_timestamp_unix_nano=observed,
        severity_number=number,
        severity_text=text,
        body=text_of(without_terminal_codes(_value(_object(raw.get("body"))))),
        attributes=attributes,
        trace_id=_id(raw.get("traceId") or trace_id, _TRACE_ID),
        span_id=_id(raw.get("spanId") or span_id, _SPAN_ID),
        resource=origin.resource,
        service_name=(
            named if isinstance(named, str) and named else origin.service_name
        ),
        scope_name=origin.scope_name,
        scope_version=origin.scope_version,
    )


# Metrics


_KINDS: Final = {
    "gauge": "gauge",
    "sum": "sum",
    "histogram": "histogram",
    "exponentialHistogram": "exponential_histogram",
    "summary": "summary",
}


def _read_metrics(message: Message, now: int) -> None:
    for origin, raw in _parts(
        message.request, "resourceMetrics", "scopeMetrics", "metrics"
    ):
        metric = _metric(origin, raw, now)
        if metric is None:
            message.left_out += 1
        else:
            message.metrics.append(metric)


def _metric(origin: _Origin, raw: Mapping[str, JSON], now: int) -> Metric | None:
    kind = next((kind for kind in _KINDS if isinstance(raw.get(kind), dict)), None)
    name = _text(raw.get("name"))
    if kind is None or not name:
        return None
    points = [_point(point, now) for point in _objects(raw[kind].get("dataPoints"))]
    if not points:
        return None
    return Metric(
        name=name,
        description=_text(raw.get("description")),
        unit=_text(raw.get("unit")),
        metric_type=_KINDS[kind],
        data_points=points,
        service_name=origin.service_name,
        timestamp_unix_nano=max(point["timestamp_unix_nano"] for point in points),
        scope_name=origin.scope_name,
        scope_version=origin.scope_version,
        language=origin.resource.get("telemetry.sdk.language"),
    )


def _point(raw: Mapping[str, JSON], now: int) -> dict[str, JSON]:
    point: dict[str, JSON] = {
        "attributes": _attributes(raw),
        "timestamp_unix_nano": _integer(raw.get("timeUnixNano")) or now,
    }
    if "asInt" in raw:
        point["value"] = _integer(raw["asInt"]) or 0
    elif "asDouble" in raw:
        point["value"] = _float(raw["asDouble"])
    else:
        point["count"] = _integer(raw.get("count")) or 0
        for key in ("sum", "min", "max"):
            if raw.get(key) is not None:
                point[key] = _float(raw[key])
        counts, bounds = raw.get("bucketCounts"), raw.get("explicitBounds")
        if isinstance(counts, list) and isinstance(bounds, list):
            point["bucket_counts"] = [_integer(count) or 0 for count in counts]
            point["explicit_bounds"] = [_float(bound) for bound in bounds]
    return point


# Values


def _object(value: JSON) -> dict[str, JSON]:
    return value if isinstance(value, dict) else {}


def _objects(value: JSON) -> list[dict[str, JSON]]:
    found = value if isinstance(value, list) else ()
    return [one for one in found if isinstance(one, dict)]


def _text(value: JSON) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: JSON) -> int | None:
    """A 64-bit number, exact; ``None`` if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else None
    if isinstance(value, str) and re.fullmatch("-?[0-9]{1,20}", value):
        return int(value)
    return None


def _float(value: JSON) -> float:
    number = _integer(value)
    if number is not None:
        return float(number)
    return value if isinstance(value, float) else 0.0


def _id(value: JSON, pattern: re.Pattern[str]) -> str | None:
    text = _text(value).lower()
    return text if pattern.fullmatch(text) else None


def _attributes(holder: Mapping[str, JSON]) -> dict[str, JSON]:
    return {
        _text(pair.get("key")): _value(_object(pair.get("value")))
        for pair in _objects(holder.get("attributes"))
    }


def _pairs(holder: Mapping[str, JSON]) -> list[tuple[str, str]]:
    return [(key, text_of(value)) for key, value in _attributes(holder).items()]


def _value(wrapped: Mapping[str, JSON], depth: int = MAX_NESTING) -> JSON:
    """The JSON value inside an ``AnyValue``."""
    for key, value in wrapped.items():
        match key:
            case "stringValue" | "bytesValue":
                return _text(value)
            case "boolValue":
                return value is True
            case "intValue":
                return _integer(value) or 0
            case "doubleValue":
                return _float(value)
            case "arrayValue" | "kvlistValue" if not depth:
                return TOO_DEEP
            case "arrayValue":
                values = _objects(_object(value).get("values"))
                return [_value(one, depth - 1) for one in values]
            case "kvlistValue":
                return {
                    _text(one.get("key")): _value(_object(one.get("value")), depth - 1)
                    for one in _objects(_object(value).get("values"))
                }
            case _:
                pass
    return None


def text_of(value: JSON) -> str:
    """A JSON value as text: strings as they are, anything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()
