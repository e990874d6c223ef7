"""The configuration of the stream worker. Pure; values are checked when it is made.

Where streams rest is not in it: whoever serves the worker hands it a store.
"""

from collections.abc import Callable
from typing import Any

import attrs

from iii_trio._listening import SocketLimitsConfig, TLSConfig


def _between(
    low: int, high: int
) -> Callable[[object, "attrs.Attribute[Any]", int], None]:
    def check(_config: object, field: "attrs.Attribute[Any]", value: int) -> None:
        if not low <= value <= high:
            raise ValueError(f"{field.name} must be {low} to {high}, not {value}")

    return check


@attrs.frozen(kw_only=True)
class StreamConfig:
    """Settings of the stream worker.

    Attributes:
        port: TCP port for subscribers; 0: any free one.
        host: address to bind; ``None``: loopback, IPv4 and IPv6.
        auth_function: called in namespace ``default`` for every new connection; what it
            gives as ``context`` is handed to the handlers of joins and leaves.
        handler_timeout: milliseconds that the auth function, each handler of a join or
            leave, and the snapshot of a custom provider may take.
        strict_auth: refuse unless asked handlers said yes; otherwise whatever is not a
            clear no lets a subscriber in, as in the reference engine.
        tls: certificates; ``None``: no TLS.
        limits: of one subscriber.
        handshake_timeout_ms: time to a complete handshake, TLS included.
    """

    port: int = attrs.field(default=3112, validator=_between(0, 65535))
    host: str | None = None
    auth_function: str | None = None
    handler_timeout: int = attrs.field(default=30_000, validator=_between(1, 3_600_000))
    strict_auth: bool = False
    tls: TLSConfig | None = None
    limits: SocketLimitsConfig = attrs.field(factory=SocketLimitsConfig)
    handshake_timeout_ms: int = attrs.field(
        default=10_000, validator=_between(1, 600_000)
    )

    @property
    def timeout(self) -> float:
        """``handler_timeout`` in seconds."""
        return self.handler_timeout / 1000

    @property
    def address(self) -> tuple[str | None, int]:
        """Host and port as they were asked for."""
        return (self.host, self.port)
