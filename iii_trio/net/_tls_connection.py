"""A connection with TLS: what TLS itself has to send, and how it says goodbye."""

from collections.abc import Callable

from iii_trio.net._connection import Connection
from iii_trio.net._peer_certificate import PeerCertificate
from iii_trio.net._pump import Pump
from iii_trio.net._readiness import READ, WRITE
from iii_trio.net._tls import TLSSocket

__all__ = ["TLSConnection"]


class TLSConnection(Connection):
    """A `Connection` whose socket is a `TLSSocket`."""

    __slots__ = ("_tls",)

    def __init__(
        self,
        pump: Pump,
        sock: TLSSocket,
        outbox_limit: int,
        on_gone: Callable[[Connection], None],
    ) -> None:
        super().__init__(pump, sock, outbox_limit, on_gone)
        self._tls = sock

    @property
    def peer_certificate(self) -> PeerCertificate | None:
        """The client's, once the handshake is done and if it has one."""
        return self._tls.certificate

    def set_reading(self, wanted: bool) -> None:
        """See `Connection`; what was read already comes without the socket's help."""
        super().set_reading(wanted)
        if wanted and self._tls.owes_end:
            self.defer(self._tell_end)

    def _tell_end(self) -> None:
        """Read the end of input, once, unless nobody wants to read."""
        if self._tls.owes_end:
            super().on_ready(READ)

    def on_ready(self, mask: int) -> None:
        """See `Connection`; what TLS itself has to send goes first."""
        if mask & WRITE and self._tls.is_stuck:
            try:
                if not self._tls.push():
                    mask &= ~WRITE
            except OSError as exc:
                self.lose(f"connection lost: {exc.strerror or exc}")
                return
        super().on_ready(mask)
        if self.closed:
            return
        if self._tls.is_stuck:
            self._watch(self._interest | WRITE)
        if self._tls.owes_end:
            self.defer(self._tell_end)

    def _on_empty(self) -> None:
        if self.ending and not self._linger:
            self._tls.say_goodbye()
        super()._on_empty()
