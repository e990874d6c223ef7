"""What a response means. Pure."""

from http import HTTPStatus
from typing import Final, TypeVar

import msgspec

from iii_trio.errors import FunctionFailedError

STATUS_CHARACTERS: Final = 200
"""How much an error repeats of a status line."""

ReadT = TypeVar("ReadT")

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


class _Failure(msgspec.Struct):
    """The body of a failure. The rest of it is passed over, not built: it may be large."""

    error: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct):
    code: msgspec.Raw = msgspec.Raw(b"null")
    message: msgspec.Raw = msgspec.Raw(b"null")


def _failure(status: int, reason: str, body: bytes) -> FunctionFailedError:
    failure = _read(body, _Failure)
    error = None if failure is None else _read(failure.error, _Error)
    if error is not None:
        return FunctionFailedError(
            _read(error.message, str) or "HTTP request failed",
            code=_read(error.code, str) or "http_error",
        )
    text = f"HTTP {status} {reason or _phrase(status)}".rstrip()
    return FunctionFailedError(text[:STATUS_CHARACTERS], code="http_error")


def _read(data: bytes | msgspec.Raw, kind: type[ReadT]) -> ReadT | None:
    try:
        return msgspec.json.decode(data, type=kind)
    except _BAD_JSON:
        return None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
