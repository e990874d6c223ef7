"""TLS as a filter of bytes: looks like a socket to a connection, speaks TLS to the peer.

Two rules. A read takes all that can be decrypted out of it, so that nothing waits inside
that no readiness would tell of. Bytes count as sent when their encrypted form has left:
until then the connection keeps them, so its limits hold, and gives them again.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

from iii_trio.net._certificates import Certificates
from iii_trio.net._peer_certificate import PeerCertificate, read_certificate
from iii_trio.net._websocket import Piece

__all__ = ["TLSSocket"]

_RECORD: Final = 17 * 1024
"""A TLS record with its overhead: what an unfinished one may add to the next read."""

_SEND_BYTES: Final = 128 * 1024
"""Encrypted for one send."""

_STUCK_BYTES: Final = 256 * 1024
"""Alerts and key updates that wait for a peer which asks for them and does not read."""

_PLAIN_TEXT: Final = b"This port speaks TLS: use https:// or wss://\n"
_PLAIN_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s"
    % (len(_PLAIN_TEXT), _PLAIN_TEXT)
)


class TLSSocket:
    """A non-blocking socket with TLS on it, server side.

    What fails raises ``OSError``, of which ``ssl.SSLError`` is one.

    Args:
        sock: connected, non-blocking.
        certificates: gives the context; counts.

    Attributes:
        certificate: the client's, once the handshake is done and if it has one.
        ended: the peer said that it sends nothing more.
        owes_end: it said so together with the last data, so nobody was told yet: the
            next read gives 0, and the socket need not be ready for it.
    """

    __slots__ = (
        "_ahead",
        "_certificates",
        "_incoming",
        "_outgoing",
        "_ready",
        "_sock",
        "_started",
        "_tls",
        "_waiting",
        "certificate",
        "ended",
        "owes_end",
    )

    def __init__(self, sock: socket.socket, certificates: Certificates) -> None:
        self._sock = sock
        self._certificates = certificates
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = certificates.context.wrap_bio(
            self._incoming, self._outgoing, server_side=True
        )
        self._started = False
        self._ready = False
        self._ahead = 0  # bytes of the next send that are encrypted already
        self._waiting: Piece = b""  # encrypted, not taken by the socket
        self.certificate: PeerCertificate | None = None
        self.ended = False
        self.owes_end = False

    def fileno(self) -> int:
        """Of the socket below."""
        return self._sock.fileno()

    # Reading.

    def recv(self, size: int) -> bytes:
        """Read at most ``size`` encrypted bytes, give the plain ones.

        Returns:
            ``b""`` at the end of input.

        Raises:
            BlockingIOError: nothing to be had now.
        """
        if self._is_told_end():
            return b""
        data = self._sock.recv(size)
        pieces: list[bytes] = []

        def take() -> bool:
            pieces.append(self._tls.read(_RECORD))
            return bool(pieces[-1])

        if data:
            self._filter(data, take)
        plain = b"".join(pieces)
        self._check_any(len(data), len(plain))
        return plain

    def recv_into(self, buffer: memoryview, size: int) -> int:
        """Like `recv`, in place.

        Args:
            buffer: takes the encrypted bytes, then the plain ones; larger than a record.
            size: encrypted bytes to read at most.
        """
        if self._is_told_end():
            return 0
        read = self._sock.recv_into(buffer, min(size, len(buffer) - _RECORD))
        filled = 0

        def take() -> bool:
            nonlocal filled
            # A number, given a buffer; the stubs know only of bytes.
            more = int(self._tls.read(_RECORD, buffer[filled:]))
            filled += more
            return more > 0

        if read:
            self._filter(buffer[:read], take)
        self._check_any(read, filled)
        return filled

    def _is_told_end(self) -> bool:
        self.owes_end = False
        return self.ended

    def _check_any(self, read: int, plain: int) -> None:
        """Note the end of input; nothing plain so far is no end of it."""
        self.ended = self.ended or not read
        self.owes_end = self.ended and plain > 0
        if not self.ended and not plain:
            raise BlockingIOError

    def _filter(self, data: Piece, take: Callable[[], bool]) -> None:
        """Decrypt: ``take`` takes one record's bytes, and says if there were any."""
        if not self._started:
            self._started = True
            self._refuse_plain_text(data[0])
        self._incoming.write(data)
        try:
            if not self._ready:
                self._shake_hands()
            while take():
                pass
            self.ended = True  # the peer said goodbye
        except ssl.SSLWantReadError:
            pass  # all is taken
        except ssl.SSLError:
            self._certificates.failures += 1
            raise
        finally:
            with contextlib.suppress(OSError):  # the next read or send tells
                self.push()  # our part of a handshake, or an alert

    def _refuse_plain_text(self, first: int) -> None:
        if ord("A") <= first <= ord("Z"):  # TLS begins with 22
            self._certificates.failures += 1
            with contextlib.suppress(OSError):
                self._sock.send(_PLAIN_ANSWER)
            raise OSError("the client speaks plain HTTP on a port with TLS")

    def _shake_hands(self) -> None:
        self._tls.do_handshake()
        self._ready = True
        self._certificates.handshakes += 1
        der = self._tls.getpeercert(binary_form=True)
        parsed = self._tls.getpeercert()
        if der and parsed:
            self.certificate = read_certificate(parsed, der)

    # Writing.

    def send(self, data: Piece) -> int:
        """Encrypt and send.

        Returns:
            Bytes that are gone. The others are to be given again, first.
        """
        if not self.push():
            return 0
        done = min(self._ahead, len(data))
        self._ahead -= done
        if self._ahead or done == len(data):
            return done
        self._ahead = self._tls.write(memoryview(data)[done : done + _SEND_BYTES])
        if self.push():
            done += self._ahead
            self._ahead = 0
        return done

    def sendmsg(self, pieces: list[Piece]) -> int:
        """Like `send`, from several pieces: encryption copies anyway."""
        size = count = 0
        while count < len(pieces) and size < self._ahead + _SEND_BYTES:
            size += len(pieces[count])
            count += 1
        return self.send(b"".join(pieces[:count]))

    def push(self) -> bool:
        """Send what is encrypted; whether nothing of it waits any more."""
        while True:
            if not self._waiting:
                if not self._outgoing.pending:
                    return True
                self._waiting = self._outgoing.read()
            try:
                sent = self._sock.send(self._waiting)
            except BlockingIOError:
                sent = 0
            self._waiting = memoryview(self._waiting)[sent:]
            if self._waiting:
                if self._outgoing.pending > _STUCK_BYTES:
                    raise OSError("the peer does not read what its TLS asks for")
                return False

    @property
    def is_stuck(self) -> bool:
        """Whether encrypted bytes wait for the socket."""
        return bool(self._waiting or self._outgoing.pending)

    # The end.

    def say_goodbye(self) -> None:
        """Tell the peer that this is all, so that it can tell this from a cut."""
        if self._ready:
            with contextlib.suppress(OSError):
                self._tls.unwrap()
            with contextlib.suppress(OSError):
                self.push()

    def shutdown(self, how: int) -> None:
        """Say goodbye and send nothing more."""
        self.say_goodbye()
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close the socket below."""
        self._sock.close()
