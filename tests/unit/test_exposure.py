"""Which listeners are worth a warning."""

import attrs
import pytest

from iii_trio.app._config import ListenerConfig
from iii_trio.app._exposure import exposure
from iii_trio.builtins.http import HTTPConfig
from iii_trio.builtins.stream import StreamConfig
from iii_trio.net import TLSConfig

TLS = TLSConfig(certificate="server.pem")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_needs_no_warning(host: str) -> None:
    config = ListenerConfig()
    address = (host, 49134)
    assert exposure("x", "iii-worker-manager", config, [address]) is None


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("0.0.0.0", "0.0.0.0:1"),
        ("::", "[::]:1"),
        ("192.0.2.1", "192.0.2.1:1"),
        ("fe80::1%eth0", "[fe80::1%eth0]:1"),
    ],
)
def test_an_address_that_others_reach_is_named(host: str, shown: str) -> None:
    said = exposure("iii-http", "iii-http", HTTPConfig(), [("127.0.0.1", 1), (host, 1)])
    assert said is not None
    assert said.startswith(f"iii-http listens on {shown}, WHERE OTHERS CAN REACH IT")
    assert "tls block" in said
    assert "middleware" in said


def test_tls_or_rules_are_enough() -> None:
    everywhere = [("0.0.0.0", 1)]
    stream = StreamConfig()
    assert exposure("s", "iii-stream", stream, everywhere)
    for config in (StreamConfig(tls=TLS), StreamConfig(auth_function="my::auth")):
        assert exposure("s", "iii-stream", config, everywhere) is None


def test_a_host_s_own_worker_is_warned_of_too() -> None:
    @attrs.frozen
    class Other:
        port: int = 1

    said = exposure("mine", "mine", Other(), [("0.0.0.0", 1)])
    assert said is not None
    assert "rules of who may do what" in said
