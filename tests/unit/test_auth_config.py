"""Tokens and JWT in a configuration, and which errors do not tell what is secret."""

import hashlib
import traceback
from typing import Any

import pytest

from iii_trio.app._structure import structure
from iii_trio.builtins.auth import (
    AuthConfig,
    JWTConfig,
    SessionConfig,
    TokenAuth,
    TokenConfig,
    UnauthorizedError,
    bearer_of,
)
from iii_trio.errors import ConfigError

SECRET = "hush-hush-hush-hush-hush-hush-77"
NUMBER = 77177177177177177177


def test_a_whole_block() -> None:
    config = structure(
        {
            "tokens": [
                {
                    "name": "billing",
                    "token": SECRET,
                    "session": {
                        "namespaces": {"billing": ["*"]},
                        "function_registration_prefix": "billing",
                        "context": {"tier": [1]},
                    },
                },
                {"name": "ops", "sha256": "0" * 64},
            ],
            "jwt": {"algorithms": ["HS256"], "key": SECRET, "audience": "iii"},
            "query_parameter": None,
        },
        AuthConfig,
        "c",
    )
    assert config.tokens[0].session.as_answer(more=1) == {
        "namespaces": {"billing": ["*"]},
        "allowed_functions": [],
        "forbidden_functions": [],
        "allowed_trigger_types": None,
        "allow_trigger_type_registration": False,
        "allow_function_registration": True,
        "allow_http_function_registration": False,
        "context": {"tier": [1], "more": 1},
        "function_registration_prefix": "billing",
    }
    assert config.jwt is not None
    assert config.jwt.required_claims == ["exp"]
    assert SECRET not in repr(config)
    assert "0" * 64 not in repr(config)


TOKEN = {"name": "a", "token": SECRET}


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (SECRET, "expected a mapping, got a string"),
        ({}, "needs tokens or jwt"),
        ({"tokens": []}, "needs tokens or jwt"),
        ({"tokens": SECRET}, "expected a list, got a string"),
        ({"tokens": {SECRET: {}}}, "expected a list, got a mapping"),
        ({"tokens": [SECRET]}, "expected a mapping, got a string"),
        ({"tokens": [{"token": SECRET}]}, "name: is required"),
        ({"tokens": [{"name": "a", "token": NUMBER}]}, "got an integer"),
        ({"tokens": [{"name": "a", "token": 77.177}]}, "got a number"),
        ({"tokens": [{"name": "a", "token": True}]}, "got true or false"),
        ({"tokens": [{"name": "a", "token": [SECRET]}]}, "got a list"),
        ({"tokens": [{"name": "a", "token": {SECRET: 1}}]}, "got a mapping"),
        ({"tokens": [{"name": "a"}]}, "token 'a' needs either token or sha256"),
        ({"tokens": [TOKEN | {"sha256": SECRET}]}, "needs either"),
        ({"tokens": [{"name": "a", "sha256": SECRET}]}, "is not 64"),
        ({"tokens": [{"name": "a", "token": SECRET[:15]}]}, "shorter than 16"),
        ({"tokens": [{"name": "a", SECRET: 1}]}, "unknown key; known: name"),
        ({"tokens": [TOKEN, TOKEN]}, "two tokens are called 'a'"),
        ({"tokens": [TOKEN | {"session": SECRET}]}, "expected a mapping"),
        (
            {"tokens": [TOKEN | {"session": {"allowed_functions": "a::*"}}]},
            "session.allowed_functions: expected a list, got a string",
        ),
        (
            {"tokens": [TOKEN | {"session": {"namespaces": {"n": "*"}}}]},
            "expected a list, got a string",
        ),
        (
            {"tokens": [TOKEN | {"session": {"allowed_function": []}}]},
            "did you mean 'allowed_functions'?",
        ),
        ({"jwt": SECRET}, "expected a mapping, got a string"),
        ({"jwt": {"key": SECRET}}, "algorithms: is required"),
        ({"jwt": {"algorithms": [], "key": SECRET}}, "algorithms is empty"),
        ({"jwt": {"algorithms": "HS256", "key": SECRET}}, "expected a list"),
        ({"jwt": {"algorithms": ["none"], "key": SECRET}}, "'none' is not one of"),
        ({"jwt": {"algorithms": ["HS256"]}}, "needs either key or key_file"),
        ({"jwt": {"algorithms": ["HS256"], "key": NUMBER}}, "got an integer"),
        ({"jwt": {"algorithms": ["HS256"], "key": SECRET[:31]}}, "at least 32 bytes"),
        ({"jwt": {"algorithms": ["HS512"], "key": SECRET}}, "at least 64 bytes"),
        (
            {"jwt": {"algorithms": ["HS256", "RS256"], "key": SECRET}},
            "mix shared and public keys",
        ),
        (
            {"jwt": {"algorithms": ["HS256"], "key": SECRET, "leeway_seconds": -1}},
            "leeway_seconds is negative",
        ),
    ],
)
def test_a_mistake_is_told_without_the_secret(block: Any, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        structure(block, AuthConfig, "c")
    assert text in str(caught.value)
    told = "".join(traceback.format_exception(caught.value))
    told = "\n".join(line for line in told.splitlines() if "File" not in line)
    assert "hush" not in told
    assert "77177" not in told


def request(header: str | None = None, **query: list[str]) -> dict[str, Any]:
    headers = {} if header is None else {"authorization": header}
    return {"headers": headers, "query_params": query, "ip_address": "::1"}


@pytest.mark.parametrize(
    ("asked", "token"),
    [
        (request("Bearer abc"), "abc"),
        (request("bearer  abc "), "abc"),
        (request("Bearer abc", token=["x"]), "abc"),
        (request(token=["a%2Bb+c"]), "a+b+c"),
    ],
)
def test_where_a_token_stands(asked: Any, token: str) -> None:
    assert bearer_of(asked) == token


@pytest.mark.parametrize(
    "asked",
    [
        None,
        {},
        request(),
        request("Basic YTpi"),
        request("Basic YTpi", token=["abc"]),
        request(token=["a", "b"]),
        request(token=[""]),
        request(other=["abc"]),
    ],
)
def test_without_a_clear_token_there_is_a_refusal(asked: Any) -> None:
    with pytest.raises(UnauthorizedError) as caught:
        bearer_of(asked)
    assert caught.value.code == "UNAUTHORIZED"
    assert "abc" not in str(caught.value)
    assert "YTpi" not in str(caught.value)


def test_the_address_can_be_left_out() -> None:
    with pytest.raises(UnauthorizedError):
        bearer_of(request(token=["abc"]), None)


def test_a_token_is_known_by_itself_or_by_its_digest() -> None:
    digest = hashlib.sha256(b"the other token!").hexdigest()
    auth = TokenAuth(
        [
            TokenConfig(name="one", token=SECRET),
            TokenConfig(
                name="two",
                sha256=digest,
                session=SessionConfig(context={"tier": 2}),
            ),
        ]
    )
    one = auth.session(SECRET)
    assert one is not None
    assert one["context"] == {"token_name": "one"}
    two = auth.session("the other token!")
    assert two is not None
    assert two["context"] == {"tier": 2, "token_name": "two"}
    for wrong in ("", SECRET[:-1], SECRET + "x", digest, "\udcff", "Ω"):
        assert auth.session(wrong) is None
    assert repr(auth) == "<TokenAuth ['one', 'two']>"


def test_a_public_key_has_no_least_length_here() -> None:
    assert JWTConfig(algorithms=["ES256"], key="PEM").key == "PEM"
    assert JWTConfig(algorithms=["ES256"], key_file="f").key is None
