"""The http trigger on the wire: what clients send, and what they get."""

from typing import Any

import httpx2
import pytest
import trio

from iii_trio.builtins.http import CORSConfig, LimitsConfig
from tests.integration.http_trigger_rig import open_http_trigger_rig
from tests.integration.net_rig import Client

JSON_POST = (
    "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    "Content-Length: {length}\r\n\r\n{body}"
)


async def echo(payload: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return {"body": payload}


def post(path: str, body: str) -> str:
    return JSON_POST.format(path=path, length=len(body), body=body)


class Counter:
    """A handler that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, _payload: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self.calls += 1
        return {"body": self.calls}


async def test_an_ordinary_client_gets_its_answers() -> None:
    async with open_http_trigger_rig() as rig:
        await rig.serve("POST", "users/:id", echo)
        host, port = rig.server.addresses[0]
        async with httpx2.AsyncClient(base_url=f"http://{host}:{port}") as client:
            answer = await client.post("/users/7?q=1", json={"z": 1})
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["access-control-allow-origin"] == "*"
            found = answer.json()
            assert found["body"] == {"z": 1}
            assert found["path_params"] == {"id": "7"}
            assert found["query_params"] == {"q": "1"}
            assert found["headers"]["content-type"] == "application/json"
            assert (await client.get("/users/7")).headers["allow"] == "POST"
            missing = await client.get("/nothing")
            assert missing.status_code == 404
            assert missing.json()["error"]["code"] == "NOT_FOUND"


async def test_both_loopback_families_listen_on_one_port() -> None:
    async with open_http_trigger_rig() as rig:
        await rig.serve("GET", "/a", Counter())
        assert len({port for _, port in rig.server.addresses}) == 1
        for address in rig.server.addresses:
            async with rig.client(address) as client:
                assert (await client.get("/a")).status == 200


async def test_a_connection_is_used_again_and_pipelined_answers_keep_their_order() -> (
    None
):
    async def slow(payload: Any) -> Any:
        await trio.sleep(0 if "fast" in payload["query_params"] else 0.01)
        return {"body": payload["query_params"]}

    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve("GET", "/a", slow)
        requests = [f"GET /a?{q} HTTP/1.1\r\nHost: x\r\n\r\n" for q in ("slow", "fast")]
        await client.send("".join(requests))
        assert (await client.response()).body == b'{"slow":""}'
        assert (await client.response()).body == b'{"fast":""}'


async def test_a_repeated_request_sees_that_its_route_has_changed() -> None:
    async def tell(payload: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return {"path": payload["path"], **payload["path_params"]}

    async with open_http_trigger_rig() as rig, rig.client() as client:

        async def ask() -> tuple[int, bytes]:
            await client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = await client.response()
            return answer.status, answer.body

        rig.worker.register_function("tell", tell)
        await rig.worker.bind("http", "tell", {"api_path": ":name"}, trigger_id="any")
        for _ in range(3):
            assert await ask() == (200, b'{"path":":name","name":"a"}')
        await rig.worker.bind("http", "tell", {"api_path": "a"}, trigger_id="one")
        for _ in range(2):
            assert await ask() == (200, b'{"path":"a"}')
        rig.worker.unbind("one")
        assert await ask() == (200, b'{"path":":name","name":"a"}')
        rig.worker.unbind("any")
        for _ in range(2):
            assert (await ask())[0] == 404


async def test_head_has_the_head_of_get_and_no_body() -> None:
    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve("GET", "/a", Counter())
        await client.send("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await client.response(head_only=True)
        assert (answer.status, answer.headers["content-length"]) == (200, "1")
        assert (await client.get("/a")).body == b"2"


@pytest.mark.parametrize("status", [204, 304])
async def test_a_bodiless_status_has_no_body_and_no_length(status: int) -> None:
    async def handler(_payload: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return {"status_code": status, "body": "x"}

    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve("GET", "/a", handler)
        answer = await client.get("/a")
        assert answer.status == status
        assert "content-length" not in answer.headers
        assert "content-type" not in answer.headers
        assert (await client.get("/a")).status == status


async def test_framing_headers_of_a_handler_leave_the_connection_whole() -> None:
    async def handler(_payload: Any) -> Any:
        await trio.lowlevel.checkpoint()
        headers = {
            "Content-Length": "1",
            "Transfer-Encoding": "chunked",
            "Connection": "close",
        }
        return {"headers": headers, "body": "whole"}

    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve("GET", "/a", handler)
        for _ in range(2):
            answer = await client.get("/a")
            assert (answer.status, answer.body) == (200, b'"whole"')
            assert "transfer-encoding" not in answer.headers


async def test_an_informational_status_is_a_500_and_the_connection_stays() -> None:
    async def handler(_payload: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return {"status_code": 101}

    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve("GET", "/a", handler)
        for _ in range(2):
            assert (await client.get("/a")).status == 500


async def test_a_badly_chunked_body_is_a_400_and_the_handler_is_not_called() -> None:
    async with open_http_trigger_rig() as rig, rig.client() as client:
        counter = Counter()
        await rig.serve("POST", "/a", counter)
        await client.send(
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "2\r\n{}\r\nnonsense\r\n"
        )
        assert (await client.response()).status == 400
        assert await client.at_end()
        assert counter.calls == 0


async def test_a_truncated_body_never_reaches_the_handler() -> None:
    async with open_http_trigger_rig() as rig, rig.client() as client:
        counter = Counter()
        await rig.serve("POST", "/a", counter)
        await client.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{}")
        await client.stream.send_eof()
        await client.at_end()
        assert counter.calls == 0
        assert rig.server.statistics().running == 0


async def test_a_body_over_the_limit_is_a_413_with_envelope() -> None:
    async with open_http_trigger_rig(body_limit=8) as rig, rig.client() as client:
        await rig.serve("POST", "/a", echo)
        await client.send(post("/a", "[1234567]"))
        answer = await client.response()
        assert answer.status == 413
        assert b"PAYLOAD_TOO_LARGE" in answer.body
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_a_chunked_body_over_the_limit_is_a_413() -> None:
    async with open_http_trigger_rig(body_limit=8) as rig, rig.client() as client:
        await rig.serve("POST", "/a", echo)
        await client.send(
            "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5\r\n[1234\r\n5\r\n5678]\r\n0\r\n\r\n"
        )
        assert (await client.response()).status == 413


async def test_100_continue_is_sent_when_the_body_is_wanted_and_not_before() -> None:
    head = "POST {} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    async with open_http_trigger_rig() as rig:
        await rig.serve("POST", "/a", echo)
        async with rig.client() as client:
            await client.send(head.format("/a"))
            assert (await client.response(head_only=True)).status == 100
            await client.send("{}")
            assert (await client.response()).status == 200
        async with rig.client() as client:
            await client.send(head.format("/nothing"))
            assert (await client.response()).status == 404


BOTH_LENGTHS = (
    "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /a HTTP/1.1\r\nHost: x\r\n" + "X: y\r\n" * 101 + "\r\n", 431),
        (f"GET /a HTTP/1.1\r\nHost: x\r\nX: {'y' * 70_000}\r\n\r\n", 431),
        (f"GET /{'a' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        ("GET /a HTTP/1.1\nHost: x\n\n", 400),
        ("GET /a HTTP/1.1\r\n\r\n", 400),
        ("GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (BOTH_LENGTHS, 400),
    ],
)
async def test_bad_heads_are_refused_and_the_connection_ends(
    head: str, status: int
) -> None:
    async with open_http_trigger_rig() as rig, rig.client() as client:
        counter = Counter()
        await rig.serve("GET", "/a", counter)
        await rig.serve("POST", "/a", counter)
        await client.send(head)
        assert (await client.response()).status == status
        await client.at_end()
        assert counter.calls == 0


async def test_the_limits_of_heads_are_configured() -> None:
    limits = LimitsConfig(head_fields=2, target_bytes=64)
    async with open_http_trigger_rig(limits=limits) as rig:
        await rig.serve("GET", "/a", echo)
        async with rig.client() as client:
            assert (await client.get("/a", head="X: y\r\n")).status == 200
            assert (await client.get("/a", head="X: y\r\nY: z\r\n")).status == 431
        async with rig.client() as client:
            assert (await client.get(f"/{'a' * 64}")).status == 414


async def test_the_http2_preface_is_not_served() -> None:
    async with open_http_trigger_rig() as rig, rig.client() as client:
        await client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        data = b""
        while piece := await client.receive():
            data += piece
        assert not data or data[9:12] in {b"400", b"505"}


@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
async def test_a_client_that_leaves_cancels_the_handler(how: str) -> None:
    started, cancelled = trio.Event(), trio.Event()

    async def handler(_payload: Any) -> None:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async def leave(client: Client) -> None:
        if how == "reset":
            await trio.lowlevel.checkpoint()
            client.reset()
        elif how == "close":
            await client.stream.aclose()
        else:
            await client.stream.send_eof()

    async with open_http_trigger_rig() as rig:
        await rig.serve("GET", "/a", handler)
        async with rig.client() as client:
            await client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            await started.wait()
            await leave(client)
            await cancelled.wait()


async def test_a_client_that_leaves_cancels_a_handler_behind_a_link() -> None:
    started, cancelled = trio.Event(), trio.Event()

    async def handler(_payload: Any) -> None:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with open_http_trigger_rig() as rig:
        await rig.serve_far("GET", "/a", handler)
        async with rig.client() as client:
            await client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            await started.wait()
        await cancelled.wait()


async def test_requests_over_the_limit_wait_or_are_refused() -> None:
    gate = trio.Event()
    answers: dict[int, int] = {}
    refused = trio.Event()

    async def handler(_payload: Any) -> Any:
        await gate.wait()

    async with (
        open_http_trigger_rig(concurrency_request_limit=1) as rig,
        trio.open_nursery() as nursery,
    ):
        await rig.serve("GET", "/a", handler)

        async def get(number: int) -> None:
            async with rig.client() as client:
                answer = await client.get("/a")
                answers[number] = answer.status
                if answer.status == 503:
                    assert answer.headers["retry-after"] == "1"
                    refused.set()

        for number in range(3):
            nursery.start_soon(get, number)
        await refused.wait()
        statistics = rig.server.statistics()
        assert (statistics.running, statistics.waiting) == (1, 1)
        gate.set()
        nursery.cancel_scope.deadline = trio.current_time() + 10
    assert sorted(answers.values()) == [200, 200, 503]


async def test_a_preflight_names_the_methods_of_the_path() -> None:
    cors = CORSConfig(allowed_origins=("http://x",), allowed_methods=("GET", "POST"))
    async with open_http_trigger_rig(cors=cors) as rig, rig.client() as client:
        await rig.serve("POST", "/a", echo)
        await client.send("OPTIONS /a HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n\r\n")
        answer = await client.response()
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["allow"] == "POST"
        assert answer.headers["access-control-allow-origin"] == "http://x"
        assert answer.headers["access-control-allow-methods"] == "GET,POST"
        assert answer.headers["access-control-allow-headers"] == "*"


async def test_headers_of_clients_arrive_as_documented() -> None:
    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve("GET", "/a", echo)
        answer = await client.get(
            "/a",
            head="Cookie: a=1\r\nCookie: b=2\r\nX-A: 1\r\nx-a: 2\r\nX-B: caf\xe9\r\n",
        )
        headers = httpx2.Response(200, content=answer.body).json()["headers"]
        assert headers == {"host": "x", "cookie": "a=1; b=2", "x-a": "2", "x-b": ""}
