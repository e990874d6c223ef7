"""The ``config`` block of the observability worker. Pure.

A field that is left out is ``None``; `settings_of` fills it in from the environment, then
with its fallback. Without any block everything is on and kept in memory
(observability, section 8).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar

import attrs

T = TypeVar("T")

Exporter = Literal["memory", "otlp", "both"]
MetricsExporter = Literal["memory", "otlp", "both", "prometheus"]
LogFormat = Literal["default", "json"]
Protocol = Literal["http/protobuf", "http/json"]

DEFAULT_BLOCK: Final[Mapping[str, Any]] = {
    "enabled": True,
    "exporter": "memory",
    "metrics_enabled": True,
    "memory_max_spans": 1_000_000,
}
"""What holds when the configuration does not name the worker at all."""

LEVELS: Final = ("trace", "debug", "info", "warn", "error")

GRPC_PORT: Final = ":4317"
HTTP_PORT: Final = ":4318"
DEFAULT_ENDPOINT: Final = "http://localhost:4318"

PROTOCOL_VARIABLE: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"

_FALSE: Final = ("false", "0", "no", "off")
_TRUE: Final = ("true", "1", "yes", "on")


def _in(low: float, high: float) -> Callable[[Any, Any, Any], None]:
    def check(_: object, field: "attrs.Attribute[Any]", value: float | None) -> None:
        if value is not None and not low <= value <= high:
            msg = f"{field.name} must be {low:g} to {high:g}, not {value:g}"
            raise ValueError(msg)

    return check


def _level(_: object, field: "attrs.Attribute[Any]", value: str | None) -> None:
    if value is not None and value.lower() not in (*LEVELS, "warning"):
        msg = f"{field.name} must be one of {', '.join(LEVELS)}, not {value!r}"
        raise ValueError(msg)


@attrs.frozen(kw_only=True)
class SamplingRule:
    """Spans whose name and service fit (``*`` and ``?`` are wild) get this rate."""

    rate: float = attrs.field(validator=_in(0, 1))
    operation: str | None = None
    service: str | None = None


@attrs.frozen(kw_only=True)
class RateLimit:
    """A bound on traces that begin, whatever the ratio."""

    max_traces_per_second: float = attrs.field(validator=_in(0, 1_000_000))


@attrs.frozen(kw_only=True)
class SamplingConfig:
    """Which traces the engine begins; the first rule that fits wins."""

    default: float | None = attrs.field(default=None, validator=_in(0, 1))
    parent_based: bool = True
    rules: tuple[SamplingRule, ...] = ()
    rate_limit: RateLimit | None = None


@attrs.frozen(kw_only=True)
class PrometheusConfig:
    """Where the Prometheus endpoint listens; ours, the reference has none."""

    host: str | None = None
    port: int = attrs.field(default=9464, validator=_in(0, 65535))


@attrs.frozen(kw_only=True)
class ObservabilityConfig:
    """The ``config`` block.

    Attributes:
        alerts: accepted and not used: alerts belong into Prometheus.
        prometheus: opens the endpoint for Prometheus; so does the ``metrics_exporter``
            of that name.
    """

    enabled: bool | None = None
    service_name: str | None = None
    service_version: str | None = None
    service_namespace: str | None = None
    exporter: Exporter | None = None
    endpoint: str | None = None
    memory_max_spans: int | None = attrs.field(default=None, validator=_in(1, 10**8))
    sampling_ratio: float | None = attrs.field(default=None, validator=_in(0, 1))
    sampling: SamplingConfig | None = None
    metrics_enabled: bool | None = None
    metrics_exporter: MetricsExporter | None = None
    metrics_retention_seconds: int | None = attrs.field(
        default=None, validator=_in(1, 10**9)
    )
    metrics_max_count: int | None = attrs.field(default=None, validator=_in(1, 10**8))
    logs_enabled: bool | None = None
    logs_exporter: Exporter | None = None
    logs_max_count: int | None = attrs.field(default=None, validator=_in(1, 10**8))
    logs_retention_seconds: int | None = attrs.field(
        default=None, validator=_in(1, 10**9)
    )
    logs_sampling_ratio: float | None = attrs.field(default=None, validator=_in(0, 1))
    logs_console_output: bool | None = None
    level: str | None = attrs.field(default=None, validator=_level)
    format: LogFormat | None = None
    alerts: Any = None
    prometheus: PrometheusConfig | None = None


@attrs.frozen(kw_only=True)
class Settings:
    """What holds, after the environment and the fallbacks.

    Attributes:
        traces_kept: spans are kept here, for queries; so ``metrics_kept``,
            ``logs_kept``.
        traces_sent: spans go to the collector; so ``metrics_sent``, ``logs_sent``.
        trace_calls: also calls of bundled workers that came without a trace.
        level: the lowest level of the engine's own lines that are kept.
    """

    service_name: str
    resource: Mapping[str, str]
    traces_kept: bool
    traces_sent: bool
    trace_calls: bool
    max_spans: int
    sampling: SamplingConfig
    sampling_ratio: float
    metrics: bool
    metrics_kept: bool
    metrics_sent: bool
    metrics_retention: float
    metrics_max_count: int
    logs: bool
    logs_kept: bool
    logs_sent: bool
    logs_max_count: int
    logs_retention: float
    logs_sampling_ratio: float
    logs_console_output: bool
    level: str
    endpoints: Mapping[str, str]
    headers: Mapping[str, str]
    protocol: Protocol
    prometheus: PrometheusConfig | None

    @property
    def traces(self) -> bool:
        """Whether spans are wanted at all."""
        return self.traces_kept or self.traces_sent

    @property
    def sends(self) -> bool:
        """Whether anything goes to a collector."""
        return self.traces_sent or self.metrics_sent or self.logs_sent


def settings_of(
    config: ObservabilityConfig, environ: Mapping[str, str]
) -> tuple[Settings, list[str]]:
    """Fill in a block: what it says, else the environment, else the fallback.

    The environment wins over `DEFAULT_BLOCK`, which nobody wrote.

    Returns:
        The settings, and notes for the log: what of the environment is not used.
    """
    env = _Environment(environ, wins=config == ObservabilityConfig(**DEFAULT_BLOCK))
    enabled = env.either(config.enabled, "OTEL_ENABLED", _bool, fallback=False)
    exporter = env.either(
        config.exporter, "OTEL_EXPORTER_TYPE", _one_of("memory", "otlp", "both"), "otlp"
    )
    metrics = env.either(
        config.metrics_enabled, "OTEL_METRICS_ENABLED", _bool, fallback=False
    )
    metrics_exporter = env.either(
        config.metrics_exporter,
        "OTEL_METRICS_EXPORTER",
        _one_of("memory", "otlp", "both", "prometheus"),
        "memory",
    )
    logs = config.logs_enabled is not False
    logs_exporter = env.either(
        config.logs_exporter,
        "OTEL_LOGS_EXPORTER",
        _one_of("memory", "otlp", "both"),
        "memory",
    )
    service = env.either(config.service_name, "OTEL_SERVICE_NAME", str, "iii")
    prometheus = config.prometheus
    if prometheus is None and metrics_exporter == "prometheus":
        prometheus = PrometheusConfig()
    settings = Settings(
        service_name=service,
        resource=_resource(config, service),
        traces_kept=enabled and exporter != "otlp",
        traces_sent=enabled and exporter in {"otlp", "both"},
        trace_calls=env.get("III_OTEL_TRACE_BUILTINS", _bool) or False,
        max_spans=env.either(
            config.memory_max_spans, "OTEL_MEMORY_MAX_SPANS", _count, 1000
        ),
        sampling=config.sampling or SamplingConfig(),
        sampling_ratio=env.either(
            config.sampling_ratio, "OTEL_TRACES_SAMPLER_ARG", _ratio, 1.0
        ),
        metrics=metrics,
        metrics_kept=metrics and metrics_exporter != "otlp",
        metrics_sent=metrics and metrics_exporter in {"otlp", "both"},
        metrics_retention=env.either(
            config.metrics_retention_seconds,
            "OTEL_METRICS_RETENTION_SECONDS",
            _count,
            3600,
        ),
        metrics_max_count=env.either(
            config.metrics_max_count, "OTEL_METRICS_MAX_COUNT", _count, 10_000
        ),
        logs=logs,
        logs_kept=logs and logs_exporter != "otlp",
        logs_sent=logs and logs_exporter in {"otlp", "both"},
        logs_max_count=config.logs_max_count or 1000,
        logs_retention=config.logs_retention_seconds or 3600,
        logs_sampling_ratio=_or(config.logs_sampling_ratio, 1.0),
        logs_console_output=config.logs_console_output is not False,
        level=(config.level or "info").lower().replace("warning", "warn"),
        endpoints=_endpoints(config.endpoint, env),
        headers=_headers(env.text("OTEL_EXPORTER_OTLP_HEADERS") or ""),
        protocol=env.get(PROTOCOL_VARIABLE, _protocol) or "http/protobuf",
        prometheus=prometheus,
    )
    if config.alerts:
        env.notes.append("alerts are not evaluated here: use Prometheus' Alertmanager")
    return settings, env.notes


def level_number(level: str) -> int:
    """The level of Python's ``logging`` for one of `LEVELS`, in any case."""
    numbers = {"trace": 5, "debug": 10, "info": 20, "warn": 30, "warning": 30}
    return numbers.get(level.lower(), 40)


class _Environment:
    """Reads environment variables; what cannot be read is noted and left out."""

    def __init__(self, environ: Mapping[str, str], *, wins: bool) -> None:
        self._environ = environ
        self._wins = wins
        self.notes: list[str] = []

    def text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def get(self, name: str, read: Callable[[str], T]) -> T | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            return read(text)
        except ValueError as exc:
            self.notes.append(f"environment variable {name} is ignored: {exc}")
            return None

    def either(
        self, given: T | None, name: str, read: Callable[[str], Any], fallback: T
    ) -> T:
        if given is not None and not self._wins:
            return given
        found: T | None = self.get(name, read)
        return _or(found, _or(given, fallback))


def _or(value: T | None, fallback: T) -> T:
    return fallback if value is None else value


def _bool(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"expected true or false, got {text!r}")


def _count(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ValueError(f"expected a number from 1, got {text!r}")


def _ratio(text: str) -> float:
    ratio = float(text)
    if 0 <= ratio <= 1:
        return ratio
    raise ValueError(f"expected 0 to 1, got {text!r}")


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() in words:
            return text.lower()
        raise ValueError(f"expected one of {', '.join(words)}, got {text!r}")

    return read


def _protocol(text: str) -> Protocol:
    if text.lower() == "http/protobuf":
        return "http/protobuf"
    if text.lower() == "http/json":
        return "http/json"
    raise ValueError(f"expected http/protobuf or http/json, got {text!r}")


def _resource(config: ObservabilityConfig, service: str) -> Mapping[str, str]:
    named = {
        "service.name": service,
        "service.version": config.service_version,
        "service.namespace": config.service_namespace,
    }
    return {key: value for key, value in named.items() if value}


def _endpoints(given: str | None, env: _Environment) -> Mapping[str, str]:
    """Where each signal goes: its own variable, else a path below the endpoint.

    The usual port of OTLP over gRPC becomes that of OTLP over HTTP.
    """
    base = given or env.text("OTEL_EXPORTER_OTLP_ENDPOINT") or DEFAULT_ENDPOINT
    base = base.rstrip("/")
    if base.endswith(GRPC_PORT):
        http = base.removesuffix(GRPC_PORT) + HTTP_PORT
        if given:
            env.notes.append(f"OTLP is sent over HTTP, to {http}, not to {base} (gRPC)")
        base = http
    return {
        signal: env.text(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
        or f"{base}/v1/{signal}"
        for signal in ("traces", "metrics", "logs")
    }


def _headers(text: str) -> Mapping[str, str]:
    """``key=value`` pairs with commas between them, as OpenTelemetry writes them."""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}
