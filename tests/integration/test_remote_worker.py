"""Workers by URL over real sockets: our listener, hosts' servers, and odd peers."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio_websocket
from trio_websocket import WebSocketConnection, WebSocketRequest

from iii_trio.engine import Engine, open_engine, open_listener
from iii_trio.errors import (
    FunctionFailedError,
    InvocationStoppedError,
    InvocationTimeoutError,
    RegistrationError,
)
from iii_trio.net import open_pump
from iii_trio.protocol import ChannelRef, FunctionRegistered
from iii_trio.testing import EventRecorder
from iii_trio.transport import serve_trio_websocket
from iii_trio.worker import (
    Trigger,
    current_invocation,
    open_worker,
)


@asynccontextmanager
async def open_server() -> AsyncIterator[tuple[Engine, str, EventRecorder]]:
    """An engine, the URL of its worker port, and what happens in it."""
    events = EventRecorder()
    async with (
        open_engine(on_event=events) as engine,
        open_pump() as pump,
        open_listener(engine, pump, host="127.0.0.1", port=0) as door,
    ):
        yield engine, f"ws://127.0.0.1:{door.addresses[0][1]}", events


@asynccontextmanager
async def open_trio_websocket_server(
    handler: Callable[[WebSocketConnection], Awaitable[None]],
    requests: list[WebSocketRequest],
) -> AsyncIterator[str]:
    """A host program's own trio-websocket server; yields its URL."""

    async def accept(request: WebSocketRequest) -> None:
        requests.append(request)
        await handler(await request.accept())

    serve = partial(
        trio_websocket.serve_websocket,
        accept,
        "127.0.0.1",
        0,
        ssl_context=None,
        max_message_size=64 * 2**20,
        receive_buffer_size=None,
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve)
        yield f"ws://127.0.0.1:{server.port}"
        nursery.cancel_scope.cancel()


async def exercise(engine: Engine, url: str, events: EventRecorder) -> None:
    """Call in all directions between two URL workers and a local one."""
    seen = []
    async with (
        open_worker(url, name="a", namespace="ns") as a,
        open_worker(url, name="b") as b,
        open_worker(engine, name="local") as local,
    ):

        @a.function("where::am-i")
        async def where(value: Any) -> Any:
            await trio.lowlevel.checkpoint()
            seen.append(current_invocation().caller_worker_id)
            return [value, await a.invoke("local::double", value, namespace="default")]

        @local.function("local::double")
        async def double(value: Any) -> Any:
            await trio.lowlevel.checkpoint()
            seen.append(current_invocation().caller_worker_id)
            return {"n": value["n"] * 2}

        await events.wait_for(FunctionRegistered, function_id="where::am-i")
        result = [{"n": 2}, {"n": 4}]
        assert await b.invoke("where::am-i", {"n": 2}, namespace="ns") == result
        assert await local.invoke("where::am-i", {"n": 2}, namespace="ns") == result
        assert seen == [b.worker_id, a.worker_id, local.worker_id, a.worker_id]
        big = "x" * 5_000_000
        assert await b.invoke("local::double", {"n": big}) == {"n": big * 2}


async def test_calls_in_all_directions_through_our_listener() -> None:
    async with open_server() as (engine, url, events):
        await exercise(engine, url, events)


async def test_calls_in_all_directions_through_a_hosts_own_server() -> None:
    events = EventRecorder()
    async with open_engine(on_event=events) as engine:

        async def handler(connection: WebSocketConnection) -> None:
            await serve_trio_websocket(connection, engine.attach)

        async with open_trio_websocket_server(handler, []) as url:
            await exercise(engine, url, events)


async def test_messages_of_many_megabytes_pass_both_ways() -> None:
    async with (
        open_server() as (_, url, events),
        open_worker(url, name="a") as caller,
        open_worker(url, name="b") as callee,
    ):
        callee.register_function("echo", lambda text: text)
        await events.wait_for(FunctionRegistered, function_id="echo")
        text = "\N{SNOWMAN}" * (10 * 2**20)
        assert await caller.invoke("echo", text) == text


async def test_errors_keep_code_and_stacktrace() -> None:
    async with open_server() as (_, url, events), open_worker(url) as worker:

        @worker.function("f")
        async def broken() -> None:
            await trio.lowlevel.checkpoint()
            raise FunctionFailedError("no", code="teapot", details={"n": 1})

        worker.register_function("g", lambda: 1 / 0)
        await events.wait_for(FunctionRegistered, function_id="g")
        with pytest.raises(FunctionFailedError) as caught:
            await worker.invoke("f")
        assert (caught.value.code, caught.value.details) == ("teapot", {"n": 1})
        with pytest.raises(FunctionFailedError, match="division") as caught:
            await worker.invoke("g")
        assert "ZeroDivisionError" in (caught.value.stacktrace or "")


async def test_cancellation_and_deadlines_travel_to_the_handler() -> None:
    async with (
        open_server() as (_, url, events),
        open_worker(url, name="callee") as callee,
        open_worker(url, name="caller") as caller,
    ):
        began, ended = trio.Event(), trio.Event()

        @callee.function("slow")
        async def slow() -> None:
            began.set()
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        await events.wait_for(FunctionRegistered, function_id="slow")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.invoke, "slow")
            await began.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(5):
            await ended.wait()
        ended = trio.Event()
        with pytest.raises(InvocationTimeoutError):
            await caller.invoke("slow", deadline=0.01)
        with trio.fail_after(5):
            await ended.wait()


async def test_a_worker_that_leaves_stops_its_callers_at_once() -> None:
    async with (
        open_server() as (_, url, events),
        open_worker(url, name="a") as caller,
    ):
        async with trio.open_nursery() as nursery:
            async with open_worker(url, name="b") as callee:
                began = trio.Event()

                @callee.function("slow")
                async def slow() -> None:
                    began.set()
                    await trio.sleep_forever()

                await events.wait_for(FunctionRegistered, function_id="slow")

                @nursery.start_soon
                async def _() -> None:
                    with pytest.raises(InvocationStoppedError):
                        await caller.invoke("slow")

                await began.wait()


async def test_fires_made_just_before_the_end_arrive() -> None:
    got: list[int] = []
    async with open_server() as (engine, url, _), open_worker(engine) as local:
        done = trio.Event()

        @local.function("f")
        async def f(value: int) -> None:
            await trio.lowlevel.checkpoint()
            got.append(value)
            if value == 99:
                done.set()

        async with open_worker(url, grace=60) as worker:
            for number in range(100):
                worker.fire("f", number)
        await done.wait()
    assert sorted(got) == list(range(100))


async def test_a_name_that_is_held_ends_the_second_worker() -> None:
    async with open_server() as (_, url, _), open_worker(url, name="w"):
        with pytest.raises(RegistrationError) as caught:  # noqa: PT012
            with trio.fail_after(5):
                async with open_worker(url, name="w"):
                    await trio.sleep_forever()
        assert caught.value.code == "WORKER_NAMESPACE_CONFLICT"


async def test_a_trigger_type_by_url_serves_bindings_of_others() -> None:
    async with (
        open_server() as (engine, url, events),
        open_worker(url, name="provider") as provider,
        open_worker(engine, name="binder") as binder,
    ):
        bound: list[Trigger] = []
        has_bound, unbound = trio.Event(), trio.Event()

        async def bind(trigger: Trigger) -> None:
            await trio.lowlevel.checkpoint()
            bound.append(trigger)
            has_bound.set()

        provider.register_trigger_type(
            "hook", bind=bind, unbind=lambda _: unbound.set()
        )
        provider.register_function("marker", lambda: None)
        await events.wait_for(FunctionRegistered, function_id="marker")
        binder.register_function("on::event", lambda payload: {"got": payload})
        trigger_id = await binder.bind("hook", "on::event", metadata={"m": 1})
        with trio.fail_after(5):
            await has_bound.wait()
        assert await provider.emit(bound[0], 7) == {"got": 7}
        binder.unbind(trigger_id)
        with trio.fail_after(5):
            await unbound.wait()


async def test_a_provider_by_url_may_refuse() -> None:
    async with (
        open_server() as (_, url, events),
        open_worker(url, name="provider") as provider,
        open_worker(url, name="binder") as binder,
    ):
        refused = trio.Event()

        def bind(_: Trigger) -> None:
            refused.set()
            raise RegistrationError("never", code="no_way")

        provider.register_trigger_type("hook", bind=bind)
        provider.register_function("marker", lambda: None)
        await events.wait_for(FunctionRegistered, function_id="marker")
        trigger_id = await binder.bind("hook", "f")
        await refused.wait()
        # The answer to a call comes after what the engine had to say before.
        await provider.invoke("engine::workers::list")
        await binder.invoke("engine::workers::list")
        assert "never" in binder.rejections[trigger_id].message


async def test_channels_by_url_carry_streams_and_messages() -> None:
    async with (
        open_server() as (_, url, events),
        open_worker(url, name="reader") as reading,
        open_worker(url, name="writer") as writing,
    ):
        channel = await reading.create_channel()
        body = bytes(range(256)) * 4000

        @writing.function("fill")
        async def fill(ref: dict[str, str]) -> None:
            async with writing.open_writer(ChannelRef(**ref)) as writer:
                await writer.wait_peer()
                await writer.send("text first")
                await writer.send(body)

        await events.wait_for(FunctionRegistered, function_id="fill")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reading.invoke, "fill", channel.writer_ref)
            with trio.fail_after(5):
                await channel.reader.wait_peer()
                assert await channel.reader.receive() == "text first"
                assert await channel.reader.read_all() == body
                assert await channel.reader.receive() is None


async def test_channel_ends_by_url_close_break_and_refuse() -> None:
    async with open_server() as (_, url, _), open_worker(url) as worker:
        channel = await worker.create_channel()
        await channel.writer.aclose()
        with trio.fail_after(5):
            assert await channel.reader.receive() is None
        forged = ChannelRef(channel_id="x", access_key="y", direction="read")
        with pytest.raises(trio.BrokenResourceError):
            await worker.open_reader(forged).receive()
        channel = await worker.create_channel(buffer_size=1)
        await channel.writer.send(b"1")
        assert await channel.reader.receive() == b"1"
        channel.reader.abort("enough")
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012
            while True:
                await channel.writer.send(b"x" * 65536)
        with pytest.raises(trio.ClosedResourceError):
            await channel.reader.receive()


async def test_channel_ends_by_url_whose_task_is_cancelled_are_dropped() -> None:
    async with (
        open_server() as (engine, url, _),
        open_worker(url) as far,
        open_worker(engine) as near,
    ):
        unread = await far.create_channel(buffer_size=1)
        unsent = await far.create_channel()

        async def read() -> None:
            async with unread.reader as reader:
                await reader.read_all()

        async def write() -> None:
            async with unsent.writer as writer:
                await writer.send(b"half")
                await trio.sleep_forever()

        sink = near.open_writer(unread.writer_ref)
        source = near.open_reader(unsent.reader_ref)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(write)
            with trio.fail_after(5):
                await sink.wait_peer()
                assert await source.receive() == b"half"
            nursery.cancel_scope.cancel()
        with trio.fail_after(5):
            with pytest.raises(trio.BrokenResourceError):
                await source.receive()
            with pytest.raises(trio.BrokenResourceError):  # noqa: PT012
                while True:
                    await sink.send(b"for nobody")


async def test_the_next_send_by_url_tells_that_the_reader_is_gone() -> None:
    gone = trio.Event()

    async def serve(connection: WebSocketConnection) -> None:
        if connection.path == "/":
            await say_hello(connection)
            await until_closed(connection)
        else:
            assert await connection.get_message() == b"read"
            await connection.aclose()  # waits for the worker's answer
            gone.set()

    ref = ChannelRef(channel_id="c", access_key="k", direction="write")
    async with open_trio_websocket_server(serve, []) as url, open_worker(url) as worker:
        writer = worker.open_writer(ref)
        await writer.send(b"read")
        with trio.fail_after(5):
            await gone.wait()
            with pytest.raises(trio.BrokenResourceError, match="nobody reads"):
                await writer.send(b"lost")


async def test_a_reader_by_url_that_is_closed_meanwhile_sees_no_end() -> None:
    async with (
        open_server() as (_, url, _),
        open_worker(url) as worker,
        trio.open_nursery() as nursery,
    ):
        channel = await worker.create_channel()
        await channel.reader.open()

        @nursery.start_soon
        async def _() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await channel.reader.receive()

        with trio.fail_after(5):
            await trio.testing.wait_all_tasks_blocked()
            await channel.reader.aclose()


async def test_a_channel_whose_connection_is_lost_is_broken_for_its_reader() -> None:
    async def serve(connection: WebSocketConnection) -> None:
        if connection.path == "/":
            await say_hello(connection)
            await until_closed(connection)
        else:
            assert connection.path == "/ws/channels/c?key=k&dir=read"
            await connection.send_message(b"half")
            await trio.aclose_forcefully(connection)

    ref = ChannelRef(channel_id="c", access_key="k", direction="read")
    async with open_trio_websocket_server(serve, []) as url, open_worker(url) as worker:
        reader = worker.open_reader(ref)
        assert await reader.receive() == b"half"
        with pytest.raises(trio.BrokenResourceError):
            await reader.receive()


async def test_the_environment_names_a_worker_as_for_the_public_sdks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_server() as (engine, url, _):
        monkeypatch.setenv("III_URL", url)
        monkeypatch.setenv("III_WORKER_NAME", "from-env")
        monkeypatch.setenv("III_NAMESPACE", "env-ns")
        async with open_worker(name="from-code") as worker:
            assert (worker.name, worker.namespace) == ("from-env", "env-ns")
        async with open_worker(namespace="mine") as worker:
            assert worker.namespace == "mine"
        async with open_worker(engine, name="local") as worker:
            assert (worker.name, worker.namespace) == ("local", "default")


async def test_a_token_goes_into_the_authorization_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("III_TOKEN", " secret ")
    requests: list[WebSocketRequest] = []

    async def serve(connection: WebSocketConnection) -> None:
        await say_hello(connection)
        await until_closed(connection)

    async with open_trio_websocket_server(serve, requests) as url:
        async with open_worker(f"{url}/?token=x"):
            pass
    [request] = requests
    assert request.path == "/?token=x"
    assert dict(request.headers)[b"authorization"] == b"Bearer secret"


async def say_hello(connection: WebSocketConnection) -> None:
    greeting = {
        "type": "workerregistered",
        "worker_id": "11111111-1111-4111-8111-111111111111",
        "reattach_token": "t",
    }
    await connection.send_message(json.dumps(greeting))


async def until_closed(connection: WebSocketConnection) -> None:
    try:
        while True:
            await connection.get_message()
    except trio_websocket.ConnectionClosed:
        await trio.lowlevel.checkpoint()


async def test_an_engine_that_never_reads_does_not_keep_a_worker_from_leaving() -> None:
    stuck = trio.Event()

    async def serve(connection: WebSocketConnection) -> None:
        await say_hello(connection)
        await stuck.wait()

    async with open_trio_websocket_server(serve, []) as url:
        with trio.fail_after(10):
            async with open_worker(url, grace=0.01) as worker:
                for _ in range(7):
                    worker.fire("f", "x" * 2**20)
        stuck.set()
