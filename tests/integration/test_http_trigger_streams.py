"""Streams through the http trigger and a worker behind a URL, on real sockets."""

from typing import Any

import trio
import trio.testing

from tests.integration.http_trigger_rig import open_http_trigger_rig
from tests.integration.net_rig import Client

PIECE = b"x" * 50_000
UPLOAD = (
    "POST /a HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
    "Content-Length: {}\r\n\r\n"
)


async def test_a_handler_behind_a_link_answers_with_a_value() -> None:
    async def handler(payload: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return {"status_code": 201, "body": payload["body"]}

    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve_far("POST", "/a", handler)
        await client.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n[1]")
        answer = await client.response()
        assert (answer.status, answer.body) == (201, b"[1]")


async def test_a_response_is_streamed_in_chunks() -> None:
    async def handler(payload: Any) -> None:
        response = rig.response_of(payload)
        await response.send('{"type":"set_status","status_code":206}')
        await response.send('{"type":"set_headers","headers":{"X-A":"1"}}')
        for _ in range(20):
            await response.send(PIECE)
        await response.aclose()

    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve_far("GET", "/a", handler)
        for _ in range(2):
            answer = await client.get("/a")
            assert (answer.status, len(answer.body)) == (206, 20 * len(PIECE))
            assert answer.headers["transfer-encoding"] == "chunked"
            assert answer.headers["x-a"] == "1"
            assert "content-type" not in answer.headers


async def test_the_first_bytes_arrive_before_the_last_are_written() -> None:
    go_on = trio.Event()

    async def handler(payload: Any) -> None:
        response = rig.response_of(payload)
        await response.send(b"first")
        await go_on.wait()
        await response.aclose()

    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve_far("GET", "/a", handler)
        await client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        data = b""
        while b"first" not in data:
            data += await client.receive()
        go_on.set()
        while not data.endswith(b"0\r\n\r\n"):
            data += await client.receive()


async def test_head_of_a_streaming_handler_has_no_body() -> None:
    async def handler(payload: Any) -> None:
        response = rig.response_of(payload)
        await response.send(b"not for HEAD")
        await response.aclose()

    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve_far("GET", "/a", handler)
        await client.send("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.response(head_only=True)).status == 200
        assert (await client.get("/a")).body == b"not for HEAD"


async def test_an_upload_is_echoed_while_it_comes() -> None:
    async def handler(payload: Any) -> None:
        response = rig.response_of(payload)
        assert payload["body"] is None
        async for piece in rig.body_of(payload):
            await response.send(piece)
        await response.aclose()

    async with (
        open_http_trigger_rig(body_limit=1000) as rig,
        rig.client() as client,
        trio.open_nursery() as nursery,
    ):
        await rig.serve_far("POST", "/a", handler)

        async def upload() -> None:
            await client.send(UPLOAD.format(100 * len(PIECE)))
            for _ in range(100):
                await client.send(PIECE)

        nursery.start_soon(upload)
        answer = await client.response()
        assert (answer.status, len(answer.body)) == (200, 100 * len(PIECE))


async def test_an_upload_that_nobody_reads_is_held_back_at_the_client() -> None:
    started, release = trio.Event(), trio.Event()
    size = 1000 * len(PIECE)
    sent = 0

    async def handler(payload: Any) -> Any:
        started.set()
        await release.wait()
        return {"body": len(await rig.body_of(payload).read_all())}

    async def upload(client: Client) -> None:
        nonlocal sent
        await client.send(UPLOAD.format(size))
        while sent < size:
            await client.send(PIECE)
            sent += len(PIECE)

    async with (
        open_http_trigger_rig() as rig,
        rig.client() as client,
        trio.open_nursery() as nursery,
    ):
        await rig.serve_far("POST", "/a", handler)
        nursery.start_soon(upload, client)
        await started.wait()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert sent < size
        release.set()
        assert (await client.response()).body == str(size).encode()


async def test_a_form_is_read_from_its_channel() -> None:
    async def handler(payload: Any) -> Any:
        form = await rig.body_of(payload).read_all()
        return {"body": [payload["body"], form.decode()]}

    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve_far("POST", "/a", handler)
        await client.send(
            "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n\r\na=1&b=2"
        )
        assert (await client.response()).body == b'[null,"a=1&b=2"]'


async def test_a_cut_off_upload_is_an_error_to_its_reader() -> None:
    started, ended = trio.Event(), trio.Event()

    async def handler(payload: Any) -> None:
        started.set()
        try:
            await rig.body_of(payload).read_all()
        finally:
            ended.set()

    async with open_http_trigger_rig() as rig:
        await rig.serve_far("POST", "/a", handler)
        async with rig.client() as client:
            await client.send(UPLOAD.format(len(PIECE) + 1))
            await client.send(PIECE)
            await started.wait()
            await client.stream.send_eof()
            await ended.wait()
            await client.at_end()


async def test_a_stream_that_breaks_off_is_seen_to_be_cut_short() -> None:
    async def handler(payload: Any) -> None:
        response = rig.response_of(payload)
        await response.send(b"half")
        await committed.wait()
        response.abort("out of paper")

    committed = trio.Event()
    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve_far("GET", "/a", handler)
        await client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        data = b""
        while b"half" not in data:
            data += await client.receive()
        committed.set()
        while piece := await client.receive():
            data += piece
        assert not data.endswith(b"0\r\n\r\n")


async def test_a_client_that_leaves_breaks_the_writer() -> None:
    broken = trio.Event()

    async def write(payload: Any) -> None:
        response = rig.response_of(payload)
        await trio.lowlevel.checkpoint()
        try:
            while True:
                await response.send(PIECE)
        except trio.BrokenResourceError:
            broken.set()

    async def handler(payload: Any) -> None:
        await trio.lowlevel.checkpoint()
        rig.worker.start_soon(write, payload, name="writer")

    async with open_http_trigger_rig() as rig:
        await rig.serve_far("GET", "/a", handler)
        async with rig.client() as client:
            await client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.receive()
        await broken.wait()


async def test_null_without_a_writer_is_an_empty_object() -> None:
    async def handler(_payload: Any) -> None:
        await trio.lowlevel.checkpoint()

    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve_far("GET", "/a", handler)
        answer = await client.get("/a")
        assert (answer.status, answer.body) == (200, b"{}")
