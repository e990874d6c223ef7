"""What the functions and trigger types of the observability worker take. Pure."""

from typing import Any

import attrs

from iii_trio.builtins.observability._logs import SEVERITIES, LogRecord

JSON = Any


def _not_negative(
    _: object, field: "attrs.Attribute[Any]", value: float | None
) -> None:
    if value is not None and value < 0:
        msg = f"{field.name}: invalid value: {value}, expected 0 or more"
        raise ValueError(msg)


def _pairs(_: object, field: "attrs.Attribute[Any]", value: list[list[str]]) -> None:
    if any(len(pair) != 2 for pair in value):
        msg = f"{field.name}: invalid length, expected pairs of key and value"
        raise ValueError(msg)


def _optional_number() -> Any:  # noqa: ANN401 - as attrs.field
    return attrs.field(default=None, validator=_not_negative)


@attrs.frozen(kw_only=True)
class LogInput:
    """``engine::log::*``."""

    message: str
    data: JSON = None
    trace_id: str | None = None
    span_id: str | None = None
    service_name: str = "unknown"


@attrs.frozen(kw_only=True)
class LogsListInput:
    """``engine::logs::list``; times in milliseconds."""

    start_time: int | None = _optional_number()
    end_time: int | None = _optional_number()
    trace_id: str | None = None
    span_id: str | None = None
    severity_min: float | None = None
    severity_text: str | None = None
    offset: int = attrs.field(default=0, validator=_not_negative)
    limit: int | None = _optional_number()


@attrs.frozen(kw_only=True)
class TracesListInput:
    """``engine::traces::list``; times and durations in milliseconds."""

    trace_id: str | None = None
    trace_ids: list[str] = attrs.field(factory=list)
    service_name: str | None = None
    name: str | None = None
    status: str | None = None
    min_duration_ms: float | None = None
    max_duration_ms: float | None = None
    start_time: int | None = _optional_number()
    end_time: int | None = _optional_number()
    sort_by: str = "start_time"
    sort_order: str = "asc"
    attributes: list[list[str]] = attrs.field(factory=list, validator=_pairs)
    exclude_attributes: list[list[str]] = attrs.field(factory=list, validator=_pairs)
    include_internal: bool = False
    search_all_spans: bool = False
    offset: int = attrs.field(default=0, validator=_not_negative)
    limit: int = attrs.field(default=100, validator=_not_negative)


@attrs.frozen(kw_only=True)
class TraceInput:
    """``engine::traces::tree``."""

    trace_id: str


@attrs.frozen(kw_only=True)
class GroupInput:
    """``engine::traces::group_by``; times in milliseconds."""

    attribute: str
    service_name: str | None = None
    start_time: int | None = _optional_number()
    end_time: int | None = _optional_number()
    include_internal: bool = False
    limit: int = attrs.field(default=100, validator=_not_negative)


@attrs.frozen(kw_only=True)
class MetricsListInput:
    """``engine::metrics::list``; times in milliseconds, the interval in seconds."""

    start_time: int | None = _optional_number()
    end_time: int | None = _optional_number()
    metric_name: str | None = None
    aggregate_interval: int | None = _optional_number()


@attrs.frozen(kw_only=True)
class RollupsListInput:
    """``engine::rollups::list``; times in milliseconds."""

    start_time: int | None = _optional_number()
    end_time: int | None = _optional_number()
    level: int = attrs.field(default=0, validator=_not_negative)
    metric_name: str | None = None


@attrs.frozen(kw_only=True)
class BaggageKeyInput:
    """``engine::baggage::get``."""

    key: str


@attrs.frozen(kw_only=True)
class BaggageSetInput:
    """``engine::baggage::set``."""

    key: str
    value: str


@attrs.frozen(kw_only=True)
class LogTriggerConfig:
    """The config of a ``log`` trigger.

    Attributes:
        level: exactly this level, in lower case; ``all``: every one.
        min_level: this level and all above it; ours.
    """

    level: str = "all"
    min_level: str | None = None

    def wants(self, record: LogRecord) -> bool:
        """Whether a record fires the trigger."""
        level = record.level
        if self.level not in {"all", level}:
            return False
        return self.min_level is None or SEVERITIES[level] >= SEVERITIES[self.min_level]


@attrs.frozen(kw_only=True)
class TraceTriggerConfig:
    """The config of a ``trace`` trigger; ``None``: any."""

    service_name: str | None = None
    status: str | None = None

    def wants(self, service_name: str, status: str) -> bool:
        """Whether a span fires the trigger."""
        return (
            self.service_name is None
            or self.service_name.lower() == service_name.lower()
        ) and (self.status is None or self.status.lower() == status)


def log_trigger_config(config: JSON) -> LogTriggerConfig:
    """Read the config of a ``log`` trigger.

    A ``level`` that is no text means all, as in the reference.

    Raises:
        ValueError: a level that does not exist.
    """
    given = config if isinstance(config, dict) else {}
    level, lowest = given.get("level"), given.get("min_level")
    chosen = _level(level, "level", "all") if isinstance(level, str) else "all"
    at_least = None
    if isinstance(lowest, str):
        at_least = _level(lowest, "min_level")
    return LogTriggerConfig(level=chosen, min_level=at_least)


def trace_trigger_config(config: JSON) -> TraceTriggerConfig:
    """Read the config of a ``trace`` trigger.

    Raises:
        ValueError: a status that does not exist, or a service name that is no text.
    """
    given = config if isinstance(config, dict) else {}
    service, status = given.get("service_name"), given.get("status")
    if service is not None and not isinstance(service, str):
        raise ValueError(f"service_name must be a text, not {service!r}")
    if status is not None and str(status).lower() not in {"ok", "error", "unset"}:
        raise ValueError(f"status must be ok, error or unset, not {status!r}")
    return TraceTriggerConfig(service_name=service, status=status)


_LEVELS = ("trace", "debug", "info", "warn", "error")


def _level(text: str, field: str, *more: str) -> str:
    known = (*more, *_LEVELS)
    if text.lower() not in known:
        raise ValueError(f"{field} must be one of {', '.join(known)}, not {text!r}")
    return text.lower()
