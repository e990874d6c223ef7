"""Handlers with channels: bodies streamed to them, responses streamed from them.

The handlers are behind a memory link. The ends of their channels are taken by a worker in
process, so that no socket is needed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast, final

import attrs
import pytest
import trio
import trio.testing

from iii_trio.builtins.http import HTTPConfig
from iii_trio.builtins.http._deadlines import Deadlines
from iii_trio.builtins.http._far import FarCall
from iii_trio.builtins.http._runners import Runners
from iii_trio.errors import FunctionFailedError, InvocationRefusedError
from iii_trio.worker import Channel, ChannelReader, ChannelWriter, Worker
from tests.component.http_rig import (
    JSON_TYPE,
    HTTPRig,
    MemoryExchange,
    open_http_rig,
    ref_from,
)

BINARY = [("content-type", "application/octet-stream")]


@attrs.frozen
class Call:
    """One call of a handler with channels."""

    payload: Any
    body: ChannelReader
    response: ChannelWriter


Handler = Callable[[Call], Awaitable[Any]]


@attrs.define
class FarRig:
    """An http rig with a worker behind a link."""

    rig: HTTPRig
    handler: Handler
    leave: trio.Event
    cancelled: int = 0

    def call_of(self, payload: Any) -> Call:
        return Call(
            payload,
            self.rig.client.open_reader(ref_from(payload, "request_body")),
            self.rig.client.open_writer(ref_from(payload, "response")),
        )

    async def handle(self, payload: Any) -> Any:
        try:
            return await self.handler(self.call_of(payload))
        except trio.Cancelled:
            self.cancelled += 1
            raise

    def channels(self) -> int:
        return self.rig.under_test.engine.statistics().channels

    def is_clean(self) -> bool:
        statistics = self.rig.under_test.engine.statistics()
        return self.rig.is_idle() and not statistics.channels


@asynccontextmanager
async def open_far_rig(handler: Handler, **config: Any) -> AsyncIterator[FarRig]:
    async with open_http_rig(**config) as rig, trio.open_nursery() as nursery:
        far = FarRig(rig, handler, trio.Event())

        async def live(*, task_status: trio.TaskStatus[None]) -> None:
            async with rig.under_test.open_link_worker("far") as worker:
                worker.register_function("far::handler", far.handle)
                for method in ("GET", "POST"):
                    await worker.bind(
                        "http",
                        "far::handler",
                        {"api_path": "/a", "http_method": method},
                    )
                await rig.settle()
                task_status.started()
                await far.leave.wait()

        await nursery.start(live)
        yield far
        far.leave.set()


async def nothing(_call: Call) -> None:
    await trio.lowlevel.checkpoint()


# Buffered answers of handlers behind a link


async def test_a_returned_value_is_the_response_and_the_channels_go() -> None:
    async def handler(call: Call) -> Any:
        await trio.lowlevel.checkpoint()
        assert call.payload["request_body"]["direction"] == "read"
        assert call.payload["response"]["direction"] == "write"
        return {"status_code": 201, "body": {"x": 1}}

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("GET", "/a")
        assert (answer.status, answer.body) == (201, b'{"x":1}')
        await far.rig.settle()
        assert far.is_clean()


@pytest.mark.parametrize("steps", range(6))
async def test_a_writer_that_comes_when_the_answer_is_there_finds_no_channel(
    steps: int,
) -> None:
    late: list[Call] = []
    came = trio.Event()
    outcomes: list[str] = []

    async def handler(call: Call) -> Any:
        await trio.lowlevel.checkpoint()
        late.append(call)
        came.set()
        return {"body": 1}

    async with open_far_rig(handler) as far, trio.open_nursery() as nursery:

        async def come_late() -> None:
            await came.wait()
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            try:
                await late[0].response.open()
            except trio.BrokenResourceError:
                outcomes.append("refused")
            else:
                outcomes.append("taken")  # and dropped with the request

        nursery.start_soon(come_late)
        answer = await far.rig.request("GET", "/a")
        assert (answer.status, answer.body) == (200, b"1")
        await far.rig.settle()
        assert outcomes
        assert far.is_clean()


async def test_a_local_handler_gets_no_channels_unless_it_asks() -> None:
    async with open_http_rig() as rig:
        plain = await rig.serve("GET", "/plain", 1)
        asking = await rig.serve("GET", "/asking", 1, channels=True)
        await rig.request("GET", "/plain")
        await rig.request("GET", "/asking")
        assert "response" not in plain[0]
        assert "request_body" not in plain[0]
        assert asking[0]["response"]["direction"] == "write"
        await rig.settle()
        assert rig.under_test.engine.statistics().channels == 0


async def test_an_error_is_a_500_and_the_channels_go() -> None:
    async def handler(_call: Call) -> Any:
        await trio.lowlevel.checkpoint()
        raise FunctionFailedError("it broke", code="my_code")

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("GET", "/a")
        assert answer.error() == (500, "my_code", "it broke")
        await far.rig.settle()
        assert far.is_clean()


async def test_null_without_a_writer_is_an_empty_object_after_a_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_far_rig(nothing) as far:
        began = trio.current_time()
        answer = await far.rig.request("GET", "/a")
        assert (answer.status, answer.body) == (200, b"{}")
        assert answer.values("content-type") == ["application/json"]
        assert 1.0 <= trio.current_time() - began < 1.5


async def test_null_with_a_silent_writer_is_a_504(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handler(call: Call) -> None:
        await call.response.send('{"type":"set_status","status_code":201}')

    async with open_far_rig(handler, default_timeout=5000) as far:
        answer = await far.rig.request("GET", "/a")
        assert answer.error()[:2] == (504, "TIMEOUT")
        await far.rig.settle()
        assert far.is_clean()


async def test_a_worker_that_vanishes_is_a_500() -> None:
    async def handler(_call: Call) -> None:
        await trio.sleep_forever()

    async with open_far_rig(handler) as far:
        exchange = far.rig.start("GET", "/a")
        await far.rig.settle()
        far.leave.set()
        await exchange.done.wait()
        assert exchange.error()[:2] == (500, "invocation_stopped")


# Streamed responses


async def test_a_response_is_streamed() -> None:
    async def handler(call: Call) -> None:
        await call.response.send('{"type":"set_status","status_code":201}')
        await call.response.send('{"type":"set_headers","headers":{"X-A":"1"}}')
        await call.response.send(b"one,")
        await call.response.send('{"type":"set_status","status_code":500}')
        await call.response.send(b"two")
        await call.response.aclose()

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("GET", "/a")
        assert (answer.status, answer.body) == (201, b"one,two")
        assert answer.values("x-a") == ["1"]
        assert answer.values("content-type") == []
        assert answer.values("access-control-allow-origin") == ["*"]
        assert not answer.aborted
        await far.rig.settle()
        assert far.is_clean()


async def test_frames_may_come_long_after_null(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def write(call: Call) -> None:
        await call.response.send('{"type":"set_status","status_code":202}')
        await trio.sleep(20)
        await call.response.send(b"late")
        await trio.sleep(3600)
        await call.response.send(b"r")
        await call.response.aclose()

    async def handler(call: Call) -> None:
        await trio.lowlevel.checkpoint()
        far.rig.client.start_soon(write, call, name="writer")

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("GET", "/a")
        assert (answer.status, answer.body) == (202, b"later")


async def test_a_writer_that_closes_without_a_frame_gives_an_empty_body() -> None:
    async def handler(call: Call) -> None:
        await call.response.send('{"type":"set_status","status_code":404}')
        await call.response.aclose()
        await trio.sleep_forever()

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("GET", "/a")
        assert (answer.status, answer.body) == (404, b"")


async def test_a_value_returned_before_the_first_binary_frame_wins() -> None:
    async def handler(call: Call) -> Any:
        await call.response.send('{"type":"set_status","status_code":404}')
        return {"body": "value"}

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("GET", "/a")
        assert (answer.status, answer.json()) == (200, "value")


async def test_a_binary_frame_before_the_return_wins() -> None:
    async def handler(call: Call) -> Any:
        await call.response.send(b"frame")
        await call.response.aclose()
        return {"body": "value"}

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("GET", "/a")
        assert (answer.status, answer.body) == (200, b"frame")


async def test_a_frame_that_is_already_there_is_preferred_to_the_value() -> None:
    async def handler(call: Any) -> Any:
        writer = rig.client.open_writer(ref_from(call, "response"))
        await writer.send(b"frame")
        await writer.aclose()
        return {"body": "value"}

    async with open_http_rig() as rig:
        await rig.serve("GET", "/a", handler, channels=True)
        for _ in range(20):
            answer = await rig.request("GET", "/a")
            assert answer.body == b"frame"


async def test_an_error_after_the_first_frame_is_lost_and_the_stream_goes_on() -> None:
    async def write(call: Call) -> None:
        await failed.wait()
        await call.response.send(b"two")
        await call.response.aclose()

    async def handler(call: Call) -> Any:
        await call.response.send(b"one,")
        far.rig.client.start_soon(write, call, name="writer")
        raise FunctionFailedError("it broke")

    failed = trio.Event()
    async with open_far_rig(handler) as far:
        exchange = far.rig.start("GET", "/a")
        await exchange.committed.wait()
        await far.rig.settle()
        failed.set()
        await exchange.done.wait()
        assert (exchange.status, exchange.body) == (200, b"one,two")


async def test_a_stream_that_a_failed_handler_left_open_ends_after_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handler(call: Call) -> None:
        await call.response.send(b"half")
        await exchange.committed.wait()
        raise FunctionFailedError("it broke")

    async with open_far_rig(handler) as far:
        exchange = far.rig.start("GET", "/a")
        began = trio.current_time()
        with trio.fail_after(1000):
            await exchange.done.wait()
        assert exchange.aborted
        assert trio.current_time() - began == pytest.approx(30, abs=1)
        await far.rig.settle()
        assert far.is_clean()


async def test_a_stream_that_loses_its_worker_aborts_the_connection() -> None:
    async def handler(call: Call) -> None:
        await call.response.send(b"half")
        await trio.sleep_forever()

    async with open_far_rig(handler) as far:
        exchange = far.rig.start("GET", "/a")
        await exchange.committed.wait()
        far.leave.set()
        await exchange.done.wait()
        assert (exchange.status, exchange.body) == (200, b"half")
        assert exchange.aborted
        await far.rig.settle()
        assert far.is_clean()


@pytest.mark.parametrize("raises", [False, True])
async def test_a_stream_whose_channel_breaks_aborts_the_connection(
    raises: bool,
) -> None:
    async def handler(call: Call) -> None:
        async with call.response as writer:
            await writer.send(b"half")
            await exchange.committed.wait()
            if raises:
                raise ValueError("no film today")
            writer.abort("my mistake")

    async with open_far_rig(handler) as far:
        exchange = far.rig.start("GET", "/a")
        await exchange.done.wait()
        assert exchange.aborted
        await far.rig.settle()
        assert far.is_clean()


@pytest.mark.parametrize("sent", [[], ['{"type": "set_status", "status_code": 201}']])
async def test_a_writer_that_fails_before_its_first_piece_leaves_it_to_the_error(
    sent: list[str],
) -> None:
    async def handler(call: Call) -> None:
        async with call.response as writer:
            for message in sent:
                await writer.send(message)
            raise ValueError("no film today")

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("GET", "/a")
        assert answer.error() == (500, "invocation_failed", "no film today")
        await far.rig.settle()
        assert far.is_clean()


@pytest.mark.parametrize(("result", "status"), [({"body": 1}, 200), (None, 500)])
async def test_a_channel_that_breaks_before_it_commits_leaves_it_to_the_result(
    result: object, status: int
) -> None:
    async def handler(call: Call) -> Any:
        await call.response.send('{"type":"set_status","status_code":404}')
        call.response.abort("changed my mind")
        return result

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("GET", "/a")
        assert answer.status == status


async def test_a_channel_that_breaks_after_null_is_a_500() -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        await call.response.send('{"type":"set_status","status_code":404}')
        calls.append(call)

    async with open_far_rig(handler) as far:
        exchange = far.rig.start("GET", "/a")
        await far.rig.settle()
        calls[0].response.abort("gone")
        await exchange.done.wait()
        assert exchange.error()[:2] == (500, "invocation_stopped")


async def test_no_deadline_rules_once_the_response_streams(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handler(call: Call) -> None:
        await call.response.send(b"a")
        await trio.sleep(1000)
        await call.response.send(b"b")
        await call.response.aclose()

    async with open_far_rig(handler, default_timeout=1000) as far:
        answer = await far.rig.request("GET", "/a")
        assert (answer.body, answer.aborted) == (b"ab", "")


async def test_a_handler_has_one_more_timeout_after_its_stream_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handler(call: Call) -> None:
        await call.response.send(b"a")
        await call.response.aclose()
        await trio.sleep_forever()

    async with open_far_rig(handler, default_timeout=1000) as far:
        answer = await far.rig.request("GET", "/a")
        assert answer.body == b"a"
        assert not far.rig.is_idle()
        await trio.sleep(1.1)
        assert far.is_clean()
        assert far.cancelled == 1


async def test_a_bodiless_status_streams_no_body() -> None:
    async def handler(call: Call) -> None:
        await call.response.send('{"type":"set_status","status_code":204}')
        await call.response.send(b"not sent")
        await call.response.aclose()

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("GET", "/a")
        assert (answer.status, answer.body) == (204, b"")


async def test_a_slow_client_slows_the_writer_down() -> None:
    sent = 0

    async def handler(call: Call) -> None:
        nonlocal sent
        for _ in range(200):
            await call.response.send(b"x" * 1000)
            sent += 1
        await call.response.aclose()

    async with open_far_rig(handler) as far:
        exchange = MemoryExchange("GET", "/a")
        exchange.writable = trio.Event()
        far.rig.send(exchange)
        await far.rig.settle()
        assert sent < 70
        exchange.writable.set()
        await exchange.done.wait()
        assert len(exchange.body) == 200_000


# Clients that leave


async def test_a_client_that_hangs_up_closes_the_writer_at_once() -> None:
    broken = trio.Event()

    async def write(call: Call) -> None:
        await trio.lowlevel.checkpoint()
        try:
            while True:
                await call.response.send(b"more")
        except trio.BrokenResourceError:
            broken.set()

    async def handler(call: Call) -> None:
        await trio.lowlevel.checkpoint()
        far.rig.client.start_soon(write, call, name="writer")

    async with open_far_rig(handler) as far:
        exchange = MemoryExchange("GET", "/a")
        exchange.writable = trio.Event()
        far.rig.send(exchange)
        await far.rig.settle()
        exchange.hang_up()
        await broken.wait()
        await far.rig.settle()
        assert far.is_clean()


async def test_a_request_behind_a_link_has_no_task_and_no_channel() -> None:
    started = trio.Event()

    async def handler(_call: Call) -> Any:
        started.set()
        await gate.wait()
        return {"body": 1}

    gate = trio.Event()
    async with open_far_rig(handler) as far:
        tasks = far.rig.tasks()
        exchanges = [far.rig.start("GET", "/a") for _ in range(5)]
        await started.wait()
        await far.rig.settle()
        assert far.rig.tasks() == tasks + 1, "the one that sees to the deadlines"
        assert far.channels() == 0
        gate.set()
        for exchange in exchanges:
            await exchange.done.wait()
            assert (exchange.status, exchange.body) == (200, b"1")
        assert far.is_clean()


async def test_a_slow_handler_behind_a_link_is_a_504_and_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handler(_call: Call) -> None:
        await trio.sleep_forever()

    async with open_far_rig(handler, default_timeout=3000) as far:
        began = trio.current_time()
        first = far.rig.start("GET", "/a")
        await trio.sleep(1)
        far.rig.dispatcher.reconfigure(HTTPConfig(default_timeout=1000))
        second = await far.rig.request("GET", "/a")
        assert second.error()[:2] == (504, "TIMEOUT")
        assert trio.current_time() - began == pytest.approx(2)
        await first.done.wait()
        assert first.error()[:2] == (504, "TIMEOUT")
        assert trio.current_time() - began == pytest.approx(3)
        await far.rig.settle()
        assert far.cancelled == 2
        assert far.is_clean()


@pytest.mark.parametrize("steps", range(12))
async def test_a_client_that_hangs_up_while_a_stream_begins_leaves_nothing(
    steps: int,
) -> None:
    async def handler(call: Call) -> Any:
        await call.response.send(b"x")
        await trio.sleep_forever()

    async with open_far_rig(handler) as far:
        exchange = far.rig.start("GET", "/a")
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        exchange.hang_up()
        await far.rig.settle()
        assert far.is_clean()
        assert far.rig.under_test.engine.statistics().invocations == 0


@final
class NoNursery:
    """Starts nothing."""

    def start_soon(self, *_args: object, **_kw: object) -> None:
        """Leave it."""


async def test_a_stream_that_waits_for_a_runner_can_be_dropped() -> None:
    async def handler(call: Call) -> Any:
        await call.response.send(b"x")
        await trio.sleep_forever()

    async with open_far_rig(handler) as far:
        runners = Runners(cast("trio.Nursery", NoNursery()))
        deadlines = Deadlines(far.rig.nursery, 30, FarCall.late)
        run = far.rig.run_of(MemoryExchange("GET", "/a"))
        FarCall(run, deadlines, runners).start(b"")
        await far.rig.settle()
        engine = far.rig.under_test.engine
        assert (far.channels(), len(engine.channels.promises)) == (1, 1)
        runners.close("the server ends")
        await far.rig.settle()
        assert (far.channels(), len(engine.channels.promises)) == (0, 0)
        assert far.cancelled == 1
        assert engine.statistics().invocations == 0
        assert run.is_gone


async def test_a_client_that_hangs_up_cancels_the_handler_behind_the_link() -> None:
    async def handler(_call: Call) -> None:
        await trio.sleep_forever()

    async with open_far_rig(handler) as far:
        exchange = far.rig.start("GET", "/a")
        await far.rig.settle()
        exchange.hang_up()
        await far.rig.settle()
        assert far.cancelled == 1
        assert far.is_clean()


async def test_a_504_closes_the_channels_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls: list[Call] = []

    async def handler(call: Call) -> None:
        calls.append(call)
        await trio.sleep_forever()

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("GET", "/a")
        assert answer.error()[:2] == (504, "TIMEOUT")
        await far.rig.settle()
        assert far.is_clean()
        assert far.cancelled == 1
        with pytest.raises(trio.BrokenResourceError):
            await calls[0].response.send(b"late")


# Request bodies


@pytest.mark.parametrize(
    ("headers", "pieces", "frames", "body"),
    [
        ([JSON_TYPE], [b'{"a"', b":1}"], [b'{"a":1}'], {"a": 1}),
        ([], [b"[1", b"]"], [b"[1]"], [1]),
        ([JSON_TYPE], [b"{broken"], [b"{broken"], None),
        ([JSON_TYPE], [], [], None),
        (BINARY, [b"one", b"two"], [b"one", b"two"], None),
        (BINARY, [], [], None),
    ],
)
async def test_the_raw_body_is_readable_through_its_channel(
    headers: list[tuple[str, str]], pieces: list[bytes], frames: list[bytes], body: Any
) -> None:
    async def handler(call: Call) -> Any:
        return {
            "body": {
                "frames": [str(frame, "utf-8") async for frame in call.body],  # type: ignore[arg-type]
                "body": call.payload["body"],
            }
        }

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("POST", "/a", headers, pieces)
        assert answer.json() == {
            "frames": [str(f, "utf-8") for f in frames],
            "body": body,
        }
        await far.rig.settle()
        assert far.is_clean()


async def test_a_second_channel_that_is_refused_takes_the_first_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create, made = Worker.create_channel, 0

    async def limited(worker: Worker) -> Channel:
        nonlocal made
        made += 1
        if made == 2:
            raise InvocationRefusedError("too many channels", code="invocation_refused")
        return await create(worker)

    async def handler(_: Call) -> None:
        await trio.lowlevel.checkpoint()
        raise AssertionError

    monkeypatch.setattr(Worker, "create_channel", limited)
    async with open_far_rig(handler) as far:
        answer = await far.rig.request("POST", "/a", BINARY, [b"streamed"])
        assert answer.error()[:2] == (500, "invocation_refused")
        await far.rig.settle()
        assert far.is_clean()


async def test_a_request_without_a_body_has_an_empty_channel() -> None:
    async def handler(call: Call) -> Any:
        return {"body": len(await call.body.read_all())}

    async with open_far_rig(handler) as far:
        assert (await far.rig.request("GET", "/a")).body == b"0"


async def test_a_streamed_body_may_be_larger_than_the_limit() -> None:
    async def handler(call: Call) -> Any:
        return {"body": len(await call.body.read_all())}

    async with open_far_rig(handler, body_limit=10) as far:
        answer = await far.rig.request("POST", "/a", BINARY, [b"x" * 1000] * 100)
        assert answer.body == b"100000"


async def test_a_streamed_body_waits_for_its_reader() -> None:
    reading = trio.Event()

    async def handler(call: Call) -> Any:
        await reading.wait()
        return {"body": len(await call.body.read_all())}

    async with open_far_rig(handler) as far:
        exchange = far.rig.start("POST", "/a", BINARY, [b"x" * 1000] * 100)
        await far.rig.settle()
        assert exchange.read_bytes < 70_000
        reading.set()
        await exchange.done.wait()
        assert exchange.body == b"100000"


async def test_a_body_that_nobody_reads_does_not_hold_the_response_up() -> None:
    async def handler(_call: Call) -> Any:
        await trio.lowlevel.checkpoint()
        return {"body": 1}

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("POST", "/a", BINARY, [b"x"] * 200)
        assert answer.body == b"1"
        await far.rig.settle()
        assert far.is_clean()


async def test_the_reader_of_a_body_that_is_cut_off_gets_an_error() -> None:
    async def handler(call: Call) -> Any:
        with pytest.raises(trio.BrokenResourceError):
            await call.body.read_all()
        return {"body": "seen"}

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("POST", "/a", BINARY, [b"one"], cut=True)
        assert answer.json() == "seen"


async def test_an_echo_streams_both_ways() -> None:
    async def handler(call: Call) -> None:
        async for frame in call.body:
            await call.response.send(frame)
        await call.response.aclose()

    async with open_far_rig(handler) as far:
        answer = await far.rig.request("POST", "/a", BINARY, [b"x" * 1000] * 300)
        assert answer.body == b"x" * 300_000
