"""Which connections count as those of one client. Pure."""

from ipaddress import IPv6Address, ip_address

__all__ = ["client_of"]

_NETWORK_BITS = 64
"""Of an IPv6 address: what one client has at the least is a network of these."""


def client_of(host: str) -> str:
    """The client behind an address.

    Args:
        host: numeric, perhaps with a zone.

    Returns:
        The address; of IPv6 the first half, and the IPv4 address that is mapped into it.
    """
    address = ip_address(host.partition("%")[0])
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    network = int(address) >> _NETWORK_BITS << _NETWORK_BITS
    return f"{IPv6Address(network)}/{_NETWORK_BITS}"
