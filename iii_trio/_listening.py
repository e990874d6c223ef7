"""What every entry that listens may set, and what all workers together may take.

Pure: nothing is read or opened here, only the values themselves are checked, so that
whoever structures them can name the path.
"""

from typing import Any, Final

import attrs

__all__ = ["EngineLimits", "LimitsConfig", "SocketLimitsConfig", "TLSConfig"]

_ASKED: Final = ("required", "optional")
_VERSIONS: Final = ("1.2", "1.3")


def _one_of(*words: str) -> Any:  # noqa: ANN401 - an attrs validator
    def check(_config: object, field: "attrs.Attribute[str]", value: str) -> None:
        if value not in words:
            known = " or ".join(map(repr, words))
            raise ValueError(f"{field.name} must be {known}, not {value!r}")

    return check


def _between(low: int, high: int, *, off: bool = False) -> Any:  # noqa: ANN401 - see above
    def check(_config: object, field: "attrs.Attribute[int]", value: int) -> None:
        if not low <= value <= high and not (off and value == 0):
            zero = ", or 0 for no limit" if off else ""
            msg = f"{field.name} must be {low} to {high}{zero}, not {value}"
            raise ValueError(msg)

    return check


@attrs.frozen(kw_only=True)
class EngineLimits:
    """The ``limits`` block of a configuration: what workers on links may take.

    Attributes:
        registrations_per_worker: functions, as many trigger types, and as many triggers.
            One that is large counts as several: one more for each 4 KiB.
        pending_calls_per_worker: calls that it made, and void calls that it was given,
            without an answer so far.
        outboxes_bytes: waiting for all peers together that do not read. Above it, calls
            to those that are behind are refused, and whoever has more than an equal
            share is dropped.
        json_depth: how deep arrays and objects of one message may nest, counted from
            the message itself; 0: what Python's recursion limit gives, about 1,000.
        channels_per_worker: open channels that it made.
        channels_bytes: in the buffers of all channels together. Above it each channel
            holds one frame only, so that none stands still because of others.
        channels_take_within_ms: time after which a channel with an end that nobody took
            is removed.
    """

    registrations_per_worker: int = attrs.field(
        default=20_000, validator=_between(1, 2**31)
    )
    pending_calls_per_worker: int = attrs.field(
        default=100_000, validator=_between(1, 2**31)
    )
    outboxes_bytes: int = attrs.field(
        default=512 * 2**20, validator=_between(2**20, 2**50)
    )
    json_depth: int = attrs.field(default=0, validator=_between(8, 100_000, off=True))
    channels_per_worker: int = attrs.field(default=1000, validator=_between(1, 2**31))
    channels_bytes: int = attrs.field(
        default=256 * 2**20, validator=_between(2**16, 2**50)
    )
    channels_take_within_ms: int = attrs.field(
        default=300_000, validator=_between(100, 86_400_000)
    )


@attrs.frozen(kw_only=True)
class LimitsConfig:
    """The ``limits`` block of an entry that listens: what one client may cost.

    Attributes:
        head_bytes: request line and header fields together, in bytes; 431 above.
        head_fields: number of header fields; 431 above.
        target_bytes: the request target, in bytes; 414 above.
        connections_per_address: open at once, of one IPv4 address or IPv6 /64; more are
            closed as soon as they are accepted. 0: no limit.
    """

    head_bytes: int = attrs.field(default=64 * 1024, validator=_between(1024, 2**30))
    head_fields: int = attrs.field(default=100, validator=_between(1, 10_000))
    target_bytes: int = attrs.field(default=8 * 1024, validator=_between(64, 2**30))
    connections_per_address: int = attrs.field(
        default=10_000, validator=_between(1, 2**31, off=True)
    )


@attrs.frozen(kw_only=True)
class SocketLimitsConfig(LimitsConfig):
    """The same where clients hold WebSockets.

    Attributes:
        messages_per_second: of one WebSocket; one that sends more is read less often, so
            that its sender has to wait. 0: no limit.
        bytes_per_second: see ``messages_per_second``.
    """

    messages_per_second: int = attrs.field(
        default=0, validator=_between(1, 2**31, off=True)
    )
    bytes_per_second: int = attrs.field(
        default=0, validator=_between(1024, 2**40, off=True)
    )


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
    check_every_ms: int = attrs.field(
        default=10_000, validator=_between(10, 86_400_000)
    )

    def __attrs_post_init__(self) -> None:
        for path in self.files:
            if "\0" in path:
                raise ValueError("a path with a NUL character names no file")

    @property
    def check_every(self) -> float:
        """In seconds."""
        return self.check_every_ms / 1000

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is named."""
        named = (self.certificate, self.key, self.client_ca)
        return tuple(path for path in named if path is not None)
