"""What the auth function is told of a connection: the facts of its handshake."""

from collections.abc import Iterable, Mapping
from typing import Any, Self, final

import attrs
import msgspec


@final
@attrs.frozen(kw_only=True)
class ConnectRequest:
    """The facts of one handshake. They hold secrets, so they do not show in ``repr``.

    Attributes:
        headers: lower-case names; of a repeated header the last value.
        query_params: every value of a key, raw: not percent-decoded.
        ip_address: of the peer.
        peer_certificate: what a client certificate says, verified; ``None`` without one.
    """

    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    query_params: Mapping[str, list[str]] = attrs.field(factory=dict, repr=False)
    ip_address: str = ""
    peer_certificate: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls,
        headers: Iterable[tuple[str, str]],
        query: str,
        ip_address: str,
        peer_certificate: Mapping[str, Any] | None = None,
    ) -> Self:
        """Gather the facts; headers that are not visible ASCII are left out.

        Args:
            headers: lower-case names and values, in the order they came.
            query: what follows the ``?``, raw.
            ip_address: of the peer.
            peer_certificate: see the class.
        """
        parameters: dict[str, list[str]] = {}
        for part in filter(None, query.split("&")):
            key, _, value = part.partition("=")
            parameters.setdefault(key, []).append(value)
        return cls(
            headers={name: value for name, value in headers if _is_text(value)},
            query_params=parameters,
            ip_address=ip_address,
            peer_certificate=peer_certificate,
        )

    def as_payload(self) -> bytes:
        """JSON text for the auth function."""
        fields: dict[str, Any] = {
            "headers": self.headers,
            "query_params": self.query_params,
            "ip_address": self.ip_address,
        }
        if self.peer_certificate is not None:
            fields["peer_certificate"] = self.peer_certificate
        return msgspec.json.encode(fields)


def _is_text(value: str) -> bool:
    return value.isascii() and (
        value.isprintable() or value.replace("\t", "").isprintable()
    )
