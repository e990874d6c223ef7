"""What one client of a front door may cost. Pure."""

import math

import attrs

from iii_trio._listening import LimitsConfig, SocketLimitsConfig

__all__ = ["HTTPLimits", "limits_of"]


@attrs.frozen(kw_only=True)
class HTTPLimits:
    """What one client of a front door may cost. Sizes in bytes, times in seconds.

    Attributes:
        head_bytes: request line and header fields together; more is a 431.
        head_fields: header fields (and trailer fields); more is a 431.
        target_bytes: the request target; more is a 414.
        pipelined: requests that may wait behind the one being answered; then the socket
            is not read any more.
        body_buffer: body bytes kept for a handler that does not read yet; then the
            socket is not read any more.
        outbox_bytes: what may wait for a client that does not read; more, and it is
            dropped. At least 1 MiB.
        handshake_timeout: from accept, or the first byte of a further request, to the
            complete head. Then the connection is closed without a word.
        keep_alive_timeout: how long a connection may idle between requests.
        body_timeout: between two pieces of a body that is being read; then 408.
        close_timeout: how long a WebSocket peer may take to answer our Close.
        linger_timeout: how long a closing connection goes on to swallow what the client
            still sends, so that it can read our last words.
        connections_per_address: open at once; more are closed as soon as accepted. IPv6
            counts by /64.
        messages_per_second: of one WebSocket. One that sends more is read less often.
        bytes_per_second: see ``messages_per_second``; what TLS adds is not counted.
    """

    head_bytes: int = 64 * 1024
    head_fields: int = 100
    target_bytes: int = 8 * 1024
    pipelined: int = 16
    body_buffer: int = 256 * 1024
    outbox_bytes: int = attrs.field(
        default=96 * 1024 * 1024, validator=attrs.validators.ge(1024 * 1024)
    )
    handshake_timeout: float = 10.0
    keep_alive_timeout: float = 75.0
    body_timeout: float = 30.0
    close_timeout: float = 5.0
    linger_timeout: float = 2.0
    connections_per_address: float = math.inf
    messages_per_second: float = math.inf
    bytes_per_second: float = math.inf

    @property
    def throttles(self) -> bool:
        """Whether WebSockets have a limited rate."""
        return min(self.messages_per_second, self.bytes_per_second) < math.inf


def limits_of(config: LimitsConfig, *, handshake_timeout: float) -> HTTPLimits:
    """What a ``limits`` block means.

    Args:
        config: the block.
        handshake_timeout: seconds.
    """
    messages = seconds_worth = 0
    if isinstance(config, SocketLimitsConfig):
        messages, seconds_worth = config.messages_per_second, config.bytes_per_second
    return HTTPLimits(
        head_bytes=config.head_bytes,
        head_fields=config.head_fields,
        target_bytes=config.target_bytes,
        handshake_timeout=handshake_timeout,
        connections_per_address=config.connections_per_address or math.inf,
        messages_per_second=messages or math.inf,
        bytes_per_second=seconds_worth or math.inf,
    )
