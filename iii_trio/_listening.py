"""What every entry that listens may set.

Pure: nothing is read or opened here, only the values themselves are checked, so that
whoever structures them can name the path.
"""

from typing import Any, Final

import attrs

__all__ = ["TLSConfig"]

_ASKED: Final = ("required", "optional")
_VERSIONS: Final = ("1.2", "1.3")


def _one_of(*words: str) -> Any:  # noqa: ANN401 - an attrs validator
    def check(_config: object, field: "attrs.Attribute[str]", value: str) -> None:
        if value not in words:
            known = " or ".join(map(repr, words))
            raise ValueError(f"{field.name} must be {known}, not {value!r}")

    return check


@attrs.frozen(kw_only=True)
class TLSConfig:
    """The ``tls`` block of an entry that listens. Paths are those of PEM files.

    Attributes:
        certificate: the server's certificate, then those that lead to its authority.
        key: its private key, without a password; ``None``: in the file of the
            certificate.
        client_ca: authorities that sign certificates of clients; ``None`` asks for none.
        client_certificates: with ``client_ca``, whether a client without a certificate
            is turned away (``required``) or let in unnamed (``optional``).
        minimum_version: of the protocol, ``1.2`` or ``1.3``.
        check_every_ms: how often the files are looked at for renewed ones.
    """

    certificate: str
    key: str | None = None
    client_ca: str | None = None
    client_certificates: str = attrs.field(
        default="required", validator=_one_of(*_ASKED)
    )
    minimum_version: str = attrs.field(default="1.2", validator=_one_of(*_VERSIONS))
    check_every_ms: int = attrs.field(default=10_000)

    @check_every_ms.validator
    def _check_pause(self, _field: object, value: int) -> None:
        if not 10 <= value <= 86_400_000:
            msg = f"check_every_ms must be 10 to 86400000, not {value}"
            raise ValueError(msg)

    @property
    def check_every(self) -> float:
        """In seconds."""
        return self.check_every_ms / 1000

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is named."""
        named = (self.certificate, self.key, self.client_ca)
        return tuple(path for path in named if path is not None)
