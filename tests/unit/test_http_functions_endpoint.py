"""What a registration's ``invocation`` says, and what is sent for it."""

import base64
import hashlib
import hmac
from typing import Any

import pytest

from iii_trio.builtins.http_functions._config import SecurityConfig
from iii_trio.builtins.http_functions._endpoint import Endpoint, read_endpoint, sign
from iii_trio.errors import RegistrationError

URL = "https://example.com/hook"
ENVIRON = {"KEY": "s3cret", "EMPTY": "", "LINES": "s3cret\r\nx: y"}


def read(security: SecurityConfig | None = None, **invocation: Any) -> Endpoint:
    return read_endpoint(
        "a::b", {"url": URL, **invocation}, security or SecurityConfig(), ENVIRON
    )


def refusal(security: SecurityConfig | None = None, **invocation: Any) -> Any:
    with pytest.raises(RegistrationError) as caught:
        read(security, **invocation)
    assert caught.value.__cause__ is None
    assert "s3cret" not in str(caught.value)
    return caught.value.code, caught.value.message


def headers_of(endpoint: Endpoint, body: bytes = b"{}") -> dict[str, str]:
    sent = endpoint.request_headers(body, timestamp=7, invocation_id="id")
    assert len({name.lower() for name, _ in sent}) == len(sent)
    return dict(sent)


def test_the_defaults_are_those_of_the_protocol() -> None:
    endpoint = read(timeout_ms=None, headers=None, auth=None, method=None)
    assert (endpoint.method, endpoint.timeout, endpoint.key) == ("POST", 30.0, None)
    assert headers_of(endpoint) == {
        "Host": "example.com",
        "x-iii-Function-Path": "a::b",
        "x-iii-Invocation-ID": "id",
        "x-iii-Timestamp": "7",
        "Content-Type": "application/json",
        "Content-Length": "2",
    }


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_methods_and_timeouts_are_taken(method: str) -> None:
    endpoint = read(method=method, timeout_ms=1500)
    assert (endpoint.method, endpoint.timeout) == (method, 1.5)


def test_configured_headers_replace_the_content_type_instead_of_doubling_it() -> None:
    sent = headers_of(read(headers={"content-type": "text/json", "X-Tag": " a "}))
    assert "Content-Type" not in sent
    assert (sent["content-type"], sent["X-Tag"]) == ("text/json", "a")


def test_a_function_id_that_is_no_header_is_escaped() -> None:
    endpoint = read_endpoint("ä b\r\n", {"url": URL}, SecurityConfig(), ENVIRON)
    assert headers_of(endpoint)["x-iii-Function-Path"] == "%C3%A4%20b%0D%0A"


def test_a_bearer_token_comes_from_the_environment() -> None:
    endpoint = read(
        auth={"type": "bearer", "token_key": "KEY"}, headers={"authorization": "mine"}
    )
    assert headers_of(endpoint)["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in repr(endpoint)


def test_an_api_key_comes_from_the_environment() -> None:
    auth = {"type": "api_key", "header": "X-Key", "value_key": "KEY"}
    assert headers_of(read(auth=auth))["X-Key"] == "s3cret"


def test_a_signature_covers_the_time_and_the_body() -> None:
    endpoint = read(auth={"type": "hmac", "secret_key": "KEY"})
    body = b'{"a":1}'
    text = b"7:" + base64.b64encode(body)
    expected = hmac.new(b"s3cret", text, hashlib.sha256).hexdigest()
    assert headers_of(endpoint, body)["x-iii-Signature"] == f"sha256={expected}"
    assert sign(b"s3cret", 8, body) != expected
    assert "s3cret" not in repr(endpoint)


@pytest.mark.parametrize(
    ("auth", "code", "message"),
    [
        (
            {"type": "bearer", "token_key": "NONE"},
            "token_not_found",
            "Token not found: NONE",
        ),
        (
            {"type": "api_key", "header": "X", "value_key": "NONE"},
            "api_key_not_found",
            "API key not found: NONE",
        ),
        (
            {"type": "hmac", "secret_key": "NONE"},
            "secret_not_found",
            "Secret not found: NONE",
        ),
        (
            {"type": "hmac", "secret_key": "EMPTY"},
            "secret_not_found",
            "Secret not found: EMPTY",
        ),
    ],
)
def test_a_missing_secret_refuses_the_function(
    auth: Any, code: str, message: str
) -> None:
    assert refusal(auth=auth) == (code, message)


def test_secrets_can_be_limited_to_some_names() -> None:
    security = SecurityConfig(secret_names=("HOOK_*",))
    code, message = refusal(security, auth={"type": "hmac", "secret_key": "KEY"})
    assert code == "secret_not_found"
    assert "KEY is not in security.secret_names" in message
    allowed = SecurityConfig(secret_names=("K?Y",))
    assert read(allowed, auth={"type": "hmac", "secret_key": "KEY"}).key == b"s3cret"


@pytest.mark.parametrize(
    "invocation",
    [
        {"url": 5},
        {"url": None},
        {"method": "CONNECT"},
        {"method": "get"},
        {"timeout_ms": 0},
        {"timeout_ms": -1},
        {"timeout_ms": "1"},
        {"headers": {"x": ["s3cret"]}},
        {"headers": "s3cret"},
        {"auth": {"type": "basic"}},
        {"auth": {"type": "bearer"}},
        {"auth": {"type": "apikey", "header": "x", "value_key": "KEY"}},
        {"headers": {"a b": "s3cret"}},
        {"headers": {"": "s3cret"}},
        {"headers": {"x": "s3cret\r\ny: z"}},
        {"headers": {"x": "s3cretü"}},
        {"headers": {"Host": "s3cret"}},
        {"headers": {"transfer-encoding": "chunked"}},
        {"headers": {"X-III-Signature": "sha256=0"}},
        {"auth": {"type": "api_key", "header": "content-length", "value_key": "KEY"}},
        {"auth": {"type": "bearer", "token_key": "LINES"}},
    ],
)
def test_what_does_not_fit_is_refused_and_no_value_is_repeated(
    invocation: Any,
) -> None:
    code, _ = refusal(**invocation)
    assert code == "invalid_invocation"


def test_an_invocation_that_is_no_object_is_refused() -> None:
    with pytest.raises(RegistrationError, match="does not fit"):
        read_endpoint("a::b", [URL], SecurityConfig(), ENVIRON)


def test_the_url_is_judged_at_registration() -> None:
    code, message = refusal(url="https://127.0.0.1/")
    assert (code, message) == ("url_validation_failed", "Private IP blocked")
