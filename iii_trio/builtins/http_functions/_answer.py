"""What a response means. Pure."""

from http import HTTPStatus
from typing import Any

import msgspec

from iii_trio.errors import FunctionFailedError

_BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def result_of(status: int, reason: str, body: bytes) -> bytes:
    """The result of a response.

    Args:
        status: its code.
        reason: the text beside the code, ``""`` for the usual one.
        body: all of it.

    Returns:
        JSON text, unchanged; ``b""`` for no result.

    Raises:
        FunctionFailedError: with the code that the reference engine has for it, or the
            one that the endpoint gave.
    """
    if status >= 400:
        raise _failure(status, reason, body)
    if _is_json(body):
        return body
    if 200 <= status < 300 and body.strip():
        raise FunctionFailedError(
            f"the endpoint answered {status} with a body that is no JSON",
            code="invalid_response",
        )
    return b""


def _is_json(body: bytes) -> bool:
    try:
        # Checks the syntax, not the encoding.
        msgspec.json.decode(body, type=msgspec.Raw)
        body.decode()
    except _BAD_JSON:
        return False
    return True


def _failure(status: int, reason: str, body: bytes) -> FunctionFailedError:
    try:
        value: Any = msgspec.json.decode(body)
    except _BAD_JSON:
        value = None
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, dict):
        code, message = error.get("code"), error.get("message")
        return FunctionFailedError(
            message if isinstance(message, str) else "HTTP request failed",
            code=code if isinstance(code, str) else "http_error",
        )
    return FunctionFailedError(
        f"HTTP {status} {reason or _phrase(status)}".rstrip(), code="http_error"
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
