"""Log records: what one is, its level, and which ones a query wants. Pure."""

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import attrs

JSON = Any

NO_NAMES: Final[Mapping[str, str]] = {}

SEVERITIES: Final[dict[str, int]] = {
    "trace": 1,
    "debug": 5,
    "info": 9,
    "warn": 13,
    "error": 17,
    "fatal": 21,
}
"""The first severity number of each level; four numbers belong to each (OpenTelemetry)."""

_SYNONYMS: Final = {
    "warning": "warn",
    "information": "info",
    "informational": "info",
    "notice": "info",
    "err": "error",
    "critical": "fatal",
    "alert": "fatal",
    "emergency": "fatal",
    "verbose": "trace",
}

_TERMINAL_CODES: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])|\x9b[0-?]*[ -/]*[@-~]"
)

Source = Literal["worker", "function", "engine"]
"""Who made a record: a worker's logger, ``engine::log::*``, or the engine itself."""


@attrs.frozen(kw_only=True)
class LogRecord:
    """One log record. Times in nanoseconds since 1970.

    Attributes:
        attributes: JSON values.
        resource: who made it, in OpenTelemetry's words.
        source: not shown to anybody.
    """

    timestamp_unix_nano: int
    observed_timestamp_unix_nano: int
    severity_number: int
    severity_text: str
    body: str
    attributes: Mapping[str, JSON]
    trace_id: str | None = None
    span_id: str | None = None
    resource: Mapping[str, str] = NO_NAMES
    service_name: str = "unknown"
    scope_name: str | None = None
    scope_version: str | None = None
    source: Source = "worker"

    @property
    def level(self) -> str:
        """One of `SEVERITIES`."""
        return level_of(self.severity_text, self.severity_number)

    @property
    def size(self) -> int:
        """About how many bytes it takes; a resource that others share counts fully."""
        texts = (
            self.severity_text,
            self.body,
            self.trace_id,
            self.span_id,
            self.service_name,
            self.scope_name,
            self.scope_version,
        )
        return (
            _RECORD_BYTES
            + bytes_of_texts(texts)
            + _bytes_of(self.attributes)
            + _bytes_of(self.resource)
        )


_RECORD_BYTES: Final = 300
"""Of a record and its place in the store."""


def bytes_of_texts(texts: Iterable[str | None]) -> int:
    """How many bytes some texts take; one letter of a far script widens all of them."""
    return sum(map(sys.getsizeof, filter(None, texts)))


def level_of(text: str, number: int) -> str:
    """One of `SEVERITIES`, from a severity's text if it says anything, else its number."""
    text = text.strip().lower()
    if text in SEVERITIES:
        return text
    for level in reversed(SEVERITIES):
        if number >= SEVERITIES[level]:
            return level
    return _SYNONYMS.get(text, "info")


def row_of(record: LogRecord, *, complete: bool = False) -> JSON:
    """A record as queries and triggers show it.

    Args:
        record: the record.
        complete: give an unknown scope as null instead of leaving it out.
    """
    row: dict[str, JSON] = {
        "timestamp_unix_nano": record.timestamp_unix_nano,
        "observed_timestamp_unix_nano": record.observed_timestamp_unix_nano,
        "severity_number": record.severity_number,
        "severity_text": record.severity_text,
        "body": record.body,
        "attributes": record.attributes,
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "resource": record.resource,
        "service_name": record.service_name,
    }
    if complete or record.scope_name is not None:
        row["instrumentation_scope_name"] = record.scope_name
    if complete or record.scope_version is not None:
        row["instrumentation_scope_version"] = record.scope_version
    return row


@attrs.frozen(kw_only=True)
class LogQuery:
    """Which records are wanted; ``None`` everywhere means all. Times in milliseconds."""

    start_time: int | None = None
    end_time: int | None = None
    trace_id: str | None = None
    span_id: str | None = None
    severity_min: float | None = None
    severity_text: str | None = None

    def wants(self, record: LogRecord) -> bool:
        """Whether a record is one of those."""
        at = record.timestamp_unix_nano
        text = self.severity_text
        return (
            (self.start_time is None or at >= self.start_time * 1_000_000)
            and (self.end_time is None or at < (self.end_time + 1) * 1_000_000)
            and self.trace_id in {None, record.trace_id}
            and self.span_id in {None, record.span_id}
            and (
                self.severity_min is None or record.severity_number >= self.severity_min
            )
            and (text is None or text.lower() == record.severity_text.lower())
        )


MAX_NESTING: Final = 32
"""How deep attributes may nest; what is deeper is replaced by a text."""

TOO_DEEP: Final = "[nested too deep]"


def without_terminal_codes(value: JSON, depth: int = MAX_NESTING) -> JSON:
    """A JSON value with the escape codes for terminals taken out of its strings.

    Args:
        value: any JSON value.
        depth: how deep it may nest.
    """
    match value:
        case str():
            return _TERMINAL_CODES.sub("", value) if _has_codes(value) else value
        case list() | dict() if not depth:
            return TOO_DEEP
        case list():
            return [without_terminal_codes(one, depth - 1) for one in value]
        case dict():
            return {
                key: without_terminal_codes(one, depth - 1)
                for key, one in value.items()
            }
        case _:
            return value


def _has_codes(text: str) -> bool:
    return "\x1b" in text or "\x9b" in text


def _bytes_of(value: JSON) -> int:
    """About how many bytes a JSON value takes that nests at most `MAX_NESTING` deep."""
    match value:
        case str():
            return sys.getsizeof(value)
        case list():
            return 60 + _sum_of(value)
        case dict() | Mapping():
            return 60 + _sum_of(value.values()) + bytes_of_texts(value)
        case _:
            return 30


def _sum_of(values: Iterable[JSON]) -> int:
    return sum(map(_bytes_of, values))
