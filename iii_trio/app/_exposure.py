"""Who can reach an address, and what to tell whoever runs the engine. Pure."""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, Final

__all__ = ["exposure"]

_GUARDS: Final = {
    "iii-worker-manager": ("rbac", "an rbac block (access rules)"),
    "iii-stream": ("auth_function", "an auth_function with strict_auth"),
    "iii-http": ("middleware", "middleware that checks who asks"),
}
"""By kind of entry: the key that decides who may do what, and what it is."""


def exposure(
    key: str,
    kind: str,
    config: Any,  # noqa: ANN401 - an instance of the kind's config class
    addresses: Iterable[tuple[str, int]],
) -> str | None:
    """A warning for an entry that others than this machine can reach unhindered.

    Args:
        key: names the entry.
        kind: its canonical name.
        config: its settings; with TLS or a guard there is nothing to say.
        addresses: what it really bound.
    """
    guard, remedy = _GUARDS.get(kind, ("", "rules of who may do what"))
    if getattr(config, "tls", None) is not None or getattr(config, guard, None):
        return None
    reachable = [
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        for host, port in addresses
        if not ip_address(host.partition("%")[0]).is_loopback
    ]
    if not reachable:
        return None
    return (
        f"{key} listens on {', '.join(reachable)}, WHERE OTHERS CAN REACH IT, without TLS "
        f"and without access rules: whoever gets there may use everything, and read what "
        f"others send. Give its entry a tls block or {remedy} (docs/security.md), or "
        f"leave out its host to listen on this machine only."
    )
