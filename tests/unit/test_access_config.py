"""Access rules in a configuration file: a listener opens with all of them or not at all."""

from typing import Any

import pytest

from iii_trio.access import Access, AccessRules, ExposeRule
from iii_trio.app import AppConfig, ListenerConfig
from iii_trio.app._load import config_of_text
from iii_trio.errors import ConfigError


def parse(block: str) -> AppConfig:
    return config_of_text(
        f"workers:\n- name: iii-worker-manager\n  config: {block}\n", {}
    )


def listener(block: str) -> ListenerConfig:
    config: Any = parse(block).entries[-1].config
    assert isinstance(config, ListenerConfig)
    return config


def test_the_shape_of_the_references_own_test_file() -> None:
    config = config_of_text(
        """
        workers:
          - name: iii-worker-manager
            config: {port: 49199}
          - name: iii-worker-manager
            config:
              port: 49135
              middleware_function_id: test::middleware
              rbac:
                auth_function_id: test::auth
                expose_functions:
                  - match("test::*")
                  - match("engine::functions::*")
                  - metadata: {public: true}
                on_function_registration_function_id: test::on-function
                on_trigger_registration_function_id: test::on-trigger
                on_trigger_type_registration_function_id: test::on-type
        """,
        {},
    )
    main, guarded = config.entries[-2:]
    assert main.config.access is None
    assert guarded.key == "iii-worker-manager#1"
    assert guarded.config.access == Access(
        rules=AccessRules(
            auth_function_id="test::auth",
            expose_functions=(
                ExposeRule(pattern="test::*"),
                ExposeRule(pattern="engine::functions::*"),
                ExposeRule(metadata=(("public", True),)),
            ),
            on_function_registration_function_id="test::on-function",
            on_trigger_registration_function_id="test::on-trigger",
            on_trigger_type_registration_function_id="test::on-type",
        ),
        middleware_function_id="test::middleware",
        timeout=10.0,
    )


def test_an_empty_block_is_a_locked_listener_not_an_open_one() -> None:
    assert listener("{rbac: {}}").access == Access(rules=AccessRules())


def test_middleware_alone_and_the_time_limit() -> None:
    access = listener("{middleware_function_id: m, access_timeout_ms: 500}").access
    assert access == Access(middleware_function_id="m", timeout=0.5)


@pytest.mark.parametrize(
    ("block", "path"),
    [
        ("{rbac: }", "rbac"),
        ("{rbac: true}", "rbac"),
        ("{rbac: [auth::f]}", "rbac"),
        ("{rbac: {auth_function: f}}", "rbac.auth_function"),
        ("{rbac: {expose_functions: ['a::*']}}", "rbac.expose_functions[0]"),
        ("{rbac: {expose_functions: [{match: a, foo: 1}]}}", None),
        ("{middleware_function_id: ' '}", ""),
        ("{middleware_function_id: {}}", "middleware_function_id"),
        ("{access_timeout_ms: 0}", ""),
        ("{rbca: {}}", "rbca"),
    ],
)
def test_a_listener_whose_rules_make_no_sense_is_refused(
    block: str, path: str | None
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(block)
    if path is None:
        path = "rbac.expose_functions[0].foo"
    assert caught.value.path == f"workers[0].config.{path}".rstrip(".")


def test_keys_that_the_reference_ignores_are_told_of() -> None:
    config = parse("{rbac: {x-note: 1}}")
    assert config.notes == ("workers[0].config.rbac.x-note: ignored",)
