"""Who a client is, by the certificate it proved to own. Pure."""

import hashlib
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

__all__ = ["PeerCertificate", "read_certificate"]


@attrs.frozen(kw_only=True)
class PeerCertificate:
    """A client's certificate, verified against the authorities of the listener.

    Attributes:
        common_name: of the subject, ``None`` without one.
        subject: attributes of the subject by name, such as ``organizationName``; of
            repeated ones the last.
        issuer: the same of the authority that signed it.
        dns_names: alternative names of the subject, by kind.
        uris: see ``dns_names``; a SPIFFE id is one.
        emails: see ``dns_names``.
        ip_addresses: see ``dns_names``.
        serial_number: hexadecimal.
        not_before: epoch seconds.
        not_after: epoch seconds.
        fingerprint_sha256: of the DER form, lower-case hexadecimal.
    """

    common_name: str | None
    subject: Mapping[str, str]
    issuer: Mapping[str, str]
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]
    emails: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    serial_number: str
    not_before: int
    not_after: int
    fingerprint_sha256: str

    def as_json(self) -> dict[str, Any]:
        """A JSON object with the attributes as members."""
        return attrs.asdict(self) | {
            name: list(getattr(self, name))
            for name in ("dns_names", "uris", "emails", "ip_addresses")
        }


def read_certificate(parsed: Mapping[str, Any], der: bytes) -> PeerCertificate:
    """Make one of what ``ssl`` gives.

    Args:
        parsed: as of ``getpeercert()``.
        der: as of ``getpeercert(True)``.
    """
    subject = _flat(parsed.get("subject", ()))
    alternatives = parsed.get("subjectAltName", ())
    return PeerCertificate(
        common_name=subject.get("commonName"),
        subject=subject,
        issuer=_flat(parsed.get("issuer", ())),
        dns_names=_of_kind("DNS", alternatives),
        uris=_of_kind("URI", alternatives),
        emails=_of_kind("email", alternatives),
        ip_addresses=_of_kind("IP Address", alternatives),
        serial_number=parsed["serialNumber"],
        not_before=ssl.cert_time_to_seconds(parsed["notBefore"]),
        not_after=ssl.cert_time_to_seconds(parsed["notAfter"]),
        fingerprint_sha256=hashlib.sha256(der).hexdigest(),
    )


def _flat(name: Iterable[Iterable[tuple[str, str]]]) -> dict[str, str]:
    return {key: value for relative in name for key, value in relative}


def _of_kind(kind: str, names: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(name for one, name in names if one == kind)
