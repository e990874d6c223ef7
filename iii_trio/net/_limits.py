"""What one client of a front door may cost. Pure."""

import attrs

__all__ = ["HTTPLimits"]


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
