"""Which URLs may be requested, and which addresses connected to."""

import ipaddress

import pytest

from iii_trio.builtins.http_functions._config import LimitsConfig, SecurityConfig
from iii_trio.builtins.http_functions._policy import (
    URLRefusedError,
    check_address,
    check_target,
    is_blocked,
    read_url,
)

OPEN = SecurityConfig(block_private_ips=False, require_https=False)


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("https://example.com", "example.com", "/"),
        ("HTTPS://Example.COM:443/a/b?c=d#e", "example.com", "/a/b?c=d"),
        ("http://example.com:80?x", "example.com", "/?x"),
        ("http://example.com:443/", "example.com:443", "/"),
        ("https://a_b.example.com:8443/%7Ex/ü", "a_b.example.com:8443", "/%7Ex/%C3%BC"),
        ("https://bücher.example/", "xn--bcher-kva.example", "/"),
        ("https://[2606:4700:0:0::1111]:81/", "[2606:4700::1111]:81", "/"),
        ("https://1.2.3.4/", "1.2.3.4", "/"),
        ("https://1.2.772/", "1.2.3.4", "/"),
        ("https://0x1020304/", "1.2.3.4", "/"),
        ("https://01.02.03.04/", "1.2.3.4", "/"),
    ],
)
def test_a_url_is_read_once_and_for_all(url: str, authority: str, path: str) -> None:
    target = read_url(url)
    assert (target.authority, target.path) == (authority, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://:443/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:x/",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://public.example@127.0.0.1/",
        "https://127.0.0.1\\@public.example/",
        "https://exa mple.com/",
        "https://example.com/a b",
        "https://example.com/\r\nx: y",
        "https://exam\tple.com/",
        "https://exa%6dple.com/",
        "https://example.com./",
        "https://-example.com/",
        "https://example..com/",
        "https://" + "a." * 130 + "com/",
        "https://" + "é" * 80 + ".com/",
        "https://[::1/",
        "https://[::1%25lo]/",
        "https://[::g]/",
        "https://[v1.a]/",
        "https://1.2.3.4.5/",
        "https://1.2.3.256/",
        "https://256.2.3.4/",
        "https://1.2.65536/",
        "https://4294967296/",
        "https://08.1.1.1/",
        "https://a.1/",
        "https://1.a.0x1/",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(URLRefusedError, match=r"^Invalid URL$"):
        read_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://017700000001/",
        "https://0x7f000001/",
        "https://0x7f.0.0.0x1/",
        "https://0177.0.0.1/",
        "https://0/",
        "https://0x/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[0:0:0:0:0:ffff:a9fe:a9fe]/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://127\u30020\u30020\u30021/",
    ],
)
def test_every_spelling_of_a_private_address_is_refused(url: str) -> None:
    target = read_url(url)
    with pytest.raises(URLRefusedError, match=r"^Private IP blocked$"):
        check_target(target, SecurityConfig())
    check_target(target, OPEN)


@pytest.mark.parametrize(
    ("address", "blocked"),
    [
        ("8.8.8.8", False),
        ("0.1.2.3", True),
        ("10.255.0.1", True),
        ("11.0.0.1", False),
        ("100.64.0.1", True),
        ("100.128.0.1", False),
        ("127.255.255.254", True),
        ("169.254.169.254", True),
        ("172.16.0.1", True),
        ("172.32.0.1", False),
        ("192.168.1.1", True),
        ("192.0.2.1", True),
        ("198.51.100.1", True),
        ("203.0.113.1", True),
        ("224.0.0.1", True),
        ("255.255.255.255", True),
        ("2606:4700::1111", False),
        ("::", True),
        ("::1", True),
        ("fc00::1", True),
        ("fd12::1", True),
        ("fe80::1", True),
        ("febf::1", True),
        ("ff02::1", True),
        ("2001:db8::1", True),
        ("2001::1", True),
        ("2001:2::1", True),
        ("2001:20::1", True),
        ("2001:200::1", False),
        ("5f00::1", True),
        ("::ffff:10.0.0.1", True),
        ("::ffff:8.8.8.8", False),
        ("::10.0.0.1", True),
        ("64:ff9b::10.0.0.1", True),
        ("64:ff9b::8.8.8.8", False),
        ("64:ff9b:1::8.8.8.8", True),
        ("2002:a00:1::", True),
        ("2002:808:808::", False),
        ("::ffff:0:10.0.0.1", True),
    ],
)
def test_addresses_that_are_not_public_are_blocked(address: str, blocked: bool) -> None:
    parsed = ipaddress.ip_address(address)
    assert is_blocked(parsed) is blocked
    check_address(parsed, OPEN)
    if blocked:
        with pytest.raises(URLRefusedError):
            check_address(parsed, SecurityConfig())
    else:
        check_address(parsed, SecurityConfig())


def test_plain_http_has_to_be_allowed() -> None:
    target = read_url("http://example.com/")
    with pytest.raises(URLRefusedError, match=r"^HTTPS is required$"):
        check_target(target, SecurityConfig())
    check_target(target, SecurityConfig(require_https=False))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("api.example.com", True),
        ("API.example.com", True),
        ("a.b.example.com", True),
        ("example.com", False),
        ("api.example.com.evil.com", False),
        ("1.1.1.1", True),
        ("0x01010101", True),
        ("1.1.1.2", False),
    ],
)
def test_the_allowlist_is_about_hosts(host: str, allowed: bool) -> None:
    security = SecurityConfig(url_allowlist=("*.Example.com", "1.1.1.1"))
    target = read_url(f"https://{host}/api.example.com")
    if allowed:
        check_target(target, security)
        return
    with pytest.raises(URLRefusedError, match=r"^URL not in allowlist$"):
        check_target(target, security)


def test_checks_come_in_the_order_of_the_reference() -> None:
    security = SecurityConfig(url_allowlist=("example.com",))
    with pytest.raises(URLRefusedError, match="HTTPS"):
        check_target(read_url("http://127.0.0.1/"), security)
    with pytest.raises(URLRefusedError, match="allowlist"):
        check_target(read_url("https://127.0.0.1/"), security)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_connections": 0},
        {"max_idle_connections": -1},
        {"idle_timeout_ms": 600_001},
        {"max_response_bytes": 0},
    ],
)
def test_limits_have_bounds(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        LimitsConfig(**limits)
