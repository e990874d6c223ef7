"""Workers on the newest Python and Node SDKs: each does all that an SDK can do here."""

import pathlib
from typing import Any, get_args

import httpx2
import pytest
import trio

from iii_trio.builtins.http import HTTPConfig, serve_http
from iii_trio.errors import (
    FunctionFailedError,
    InvocationRefusedError,
    InvocationStoppedError,
    InvocationTimeoutError,
    RegistrationError,
)
from iii_trio.protocol import InvocationOpened, TriggerChanged, WorkerDetached
from iii_trio.worker import open_worker
from tests.frame_tap import FrameTap
from tests.live import PATIENCE, Language, LiveEngine, open_live_engine

LANGUAGES = [
    pytest.param(language, marks=pytest.mark.needs_node if language == "ts" else ())
    for language in get_args(Language)
]
BELLS: dict[Language, str] = {"py": "bell", "ts": "gong"}
each_language = pytest.mark.parametrize("language", LANGUAGES)

VALUES = [
    {},
    [],
    "",
    "Grüße, 世界 \U0001f30d \u2028",
    {"deep": [{"er": [1, 2.5, True, None]}]},
    9007199254740991,
]


async def echo(live: LiveEngine, language: Language, payload: Any) -> Any:
    """Call a zoo's echo, and check the mark of the caller that SDKs are given."""
    answer = await live.caller.invoke(f"{language}::echo", payload)
    assert answer.pop("_caller_worker_id") == live.caller.worker_id
    return answer


@each_language
async def test_values_pass_unchanged_both_ways(
    language: Language, tmp_path: pathlib.Path
) -> None:
    async with open_live_engine(tmp_path) as live:
        await live.start_zoo(language)
        for value in VALUES:
            assert await echo(live, language, {"v": value}) == {"v": value}


@each_language
async def test_messages_of_many_megabytes_pass_both_ways(
    language: Language, tmp_path: pathlib.Path
) -> None:
    async with open_live_engine(tmp_path) as live:
        await live.start_zoo(language)
        text = await live.caller.invoke(f"{language}::repeat", {"megabytes": 20})
        assert len(text) == 20 << 20
        payload = {"text": "y" * (20 << 20)}
        assert await echo(live, language, payload) == payload


@pytest.mark.needs_node
async def test_messages_that_no_engine_takes_cost_nobody_a_connection(
    tmp_path: pathlib.Path,
) -> None:
    async with open_live_engine(tmp_path) as live:
        await live.start_zoo("ts")
        with pytest.raises(InvocationRefusedError, match="takes at most") as caught:
            await live.caller.invoke("ts::repeat", {"megabytes": 70})
        assert caught.value.code == "payload_too_large"
        request = {"function_id": "ts::echo", "megabytes": 70}
        answer = await live.caller.invoke("ts::shout", request)
        assert answer["code"] == "payload_too_large"
        assert not live.events.of(WorkerDetached)
        assert await echo(live, "ts", {"still": "there"}) == {"still": "there"}


@each_language
async def test_what_a_handler_raises_reaches_the_caller(
    language: Language, tmp_path: pathlib.Path
) -> None:
    async with open_live_engine(tmp_path) as live:
        await live.start_zoo(language)
        with pytest.raises(FunctionFailedError, match="no luck") as caught:
            await live.caller.invoke(f"{language}::fail")
    assert caught.value.code == "invocation_failed"


@each_language
async def test_an_sdk_is_told_that_a_function_does_not_exist(
    language: Language, tmp_path: pathlib.Path
) -> None:
    async with open_live_engine(tmp_path) as live:
        await live.start_zoo(language)
        request = {"function_id": "no::where", "payload": {}}
        answer = await live.caller.invoke(f"{language}::ask", request)
    assert answer["code"] == "function_not_found"
    assert "no::where" in answer["message"]


@pytest.mark.needs_node
async def test_half_of_an_emoji_ends_calls_of_sdks_with_an_error(
    tmp_path: pathlib.Path,
) -> None:
    # JSON.stringify writes it as the escape of half of a surrogate pair.
    cut = {"function_id": "ts::cut", "payload": {"text": "cut emoji \U0001f600"}}
    asked = {"function_id": "py::echo", "text": "cut emoji \U0001f600"}
    async with open_live_engine(tmp_path) as live:
        await live.start_zoo("py")
        await live.start_zoo("ts")
        for language in get_args(Language):
            answer = await live.caller.invoke(f"{language}::ask", cut)
            assert answer["code"] == "invocation_failed", answer
            assert "'ts::cut' cannot be read" in answer["message"]
        with pytest.raises(FunctionFailedError, match="'ts::cut' cannot be read"):
            await live.caller.invoke("ts::cut", cut["payload"])
        answer = await live.caller.invoke("ts::ask_cut", asked)
        assert answer["code"] == "invocation_refused", answer
        assert "'py::echo' cannot be read" in answer["message"]
        assert await echo(live, "ts", {"still": "there"}) == {"still": "there"}
        counts = live.engine.statistics()
        assert (counts.bad_frames, counts.invocations) == (4, 0)


@pytest.mark.needs_node
async def test_python_asks_node_who_asks_python(tmp_path: pathlib.Path) -> None:
    async with open_live_engine(tmp_path) as live:
        await live.start_zoo("py")
        await live.start_zoo("ts")
        echo = {"function_id": "py::echo", "payload": {"n": 1}}
        ask = {"function_id": "ts::ask", "payload": echo}
        answer = await live.caller.invoke("py::ask", ask)
    assert answer["result"]["result"]["n"] == 1


@each_language
async def test_a_void_call_arrives(language: Language, tmp_path: pathlib.Path) -> None:
    arrived = trio.Event()
    async with open_live_engine(tmp_path) as live:
        await live.start_zoo(language)

        @live.caller.function("test::arrived")
        async def note(payload: dict[str, int]) -> None:
            await trio.lowlevel.checkpoint()
            assert payload["n"] == 7
            arrived.set()

        request = {"function_id": "test::arrived", "payload": {"n": 7}}
        await live.caller.invoke(f"{language}::fire", request)
        with trio.fail_after(PATIENCE):
            await arrived.wait()


@each_language
async def test_a_process_that_ends_in_a_call_stops_that_call(
    language: Language, tmp_path: pathlib.Path
) -> None:
    async with open_live_engine(tmp_path) as live:
        process = await live.start_zoo(language)
        with pytest.raises(InvocationStoppedError):
            await live.caller.invoke(f"{language}::leave")
        assert await process.wait() == 3
        await live.events.wait_for(WorkerDetached)
        statistics = live.engine.statistics()
    assert (statistics.invocations, statistics.functions) == (0, 0)


@each_language
async def test_a_call_that_is_cancelled_leaves_nothing_and_harms_nobody(
    language: Language, tmp_path: pathlib.Path, frame_tap: FrameTap
) -> None:
    async with open_live_engine(tmp_path) as live:
        await live.start_zoo(language)

        @live.caller.function("test::never")
        async def never(_payload: object) -> None:
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            request = {"function_id": "test::never", "payload": {}}
            nursery.start_soon(live.caller.invoke, f"{language}::ask", request)
            await live.events.wait_for(InvocationOpened, function_id="test::never")
            nursery.cancel_scope.cancel(reason="nobody waits any more")
        with pytest.raises(InvocationTimeoutError):
            await live.caller.invoke(f"{language}::ask", request, deadline=0.01)
        answer = await echo(live, language, {"still": "there"})
    assert answer == {"still": "there"}
    # A cancel and a deadline had something to say, and the SDK heard none of it.
    assert frame_tap.heard == 4  # the greeting and three calls


@each_language
@pytest.mark.parametrize("where", ["in process", "by URL"])
async def test_a_channel_carries_bytes_from_and_to_an_sdk(
    language: Language, where: str, tmp_path: pathlib.Path
) -> None:
    async with (
        open_live_engine(tmp_path) as live,
        open_worker(live.url if where == "by URL" else live.engine) as worker,
    ):
        await live.start_zoo(language)
        channel = await worker.create_channel()
        written: list[Any] = []

        async def write() -> None:
            payload = {"writer": channel.writer_ref, "pieces": 50, "bytes": 60_000}
            written.append(await worker.invoke(f"{language}::write", payload))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            received = await channel.reader.read_all()
        assert written == [{"written": len(received)}]
        assert received[-1] == 49

        channel = await worker.create_channel()
        read: list[Any] = []

        async def ask_to_read() -> None:
            payload = {"reader": channel.reader_ref}
            read.append(await worker.invoke(f"{language}::read", payload))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_to_read)
            async with channel.writer as writer:
                for _ in range(50):
                    await writer.send(bytes(60_000))
        assert read == [{"read": 50 * 60_000}]


@pytest.mark.needs_node
@pytest.mark.parametrize(("maker", "writer"), [("py", "ts"), ("ts", "py")])
async def test_a_channel_joins_two_sdks(
    maker: Language, writer: Language, tmp_path: pathlib.Path
) -> None:
    async with open_live_engine(tmp_path) as live:
        await live.start_zoo(maker)
        await live.start_zoo(writer)
        payload = {"pieces": 40, "bytes": 30_000}
        request = {"function_id": f"{writer}::write", "payload": payload}
        answer = await live.caller.invoke(f"{maker}::pass_channel", request)
    assert answer == {"written": 1_200_000, "read": 1_200_000}


@each_language
async def test_an_http_request_and_its_answer_are_streamed(
    language: Language, tmp_path: pathlib.Path
) -> None:
    body = bytes(range(97, 123)) * 20_000
    async with (
        open_live_engine(tmp_path) as live,
        open_worker(live.engine, name="http") as worker,
        trio.open_nursery() as nursery,
    ):
        server = await nursery.start(
            lambda *, task_status: serve_http(
                worker, HTTPConfig(port=0), pump=live.pump, task_status=task_status
            )
        )
        await live.start_zoo(language)
        config = {"api_path": "/stream", "http_method": "POST"}
        await live.caller.bind("http", f"{language}::stream", config)
        url = f"http://127.0.0.1:{server.addresses[0][1]}/stream"
        headers = {"content-type": "application/octet-stream"}
        async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            answer = await client.post(url, content=body, headers=headers)
        nursery.cancel_scope.cancel(reason="the test is over")
    assert answer.status_code == 202
    assert answer.headers["x-zoo"] in {"python", "node"}
    assert answer.content == b"%d " % len(body) + body


@each_language
async def test_an_sdk_provides_a_trigger_type(
    language: Language, tmp_path: pathlib.Path
) -> None:
    async with open_live_engine(tmp_path) as live:

        @live.caller.function("test::hear")
        async def hear(payload: dict[str, str]) -> str:
            await trio.lowlevel.checkpoint()
            return f"heard {payload['sound']}"

        bell = BELLS[language]
        parked = await live.caller.bind(bell, "test::hear", {"volume": 3})
        assert live.engine.statistics().parked == 1
        await live.start_zoo(language)
        await live.events.wait_for(TriggerChanged, trigger_id=parked, state="active")
        await live.caller.bind(bell, "test::hear", {"volume": 4})
        with pytest.raises(RegistrationError, match="too loud"):
            await live.caller.bind(bell, "test::hear", {"volume": 11})

        ding = {"sound": "ding"}
        answers = await live.caller.invoke(f"{language}::ring", ding)
        assert answers == ["heard ding", "heard ding"]
        live.caller.unbind(parked)
        answers = await live.caller.invoke(f"{language}::ring", ding)
        assert answers == ["heard ding"]
