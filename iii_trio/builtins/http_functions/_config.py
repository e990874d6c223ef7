"""The configuration of the worker for HTTP-invoked functions. Pure.

``security`` is that of the reference engine; ``secret_names`` and ``limits`` are ours.
"""

from collections.abc import Callable
from typing import Any

import attrs


def _between(
    low: float, high: float
) -> Callable[[object, "attrs.Attribute[Any]", float], None]:
    def check(_config: object, field: "attrs.Attribute[Any]", value: float) -> None:
        if not low <= value <= high:
            raise ValueError(f"{field.name} must be {low:g} to {high:g}, not {value}")

    return check


@attrs.frozen(kw_only=True)
class SecurityConfig:
    """What may be requested.

    Attributes:
        url_allowlist: globs of hosts, such as ``*.example.com``; empty: every host.
        block_private_ips: refuse addresses that are not public.
        require_https: refuse plain HTTP.
        secret_names: globs of the environment variables that registrations may use;
            empty: every one.
    """

    url_allowlist: tuple[str, ...] = ()
    block_private_ips: bool = True
    require_https: bool = True
    secret_names: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class LimitsConfig:
    """Bounds of what the requests may use.

    Attributes:
        max_connections: requests at a time; further ones wait, within their timeout.
        max_idle_connections: those that are kept for further requests.
        idle_timeout_ms: how long one is kept. Below the 5 s after which common servers
            close: a request on a connection that is just being closed fails.
        max_response_bytes: a larger response body is an error.
    """

    max_connections: int = attrs.field(default=100, validator=_between(1, 10_000))
    max_idle_connections: int = attrs.field(default=20, validator=_between(0, 10_000))
    idle_timeout_ms: int = attrs.field(default=4000, validator=_between(0, 600_000))
    max_response_bytes: int = attrs.field(
        default=16 * 2**20, validator=_between(1, 64 * 2**20)
    )


@attrs.frozen(kw_only=True)
class HTTPFunctionsConfig:
    """Settings of the worker.

    Attributes:
        security: see `SecurityConfig`.
        limits: see `LimitsConfig`.
    """

    security: SecurityConfig = SecurityConfig()
    limits: LimitsConfig = LimitsConfig()
