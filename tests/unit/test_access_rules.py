"""The rbac block: what it says, what it exposes, and what is no rbac block."""

from typing import Any

import pytest

from iii_trio.access import (
    INFRASTRUCTURE,
    Access,
    AccessRules,
    ConnectRequest,
    ExposeRule,
    parse_rules,
    unknown_keys,
)
from iii_trio.access._patterns import IdPattern, matches, same_json, wildcard_in
from iii_trio.errors import ConfigError


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("a::b", "a::b", True),
        ("a::b", "a::bc", False),
        ("a::*", "a::b::c", True),
        ("*", "", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*::get", "state::get", True),
        ("*::get", "state::get::x", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("a*x*c", "abc", False),
        ("a*bc*c", "abc", False),
        ("a?", "ab", False),
        ("[ab]", "a", False),
        ("a*", "ba", False),
    ],
)
def test_a_star_is_any_run_of_characters(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ('match("a*")', "a*"),
        ("match('a\"b')", 'a"b'),
        (' match( "a" ) ', "a"),
        ("match(\"a')", None),
        ("match(a)", None),
        ("a*", None),
    ],
)
def test_match_is_written_with_quotes(text: str, inner: str | None) -> None:
    assert wildcard_in(text) == inner


@pytest.mark.parametrize(
    ("grant", "fits", "fits_not"),
    [
        ("a::b", ["a::b"], ["a::bc", "a"]),
        ("a::*", ["a::", "a::b::c"], ["a", "b::a::c"]),
        ('match("*::b")', ["a::b"], ["a::bc"]),
        ("a*b", ["a*b"], ["axb"]),
        ("*", ["", "x"], []),
    ],
)
def test_grants_are_exact_prefixes_or_patterns(
    grant: str, fits: list[str], fits_not: list[str]
) -> None:
    pattern = IdPattern(grant)
    assert all(map(pattern.fits, fits))
    assert not any(map(pattern.fits, fits_not))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (True, True, True),
        (False, 0, False),
        ([1, {"a": [True]}], [1, {"a": [True]}], True),
        ([1], [True], False),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"b": 1}, False),
        (None, None, True),
        ("1", 1, False),
    ],
)
def test_json_is_equal_by_value_and_type(left: Any, right: Any, same: bool) -> None:
    assert same_json(left, right) is same


def test_a_complete_block() -> None:
    rules = parse_rules(
        {
            "auth_function_id": "auth::check",
            "expose_functions": [
                'match("engine::functions::*")',
                {"match": "api::*", "namespace": "shop"},
                {"match": "match('x::*')"},
                {"metadata": {"public": True, "tier": 'match("a*")'}},
            ],
            "on_function_registration_function_id": "hook::function",
            "on_trigger_registration_function_id": None,
        }
    )
    assert rules == AccessRules(
        auth_function_id="auth::check",
        expose_functions=(
            ExposeRule(pattern="engine::functions::*"),
            ExposeRule(pattern="api::*", namespace="shop"),
            ExposeRule(pattern="x::*"),
            ExposeRule(metadata=(("public", True), ("tier", 'match("a*")'))),
        ),
        on_function_registration_function_id="hook::function",
    )
    access = Access(rules=rules, middleware_function_id="mw::all")
    assert access.own_functions == {"auth::check", "hook::function", "mw::all"}
    assert Access().own_functions == frozenset()


def test_an_empty_block_exposes_nothing() -> None:
    assert parse_rules({}) == AccessRules()


@pytest.mark.parametrize(
    ("block", "path"),
    [
        (None, "r"),
        ([], "r"),
        ("auth::check", "r"),
        ({"auth_function": "a"}, "r.auth_function"),
        ({"expose_function": []}, "r.expose_function"),
        ({"auth_function_id": " "}, "r.auth_function_id"),
        ({"auth_function_id": 1}, "r.auth_function_id"),
        ({"expose_functions": None}, "r.expose_functions"),
        ({"expose_functions": {"match": "a"}}, "r.expose_functions"),
        ({"expose_functions": ["a::*"]}, "r.expose_functions[0]"),
        ({"expose_functions": ['match("a")', 1]}, "r.expose_functions[1]"),
        ({"expose_functions": [{}]}, "r.expose_functions[0]"),
        (
            {"expose_functions": [{"match": "a", "metadata": {"b": 1}}]},
            "r.expose_functions[0]",
        ),
        ({"expose_functions": [{"match": 1}]}, "r.expose_functions[0].match"),
        ({"expose_functions": [{"metadata": {}}]}, "r.expose_functions[0].metadata"),
        ({"expose_functions": [{"metadata": "x"}]}, "r.expose_functions[0].metadata"),
        (
            {"expose_functions": [{"match": "a", "namespace": " "}]},
            "r.expose_functions[0].namespace",
        ),
        (
            {"expose_functions": [{"match": "a", "namespace": 1}]},
            "r.expose_functions[0].namespace",
        ),
        (
            {"expose_functions": [{"match": "a", "id": "b"}]},
            "r.expose_functions[0].id",
        ),
    ],
)
def test_what_cannot_be_understood_is_an_error(block: object, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_rules(block, "r")
    assert caught.value.path == path


def test_keys_of_other_tools_are_tolerated_and_named() -> None:
    block = {"x-note": "ours", "auth_function_id": "a"}
    assert parse_rules(block).auth_function_id == "a"
    assert unknown_keys(block) == ["x-note"]


@pytest.mark.parametrize(
    ("metadata", "exposed"),
    [
        ({"public": True, "tier": "abc"}, True),
        ({"public": True, "tier": "abc", "more": 1}, True),
        ({"public": 1, "tier": "abc"}, False),
        ({"public": True, "tier": 5}, False),
        ({"public": True, "tier": "b"}, False),
        ({"public": True}, False),
        ([], False),
        (None, False),
    ],
)
def test_metadata_rules_need_every_member(metadata: Any, exposed: bool) -> None:
    rule = ExposeRule(metadata=(("public", True), ("tier", 'match("a*")')))
    assert rule.exposes("default", "x", metadata) is exposed
    assert not rule.exposes("other", "x", metadata)


def test_a_pattern_holds_in_one_namespace() -> None:
    rule = ExposeRule(pattern="a::*", namespace="n")
    assert rule.exposes("n", "a::b", None)
    assert not rule.exposes("default", "a::b", None)


def test_infrastructure_is_the_list_of_the_protocol() -> None:
    assert len(INFRASTRUCTURE) == 10
    assert "engine::workers::list" not in INFRASTRUCTURE


def test_the_facts_of_a_handshake() -> None:
    request = ConnectRequest.of(
        [
            ("authorization", "Bearer a"),
            ("x-twice", "1"),
            ("x-twice", "2"),
            ("x-twice", "\xff"),
            ("x-tab", "a\tb"),
            ("x-bad", "\x01"),
        ],
        "token=a%20b&token=c+d&flag&=v&",
        "::1",
    )
    assert request.headers == {
        "authorization": "Bearer a",
        "x-twice": "2",
        "x-tab": "a\tb",
    }
    assert request.query_params == {
        "token": ["a%20b", "c+d"],
        "flag": [""],
        "": ["v"],
    }
    assert b"peer_certificate" not in request.as_payload()
    assert "Bearer" not in repr(request)
    assert "a%20b" not in repr(request)
    certified = ConnectRequest(peer_certificate={"subject": "CN=a"})
    assert b'"peer_certificate":{"subject":"CN=a"}' in certified.as_payload()
