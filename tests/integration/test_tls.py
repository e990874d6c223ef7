"""TLS on a front door: who gets in, who does not, and what neither can do to the others.

What a front door does is tested over TLS too, where its drivers are parametrized; here is
what only TLS has.
"""

import hashlib
import pathlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from iii_trio.net import (
    OP_BINARY,
    OP_TEXT,
    HTTPExchange,
)
from tests import sdks
from tests.integration.net_rig import UPGRADE, Client, Host, Rig, frame, open_rig
from tests.integration.tls_rig import Authority

KIB = 1024
MIB = 1024 * 1024
HELLO = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"

PUMPS = ("auto", "tasks")
each_pump = pytest.mark.parametrize("driver", PUMPS)


@pytest.fixture
def authority(tmp_path: pathlib.Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def raw_client(rig: Rig) -> AsyncIterator[Client]:
    async with await trio.open_tcp_stream(*rig.door.addresses[0]) as stream:
        yield Client(stream)


async def refused(rig: Rig, context: ssl.SSLContext) -> str:
    """Try to get in; why not."""
    async with rig.client(context=context) as client:
        try:
            await client.stream.send_all(HELLO.encode())
            # With TLS 1.3 a client hears of its certificate only when it reads.
            answer = await client.stream.receive_some()
        except trio.BrokenResourceError as exc:
            return str(exc.__cause__ or exc)
    assert not answer, answer
    return "closed without a word"


# Certificates of clients.


@each_pump
async def test_without_client_ca_nobody_is_asked_for_a_certificate(
    driver: Any, authority: Authority
) -> None:
    async with open_rig(driver, tls=authority.config()) as rig:
        context = authority.client_context(authority.issue("worker"))
        async with rig.client(context=context) as client:
            assert (await client.get("/x")).status == 200
    assert rig.host.exchanges[0].request.peer_certificate is None


@each_pump
async def test_a_client_certificate_names_its_owner(
    driver: Any, authority: Authority
) -> None:
    config = authority.config(client_ca=str(authority.file))
    async with open_rig(driver, tls=config) as rig:
        names = ("worker.test", "spiffe@worker.test", "10.1.2.3")
        file = authority.issue("billing", *names, organization_name="Acme")
        context = authority.client_context(file)
        async with rig.client(context=context) as client:
            await client.upgrade()
            await client.text(b"hello")
            await rig.host.ears[0].heard(1)
    owner = rig.host.exchanges[0].request.peer_certificate
    assert owner is not None
    assert owner.common_name == "billing"
    assert owner.subject["organizationName"] == "Acme"
    assert owner.issuer["organizationName"].startswith("trustme")
    assert owner.dns_names == ("worker.test",)
    assert owner.emails == ("spiffe@worker.test",)
    assert owner.ip_addresses == ("10.1.2.3",)
    assert owner.not_before < owner.not_after
    der = ssl.PEM_cert_to_DER_cert(
        file.read_text()[file.read_text().index("-----BEGIN CERT") :].split(
            "-----END CERTIFICATE-----"
        )[0]
        + "-----END CERTIFICATE-----"
    )
    assert owner.fingerprint_sha256 == hashlib.sha256(der).hexdigest()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_without_a_certificate_is_turned_away_where_one_is_required(
    version: ssl.TLSVersion, authority: Authority
) -> None:
    config = authority.config(client_ca=str(authority.file))
    async with open_rig(tls=config) as rig:
        context = authority.client_context()
        context.maximum_version = version
        why = await refused(rig, context)
        await rig.until_connections(0)
    assert "alert" in why
    assert not rig.host.exchanges


async def test_a_client_without_a_certificate_is_let_in_unnamed_where_it_is_optional(
    authority: Authority,
) -> None:
    config = authority.config(
        client_ca=str(authority.file), client_certificates="optional"
    )
    async with (
        open_rig(tls=config) as rig,
        rig.client(context=authority.client_context()) as client,
    ):
        assert (await client.get("/x")).status == 200
        assert rig.host.exchanges[0].request.peer_certificate is None


@pytest.mark.parametrize("asked", ["required", "optional"])
async def test_a_certificate_of_a_foreign_authority_is_turned_away(
    asked: str, authority: Authority, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "foreign").mkdir()
    foreign = Authority(tmp_path / "foreign").issue("billing")
    config = authority.config(client_ca=str(authority.file), client_certificates=asked)
    async with open_rig(tls=config) as rig:
        why = await refused(rig, authority.client_context(foreign))
        await rig.until_connections(0)
    assert "unknown ca" in why
    assert not rig.host.exchanges


# Versions.


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.*is deprecated")
@pytest.mark.parametrize("minimum", ["1.2", "1.3"])
async def test_older_versions_are_refused(minimum: str, authority: Authority) -> None:
    config = authority.config(minimum_version=minimum)
    async with open_rig(tls=config) as rig:
        old = authority.client_context()
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        old.maximum_version = (
            ssl.TLSVersion.TLSv1_1 if minimum == "1.2" else ssl.TLSVersion.TLSv1_2
        )
        old.set_ciphers("ALL:@SECLEVEL=0")
        await refused(rig, old)
        new = authority.client_context()
        new.minimum_version = new.maximum_version = (
            ssl.TLSVersion.TLSv1_2 if minimum == "1.2" else ssl.TLSVersion.TLSv1_3
        )
        async with rig.client(context=new) as client:
            assert (await client.get("/x")).status == 200


async def test_renegotiation_is_refused(authority: Authority) -> None:
    openssl = sdks.need("openssl", "apt-get install openssl")
    async with open_rig(tls=authority.config()) as rig:
        port = rig.door.addresses[0][1]
        done = await trio.run_process(
            [openssl, "s_client", "-tls1_2", "-connect", f"127.0.0.1:{port}"],
            stdin=b"R\n",  # s_client renegotiates on a line with an R
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        said = (done.stdout + done.stderr).decode()
        await rig.until_connections(0)
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said
    assert not rig.host.exchanges


# Those who speak no TLS.


@each_pump
@pytest.mark.parametrize("sent", [HELLO, "POST /x HTTP/1.1\r\nHost: x\r\n\r\n", "X"])
async def test_plain_http_is_told_to_use_tls(
    driver: Any, sent: str, authority: Authority
) -> None:
    async with open_rig(driver, tls=authority.config()) as rig:
        async with raw_client(rig) as client:
            await client.send(sent)
            answer = await client.response()
            assert answer.status == 400
            assert b"https://" in answer.body
            assert await client.at_end()
        await rig.until_connections(0)
        assert not rig.host.exchanges


@each_pump
@pytest.mark.parametrize(
    "sent",
    [b"\0", b"\x16\x03\x01\xff\xff" + b"x" * 70_000, b"\x80\x2e\x01", b"\xff" * 500],
    ids=["zero", "oversize record", "SSLv2", "noise"],
)
async def test_garbage_ends_its_own_connection(
    driver: Any, sent: bytes, authority: Authority
) -> None:
    async with (
        open_rig(driver, tls=authority.config()) as rig,
        rig.client(context=authority.client_context()) as witness,
        raw_client(rig) as client,
    ):
        await witness.get("/x")
        try:
            await client.send(sent)
            await client.stream.send_eof()
        except trio.BrokenResourceError:
            pass
        await client.at_end()
        await rig.until_connections(1)
        assert (await witness.get("/x")).status == 200


@each_pump
async def test_a_handshake_cut_after_any_byte_is_lost_alone(
    driver: Any, authority: Authority
) -> None:
    hello = client_hello(authority)
    async with open_rig(driver, tls=authority.config()) as rig:
        for cut in range(0, len(hello), 16):
            async with raw_client(rig) as client:
                await client.send(hello[:cut])
                await client.stream.send_eof()
                await client.at_end()
        await rig.until_connections(0)
        async with rig.client(context=authority.client_context()) as client:
            assert (await client.get("/x")).status == 200


@each_pump
@pytest.mark.parametrize("part", [0, 1, 100, None])
async def test_a_handshake_that_does_not_end_is_closed(
    driver: Any, part: int | None, authority: Authority
) -> None:
    config = authority.config()
    async with (
        open_rig(driver, tls=config, handshake_timeout=0.05) as rig,
        raw_client(rig) as client,
    ):
        hello = client_hello(authority)[:part]
        if hello:
            await client.send(hello)
        while await client.receive():  # with a whole hello, the server's part
            pass
        await rig.until_connections(0)


@each_pump
async def test_a_handshake_byte_by_byte_works(
    driver: Any, authority: Authority
) -> None:
    async with (
        open_rig(driver, tls=authority.config()) as rig,
        raw_client(rig) as client,
    ):
        for byte in client_hello(authority):
            await client.send(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        assert (await client.receive())[0] == 0x16  # a handshake record


def client_hello(authority: Authority) -> bytes:
    out = ssl.MemoryBIO()
    tls = authority.client_context().wrap_bio(
        ssl.MemoryBIO(), out, server_hostname="127.0.0.1"
    )
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


# Bytes.


@each_pump
async def test_a_large_message_passes_both_ways(
    driver: Any, authority: Authority
) -> None:
    data = b"0123456789abcdef" * (20 * MIB // 16)
    async with (
        open_rig(driver, tls=authority.config(), host=echoing()) as rig,
        rig.client(context=authority.client_context()) as client,
    ):
        await client.upgrade()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.frame, OP_BINARY, data)
            assert await client.event() == (OP_BINARY, data)


@each_pump
async def test_what_waits_for_a_slow_reader_counts_and_arrives_whole(
    driver: Any, authority: Authority
) -> None:
    """Parts that the socket refuses are given again, not encrypted twice."""
    async with (
        open_rig(driver, tls=authority.config()) as rig,
        rig.client(context=authority.client_context(), receive_buffer=4096) as client,
    ):
        await client.upgrade()
        websocket = rig.host.ears[0].websocket
        sent = [bytes([65 + i % 26]) * size for i, size in enumerate(SIZES)]
        for message in sent:
            websocket.send_text_nowait(message)
            await trio.testing.wait_all_tasks_blocked()
        assert websocket.outbox_bytes > sum(SIZES) / 2
        for message in sent:
            assert await client.event() == (OP_TEXT, message)
        while websocket.outbox_bytes:
            await trio.testing.wait_all_tasks_blocked()


SIZES = [1, 900_000, 10, 3000, 3000, 700_000, *[50] * 200, 40_000, *[2500] * 100] * 8


@each_pump
async def test_a_client_over_tls_that_does_not_read_is_dropped_alone(
    driver: Any, authority: Authority
) -> None:
    config = authority.config()
    async with (
        open_rig(driver, tls=config, outbox_bytes=MIB) as rig,
        rig.client(context=authority.client_context()) as client,
    ):
        await client.upgrade()
        ear = rig.host.ears[0]
        while not ear.closed:
            ear.websocket.send_text_nowait(b"x" * 100_000)
            await trio.testing.wait_all_tasks_blocked()
        assert "does not read" in ear.closed[0]


def echoing() -> Host:
    def prepare(ear: Any) -> None:
        # Its WebSocket is made after it.
        ear.on_binary = lambda data: ear.websocket.send_binary_nowait(data)  # noqa: PLW0108

    host = Host()
    host.prepare = prepare
    return host


# The end.


async def test_a_response_that_ends_the_connection_is_followed_by_a_goodbye(
    authority: Authority,
) -> None:
    """Without ``close_notify`` a client cannot tell the end from a cut."""
    async with open_rig(tls=authority.config()) as rig:
        strict = trio.SSLStream(
            await trio.open_tcp_stream(*rig.door.addresses[0]),
            authority.client_context(),
            server_hostname="127.0.0.1",
        )
        await strict.send_all(b"GET /x HTTP/1.0\r\n\r\n")
        while await strict.receive_some():  # raises where the goodbye misses
            pass
        await strict.aclose()


async def test_a_dropped_connection_gets_no_goodbye(authority: Authority) -> None:
    async with open_rig(tls=authority.config()) as rig:
        strict = trio.SSLStream(
            await trio.open_tcp_stream(*rig.door.addresses[0]),
            authority.client_context(),
            server_hostname="127.0.0.1",
        )

        def cut(exchange: HTTPExchange) -> None:
            exchange.start_response(200)
            exchange.write_nowait(b"half")
            exchange.abort("it broke")

        rig.host.on_path["/cut"] = cut
        await strict.send_all(b"GET /cut HTTP/1.0\r\n\r\n")
        assert b"half" in await strict.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await strict.receive_some()
        strict.transport_stream.socket.close()


@each_pump
async def test_a_goodbye_in_the_same_read_as_the_last_data_ends_the_connection(
    driver: Any, authority: Authority
) -> None:
    async with open_rig(driver, tls=authority.config()) as rig:
        async with await trio.open_tcp_stream(*rig.door.addresses[0]) as tcp:
            client = MemoryClient(tcp, authority.client_context())
            await client.shake_hands()
            client.tls.write(UPGRADE.format(target="/ws").encode())
            await client.flush()
            await rig.host.came(1)
            ear = rig.host.ears[0]
            ear.websocket.hold()
            client.tls.write(frame(OP_TEXT, b"last words"))
            client.say_goodbye()
            await client.flush()  # one send, and TCP stays open
            await trio.testing.wait_all_tasks_blocked()
            assert ear.texts == []
            assert ear.closed == []
            ear.websocket.resume()
            assert "end of input" in await ear.lost()
            assert ear.texts == [b"last words"]


@each_pump
async def test_a_goodbye_in_the_same_read_as_half_a_body_is_answered(
    driver: Any, authority: Authority
) -> None:
    async with (
        open_rig(driver, tls=authority.config(), linger_timeout=0.2) as rig,
        await trio.open_tcp_stream(*rig.door.addresses[0]) as tcp,
    ):
        rig.host.on_path["/x"] = lambda exchange: None
        client = MemoryClient(tcp, authority.client_context())
        await client.shake_hands()
        client.tls.write(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")
        client.say_goodbye()
        await client.flush()
        assert (await client.read()).startswith(b"HTTP/1.1 400 ")


@attrs.define(eq=False)
class MemoryClient:
    """A client that decides which encrypted bytes are sent together."""

    tcp: trio.SocketStream
    context: ssl.SSLContext
    incoming: ssl.MemoryBIO = attrs.Factory(ssl.MemoryBIO)
    outgoing: ssl.MemoryBIO = attrs.Factory(ssl.MemoryBIO)
    tls: ssl.SSLObject = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tls = self.context.wrap_bio(
            self.incoming, self.outgoing, server_hostname="127.0.0.1"
        )

    async def shake_hands(self) -> None:
        await self._go_on(self.tls.do_handshake)

    async def read(self) -> bytes:
        """Some bytes; TLS lets us read on after our own goodbye."""
        while True:
            await trio.lowlevel.checkpoint()
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                data = await self.tcp.receive_some()
                assert data, "the connection ended"
                self.incoming.write(data)

    async def _go_on(self, action: Callable[[], None]) -> None:
        while True:
            try:
                action()
            except ssl.SSLWantReadError:
                await self.flush()
                self.incoming.write(await self.tcp.receive_some())
            else:
                await self.flush()
                return

    def say_goodbye(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()

    async def flush(self) -> None:
        await self.tcp.send_all(self.outgoing.read())
