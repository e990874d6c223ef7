"""The front door over real sockets: HTTP. Every test runs with both drivers."""

import errno
import socket
import sys
from functools import partial

import pytest
import trio
import trio.testing

from iii_trio.errors import LocalProtocolError
from iii_trio.net import (
    BodyTooLargeError,
    HTTPExchange,
    open_front_door,
    open_pump,
)
from tests.integration.net_rig import DRIVERS, UPGRADE, Driver, Host, Rig, open_rig

each_driver = pytest.mark.parametrize("driver", DRIVERS)
MIB = 1024 * 1024


@each_driver
async def test_requests_on_one_connection_are_answered_one_after_the_other(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        for path in ("/a", "/b?c", "/d"):
            response = await client.get(path)
            assert (response.status, response.body) == (
                200,
                path.partition("?")[0].encode(),
            )
            assert response.headers["content-length"] == str(len(response.body))
            assert response.headers["date"].endswith(" GMT")
            assert "connection" not in response.headers
        assert rig.host.exchanges[1].request.query == "c"
        assert rig.door.counts.accepted == 1


@each_driver
async def test_pipelined_requests_are_answered_in_order(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        count = 100
        rig.host.on_path["/0"] = lambda exchange: None
        await client.send(
            "".join(f"GET /{i} HTTP/1.1\r\nHost: x\r\n\r\n" for i in range(count))
        )
        first = await rig.host.came(1)
        await trio.testing.wait_all_tasks_blocked()
        assert len(rig.host.exchanges) == 1
        first.respond(200, (), b"/0")
        for i in range(count):
            assert (await client.response()).body == f"/{i}".encode()


@each_driver
async def test_too_many_waiting_requests_are_left_to_the_kernel(driver: Driver) -> None:
    async with open_rig(driver, pipelined=2) as rig, rig.client() as client:
        rig.host.on_path["/0"] = lambda exchange: None
        await client.send("GET /0 HTTP/1.1\r\nHost: x\r\n\r\n")
        first = await rig.host.came(1)
        for i in range(1, 10):
            await client.send(f"GET /{i} HTTP/1.1\r\nHost: x\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked()
        first.respond(200, (), b"/0")
        for i in range(10):
            assert (await client.response()).body == f"/{i}".encode()


@each_driver
async def test_a_response_from_a_task_is_sent_at_once(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/later"] = lambda exchange: None
        await client.send("GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
        exchange = await rig.host.came(1)
        exchange.respond(404, [("X-Name", "v")], b"later")
        response = await client.response()
        assert (response.status, response.body) == (404, b"later")
        assert response.headers["x-name"] == "v"


@each_driver
@pytest.mark.parametrize(
    ("version", "head", "kept"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: keep-alive\r\n", True),
    ],
)
async def test_the_connection_is_kept_or_closed_as_the_client_says(
    driver: Driver, version: str, head: str, *, kept: bool
) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        request = f"GET /x HTTP/{version}\r\nHost: x\r\n{head}\r\n"
        await client.send(request)
        response = await client.response()
        if kept:
            assert response.headers.get("connection", "keep-alive") == "keep-alive"
            assert (await (await client.send(request)).response()).body == b"/x"
        else:
            assert response.headers["connection"] == "close"
            assert await client.at_end()


@each_driver
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [200, 204, 304])
async def test_head_204_and_304_carry_no_body(
    driver: Driver, method: str, status: int
) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/r"] = lambda exchange: exchange.respond(status, (), b"body")

        def stream(exchange: HTTPExchange) -> None:
            exchange.start_response(status)
            exchange.write_nowait(b"body")
            exchange.finish()

        rig.host.on_path["/s"] = stream
        full = method == "GET" and status == 200
        for path, length in (("/r", "4"), ("/s", None)):
            await client.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n")
            response = await client.response(head_only=not full)
            assert response.body == (b"body" if full else b"")
            wanted = length if status == 200 else None
            assert response.headers.get("content-length") == wanted
        assert (await client.get("/after")).body == b"/after"


def stream_three(exchange: HTTPExchange, length: int | None = None) -> None:
    exchange.start_response(200, [("x-a", "b")], length=length)
    for piece in (b"one", b"", b"two", b"three"):
        exchange.write_nowait(piece)
    exchange.finish()


@each_driver
async def test_streamed_responses_are_chunked_or_have_the_promised_length(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/chunks"] = stream_three
        rig.host.on_path["/length"] = lambda exchange: stream_three(exchange, 11)
        chunked = await client.get("/chunks")
        assert chunked.body == b"onetwothree"
        assert chunked.headers["transfer-encoding"] == "chunked"
        plain = await client.get("/length")
        assert plain.body == b"onetwothree"
        assert plain.headers["content-length"] == "11"


@each_driver
async def test_an_old_client_gets_a_stream_until_the_end_of_the_connection(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/chunks"] = stream_three
        await client.send("GET /chunks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        response = await client.response()
        assert response.body == b"onetwothree"
        assert "transfer-encoding" not in response.headers
        assert response.headers["connection"] == "close"


@each_driver
async def test_a_stream_that_breaks_its_promise_is_cut_off(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:

        def short(exchange: HTTPExchange) -> None:
            exchange.start_response(200, length=10)
            exchange.write_nowait(b"four")
            with pytest.raises(LocalProtocolError, match="more than the promised"):
                exchange.write_nowait(b"x" * 7)
            exchange.finish()

        rig.host.on_path["/short"] = short
        await client.send("GET /short HTTP/1.1\r\nHost: x\r\n\r\n")
        response = await client.response(head_only=True)
        assert response.status == 200
        assert client.pending in {b"four", b""}
        client.pending = b""
        await client.at_end()


@each_driver
async def test_an_aborted_stream_is_seen_as_cut_short(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/s"] = lambda exchange: exchange.start_response(200)
        await client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        exchange = await rig.host.came(1)
        gone: list[str] = []
        exchange.on_gone = gone.append
        exchange.abort("the worker died")
        with pytest.raises(AssertionError, match="chunks cut short"):
            await client.response()
        with pytest.raises(LocalProtocolError):
            exchange.write_nowait(b"late")
        assert gone == []


@each_driver
async def test_who_has_answered_is_not_told_that_the_client_is_gone(
    driver: Driver,
) -> None:
    gone: list[str] = []
    async with open_rig(driver) as rig, rig.client() as one, rig.client() as two:
        rig.host.on_path["/x"] = lambda exchange: None
        for client in (one, two):
            await client.send("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        await rig.host.came(2)
        first, second = rig.host.exchanges

        def tell(other: HTTPExchange, reason: str) -> None:
            gone.append(reason)
            other.respond(200)

        first.on_gone = partial(tell, second)
        second.on_gone = partial(tell, first)
        one.reset()
        two.reset()
        await rig.until_connections(0)
    assert len(gone) == 1


@each_driver
async def test_a_slow_reader_is_waited_for(driver: Driver) -> None:
    size, count = 256 * 1024, 64
    async with (
        open_rig(driver) as rig,
        rig.client() as client,
        trio.open_nursery() as nursery,
    ):

        async def stream(exchange: HTTPExchange) -> None:
            await trio.lowlevel.checkpoint()
            exchange.start_response(200)
            for i in range(count):
                exchange.write_nowait(bytes([i]) * size)
                await exchange.wait_writable()
            exchange.finish()

        rig.host.on_path["/s"] = lambda exchange: nursery.start_soon(stream, exchange)
        response = await client.get("/s")
        assert response.body == b"".join(bytes([i]) * size for i in range(count))


@each_driver
async def test_wait_writable_ends_when_the_client_goes(driver: Driver) -> None:
    async with open_rig(driver) as rig:
        rig.host.on_path["/s"] = lambda exchange: exchange.start_response(200)
        async with rig.client(receive_buffer=4096) as client:
            await client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
            exchange = await rig.host.came(1)
            exchange.write_nowait(b"x" * 8 * MIB)
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    with pytest.raises(trio.BrokenResourceError):
                        await exchange.wait_writable()

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(trio.BusyResourceError):
                    await exchange.wait_writable()
                client.reset()


POST = "POST {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n"


@each_driver
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_read_whole(driver: Driver, *, chunked: bool) -> None:
    body = bytes(range(256)) * 8192  # 2 MiB, more than is buffered
    async with (
        open_rig(driver) as rig,
        rig.client() as client,
        trio.open_nursery() as nursery,
    ):
        rig.host.on_path["/body"] = lambda exchange: None
        if chunked:
            head = POST.format(path="/body", head="Transfer-Encoding: chunked\r\n")
            half = len(body) // 2
            sizes = (body[:half], body[half:], b"")
            raw = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in sizes)
        else:
            head = POST.format(path="/body", head=f"Content-Length: {len(body)}\r\n")
            raw = body
        nursery.start_soon(client.send, head.encode() + raw)
        exchange = await rig.host.came(1)
        assert exchange.has_body
        assert await exchange.read_body(len(body)) == body
        assert await exchange.receive_some() == b""
        exchange.respond(200, (), b"thanks")
        assert (await client.response()).body == b"thanks"
        assert (await client.get("/next")).body == b"/next"
        assert not rig.host.exchanges[1].has_body
        assert await rig.host.exchanges[1].read_body(0) == b""


@each_driver
async def test_an_unread_body_holds_the_client_back(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/body"] = lambda exchange: None
        size = 64 * MIB
        await client.send(POST.format(path="/body", head=f"Content-Length: {size}\r\n"))
        exchange = await rig.host.came(1)
        sent = 0
        with trio.move_on_after(30) as scope:
            async with trio.open_nursery() as nursery:

                async def flood() -> None:
                    nonlocal sent
                    await trio.lowlevel.checkpoint()
                    while sent < size:
                        await client.send(b"x" * 65536)
                        sent += 65536

                nursery.start_soon(flood)
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert sent < size
                assert exchange.body.size <= 512 * 1024
                got = 0
                while piece := await exchange.receive_some():
                    got += len(piece)
        assert got == size
        assert not scope.cancelled_caught


@each_driver
async def test_a_body_in_tiny_pieces_is_kept_in_few(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/body"] = lambda _: None
        await client.send(
            POST.format(path="/body", head="Transfer-Encoding: chunked\r\n")
            + "1\r\nx\r\n" * 10_000
        )
        exchange = await rig.host.came(1)
        while exchange.body.size < 10_000:
            await trio.testing.wait_all_tasks_blocked()
        assert len(exchange.body._pieces) <= 1024
        await client.send("0\r\n\r\n")
        assert await exchange.read_body(10_000) == b"x" * 10_000


@each_driver
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused(
    driver: Driver, *, chunked: bool
) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/body"] = lambda exchange: None
        head = "Transfer-Encoding: chunked\r\n" if chunked else "Content-Length: 9\r\n"
        await client.send(POST.format(path="/body", head=head))
        exchange = await rig.host.came(1)
        await client.send("9\r\n123456789\r\n0\r\n\r\n" if chunked else "123456789")
        with pytest.raises(BodyTooLargeError, match="over 8 bytes"):
            await exchange.read_body(8)
        exchange.respond(413)
        assert (await client.response()).status == 413
        assert (await client.get("/next")).body == b"/next"


@each_driver
async def test_the_rest_of_a_large_body_closes_the_connection(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/body"] = lambda exchange: exchange.respond(413)
        size = 8 * MIB
        head = POST.format(path="/body", head=f"Content-Length: {size}\r\n")
        await client.send(head.encode() + b"x" * (size - 1))
        assert (await client.response()).status == 413
        assert await client.at_end()


@each_driver
async def test_a_client_that_asks_is_told_to_continue_when_the_body_is_wanted(
    driver: Driver,
) -> None:
    async with (
        open_rig(driver) as rig,
        rig.client() as client,
        trio.open_nursery() as nursery,
    ):

        async def read(exchange: HTTPExchange) -> None:
            exchange.respond(200, (), await exchange.read_body(100))

        rig.host.on_path["/read"] = lambda exchange: nursery.start_soon(read, exchange)
        head = "Content-Length: 5\r\nExpect: 100-Continue\r\n"
        await client.send(POST.format(path="/read", head=head))
        assert (await client.response()).status == 100
        await client.send("hello")
        assert (await client.response()).body == b"hello"

        async def echo(exchange: HTTPExchange) -> None:
            exchange.start_response(200)
            while piece := await exchange.receive_some():
                exchange.write_nowait(piece)
            exchange.finish()

        async with rig.client() as other:
            rig.host.on_path["/echo"] = lambda exchange: nursery.start_soon(
                echo, exchange
            )
            await other.send(POST.format(path="/echo", head=head))
            assert (await other.response(head_only=True)).status == 200
            await other.send("hello")
            rest = b""
            while more := await other.receive():
                rest += more
            assert rest == b"5\r\nhello\r\n0\r\n\r\n"

        rig.host.on_path["/refuse"] = lambda exchange: exchange.respond(403)
        await client.send(POST.format(path="/refuse", head=head))
        response = await client.response()
        assert response.status == 403
        assert response.headers["connection"] == "close"
        assert await client.at_end()


@each_driver
async def test_a_badly_chunked_body_is_400_and_its_reader_gets_an_error(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/body"] = lambda exchange: None
        head = POST.format(path="/body", head="Transfer-Encoding: chunked\r\n")
        await client.send(head + "2\r\nok\r\n")
        exchange = await rig.host.came(1)
        gone: list[str] = []
        exchange.on_gone = gone.append
        assert await exchange.receive_some() == b"ok"
        await client.send("nonsense\r\n")
        with pytest.raises(trio.BrokenResourceError, match="HTTP 400"):
            await exchange.receive_some()
        response = await client.response()
        assert response.status == 400
        assert await client.at_end()
        assert len(gone) == 1
        exchange.respond(200)  # nobody is there any more


@each_driver
async def test_a_body_cut_short_is_400_for_a_client_that_still_listens(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/body"] = lambda exchange: None
        await client.send(POST.format(path="/body", head="Content-Length: 9\r\n") + "x")
        exchange = await rig.host.came(1)
        assert await exchange.receive_some() == b"x"
        await client.stream.send_eof()
        with pytest.raises(trio.BrokenResourceError, match="cut short"):
            await exchange.receive_some()
        assert (await client.response()).status == 400
        assert await client.at_end()


@each_driver
async def test_a_broken_body_after_the_response_began_cuts_the_response(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/body"] = lambda exchange: exchange.start_response(200)
        head = POST.format(path="/body", head="Transfer-Encoding: chunked\r\n")
        await client.send(head + "nonsense\r\n")
        with pytest.raises(AssertionError, match="chunks cut short"):
            await client.response()


@each_driver
@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_a_handler_learns_that_its_client_is_gone(
    driver: Driver, how: str
) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        gone = trio.Event()

        def handle(exchange: HTTPExchange) -> None:
            exchange.on_gone = lambda reason: gone.set()

        rig.host.on_path["/x"] = handle
        await client.send("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        exchange = await rig.host.came(1)
        if how == "eof":
            await client.stream.send_eof()
        else:
            client.reset()
        await gone.wait()
        exchange.start_response(200)
        exchange.write_nowait(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await exchange.wait_writable()
        exchange.finish()
        assert rig.door.connections == 0


@each_driver
async def test_requests_waiting_behind_a_lost_one_are_not_handled(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig:
        rig.host.on_path["/x"] = lambda exchange: None
        async with rig.client() as client:
            await client.send("GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
            exchange = await rig.host.came(1)
        await rig.until_connections(0)
        exchange.respond(200)
        await trio.testing.wait_all_tasks_blocked()
        assert len(rig.host.exchanges) == 1


@each_driver
async def test_a_client_that_stops_sending_still_gets_its_answer(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/big"] = lambda exchange: exchange.respond(
            200, (), b"x" * 8 * MIB
        )
        await client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        await rig.host.came(1)
        await client.stream.send_eof()
        assert len((await client.response()).body) == 8 * MIB
        assert await client.at_end()


@each_driver
async def test_malformed_requests_are_refused_with_a_reason(driver: Driver) -> None:
    async with open_rig(driver) as rig:
        for raw, status in (
            ("GET /x HTTP/1.1\r\n\r\n", 400),
            ("GET /x HTTP/1.1\nHost: x\n\n", 400),
            (f"GET /{'x' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n", 414),
            (f"GET / HTTP/1.1\r\nHost: x\r\nX: {'x' * 70_000}\r\n\r\n", 431),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
            (UPGRADE.format(target="/").replace("Version: 13", "Version: 7"), 426),
        ):
            async with rig.client() as client:
                await client.send(raw)
                response = await client.response()
                assert response.status == status
                assert response.body
                assert response.headers["connection"] == "close"
                assert await client.at_end()
        assert rig.host.exchanges == []


@each_driver
async def test_a_malformed_request_waits_for_the_answers_before_it(
    driver: Driver,
) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/slow"] = lambda exchange: None
        await client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n")
        exchange = await rig.host.came(1)
        exchange.respond(200, (), b"first")
        assert (await client.response()).body == b"first"
        assert (await client.response()).status == 400
        assert await client.at_end()


@each_driver
async def test_what_follows_a_last_request_is_ignored(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        await client.send(
            "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            "GET /b HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        assert (await client.response()).body == b"/a"
        assert await client.at_end()
        assert len(rig.host.exchanges) == 1


@each_driver
async def test_a_request_is_answered_once(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        await client.get("/x")
        exchange = rig.host.exchanges[0]
        with pytest.raises(LocalProtocolError, match="already answered"):
            exchange.respond(200)
        with pytest.raises(LocalProtocolError, match="no response is being"):
            exchange.finish()
        with pytest.raises(LocalProtocolError, match="no WebSocket handshake"):
            exchange.accept_websocket(None)  # type: ignore[arg-type]
        exchange.abort("no effect")
        rig.host.on_path["/y"] = lambda exchange: None
        await client.send("GET /y HTTP/1.1\r\nHost: x\r\n\r\n")
        other = await rig.host.came(2)
        with pytest.raises(LocalProtocolError, match="not the status"):
            other.respond(101)
        with pytest.raises(LocalProtocolError, match="line break"):
            other.respond(200, [("x", "a\r\nb")])
        other.respond(200, (), b"after two attempts")
        assert (await client.response()).body == b"after two attempts"


@each_driver
async def test_a_body_has_one_reader(driver: Driver) -> None:
    async with (
        open_rig(driver) as rig,
        rig.client() as client,
        trio.open_nursery() as nursery,
    ):
        rig.host.on_path["/body"] = lambda exchange: None
        await client.send(POST.format(path="/body", head="Content-Length: 9\r\n"))
        exchange = await rig.host.came(1)
        nursery.start_soon(exchange.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await exchange.receive_some()
        nursery.cancel_scope.cancel(reason="end of the test")


# Binding.


async def test_localhost_is_both_loopback_addresses_with_one_port() -> None:
    async with open_pump() as pump:
        for host in (None, "localhost"):
            async with open_front_door(pump, Host(), host=host) as door:
                assert [a for a, _ in door.addresses] == ["127.0.0.1", "::1"]
                assert len({port for _, port in door.addresses}) == 1
                for address in door.addresses:
                    await (await trio.open_tcp_stream(*address)).aclose()


async def test_a_busy_port_is_an_error_that_names_the_address() -> None:
    async with open_pump() as pump, open_front_door(pump, Host()) as door:
        port = door.addresses[0][1]
        with pytest.raises(
            OSError, match=rf"127\.0\.0\.1:{port} is already in use"
        ) as e:
            async with open_front_door(pump, Host(), port=port):
                pytest.fail("bound twice")
        assert e.value.errno == errno.EADDRINUSE


async def test_a_foreign_address_is_an_error_that_names_it() -> None:
    async with open_pump() as pump:
        with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:80"):
            async with open_front_door(pump, Host(), host="192.0.2.1", port=80):
                pytest.fail("bound to somebody else's address")


async def test_a_port_busy_on_one_family_leaves_the_other_unbound() -> None:
    with socket.socket(socket.AF_INET6) as busy:
        busy.bind(("::1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        async with open_pump() as pump:
            with pytest.raises(OSError, match=rf"\[::1\]:{port} is already in use"):
                async with open_front_door(pump, Host(), port=port):
                    pytest.fail("bound twice")
            async with open_front_door(pump, Host(), host="127.0.0.1", port=port):
                pass


async def test_a_client_that_vanished_is_found_by_the_system() -> None:
    async with open_rig() as rig, rig.client() as client:
        await client.get("/x")
        for connection in rig.door._connections:
            sock = connection.sock
            assert isinstance(sock, socket.socket)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if sys.platform == "linux":  # some others have a system's setting only
                seconds = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                assert seconds == 60


# The end.


@each_driver
async def test_stop_accepting_leaves_connections_alone(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        await client.get("/x")
        rig.door.stop_accepting()
        rig.door.stop_accepting()
        assert (await client.get("/y")).body == b"/y"
        with pytest.raises(OSError, match=r"onnection refused|all attempts"):
            await trio.open_tcp_stream(*rig.door.addresses[0])


@each_driver
async def test_drain_closes_the_idle_and_waits_for_the_busy(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as idle, rig.client() as busy:
        await idle.get("/x")
        rig.host.on_path["/slow"] = lambda exchange: None
        await busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        exchange = await rig.host.came(2)
        async with rig.websocket() as (client, ear), trio.open_nursery() as nursery:
            drained = trio.Event()

            async def drain() -> None:
                await rig.door.drain(30)
                drained.set()

            nursery.start_soon(drain)
            assert await idle.at_end()
            assert not drained.is_set()
            exchange.respond(200, (), b"last words")
            response = await busy.response()
            assert response.body == b"last words"
            assert response.headers["connection"] == "close"
            assert await busy.at_end()
            await drained.wait()
            await client.answers_ping()
            assert not ear.closed


@each_driver
async def test_drain_gives_up_after_its_grace(driver: Driver) -> None:
    async with open_rig(driver) as rig, rig.client() as client:
        rig.host.on_path["/slow"] = lambda exchange: None
        await client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        exchange = await rig.host.came(1)
        await rig.door.drain(0.001)
        exchange.respond(200, (), b"in spite of it")
        assert (await client.response()).body == b"in spite of it"


@each_driver
async def test_leaving_the_block_tells_everybody(driver: Driver) -> None:
    gone: list[str] = []
    async with open_rig(driver) as rig:
        rig.host.on_path["/x"] = lambda exchange: setattr(
            exchange, "on_gone", gone.append
        )
        async with rig.client() as client, rig.websocket() as (_, ear):
            await client.send("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            await rig.host.came(2)
            async with open_front_door(rig.pump, rig.host, host="127.0.0.1") as second:
                async with Rig(rig.pump, second, rig.host).websocket() as (_, other):
                    pass
            assert other.closed
            assert not ear.closed
    assert len(gone) == 1
    assert len(ear.closed) == 1
