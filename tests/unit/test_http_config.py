"""The configuration of the http worker and of its triggers."""

from typing import Any

import cattrs
import pytest

from iii_trio.builtins.http._config import (
    CORSConfig,
    HTTPConfig,
    MiddlewareConfig,
)
from iii_trio.builtins.http._trigger import (
    CONFIGURATION_SCHEMA,
    HTTPTriggerConfig,
    parse_trigger_config,
)
from iii_trio.errors import RegistrationError
from iii_trio.net import LimitsConfig


def structured(raw: dict[str, Any]) -> HTTPConfig:
    return cattrs.Converter(forbid_extra_keys=True).structure(raw, HTTPConfig)


def test_defaults_are_those_of_the_reference_on_loopback() -> None:
    config = structured({})
    assert config == HTTPConfig()
    assert config.address == (None, 3111)
    assert config.timeout == 30.0
    assert config.concurrency_request_limit == 1024
    assert config.body_limit == 16 * 1024 * 1024
    assert config.limits == LimitsConfig(
        head_bytes=65536, head_fields=100, target_bytes=8192
    )


def test_every_key_is_read() -> None:
    config = structured(
        {
            "port": 0,
            "host": "127.0.0.1",
            "default_timeout": 1500,
            "concurrency_request_limit": 7,
            "cors": {"allowed_origins": ["http://a"], "allowed_methods": ["GET"]},
            "middleware": [{"function_id": "m", "priority": 3}],
            "body_limit": 10,
            "limits": {"head_fields": 5},
        }
    )
    assert config == HTTPConfig(
        port=0,
        host="127.0.0.1",
        default_timeout=1500,
        concurrency_request_limit=7,
        cors=CORSConfig(allowed_origins=("http://a",), allowed_methods=("GET",)),
        middleware=(MiddlewareConfig(function_id="m", priority=3),),
        body_limit=10,
        limits=LimitsConfig(head_fields=5),
    )
    assert config.timeout == 1.5


@pytest.mark.parametrize(
    "raw",
    [
        {"prot": 1},
        {"cors": {"origins": []}},
        {"middleware": [{"function_id": "m", "prio": 1}]},
        {"middleware": [{}]},
        {"limits": {"max_body": 1}},
        {"port": 65536},
        {"port": -1},
        {"default_timeout": 0},
        {"body_limit": -1},
        {"limits": {"head_fields": 0}},
    ],
)
def test_unknown_keys_and_impossible_values_are_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(cattrs.ClassValidationError):
        structured(raw)


def test_a_concurrency_limit_of_zero_is_one() -> None:
    assert structured({"concurrency_request_limit": 0}).concurrency_request_limit == 1


def test_global_middleware_runs_by_priority_and_skips_other_phases() -> None:
    entries = [
        {"function_id": "late", "priority": 5},
        {"function_id": "first"},
        {"function_id": "second"},
        {"function_id": "never", "phase": "postHandler", "priority": -9},
        {"function_id": "early", "priority": -1},
    ]
    found = structured({"middleware": entries}).global_middleware
    assert found == ("early", "first", "second", "late")


@pytest.mark.parametrize("config", [None, {}, {"api_path": 1}, [], "x"])
def test_a_trigger_without_api_path_is_refused(config: object) -> None:
    with pytest.raises(RegistrationError) as caught:
        parse_trigger_config(config)
    assert caught.value.message == "api_path is required for http triggers"
    assert caught.value.code == "trigger_registration_failed"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, HTTPTriggerConfig(api_path="/a")),
        ({"http_method": "pOst"}, HTTPTriggerConfig(api_path="/a", http_method="POST")),
        ({"http_method": 1, "other": 2}, HTTPTriggerConfig(api_path="/a")),
        (
            {"middleware_function_ids": ["m", 1, "n"], "channels": True},
            HTTPTriggerConfig(
                api_path="/a", middleware_function_ids=("m", "n"), channels=True
            ),
        ),
        ({"middleware_function_ids": "m"}, HTTPTriggerConfig(api_path="/a")),
    ],
)
def test_a_trigger_config_is_read_leniently(
    config: dict[str, Any], expected: HTTPTriggerConfig
) -> None:
    assert parse_trigger_config({"api_path": "/a", **config}) == expected


def test_the_published_schema_names_every_key_that_is_read() -> None:
    assert set(CONFIGURATION_SCHEMA["properties"]) == {
        "api_path",
        "http_method",
        "condition_function_id",
        "middleware_function_ids",
        "channels",
    }
