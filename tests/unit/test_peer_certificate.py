"""Who a client is, read from what `ssl` says of its certificate."""

import json
from typing import Any

from iii_trio.net import PeerCertificate
from iii_trio.net._peer_certificate import read_certificate

PARSED: dict[str, Any] = {
    "subject": (
        (("countryName", "DE"),),
        (("organizationName", "Acme"), ("organizationalUnitName", "first")),
        (("organizationalUnitName", "last"),),
        (("commonName", "billing"),),
    ),
    "issuer": ((("commonName", "Acme CA"),),),
    "serialNumber": "0A1B",
    "notBefore": "Jan  5 09:34:43 2026 GMT",
    "notAfter": "Jan  5 09:34:43 2027 GMT",
    "subjectAltName": (
        ("DNS", "billing.test"),
        ("DNS", "*.billing.test"),
        ("URI", "spiffe://acme/billing"),
        ("email", "billing@acme.test"),
        ("IP Address", "10.1.2.3"),
        ("othername", "<unsupported>"),
    ),
}


def test_a_certificate_is_read_by_kind_of_name() -> None:
    read = read_certificate(PARSED, b"der")
    assert read == PeerCertificate(
        common_name="billing",
        subject={
            "countryName": "DE",
            "organizationName": "Acme",
            "organizationalUnitName": "last",
            "commonName": "billing",
        },
        issuer={"commonName": "Acme CA"},
        dns_names=("billing.test", "*.billing.test"),
        uris=("spiffe://acme/billing",),
        emails=("billing@acme.test",),
        ip_addresses=("10.1.2.3",),
        serial_number="0A1B",
        not_before=1767605683,
        not_after=1799141683,
        fingerprint_sha256=(
            "5050d80d22ecd471ea55df7034042c1e041341ff4066e7f6ff38e20b720df8ea"
        ),
    )


def test_a_certificate_without_names_has_none() -> None:
    bare = {key: PARSED[key] for key in ("serialNumber", "notBefore", "notAfter")}
    read = read_certificate(bare, b"der")
    assert read.common_name is None
    assert read.subject == {}
    assert read.dns_names == ()


def test_as_json_it_is_a_plain_object() -> None:
    told = read_certificate(PARSED, b"der").as_json()
    assert json.loads(json.dumps(told)) == told
    assert told["common_name"] == "billing"
    assert told["subject"]["organizationName"] == "Acme"
    assert told["dns_names"] == ["billing.test", "*.billing.test"]
