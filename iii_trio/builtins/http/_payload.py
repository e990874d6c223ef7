"""What a handler, a condition and a middleware are given (pure).

Everything is JSON text from here on. A JSON body is checked and then passed as it came,
never decoded and encoded again. Source: the http trigger, payload and body rules.
"""

import math
import re
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from iii_trio.builtins.http._config import PRE_HANDLER
from iii_trio.protocol import ChannelRef

Headers = Iterable[tuple[str, str]]

MAX_DEPTH: Final = 127
"""Bodies nested deeper are null, as in the reference (serde_json's limit)."""

MAX_DIGITS: Final = 4300
"""Of an integer, with its sign; msgspec reads no longer ones."""

NULL: Final = msgspec.Raw(b"null")

_RAW: Final = msgspec.json.Decoder(msgspec.Raw)

# What may be a number too large for a double: an exponent from 100 on, or so many digits
# that one below suffices.
_HUGE: Final = re.compile(rb"[eE]\+?0*+[0-9]{3}|(?<![0-9])[0-9]{210}")
# The whole of such a number; it begins where no number goes on.
_HUGE_NUMBER: Final = re.compile(
    rb"(?<![0-9.eE+-])-?"
    rb"(?=[0-9]{210}|[0-9]++(?:\.[0-9]++)?[eE]\+?0*+[0-9]{3})"
    rb"[0-9]++(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
)
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_RUN: Final = re.compile(rb"(\[+)(\]*)")
_PASSES: Final = 8
_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


class _Origin(msgspec.Struct, frozen=True, gc=False):
    """The key ``trigger`` of the payload."""

    type: str
    path: str
    method: str


class _Head(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What comes before the body in the payload of a handler."""

    query_params: dict[str, str]
    path_params: dict[str, str]
    headers: dict[str, str]
    path: str
    method: str


class _Channels(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What comes at the end of the payload of a handler that gets channels."""

    request_body: ChannelRef
    response: ChannelRef


class _MiddlewareRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    path_params: dict[str, str]
    query_params: dict[str, str]
    headers: dict[str, str]
    method: str


class _MiddlewarePayload(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    phase: str
    request: _MiddlewareRequest
    context: dict[str, str]


_encode: Final = msgspec.json.Encoder().encode


def query_params(query: str) -> dict[str, str]:
    """Form-decode a raw query; of a repeated key the last value stays."""
    if not query:
        return {}
    return dict(parse_qsl(query, keep_blank_values=True, errors="replace"))


def header_map(headers: Headers) -> dict[str, str]:
    """Make the map of headers that handlers see.

    Of a repeated name the last value stays, but cookies are joined. A value that is not
    visible ASCII is ``""``.
    """
    found: dict[str, str] = {}
    for name, raw in headers:
        value = raw
        if not value.isascii() or not value.replace("\t", " ").isprintable():
            value = ""
        if name == "cookie" and name in found:
            value = f"{found[name]}; {value}"
        found[name] = value
    return found


def may_be_json(headers: Headers) -> bool:
    """Tell whether a body is read as JSON: its type says so, or is absent.

    The first content-type decides; ``application/json`` may stand anywhere in it, in
    lower case.
    """
    for name, value in headers:
        if name == "content-type":
            return "application/json" in value
    return True


def _is_too_deep(text: bytes) -> bool:
    """Tell whether valid JSON is nested deeper than `MAX_DEPTH`."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", text).translate(_TO_SQUARE, _NO_BRACKETS)
    # Every pass takes exactly the innermost level away. Then few runs are left to count.
    for _ in range(_PASSES):
        brackets = brackets.replace(b"[]", b"")
    depth = _PASSES
    for run in _RUN.finditer(brackets):
        depth += len(run[1])
        if depth > MAX_DEPTH:
            return True
        depth -= len(run[2])
    return False


def _has_no_value(text: bytes) -> bool:
    """Tell whether a number in valid JSON is none in Python.

    Nothing else is decoded: as values a body can take thirty times its size.
    """
    return any(
        len(number) > MAX_DIGITS
        if number.lstrip(b"-").isdigit()
        else math.isinf(float(number))
        for number in map(itemgetter(0), _HUGE_NUMBER.finditer(_STRING.sub(b"", text)))
    )


def parse_json_body(body: bytes) -> msgspec.Raw:
    """Check that a body is JSON and give its text, else `NULL`.

    Invalid UTF-8, a byte order mark, depth above `MAX_DEPTH`, numbers beyond a double and
    integers beyond `MAX_DIGITS` are invalid.
    """
    if not body:
        return NULL
    try:
        checked = _RAW.decode(body)
        if not body.isascii():
            str(body, "utf-8")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return NULL
    if _HUGE.search(body) and _has_no_value(body):
        return NULL
    return NULL if _is_too_deep(body) else checked


class PayloadFrame:
    """The payload of all requests with one head on one route, but for their bodies."""

    __slots__ = ("_after", "_before")

    def __init__(
        self,
        *,
        query: str,
        path_params: dict[str, str],
        headers: Headers,
        pattern: str,
        method: str,
    ) -> None:
        head = _Head(
            query_params=query_params(query),
            path_params=path_params,
            headers=header_map(headers),
            path=pattern,
            method=method,
        )
        self._before = _encode(head)[:-1] + b',"body":'
        self._after = b',"trigger":' + _encode(_Origin("http", pattern, method)) + b"}"

    def around(self, body: msgspec.Raw) -> bytes:
        """The payload with this body, as JSON text."""
        return b"%b%b%b" % (self._before, body, self._after)


def with_channels(
    payload: bytes, *, request_body: ChannelRef, response: ChannelRef
) -> bytes:
    """Give a payload of a `PayloadFrame` with its two channels."""
    channels = _encode(_Channels(request_body=request_body, response=response))
    return b"%b,%b" % (payload[:-1], channels[1:])


def encode_middleware_payload(
    *,
    query: str,
    path_params: Mapping[str, str],
    headers: Headers,
    method: str,
) -> bytes:
    """Give what a middleware is called with, as JSON text."""
    return _encode(
        _MiddlewarePayload(
            phase=PRE_HANDLER,
            request=_MiddlewareRequest(
                path_params=dict(path_params),
                query_params=query_params(query),
                headers=header_map(headers),
                method=method,
            ),
            context={},
        )
    )
