"""HTTP-invoked functions against an endpoint that shows every byte."""

import hashlib
import hmac
import logging
from base64 import b64encode

import pytest
import trio

from iii_trio.builtins.http_functions import HTTPFunctionsConfig, SecurityConfig
from iii_trio.builtins.http_functions._config import LimitsConfig
from iii_trio.errors import InvocationStoppedError
from tests.integration.endpoint_rig import (
    LOCAL,
    PATIENCE,
    open_endpoint,
    open_functions_rig,
    raw,
    reply,
    silence,
)

pytestmark = pytest.mark.slow

SECRET = "s3cret-of-the-engine"


def limited(**limits: int) -> HTTPFunctionsConfig:
    return HTTPFunctionsConfig(security=LOCAL, limits=LimitsConfig(**limits))


@pytest.mark.parametrize(
    ("host", "authority"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")]
)
async def test_a_call_is_one_request_in_one_write(host: str, authority: str) -> None:
    async with (
        open_endpoint(host) as endpoint,
        open_functions_rig(
            now=lambda: 1234.9,
            new_id=lambda: "an-id",
            environ={"KEY": SECRET},
        ) as rig,
    ):
        endpoint.answer = reply({"sum": 5})
        await rig.register(
            f"http://{authority}:{endpoint.port}/add?x=1",
            method="PUT",
            headers={"X-Tag": "t"},
            auth={"type": "hmac", "secret_key": "KEY"},
        )
        assert await rig.call({"a": 2}) == {"sum": 5}
        [request] = endpoint.requests
    body = b'{"a":2}'
    signed = b"1234:" + b64encode(body)
    signature = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert (request.method, request.path, request.body) == ("PUT", "/add?x=1", body)
    assert request.headers == [
        ("Host", f"{authority}:{endpoint.port}"),
        ("x-iii-Function-Path", "a::hook"),
        ("x-iii-Invocation-ID", "an-id"),
        ("x-iii-Timestamp", "1234"),
        ("Content-Type", "application/json"),
        ("X-Tag", "t"),
        ("x-iii-Signature", f"sha256={signature}"),
        ("Content-Length", str(len(body))),
    ]
    assert len(request.pieces) == 1


async def test_the_payload_and_the_result_pass_as_they_are() -> None:
    async with open_endpoint() as endpoint, open_functions_rig() as rig:
        endpoint.answer = reply(b'{"n": 1e400,  "n": 12345678901234567890123}')
        await rig.register(f"http://127.0.0.1:{endpoint.port}/", method="GET")
        result = await rig.caller.invoke_json("a::hook", b'{"a": -0,  "a":1E5}')
        assert endpoint.requests[0].body == b'{"a": -0,  "a":1E5}'
        assert endpoint.requests[0].method == "GET"
    assert result == b'{"n": 1e400,  "n": 12345678901234567890123}'


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (reply(b"", "204 No Content"), None),
        (reply(b"<html>"), "invalid_response"),
        (reply({"a": 1}, "302 Found", "Location: http://127.0.0.1:1/"), {"a": 1}),
        (reply(b"moved", "301 Moved", "Location: /elsewhere"), None),
        (reply({"error": {"code": "bad", "message": "m"}}, "422 No"), "bad"),
        (reply(b"", "404 Gone Fishing"), "http_error"),
        (raw(b"HTTP/1.1 200 OK\r\n\r\n7", close=True), 7),
        (
            raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n7\r\n0\r\n\r\n"),
            7,
        ),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7"), 7),
        (raw(close=True), "http_request_failed"),
        (raw(b"SSH-2.0-x\r\n", close=True), "http_request_failed"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n7", close=True), "http_response_failed"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"), "http_response_failed"),
    ],
)  # fmt: skip
async def test_every_response_has_its_outcome(answer: object, outcome: object) -> None:
    async with open_endpoint() as endpoint, open_functions_rig() as rig:
        endpoint.answer = answer  # type: ignore[assignment]
        await rig.register(f"http://127.0.0.1:{endpoint.port}/")
        if isinstance(outcome, str):
            code, message = await rig.failure()
            assert code == outcome
            assert message
        else:
            assert await rig.call() == outcome
        assert len(endpoint.requests) == 1


async def test_nobody_at_the_address_is_an_error_that_says_so() -> None:
    async with open_endpoint() as endpoint:
        port = endpoint.port
    async with open_functions_rig() as rig:
        await rig.register(f"http://127.0.0.1:{port}/")
        code, message = await rig.failure()
    assert code == "http_request_failed"
    assert "could not connect" in message
    assert rig.handle.statistics().failed == 1


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with open_endpoint() as endpoint, open_functions_rig() as rig:
        url = f"http://127.0.0.1:{endpoint.port}/"
        await rig.register(url)
        await rig.register(url, function_id="a::other")
        endpoint.answer = reply(1, "200 OK", "Set-Cookie: session=mine")
        await rig.call()
        await rig.call(function_id="a::other")
        await rig.call()
        assert [request.connection for request in endpoint.requests] == [1, 1, 1]
        for request in endpoint.requests:
            assert "cookie" not in {name.lower() for name, _ in request.headers}


async def test_a_connection_that_the_endpoint_closed_is_not_used_again() -> None:
    async with open_endpoint() as endpoint, open_functions_rig() as rig:
        await rig.register(f"http://127.0.0.1:{endpoint.port}/")
        endpoint.answer = raw(b"HTTP/1.1 204 No Content\r\n\r\n", close=True)
        await rig.call()
        await endpoint.wait_until(lambda: endpoint.open == 0)
        endpoint.answer = reply(2)
        assert await rig.call() == 2


async def test_connections_are_bounded_and_further_requests_wait() -> None:
    async with (
        open_endpoint() as endpoint,
        open_functions_rig(limited(max_connections=3)) as rig,
    ):
        await rig.register(f"http://127.0.0.1:{endpoint.port}/")
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(rig.call)
        assert len(endpoint.requests) == 20
        assert endpoint.most_open <= 3


async def test_a_request_ends_at_its_timeout_and_frees_its_connection() -> None:
    async with open_endpoint() as endpoint, open_functions_rig() as rig:
        endpoint.answer = silence
        await rig.register(f"http://127.0.0.1:{endpoint.port}/", timeout_ms=300)
        code, message = await rig.failure()
        assert code == "http_request_failed"
        assert "timed out after 300 ms" in message
        await endpoint.wait_until(lambda: endpoint.open == 0)


async def test_waiting_for_a_connection_counts_against_the_timeout() -> None:
    async with (
        open_endpoint() as endpoint,
        open_functions_rig(limited(max_connections=1)) as rig,
        trio.open_nursery() as nursery,
    ):
        endpoint.answer = silence
        url = f"http://127.0.0.1:{endpoint.port}/"
        await rig.register(url, function_id="a::slow")
        await rig.register(url, timeout_ms=100)
        nursery.start_soon(rig.call, None, "a::slow")
        await endpoint.wait_until(lambda: endpoint.open == 1)
        assert (await rig.failure())[0] == "http_request_failed"
        assert len(endpoint.requests) == 1
        nursery.cancel_scope.cancel(reason="shown")


async def test_a_cancelled_call_ends_its_request() -> None:
    async with open_endpoint() as endpoint, open_functions_rig() as rig:
        endpoint.answer = silence
        await rig.register(f"http://127.0.0.1:{endpoint.port}/")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.call)
            await endpoint.wait_until(lambda: len(endpoint.requests) == 1)
            nursery.cancel_scope.cancel(reason="no longer wanted")
        await endpoint.wait_until(lambda: endpoint.open == 0)
        assert rig.handle.statistics().under_way == 0


async def test_a_caller_that_vanishes_ends_its_request() -> None:
    async with open_endpoint() as endpoint, open_functions_rig() as rig:
        endpoint.answer = silence
        await rig.register(f"http://127.0.0.1:{endpoint.port}/")
        vanishing = rig.under_test.connect_raw_peer()
        vanishing.announce("vanishing")
        vanishing.call("a::hook")
        await endpoint.wait_until(lambda: len(endpoint.requests) == 1)
        vanishing.cut()
        await endpoint.wait_until(lambda: endpoint.open == 0)


async def test_the_end_of_the_worker_ends_its_requests() -> None:
    async with open_endpoint() as endpoint, open_functions_rig() as rig:
        endpoint.answer = silence
        await rig.register(f"http://127.0.0.1:{endpoint.port}/")

        async def call() -> None:
            with pytest.raises(InvocationStoppedError):
                await rig.call()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await endpoint.wait_until(lambda: len(endpoint.requests) == 1)
            rig.serving.cancel(reason="the worker ends")
        await endpoint.wait_until(lambda: endpoint.open == 0)


async def test_drain_waits_for_requests_under_way() -> None:
    async with open_endpoint() as endpoint, open_functions_rig() as rig:
        endpoint.answer = silence
        await rig.register(f"http://127.0.0.1:{endpoint.port}/", timeout_ms=200)
        await rig.handle.drain(PATIENCE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.failure)
            await endpoint.wait_until(lambda: len(endpoint.requests) == 1)
            await rig.handle.drain(PATIENCE)
            assert rig.handle.statistics().under_way == 0


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_response_has_a_size_limit(chunked: bool) -> None:
    if chunked:
        piece = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = raw(head, *[piece] * 100)
    else:
        answer = reply(b"x" * 100_000)
    async with (
        open_endpoint() as endpoint,
        open_functions_rig(limited(max_response_bytes=10_000)) as rig,
    ):
        endpoint.answer = answer
        await rig.register(f"http://127.0.0.1:{endpoint.port}/")
        code, message = await rig.failure()
        await endpoint.wait_until(lambda: endpoint.open == 0)
    assert code == "http_response_failed"
    assert "larger than 10000 bytes" in message


async def test_large_bodies_pass_both_ways() -> None:
    text = "x" * (5 * 2**20)
    async with open_endpoint() as endpoint, open_functions_rig() as rig:
        endpoint.answer = reply(text)
        await rig.register(f"http://127.0.0.1:{endpoint.port}/")
        assert await rig.call(text) == text
        assert len(endpoint.requests[0].body) == len(text) + 2


async def test_an_answer_before_the_whole_request_was_read_counts() -> None:
    async def refuse_early(stream: trio.abc.Stream) -> None:
        await stream.receive_some(1000)
        await stream.send_all(
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        await stream.send_eof()  # type: ignore[attr-defined]
        with trio.move_on_after(PATIENCE):
            while await stream.receive_some():
                pass

    async with open_functions_rig() as rig, trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, refuse_early, 0)
        port = listeners[0].socket.getsockname()[1]
        await rig.register(f"http://127.0.0.1:{port}/")
        assert await rig.failure("x" * 2**20) == (
            "http_error",
            "HTTP 413 Content Too Large",
        )
        nursery.cancel_scope.cancel(reason="shown")


async def test_proxies_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        open_endpoint() as proxy,
        open_endpoint() as endpoint,
        open_functions_rig() as rig,
    ):
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        endpoint.answer = reply("direct")
        await rig.register(f"http://127.0.0.1:{endpoint.port}/")
        assert await rig.call() == "direct"
        assert proxy.connections == 0


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "hmac", "secret_key": "KEY"},
        {"type": "bearer", "token_key": "KEY"},
        {"type": "api_key", "header": "X-Key", "value_key": "KEY"},
    ],
)
async def test_secrets_are_in_no_log_no_error_and_no_listing(
    auth: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[object] = []
    async with (
        open_endpoint() as endpoint,
        open_functions_rig(environ={"KEY": SECRET}) as rig,
    ):
        url = f"http://127.0.0.1:{endpoint.port}/?token={SECRET}"
        headers = {"X-Other": SECRET}
        await rig.register(url, auth=auth, headers=headers)
        for answer in (reply(1), reply(b"<"), reply(b"", "500 x"), raw(close=True)):
            endpoint.answer = answer
            with trio.fail_after(PATIENCE):
                call = rig.owner.call("a::hook")
                shown.append(await rig.owner.outcome(call))
        if auth["type"] != "hmac":
            assert SECRET in str(endpoint.requests[0].headers[5:])
        shown.append(await rig.caller.invoke("engine::workers::list", {}))
        asked = {"function_id": "a::hook"}
        shown.append(await rig.caller.invoke("engine::functions::info", asked))
        function = rig.under_test.engine.registry.find("default", "a::hook")
        shown.append(repr(function))
        rig.owner.register(
            "a::bad", invocation={"url": url, "headers": {"x": [SECRET]}}
        )
        rig.owner.register("a::bad", invocation={"url": f"ftp://{SECRET}@x/"})
        shown.append(await rig.caller.invoke("engine::functions::list", {}))
    assert SECRET not in str(shown)
    assert SECRET not in caplog.text


async def test_urls_are_judged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    config = HTTPFunctionsConfig(security=SecurityConfig())
    async with open_endpoint() as endpoint, open_functions_rig(config) as rig:
        await rig.register(f"http://127.0.0.1:{endpoint.port}/")
        await rig.register(f"https://127.0.0.1:{endpoint.port}/")
        await rig.register("https://[::ffff:127.0.0.1]/")
        await rig.register(
            "https://example.com/", auth={"type": "hmac", "secret_key": "NO_SUCH"}
        )
        assert (await rig.failure())[0] == "function_not_found"
        assert endpoint.connections == 0
    for text in (
        "HTTPS is required",
        "Private IP blocked",
        "Secret not found: NO_SUCH",
    ):
        assert text in caplog.text
