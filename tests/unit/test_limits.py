"""Limits of what one client may cost: rates, addresses, settings."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.net import HTTPLimits, LimitsConfig, SocketLimitsConfig, limits_of
from iii_trio.net._addresses import client_of
from iii_trio.net._token_bucket import TokenBucket


def test_a_full_bucket_gives_what_a_second_brings() -> None:
    bucket = TokenBucket(10, now=100.0)
    assert bucket.take(10, now=100.0) == 0
    assert bucket.take(5, now=100.0) == 0.5
    assert bucket.take(5, now=100.5) == 0.5
    assert bucket.take(0, now=101.5) == 0


def test_a_bucket_holds_no_more_than_a_second_brings() -> None:
    bucket = TokenBucket(10, now=0.0)
    assert bucket.take(20, now=1000.0) == 1.0


def test_a_bucket_without_a_limit_never_asks_to_wait() -> None:
    bucket = TokenBucket(math.inf, now=0.0)
    assert [bucket.take(2**40, now=0.0) for _ in range(100)] == [0.0] * 100


@given(
    rate=st.integers(1, 1000),
    steps=st.lists(
        st.tuples(st.floats(0, 10, allow_nan=False), st.integers(0, 5000)), max_size=30
    ),
)
def test_who_waits_as_told_never_gets_more_than_the_rate(
    rate: int, steps: list[tuple[float, int]]
) -> None:
    """Over any time: at most one second's worth more, and the last amount taken."""
    bucket = TokenBucket(rate, now=0.0)
    now, total = 0.0, 0
    for pause, amount in steps:
        now += pause
        assert total <= rate * (now + 1) + 1e-6
        now += bucket.take(amount, now)
        total += amount


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_a_client_is_an_address_or_a_network_of_ipv6(host: str, client: str) -> None:
    assert client_of(host) == client


def test_zero_is_no_limit_and_defaults_throttle_nobody() -> None:
    assert limits_of(LimitsConfig(), handshake_timeout=1.5) == HTTPLimits(
        handshake_timeout=1.5, connections_per_address=10_000
    )
    off = SocketLimitsConfig(connections_per_address=0)
    assert limits_of(off, handshake_timeout=10.0) == HTTPLimits()
    assert not HTTPLimits().throttles


def test_every_setting_takes_effect() -> None:
    config = SocketLimitsConfig(
        head_bytes=2000,
        head_fields=3,
        target_bytes=64,
        connections_per_address=5,
        messages_per_second=6,
        bytes_per_second=7000,
    )
    limits = limits_of(config, handshake_timeout=8.0)
    assert limits == HTTPLimits(
        head_bytes=2000,
        head_fields=3,
        target_bytes=64,
        handshake_timeout=8.0,
        connections_per_address=5,
        messages_per_second=6,
        bytes_per_second=7000,
    )
    assert limits.throttles


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"head_bytes": 10}, "head_bytes must be 1024 to"),
        ({"connections_per_address": -1}, "or 0 for no limit, not -1"),
        ({"bytes_per_second": 1}, "bytes_per_second must be 1024 to"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(
    setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SocketLimitsConfig(**setting)
