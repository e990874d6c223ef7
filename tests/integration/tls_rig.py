"""Certificates for tests, and clients that speak TLS, also badly."""

import functools
import pathlib
import ssl
import tempfile
from typing import Any, final

import attrs
import trio
import trustme

from iii_trio.net import TLSConfig


@final
@attrs.frozen
class Authority:
    """An authority that signs certificates of servers and clients, with its files."""

    directory: pathlib.Path
    ca: trustme.CA = attrs.Factory(lambda: trustme.CA(key_type=trustme.KeyType.ECDSA))

    @property
    def file(self) -> pathlib.Path:
        """Its own certificate."""
        path = self.directory / "ca.pem"
        if not path.exists():
            self.ca.cert_pem.write_to_path(str(path))
        return path

    def issue(self, name: str, *names: str, **more: Any) -> pathlib.Path:
        """Write a certificate for these names and its key into one file."""
        names = names or ("localhost", "127.0.0.1", "::1")
        leaf = self.ca.issue_cert(
            *names, key_type=trustme.KeyType.ECDSA, common_name=name, **more
        )
        path = self.directory / f"{name}.pem"
        fresh = self.directory / f"{name}.fresh"  # replaced at once, as tools do
        leaf.private_key_and_cert_chain_pem.write_to_path(str(fresh))
        fresh.replace(path)
        return path

    def config(self, name: str = "server", **more: Any) -> TLSConfig:
        """The settings of a listener."""
        return TLSConfig(certificate=str(self.issue(name)), **more)

    def client_context(self, certificate: pathlib.Path | None = None) -> ssl.SSLContext:
        """What a client uses that trusts this authority."""
        context = ssl.create_default_context(cafile=str(self.file))
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context


@functools.cache
def shared_authority() -> Authority:
    """One for all tests that do not change its files."""
    return Authority(pathlib.Path(tempfile.mkdtemp(prefix="iii-trio-tls-")))


@functools.cache
def shared_client() -> ssl.SSLContext:
    """What clients use that trust it."""
    return shared_authority().client_context()


@functools.cache
def shared_config() -> TLSConfig:
    """A listener's settings from `shared_authority`."""
    return shared_authority().config()


@final
@attrs.frozen
class TLSStream:
    """A client's side that can also do what clients should not."""

    tls: trio.SSLStream[trio.SocketStream]

    async def send_all(self, data: bytes) -> None:
        await self.tls.send_all(data)

    async def receive_some(self) -> bytes | bytearray:
        return await self.tls.receive_some()

    async def aclose(self) -> None:
        await self.tls.aclose()

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket below."""
        return self.tls.transport_stream.socket

    def setsockopt(self, *args: Any) -> None:
        """On the socket below."""
        self.socket.setsockopt(*args)

    async def send_eof(self) -> None:
        """End the input below TLS, without its goodbye."""
        await self.tls.transport_stream.send_eof()


def over_tls(
    stream: trio.SocketStream, context: ssl.SSLContext | None = None
) -> TLSStream:
    """Speak TLS to 127.0.0.1 over a stream."""
    return TLSStream(
        trio.SSLStream(
            stream,
            context or shared_client(),
            server_hostname="127.0.0.1",
            https_compatible=True,
        )
    )
