"""What entries that listen may set."""

from typing import Any

import pytest

from iii_trio.net import TLSConfig


def test_tls_needs_a_certificate_only() -> None:
    config = TLSConfig(certificate="server.pem")
    assert config.files == ("server.pem",)
    assert config.client_certificates == "required"
    assert config.minimum_version == "1.2"
    assert config.check_every == 10.0


def test_every_file_is_watched() -> None:
    config = TLSConfig(certificate="a.pem", key="a.key", client_ca="ca.pem")
    assert config.files == ("a.pem", "a.key", "ca.pem")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"client_certificates": "maybe"},
            "client_certificates must be 'required' or 'optional', not 'maybe'",
        ),
        ({"minimum_version": "1.1"}, "minimum_version must be '1.2' or '1.3'"),
        ({"check_every_ms": 9}, "check_every_ms must be 10 to 86400000, not 9"),
        ({"key": "a\0b"}, "a path with a NUL character names no file"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(
    setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TLSConfig(certificate="server.pem", **setting)
