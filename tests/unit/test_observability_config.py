"""Settings of the observability worker: blocks, environment, fallbacks, sampling."""

from typing import Any

import pytest

from iii_trio.app._load import config_of_text
from iii_trio.builtins.observability import (
    DEFAULT_BLOCK,
    ObservabilityConfig,
    PrometheusConfig,
    RateLimit,
    SamplingConfig,
    SamplingRule,
)
from iii_trio.builtins.observability._config import (
    Settings,
    level_number,
    settings_of,
)
from iii_trio.builtins.observability._sampling import TRACES_PER_SECOND, Sampler
from iii_trio.errors import ConfigError

TRACE = "0" * 16


def settings(environ: dict[str, str] | None = None, **block: Any) -> Settings:
    return settings_of(ObservabilityConfig(**block), environ or {})[0]


def notes(environ: dict[str, str], **block: Any) -> list[str]:
    return settings_of(ObservabilityConfig(**block), environ)[1]


def config_in(block: str) -> ObservabilityConfig:
    text = f"workers: [{{name: iii-observability, config: {block}}}]"
    return config_of_entry(text)


def config_of_entry(text: str) -> ObservabilityConfig:
    [config] = [
        entry.config
        for entry in config_of_text(text, {}).entries
        if entry.kind == "iii-observability"
    ]
    assert isinstance(config, ObservabilityConfig)
    return config


# --- blocks


def test_a_file_that_does_not_name_the_worker_has_everything_on_in_memory() -> None:
    found, _ = settings_of(config_of_entry("workers: []"), {})
    assert (found.traces_kept, found.metrics_kept, found.logs_kept) == (True,) * 3
    assert not found.sends
    assert found.max_spans == 1_000_000


def test_a_block_has_fallbacks_of_its_own() -> None:
    found, _ = settings_of(config_in("{}"), {})
    assert (found.traces, found.metrics, found.logs_kept) == (False, False, True)
    assert (found.max_spans, found.logs_max_count, found.logs_retention) == (
        1000,
        1000,
        3600,
    )
    assert (found.metrics_max_count, found.metrics_retention) == (10_000, 3600)
    assert (found.service_name, found.level) == ("iii", "info")
    enabled = settings(enabled=True)
    assert (enabled.traces_kept, enabled.traces_sent) == (False, True)


def test_a_block_of_the_reference_is_accepted_whole() -> None:
    config = config_in(
        "{enabled: true, service_name: s, service_version: '1', "
        "service_namespace: n, exporter: memory, endpoint: 'http://c:4318', "
        "memory_max_spans: 5, sampling_ratio: 1, metrics_enabled: true, "
        "metrics_exporter: memory, metrics_retention_seconds: 60, "
        "metrics_max_count: 7, logs_enabled: true, logs_exporter: both, "
        "logs_max_count: 8, logs_retention_seconds: 9, logs_sampling_ratio: 0.5, "
        "logs_console_output: false, level: WARN, format: json, "
        "alerts: [{name: a, metric: m, threshold: 1, operator: '>'}], "
        "sampling: {default: 0.5, parent_based: false, "
        "rules: [{operation: 'x*', service: y, rate: 0}], "
        "rate_limit: {max_traces_per_second: 10}}}"
    )
    found, said = settings_of(config, {})
    assert found.resource == {
        "service.name": "s",
        "service.version": "1",
        "service.namespace": "n",
    }
    assert (found.logs_kept, found.logs_sent, found.level) == (True, True, "warn")
    assert said == ["alerts are not evaluated here: use Prometheus' Alertmanager"]


@pytest.mark.parametrize(
    ("block", "path"),
    [
        ("{enabled: 1}", "enabled"),
        ("{exporter: prometheus}", "exporter"),
        ("{level: loud}", ""),
        ("{sampling_ratio: 1.5}", ""),
        ("{memory_max_spans: 0}", ""),
        ("{enabeld: true}", "enabeld"),
        ("{sampling: {rules: [{operation: x}]}}", "sampling.rules[0]"),
        ("{prometheus: {port: 70000}}", "prometheus"),
    ],
)
def test_a_mistake_in_a_block_is_refused_with_its_path(block: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_in(block)
    assert f"workers[0].config.{path}".rstrip(".") in str(caught.value)


def test_prometheus_is_opened_by_its_block_or_by_the_exporter() -> None:
    assert settings().prometheus is None
    assert settings(metrics_exporter="prometheus").prometheus == PrometheusConfig()
    block = PrometheusConfig(port=1)
    assert settings(prometheus=block).prometheus == block
    assert settings(metrics_enabled=True, metrics_exporter="prometheus").metrics_kept


# --- environment


def test_the_environment_fills_in_what_a_block_leaves_out() -> None:
    environ = {
        "OTEL_ENABLED": "yes",
        "OTEL_SERVICE_NAME": "other",
        "OTEL_EXPORTER_TYPE": "BOTH",
        "OTEL_MEMORY_MAX_SPANS": "12",
        "OTEL_TRACES_SAMPLER_ARG": "0.25",
        "OTEL_METRICS_ENABLED": "1",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_METRICS_RETENTION_SECONDS": "5",
        "OTEL_METRICS_MAX_COUNT": "6",
        "OTEL_LOGS_EXPORTER": "otlp",
        "III_OTEL_TRACE_BUILTINS": "true",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer x, a = b,broken",
    }
    found = settings(environ)
    assert (found.traces_kept, found.traces_sent) == (True, True)
    assert (found.service_name, found.max_spans) == ("other", 12)
    assert (found.sampling_ratio, found.trace_calls) == (0.25, True)
    assert (found.metrics_sent, found.metrics_kept) == (True, False)
    assert (found.metrics_retention, found.metrics_max_count) == (5, 6)
    assert (found.logs_sent, found.logs_kept) == (True, False)
    assert found.protocol == "http/json"
    assert found.headers == {"authorization": "Bearer x", "a": "b"}
    assert not settings(environ, enabled=False).traces
    explicit = {"OTEL_EXPORTER_OTLP_PROTOCOL": "HTTP/Protobuf"}
    assert settings(explicit) == settings()


def test_the_environment_wins_over_what_nobody_wrote() -> None:
    off = settings({"OTEL_ENABLED": "off"}, **DEFAULT_BLOCK)
    assert (off.traces, off.metrics) == (False, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_ENABLED", "perhaps"),
        ("OTEL_EXPORTER_TYPE", "zipkin"),
        ("OTEL_MEMORY_MAX_SPANS", "-1"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_TRACES_SAMPLER_ARG", "x"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ],
)
def test_a_variable_that_cannot_be_read_is_noted_and_ignored(
    name: str, value: str
) -> None:
    [note] = notes({name: value})
    assert note.startswith(f"environment variable {name} is ignored: ")
    assert settings({name: value}) == settings()


@pytest.mark.parametrize(
    ("endpoint", "environ", "traces"),
    [
        (None, {}, "http://localhost:4318/v1/traces"),
        ("http://c:4318/", {}, "http://c:4318/v1/traces"),
        ("http://c:4317", {}, "http://c:4318/v1/traces"),
        (
            None,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://x"},
            "https://x/v1/traces",
        ),
        (
            "http://c",
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/spans"},
            "http://t/spans",
        ),
    ],
)
def test_where_signals_are_sent(
    endpoint: str | None, environ: dict[str, str], traces: str
) -> None:
    assert settings(environ, endpoint=endpoint).endpoints["traces"] == traces


def test_an_endpoint_for_grpc_is_noted() -> None:
    [note] = notes({}, endpoint="http://c:4317")
    assert "http://c:4318" in note
    assert notes({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}) == []


@pytest.mark.parametrize(
    ("level", "number"),
    [("trace", 5), ("debug", 10), ("info", 20), ("warn", 30), ("error", 40)],
)
def test_levels_of_python_s_logging(level: str, number: int) -> None:
    assert level_number(level) == number


# --- sampling


def sampler(**block: Any) -> Sampler:
    return Sampler(settings(**block))


def wants(
    one: Sampler, name: str = "trigger a", trace: str = TRACE, **more: Any
) -> bool:
    given: dict[str, Any] = {"parent_sampled": None, "now": 0.0}
    return one.wants(name, trace + "f" * 16, **{**given, **more})


def test_the_first_rule_that_fits_wins() -> None:
    rules = (
        SamplingRule(operation="trigger a*", rate=0),
        SamplingRule(service="ii?", rate=1),
        SamplingRule(rate=0.5),
    )
    one = sampler(sampling=SamplingConfig(rules=rules))
    assert one.ratio("trigger abc") == 0
    assert one.ratio("call x") == 1
    assert sampler(service_name="z", sampling=SamplingConfig(rules=rules)).ratio(
        "x"
    ) == (0.5)
    assert one.row() == {
        "default_ratio": 1.0,
        "rules": [
            {"operation": "trigger a*", "service": None, "rate": 0},
            {"operation": None, "service": "ii?", "rate": 1},
            {"operation": None, "service": None, "rate": 0.5},
        ],
        "parent_based": True,
    }


def test_the_ratio_decides_by_the_trace_id() -> None:
    half = sampler(sampling_ratio=0.5)
    assert not half.wants("x", TRACE + "8" + "0" * 15, None, 0.0)
    assert half.wants("x", TRACE + "7" + "f" * 15, None, 0.0)
    assert wants(sampler(sampling=SamplingConfig(default=1.0), sampling_ratio=0.0))
    assert not wants(sampler(sampling_ratio=0.0))


def test_a_parent_decides_unless_it_is_not_asked() -> None:
    never = sampler(sampling_ratio=0.0)
    assert wants(never, parent_sampled=True)
    assert not wants(sampler(), parent_sampled=False)
    stubborn = sampler(sampling=SamplingConfig(parent_based=False))
    assert wants(stubborn, parent_sampled=False)


def test_without_a_limit_the_engine_begins_a_hundred_a_second() -> None:
    one = sampler()
    assert sum(wants(one, now=0.0) for _ in range(500)) == 100
    assert wants(one, parent_sampled=True)


def test_a_rate_limit_holds_over_time() -> None:
    limit = RateLimit(max_traces_per_second=2)
    one = sampler(sampling=SamplingConfig(rate_limit=limit))
    assert [wants(one, now=0.0) for _ in range(3)] == [True, True, False]
    assert [wants(one, now=0.5) for _ in range(2)] == [True, False]
    assert [wants(one, now=100.0) for _ in range(3)] == [True, True, False]
    assert not wants(one, now=1.0)
    slow = RateLimit(max_traces_per_second=0.5)
    seldom = sampler(sampling=SamplingConfig(rate_limit=slow))
    assert [wants(seldom, now=now) for now in (0.0, 1.0, 2.0)] == [True, False, True]
    none = RateLimit(max_traces_per_second=0)
    assert not wants(sampler(sampling=SamplingConfig(rate_limit=none)))


def test_a_clock_that_is_set_back_does_not_stop_traces() -> None:
    sampler = Sampler(settings())
    begun = [sampler.wants("x", "0" * 32, None, 1000.0) for _ in range(200)]
    assert begun.count(True) == TRACES_PER_SECOND
    assert not sampler.has_room(1000.001)
    assert sampler.has_room(1000.02)
    assert sampler.wants("x", "0" * 32, None, 1000.02)
    while sampler.has_room(1000.02):
        assert sampler.wants("x", "0" * 32, None, 1000.02)
    assert not sampler.has_room(10.0), "nothing has grown"
    assert sampler.has_room(10.02)
