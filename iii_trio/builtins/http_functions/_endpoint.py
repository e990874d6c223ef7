"""What a registration's ``invocation`` says, and the requests that follow from it. Pure.

Secrets are read here once, at registration. They are in no text and no ``repr``.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal
from urllib.parse import quote

import attrs
import msgspec

from iii_trio.builtins.http_functions._config import SecurityConfig
from iii_trio.builtins.http_functions._policy import (
    Target,
    URLRefusedError,
    check_target,
    read_url,
)
from iii_trio.errors import RegistrationError

DEFAULT_TIMEOUT_MS: Final = 30_000

Header = tuple[str, str]

_NAME: Final = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile("[\t\x20-\x7e]*")
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_OURS: Final = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "proxy-connection",
        "x-iii-function-path",
        "x-iii-invocation-id",
        "x-iii-timestamp",
        "x-iii-signature",
    }
)
"""Headers that say how a request is sent, or what the engine vouches for."""


class Bearer(msgspec.Struct, tag="bearer", tag_field="type", frozen=True):
    """``Authorization: Bearer`` with the value of an environment variable."""

    token_key: str


class APIKey(msgspec.Struct, tag="api_key", tag_field="type", frozen=True):
    """A header with the value of an environment variable."""

    header: str
    value_key: str


class HMAC(msgspec.Struct, tag="hmac", tag_field="type", frozen=True):
    """A signature with the key that an environment variable holds."""

    secret_key: str


class _Invocation(msgspec.Struct, frozen=True):
    """The member ``invocation`` of a registration; errors of msgspec name no values."""

    url: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] | None = None
    timeout_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    headers: dict[str, str] | None = None
    auth: Bearer | APIKey | HMAC | None = None


@attrs.frozen(kw_only=True)
class Endpoint:
    """How a function is requested.

    Attributes:
        timeout: seconds for a whole request.
        headers: those that are the same in every request.
        key: what requests are signed with, ``None``: they are not.
    """

    function_id: str
    target: Target
    method: str
    timeout: float
    headers: tuple[Header, ...] = attrs.field(repr=False)
    key: bytes | None = attrs.field(repr=False)

    def request_headers(
        self, body: bytes, *, timestamp: int, invocation_id: str
    ) -> list[Header]:
        """All headers of one request.

        Args:
            body: what is sent.
            timestamp: seconds since 1970.
            invocation_id: a new UUID.
        """
        headers = [
            ("Host", self.target.authority),
            ("x-iii-Function-Path", quote(self.function_id, safe=_VISIBLE)),
            ("x-iii-Invocation-ID", invocation_id),
            ("x-iii-Timestamp", str(timestamp)),
            *self.headers,
        ]
        if self.key is not None:
            signature = sign(self.key, timestamp, body)
            headers.append(("x-iii-Signature", f"sha256={signature}"))
        headers.append(("Content-Length", str(len(body))))
        return headers


def sign(key: bytes, timestamp: int, body: bytes) -> str:
    """The HMAC-SHA256 of ``<timestamp>:<base64 of the body>``, in hexadecimal."""
    text = b"%d:%s" % (timestamp, base64.b64encode(body))
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def read_endpoint(
    function_id: str,
    invocation: object,
    security: SecurityConfig,
    environ: Mapping[str, str],
) -> Endpoint:
    """Read an ``invocation``, judge its URL and look its secrets up.

    Raises:
        RegistrationError: it cannot be read, may not be requested, or lacks a secret.
            No text holds a value of it.
    """
    try:
        given = msgspec.convert(invocation, _Invocation)
    except msgspec.ValidationError as exc:
        msg = f"its `invocation` does not fit: {exc}"
        raise RegistrationError(msg, code="invalid_invocation") from None
    try:
        target = read_url(given.url)
        check_target(target, security)
    except URLRefusedError as exc:
        raise RegistrationError(str(exc), code="url_validation_failed") from None
    headers = {"content-type": ("Content-Type", "application/json")}
    for name, value in (given.headers or {}).items():
        headers[name.lower()] = _header(name, value)
    key: bytes | None = None
    match given.auth:
        case Bearer(token_key=variable):
            token = _secret("token", variable, security, environ)
            headers["authorization"] = _header("Authorization", f"Bearer {token}")
        case APIKey(header=name, value_key=variable):
            value = _secret("api_key", variable, security, environ)
            headers[name.lower()] = _header(name, value)
        case HMAC(secret_key=variable):
            key = _secret("secret", variable, security, environ).encode()
        case _:
            assert given.auth is None
    timeout_ms = given.timeout_ms
    return Endpoint(
        function_id=function_id,
        target=target,
        method=given.method or "POST",
        timeout=(DEFAULT_TIMEOUT_MS if timeout_ms is None else timeout_ms) / 1000,
        headers=tuple(headers.values()),
        key=key,
    )


def _header(name: str, value: str) -> Header:
    if not _NAME.fullmatch(name):
        raise _misfit("a header's name is no token")
    if name.lower() in _OURS:
        raise _misfit(f"the header {name!r} is set by the engine")
    if not _VALUE.fullmatch(value):
        raise _misfit(f"the value of the header {name!r} is no printable ASCII")
    return name, value.strip()


def _misfit(text: str) -> RegistrationError:
    return RegistrationError(text, code="invalid_invocation")


_KINDS: Final = {"token": "Token", "api_key": "API key", "secret": "Secret"}


def _secret(
    kind: str, variable: str, security: SecurityConfig, environ: Mapping[str, str]
) -> str:
    names = security.secret_names
    if names and not any(fnmatchcase(variable, one) for one in names):
        msg = f"{_KINDS[kind]} {variable} is not in security.secret_names"
        raise RegistrationError(msg, code=f"{kind}_not_found")
    value = environ.get(variable, "")
    if not value:
        msg = f"{_KINDS[kind]} not found: {variable}"
        raise RegistrationError(msg, code=f"{kind}_not_found")
    return value
