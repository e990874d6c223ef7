"""No spelling of a URL gets past the judge of addresses."""

import ipaddress
import socket

from hypothesis import given
from hypothesis import strategies as st

from iii_trio.builtins.http_functions._policy import (
    URLRefusedError,
    is_blocked,
    read_url,
)

numbers = st.integers(0, 2**32 + 2).flatmap(
    lambda n: st.sampled_from([str(n), hex(n), f"0{n:o}", f"{n:x}", f"0X{n:X}"])
)
spellings = st.lists(
    st.one_of(numbers, st.integers(0, 300).map(str)), min_size=1, max_size=5
).map(".".join)


def as_the_system_reads(host: str) -> str | None:
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


@given(spellings)
def test_numbers_are_read_as_the_system_reads_them(host: str) -> None:
    system = as_the_system_reads(host)
    try:
        target = read_url(f"https://{host}/")
    except URLRefusedError:
        # Refused is safe, but whatever the system takes we should understand.
        assert system is None
        return
    if target.address is None:
        assert system is None
    else:
        assert target.host == system


@given(st.ip_addresses())
def test_what_python_knows_as_not_public_is_blocked(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if address.is_loopback or address.is_link_local or address.is_multicast:
        assert is_blocked(address)
    if isinstance(address, ipaddress.IPv4Address) and address.is_private:
        assert is_blocked(address)


@given(st.ip_addresses(v=4))
def test_embedded_addresses_are_judged_as_what_they_reach(
    address: ipaddress.IPv4Address,
) -> None:
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    assert is_blocked(mapped) == is_blocked(address)
    assert read_url(f"https://[{mapped}]/").address == mapped


@given(st.text(max_size=40))
def test_any_text_is_either_read_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com/{text}"):
        try:
            target = read_url(url)
        except URLRefusedError:
            continue
        assert target.path.isascii()
        assert target.host.isascii()
        assert " " not in target.path
