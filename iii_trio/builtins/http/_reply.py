"""From what a handler or middleware returned to a response, and the error envelope (pure).

A result stays JSON text wherever it can: the parts of a response object are cut out of it
without decoding the body. Source: the http trigger, buffered responses and errors.
"""

import logging
import re
from typing import Any, Final

import attrs
import msgspec

logger = logging.getLogger(__name__)

Headers = list[tuple[str, str]]

JSON_TYPE: Final = ("content-type", "application/json")

BODILESS: Final = frozenset({204, 304})
"""Statuses without a body (RFC 9110, 15.3.5 and 15.4.5)."""

_FRAMING: Final = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_USABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_ABSENT: Final = msgspec.Raw()
_EMPTY_OBJECT: Final = b"{}"


class UnusableResultError(Exception):
    """A result that cannot become a response; the client gets a 500."""


@attrs.define
class Reply:
    """A complete response. Header names are in lower case."""

    status: int
    headers: Headers
    body: bytes


class _ResponseObject(msgspec.Struct, gc=False):
    """The keys that make an object a response; anything else in it is ignored."""

    status_code: msgspec.Raw = _ABSENT
    statusCode: msgspec.Raw = _ABSENT  # noqa: N815 - as Python SDKs spell it
    headers: msgspec.Raw = _ABSENT
    body: msgspec.Raw = _ABSENT


class _MiddlewareResult(msgspec.Struct, gc=False):
    action: msgspec.Raw = _ABSENT
    response: msgspec.Raw = _ABSENT


_response_object: Final = msgspec.json.Decoder(_ResponseObject)
_middleware_result: Final = msgspec.json.Decoder(_MiddlewareResult)
_encode: Final = msgspec.json.Encoder().encode


def _compact(text: bytes) -> bytes:
    """Take insignificant whitespace out of JSON text."""
    if not (b" " in text or b"\n" in text or b"\t" in text or b"\r" in text):
        return text  # faster than a search for any of them
    try:
        return msgspec.json.format(text, indent=-1)
    except RecursionError:
        return text


def _read(raw: msgspec.Raw) -> Any:  # noqa: ANN401 - JSON
    """Decode a small part; what cannot be decoded counts as null."""
    try:
        return msgspec.json.decode(raw) if bytes(raw) else None
    except _NOT_USABLE:
        return None


def read_status(raw: msgspec.Raw) -> int:
    """Read a status code: an integer of 200 to 599; anything else is 200.

    Raises:
        UnusableResultError: 1xx, which is no final status.
    """
    text = bytes(raw)
    if not text or text == b"null":
        return 200
    status = int(text) if text.isdigit() and len(text) <= 3 else 0
    if 100 <= status < 200:
        msg = f"status code {status} is not a final one"
        raise UnusableResultError(msg)
    if not 200 <= status < 600:
        shown = text.decode(errors="replace")
        logger.warning("status code %.40r is not one; 200 is sent", shown)
        return 200
    return status


def clean_header(name: str, value: str) -> tuple[str, str] | None:
    """Make a header fit to be sent: name in lower case, value as Latin-1 of its UTF-8.

    ``None`` for what cannot be sent, and for framing headers, which are the server's.
    """
    name = name.lower()
    if _TOKEN.fullmatch(name) is None or _CONTROL.search(value) is not None:
        return None
    if name in _FRAMING:
        logger.warning("header %s of a handler is dropped: framing is ours", name)
        return None
    if not value.isascii():
        value = value.encode("utf-8").decode("latin-1")
    return name, value.strip(" \t")


def _pairs(found: object) -> list[tuple[str, str]]:
    """Give names and values of headers in either form, whatever else is in there."""
    if isinstance(found, dict):
        return [(n, v) for n, v in found.items() if isinstance(v, str)]
    if isinstance(found, list):
        lines = [line.partition(":") for line in found if isinstance(line, str)]
        return [(name.strip(), value) for name, colon, value in lines if colon]
    return []


def _encode_body(body: bytes, *, typed: bool) -> bytes:
    """Make the bytes of a body; ``typed``: the handler set a content type."""
    if typed and body == b"null":
        return b""
    if typed and body.startswith(b'"'):
        return msgspec.json.decode(body, type=str).encode("utf-8")
    return _compact(body)


def json_reply(body: bytes, status: int = 200) -> Reply:
    """Make a response of JSON text."""
    return Reply(status, [JSON_TYPE], _compact(body))


def reply_from_result(result: bytes) -> Reply | None:
    """Make the response of a handler's result, ``None`` if it gave none.

    Args:
        result: JSON text, ``b""`` for no result.

    Returns:
        An object with ``status_code``, ``headers`` or ``body`` is a response; any other
        value but null is the JSON body of a 200.

    Raises:
        UnusableResultError: a status of 1xx, or text that is no usable JSON.
    """
    text = result.strip(b" \t\r\n")
    if not text or text == b"null":
        return None
    try:
        return _reply_from(text)
    except _NOT_USABLE as exc:  # a handler here may give text that nobody has checked
        msg = f"the result is no usable JSON: {exc}"
        raise UnusableResultError(msg) from exc


def _reply_from(text: bytes) -> Reply:
    if not text.startswith(b"{"):
        return json_reply(text)
    found = _response_object.decode(text)
    status, alias = bytes(found.status_code), bytes(found.statusCode)
    headers, body = bytes(found.headers), bytes(found.body)
    if not (status or alias or headers or body):
        return json_reply(text)
    code = read_status(found.status_code if status else found.statusCode)
    return _response(code, _pairs(_read(found.headers)), body or _EMPTY_OBJECT)


def _response(status: int, pairs: list[tuple[str, str]], body: bytes) -> Reply:
    typed = any(name.lower() == "content-type" for name, _ in pairs)
    headers = [h for name, value in pairs if (h := clean_header(name, value))]
    if status in BODILESS:
        return Reply(status, headers, b"")
    if not typed:
        headers.append(JSON_TYPE)
    return Reply(status, headers, _encode_body(body, typed=typed))


def reply_from_middleware(function_id: str, result: bytes) -> Reply | None:
    """Read a middleware's result: the response it wants sent, ``None`` to continue.

    Whatever is not understood counts as ``continue``, with a warning.

    Raises:
        UnusableResultError: it responds with a status of 1xx.
    """
    try:
        found = _middleware_result.decode(result)
    except (msgspec.MsgspecError, RecursionError):
        found = _MiddlewareResult()
    action = _read(found.action)
    if action == "respond":
        return _middleware_response(bytes(found.response))
    if action != "continue":
        logger.warning(
            "middleware %s gave no action that is known; the request goes on",
            function_id,
        )
    return None


def _middleware_response(response: bytes) -> Reply:
    found = _ResponseObject()
    if response.startswith(b"{"):
        found = _response_object.decode(response)
    pairs = _read(found.headers)
    headers: Headers = []
    if isinstance(pairs, dict) and all(isinstance(v, str) for v in pairs.values()):
        headers = [h for name, v in pairs.items() if (h := clean_header(name, v))]
    status = read_status(found.status_code)
    if status in BODILESS:
        return Reply(status, headers, b"")
    if not any(name == "content-type" for name, _ in headers):
        headers.append(JSON_TYPE)
    return Reply(status, headers, _compact(bytes(found.body) or b"null"))


def error_reply(
    status: int, code: str, message: str, error_id: str | None = None
) -> Reply:
    """Make a response with the error envelope."""
    error = {"code": code, "message": message}
    if error_id is not None:
        error["error_id"] = error_id
    return Reply(status, [JSON_TYPE], _encode({"error": error}))


def condition_reply() -> Reply:
    """Make the response to a request that its condition refused."""
    error = {"code": "CONDITION_NOT_MET", "message": "Request condition not met"}
    return Reply(422, [JSON_TYPE], _encode({"error": error, "skipped": True}))


def error_id_at(now: float) -> str:
    """Make an error id: the clock's nanoseconds, cut to 48 bits, in hex.

    Args:
        now: seconds since the epoch.
    """
    return f"{int(now * 1e9) & 0xFFFF_FFFF_FFFF:x}"


@attrs.define(eq=False)
class StreamHead:
    """Status and headers of a streamed response, as its text frames set them."""

    status: int = 200
    _headers: dict[str, str] = attrs.field(factory=dict)

    @property
    def headers(self) -> Headers:
        """The headers so far."""
        return list(self._headers.items())

    def apply(self, frame: str) -> None:
        """Take a control frame; what is not understood is ignored."""
        try:
            message = msgspec.json.decode(frame)
        except (msgspec.MsgspecError, RecursionError):
            return
        if not isinstance(message, dict):
            return
        if message.get("type") == "set_status":
            status = message.get("status_code")
            if type(status) is int and 200 <= status < 600:
                self.status = status
        elif message.get("type") == "set_headers":
            found = message.get("headers")
            if isinstance(found, dict):
                cleaned = (clean_header(n, v) for n, v in _pairs(found))
                self._headers.update(header for header in cleaned if header)
