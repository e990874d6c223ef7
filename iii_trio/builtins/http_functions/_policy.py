"""Which URLs may be requested, and which addresses connected to. Pure.

A URL is read once: what is judged here is what is connected to and what the ``Host``
header and TLS name. An address is judged by `is_blocked` after the name was resolved.
"""

import ipaddress
import re
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

import attrs

from iii_trio.builtins.http_functions._config import SecurityConfig

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_LABEL: Final = re.compile("[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile("0x[0-9a-f]*|[0-9]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# Listed by hand: Python's `is_private` draws other lines in every version.
_BLOCKED_V4: Final = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host; 0.0.0.0 connects to loopback
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' own networks
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local: metadata services of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation, as the next two but one
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, with broadcast
    )
]
_BLOCKED_V6: Final = [
    ipaddress.IPv6Network(network)
    for network in (
        "::/128",
        "::1/128",
        "64:ff9b:1::/48",  # local translation to IPv4
        "100::/64",  # discarded
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation, as the next one
        "3fff::/20",
        "5f00::/16",  # segment routing
        "fc00::/7",  # unique local
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
    )
]
_HOLDS_V4: Final = [
    # Networks of IPv6 that reach an address of IPv4, and where in them it is (bits).
    (ipaddress.IPv6Network(network), shift)
    for network, shift in (
        ("::ffff:0:0/96", 0),  # mapped
        ("::ffff:0:0:0/96", 0),  # translated
        ("::/96", 0),  # compatible
        ("64:ff9b::/96", 0),  # NAT64
        ("2002::/16", 80),  # 6to4
    )
]


class URLRefusedError(Exception):
    """A URL may not be requested; the text is that of the reference engine."""


@attrs.frozen
class Target:
    """A URL, read.

    Attributes:
        scheme: ``http`` or ``https``.
        host: a name in lower case, or an address in its usual form.
        path: with the query; ASCII.
        address: of the host, if that is one.
    """

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None = None

    @property
    def authority(self) -> str:
        """The ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return host
        return f"{host}:{self.port}"


def read_url(url: str) -> Target:
    """Read a URL.

    Raises:
        URLRefusedError: it is none, or it holds a user name or password.
    """
    if not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
        raise _invalid()
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid() from None
    scheme = parts.scheme
    if scheme not in _DEFAULT_PORTS or "@" in parts.netloc or port == 0:
        raise _invalid()
    host, address = _read_host(parts)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        scheme=scheme,
        host=host,
        port=port or _DEFAULT_PORTS[scheme],
        path=quote(path, safe=_VISIBLE),
        address=address,
    )


def check_target(target: Target, security: SecurityConfig) -> None:
    """Judge a URL by everything that shows without resolving a name.

    Raises:
        URLRefusedError: it may not be requested.
    """
    if security.require_https and target.scheme != "https":
        raise URLRefusedError("HTTPS is required")
    allowed = security.url_allowlist
    if allowed and not any(fnmatchcase(target.host, one.lower()) for one in allowed):
        raise URLRefusedError("URL not in allowlist")
    if target.address is not None:
        check_address(target.address, security)


def check_address(address: Address, security: SecurityConfig) -> None:
    """Judge an address that is to be connected to.

    Raises:
        URLRefusedError: it is private, and such are blocked.
    """
    if security.block_private_ips and is_blocked(address):
        raise URLRefusedError("Private IP blocked")


def is_blocked(address: Address) -> bool:
    """Tell whether an address is anything but a public one.

    An address of IPv6 that reaches one of IPv4 is judged as that.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return any(address in network for network in _BLOCKED_V4)
    if any(address in network for network in _BLOCKED_V6):
        return True
    return any(
        is_blocked(ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF))
        for network, shift in _HOLDS_V4
        if address in network
    )


def _invalid() -> URLRefusedError:
    return URLRefusedError("Invalid URL")


def _read_host(parts: SplitResult) -> tuple[str, Address | None]:
    host = parts.hostname
    if not host:
        raise _invalid()
    if parts.netloc.startswith("["):
        try:
            v6 = ipaddress.IPv6Address(host)
        except ValueError:
            raise _invalid() from None
        if v6.scope_id is not None:
            raise _invalid()
        return str(v6), v6
    try:
        # Folds what only looks like ASCII, such as full-width digits, into it.
        host = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise _invalid() from None
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        v4 = _read_ipv4(labels)
        return str(v4), v4
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise _invalid()
    return host, None


def _read_ipv4(labels: list[str]) -> ipaddress.IPv4Address:
    """Read an address as resolvers do: 1 to 4 numbers, decimal, octal or hexadecimal.

    The last number fills all bytes that are left: ``127.1`` is 127.0.0.1.
    """
    if len(labels) > 4 or not all(map(_NUMBER.fullmatch, labels)):
        raise _invalid()
    try:
        *first, last = map(_read_number, labels)
        value = last
        for index, number in enumerate(first):
            if number > 255:
                raise _invalid()
            value += number << 8 * (3 - index)
        if last >= 1 << 8 * (5 - len(labels)):
            raise _invalid()
        return ipaddress.IPv4Address(value)
    except ValueError:
        raise _invalid() from None


def _read_number(text: str) -> int:
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)
