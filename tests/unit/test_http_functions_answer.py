"""What a response of an endpoint means."""

import tracemalloc

import pytest

from iii_trio.builtins.http_functions._answer import result_of
from iii_trio.errors import FunctionFailedError


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, b'{"a": 1e400,  "b":[]}', b'{"a": 1e400,  "b":[]}'),
        (201, b"null", b"null"),
        (204, b"", b""),
        (200, b" \n", b""),
        (302, b'{"a":1}', b'{"a":1}'),
        (304, b"<html>", b""),
        (301, b"", b""),
        (101, b"", b""),
    ],
)
def test_results(status: int, body: bytes, result: bytes) -> None:
    assert result_of(status, "", body) == result


@pytest.mark.parametrize(
    ("status", "reason", "body", "code", "message"),
    [
        (400, "", b"", "http_error", "HTTP 400 Bad Request"),
        (400, "Nope", b"<html>", "http_error", "HTTP 400 Nope"),
        (599, "", b"[]", "http_error", "HTTP 599"),
        (500, "", b'{"error":"text"}', "http_error", "HTTP 500 Internal Server Error"),
        (500, "", b'{"error":{}}', "http_error", "HTTP request failed"),
        (422, "", b'{"error":{"code":"bad","message":"m"}}', "bad", "m"),
        (
            422,
            "",
            b'{"error":{"code":5,"message":[]}}',
            "http_error",
            "HTTP request failed",
        ),
        (500, "", b"\xff", "http_error", "HTTP 500 Internal Server Error"),
        (
            500,
            "",
            b'{"error":{"message":"m"}} x',
            "http_error",
            "HTTP 500 Internal Server Error",
        ),
        (500, "x" * 9000, b"", "http_error", "HTTP 500 " + "x" * 191),
    ],
)
def test_failures(
    status: int, reason: str, body: bytes, code: str, message: str
) -> None:
    with pytest.raises(FunctionFailedError) as caught:
        result_of(status, reason, body)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_the_rest_of_a_large_failure_is_not_built() -> None:
    """16 MiB of small lists would become 300 MiB of objects."""
    body = b'{"x":[%s[]],"error":{"code":"bad","message":"m"}}' % (b"[]," * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(FunctionFailedError, match="m"):
            result_of(500, "", body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(body)


@pytest.mark.parametrize(
    "body", [b"<html>", b"{", b'"\xff"', b"NaN", b"[" * 9000 + b"]" * 9000]
)
def test_a_success_has_to_be_json(body: bytes) -> None:
    with pytest.raises(FunctionFailedError, match="no JSON") as caught:
        result_of(200, "", body)
    assert caught.value.code == "invalid_response"
