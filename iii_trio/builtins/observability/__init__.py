"""Logs, traces and metrics of an engine and all its workers."""

from iii_trio.builtins.observability._config import (
    DEFAULT_BLOCK,
    ObservabilityConfig,
    PrometheusConfig,
    RateLimit,
    SamplingConfig,
    SamplingRule,
    level_number,
)
from iii_trio.builtins.observability._export import ExportStatistics
from iii_trio.builtins.observability._lines import EngineLines
from iii_trio.builtins.observability._telemetry import ObservedEngine, Telemetry
from iii_trio.builtins.observability._worker import (
    ObservabilityHandle,
    ObservabilityStatistics,
    serve_observability,
)

__all__ = [
    "DEFAULT_BLOCK",
    "EngineLines",
    "ExportStatistics",
    "ObservabilityConfig",
    "ObservabilityHandle",
    "ObservabilityStatistics",
    "ObservedEngine",
    "PrometheusConfig",
    "RateLimit",
    "SamplingConfig",
    "SamplingRule",
    "Telemetry",
    "level_number",
    "serve_observability",
]
