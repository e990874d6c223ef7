"""The configuration of the http worker: one frozen class a level, units converted here.

Keys and defaults are those of the reference, except that only loopback is bound when no
host is given. ``body_limit`` and ``limits`` are ours. What is wrong raises ``ValueError``
from the class itself, so that whoever structures it can name the path.
"""

from collections.abc import Callable
from typing import Any, Final

import attrs

from iii_trio._listening import LimitsConfig, TLSConfig

PRE_HANDLER: Final = "preHandler"
"""The only phase of global middleware that exists."""


def _between(
    low: float, high: float
) -> Callable[[object, "attrs.Attribute[Any]", Any], None]:
    def check(_instance: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:  # noqa: ANN401
        if not low <= value <= high:
            msg = f"{attribute.name} must be between {low} and {high}, not {value}"
            raise ValueError(msg)

    return check


def _at_least_one(limit: int) -> int:
    return max(limit, 1)


@attrs.frozen(kw_only=True)
class CORSConfig:
    """What browsers of other origins may do.

    Attributes:
        allowed_origins: origins that are echoed; empty or with ``*``: every origin.
        allowed_methods: methods named to preflights; empty: ``*``.
    """

    allowed_origins: tuple[str, ...] = ()
    allowed_methods: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class MiddlewareConfig:
    """One global middleware.

    Attributes:
        function_id: called in the namespace of each route's trigger.
        phase: entries of another phase than ``preHandler`` are skipped.
        priority: lower runs earlier; equal ones in the order given.
    """

    function_id: str
    phase: str = PRE_HANDLER
    priority: int = 0


@attrs.frozen(kw_only=True)
class HTTPConfig:
    """The configuration of the http worker.

    Attributes:
        port: TCP port; 0: any free one.
        host: address to bind; ``None``: loopback, IPv4 and IPv6.
        default_timeout: milliseconds until a response head must be there, else 504.
        concurrency_request_limit: requests that run at once; as many again wait, more
            are answered 503. 0 is taken as 1.
        cors: ``None``: every origin may do everything.
        middleware: global middleware, see `global_middleware`.
        body_limit: largest body that is held in memory, in bytes; 413 above. A body that
            is streamed to its handler is not limited.
        limits: of one client; bounds of the request head.
        handshake_timeout_ms: time to a first request, TLS included.
        tls: certificates; ``None``: no TLS.
    """

    port: int = attrs.field(default=3111, validator=_between(0, 65535))
    host: str | None = None
    default_timeout: float = attrs.field(
        default=30_000, validator=_between(1, 7 * 24 * 3600 * 1000)
    )
    concurrency_request_limit: int = attrs.field(default=1024, converter=_at_least_one)
    cors: CORSConfig | None = None
    middleware: tuple[MiddlewareConfig, ...] = ()
    body_limit: int = attrs.field(
        default=16 * 1024 * 1024, validator=_between(0, 2**40)
    )
    limits: LimitsConfig = attrs.field(factory=LimitsConfig)
    handshake_timeout_ms: int = attrs.field(
        default=10_000, validator=_between(1, 600_000)
    )
    tls: TLSConfig | None = None

    @property
    def timeout(self) -> float:
        """``default_timeout`` in seconds."""
        return self.default_timeout / 1000

    @property
    def address(self) -> tuple[str | None, int]:
        """Host and port as they were asked for."""
        return (self.host, self.port)

    @property
    def global_middleware(self) -> tuple[str, ...]:
        """Function ids of the global middleware that runs, in the order it runs."""
        entries = [entry for entry in self.middleware if entry.phase == PRE_HANDLER]
        entries.sort(key=lambda entry: entry.priority)
        return tuple(entry.function_id for entry in entries)
