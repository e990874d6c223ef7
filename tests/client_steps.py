"""The one script that every generation of every public SDK goes through.

`run_steps` gives one line per step: ``yes``, ``-`` where the SDK has no such thing, or
what went wrong. The steps build on each other, in this order.
"""

import functools
import json
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
import trio
import trio_websocket

from iii_trio.errors import FunctionFailedError, IIIError, InvocationRefusedError
from iii_trio.protocol import WorkerDetached, receive_limit
from iii_trio.worker import open_worker
from tests.client_stage import (
    FUNCTIONS,
    KINDS,
    PATIENCE,
    Client,
    open_proxy,
    open_stage,
)
from tests.client_trial import NAME, Trial

MIB: Final = 2**20
VALUES: Final = [
    {},
    [],
    "",
    "Grüße, 世界 \U0001f30d \u2028",
    {"deep": [{"er": [1, 2.5, True, None]}]},
    9007199254740991,
]


async def register(trial: Trial) -> None:
    invoke = trial.stage.script.invoke
    info = await invoke("engine::workers::info", {"name": NAME})
    worker = info["worker"]
    assert (worker["runtime"], worker["version"]) == (
        trial.client.language,
        trial.client.version,
    )
    found = {row["function_id"] for row in info["functions"]}
    kinds = [f"on_{kind}" for kind in KINDS]
    assert found == {f"{NAME}::{name}" for name in (*FUNCTIONS, *kinds)}
    assert [row["id"] for row in info["trigger_types"]] == [f"{NAME}-bell"]
    # A function that somebody else holds is refused, and nothing else happens.
    assert await invoke("script::taken") == "the script"


async def call_both_ways(trial: Trial) -> None:
    for value in VALUES:
        answer = await trial.call("echo", {"v": value})
        assert answer == {"from": NAME, "payload": {"v": value}}
    ask = {"function_id": "script::double", "payload": {"n": 21}}
    assert await trial.call("ask", ask) == {"result": 42}


async def error_both_ways(trial: Trial) -> None:
    with pytest.raises(FunctionFailedError, match="no luck") as caught:
        await trial.call("fail")
    assert caught.value.code == "invocation_failed"
    answer = await trial.call("ask", {"function_id": "no::where", "payload": {}})
    assert answer["code"] == "function_not_found"
    assert "no::where" in answer["message"]
    answer = await trial.call("ask", {"function_id": "script::refuse", "payload": {}})
    assert (answer["code"], "no coffee" in answer["message"]) == ("teapot", True)


async def void(trial: Trial) -> None:
    noted = trial.stage.noted
    await trial.call("fire", {"function_id": "script::note", "payload": {"n": 7}})
    await trial.stage.until(lambda: noted, "a void call")
    assert noted.pop()["n"] == 7


async def enqueue(trial: Trial) -> None:
    request = {"queue": "default", "function_id": f"{NAME}::on_queue", "payload": {}}
    receipts = []

    async def provoke() -> None:
        receipts.append(await trial.call("enqueue", request))

    await trial.fires("queue", provoke)
    assert len(receipts[0]["messageReceiptId"]) == 36


async def http(trial: Trial) -> None:
    await trial.bind("http", "http", {"api_path": "/zoo", "http_method": "GET"})
    answer = await trial.get("/zoo")
    assert (answer.status_code, answer.json()) == (200, {"from": NAME})


async def cron(trial: Trial) -> None:
    async def provoke() -> None:
        await trial.bind("cron", "cron", {"expression": "* * * * * *"})

    await trial.fires("cron", provoke)
    await trial.unbind("cron")


async def state(trial: Trial) -> None:
    await trial.bind("state", "state", {"scope": "s"})
    request = {"scope": "s", "key": "k", "value": 1}
    await trial.fires("state", lambda: trial.stage.script.invoke("state::set", request))


async def stream(trial: Trial) -> None:
    await trial.bind("stream", "stream", {"stream_name": "s"})
    await trial.bind("join", "stream:join", {"stream_name": "s"})
    await trial.bind("leave", "stream:leave", {"stream_name": "s"})
    where = {"stream_name": "s", "group_id": "g", "item_id": "i", "data": 1}
    await trial.fires("stream", lambda: trial.stage.script.invoke("stream::set", where))
    url = f"ws://127.0.0.1:{trial.stage.port('iii-stream')}"
    data = {"streamName": "s", "groupId": "g", "subscriptionId": "1"}
    async with trio_websocket.open_websocket_url(url) as socket:
        for kind in ("join", "leave"):
            text = json.dumps({"type": kind, "data": data})
            await trial.fires(kind, functools.partial(socket.send_message, text))


async def pubsub(trial: Trial) -> None:
    await trial.bind("subscribe", "subscribe", {"topic": "t"})
    message = {"topic": "t", "data": 1}
    await trial.fires(
        "subscribe", lambda: trial.stage.script.invoke("publish", message)
    )


async def durable(trial: Trial) -> None:
    await trial.bind("durable", "durable:subscriber", {"topic": "d"})
    message = {"topic": "d", "data": 1}
    await trial.fires(
        "durable",
        lambda: trial.stage.script.invoke("iii::durable::publish", message),
    )


async def discovery(trial: Trial) -> None:
    await trial.bind("functions", "engine::functions-available", {})
    await trial.bind("workers", "engine::workers-available", {})

    async def provoke() -> None:
        trial.stage.script.register_function("script::new", lambda: None)
        await trio.lowlevel.checkpoint()

    async def visit() -> None:
        async with open_worker(trial.stage.app.engine, name="visitor"):
            await trio.lowlevel.checkpoint()

    await trial.fires("functions", provoke)
    await trial.fires("workers", visit)
    await trial.unbind("functions")
    await trial.unbind("workers")


async def custom_types(trial: Trial) -> None:
    script = trial.stage.script
    script.register_trigger_type("script-bell", bind=trial.bells.append)
    await trial.bind("bell", "script-bell", {"volume": 1})
    await trial.fires("bell", lambda: script.emit(trial.bells[0], {}))
    await script.bind(f"{NAME}-bell", "script::double", {"volume": 3})
    assert await trial.call("ring", {"n": 4}) == [8]


async def channels(trial: Trial) -> None:
    script = trial.stage.script
    answers: list[Any] = []

    async def ask(name: str, payload: Any) -> None:
        answers.append(await trial.call(name, payload))

    sizes = {"pieces": 40, "bytes": 60_000}
    channel = await script.create_channel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "write", {"writer": channel.writer_ref, **sizes})
        received = await channel.reader.read_all()
    assert (len(received), received[-1]) == (2_400_000, 39)
    channel = await script.create_channel()
    async with trio.open_nursery() as nursery:
        refs = {"nested": [{"reader": channel.reader_ref}]}
        nursery.start_soon(ask, "read", refs)
        async with channel.writer as writer:
            for _ in range(40):
                await writer.send(bytes(60_000))
    await ask("relay", sizes)
    read = {"read": 2_400_000}
    assert answers == [{"written": 2_400_000}, read, read]


async def large_messages(trial: Trial) -> None:
    client = trial.client
    # What 0.25 takes it says itself; the step asks for what is true either way.
    limit = receive_limit(client.language, client.version, ())
    assert len((await trial.call("big", {"size": 3 * MIB}))["text"]) == 3 * MIB
    if limit > MIB:
        size = 20 * MIB
        assert await trial.call("size", {"text": "x" * size}) == {"size": size}
        size = 12 * MIB  # it comes back, and Python 0.24 sends 16 MiB at most
        ask = {"function_id": "script::big", "payload": {"size": size}}
        assert len((await trial.call("ask", ask))["result"]) == size
    else:
        size = 2 * MIB
        ask = {"function_id": "script::big", "payload": {"size": size}}
        with pytest.raises(InvocationRefusedError) as caught:
            await trial.call("size", {"text": "x" * size})
        assert caught.value.code == "payload_too_large"
        assert (await trial.call("ask", ask))["code"] == "payload_too_large"
    await trial.still_there()


async def name_conflict(trial: Trial) -> None:
    stage = trial.stage
    stage.events.clear()
    port = stage.port("iii-worker-manager")
    rival = await stage.start(trial.client, NAME, port)
    held = f"worker name {NAME!r} in 'default' is held by a live worker"
    await stage.until(
        lambda: any(held in one.reason for one in stage.events.of(WorkerDetached)),
        "a rival of the same name refused",
    )
    await trial.still_there()
    rival.kill()
    await rival.wait()


async def namespaces(trial: Trial) -> None:
    stage = trial.stage
    port = stage.port("iii-worker-manager")
    twin = await stage.start(trial.client, NAME, port, III_NAMESPACE="lab")
    there = await stage.ready(NAME, "lab")
    assert there != trial.worker_id
    invoke = stage.script.invoke
    # Its calls go to its own namespace, where nobody serves this one.
    ask = {"function_id": "script::double", "payload": {"n": 1}}
    answer = await invoke(f"{NAME}::ask", ask, namespace="lab")
    assert answer["code"] == "function_not_found"
    ask = {"function_id": f"{NAME}::echo", "payload": {"n": 2}}
    answer = await invoke(f"{NAME}::ask", ask, namespace="lab")
    assert answer["result"]["payload"] == {"n": 2}
    await trial.still_there()
    twin.kill()
    await twin.wait()


async def reconnect(trial: Trial) -> None:
    stage, old = trial.stage, trial.worker_id
    before = await stage.script.invoke("engine::workers::info", {"name": NAME})
    stage.events.clear()
    trial.proxy.cut_now()
    await stage.until(
        lambda: stage.events.of(WorkerDetached, worker_id=old), "the old worker gone"
    )
    assert stage.owner_of(f"{NAME}::echo") is None
    trial.worker_id = await stage.ready(NAME)
    await trial.trigger_is("http", "active")
    await trial.trigger_is("bell", "active")
    await trial.still_there()
    after = await stage.script.invoke("engine::workers::info", {"name": NAME})
    for rows in ("functions", "trigger_types"):
        assert after[rows] == before[rows]
    bound = [sorted(_bindings(info)) for info in (before, after)]
    assert bound[0] == bound[1]
    await trial.fires("http", lambda: trial.get("/zoo"))
    await trial.stage.until(
        lambda: len(trial.bells) > 1, "its binding told to its provider anew"
    )
    assert await trial.call("ring", {"n": 5}) == [10]


def _bindings(info: Any) -> list[tuple[str, str]]:
    rows = info["registered_triggers"]
    return [(row["trigger_type"], row["function_id"]) for row in rows]


async def leave(trial: Trial) -> None:
    statistics = trial.stage.app.engine.statistics
    assert trial.process is not None
    trial.process.kill()
    await trial.stage.until(
        lambda: trial.stage.owner_of(f"{NAME}::ready") is None, "the client gone"
    )
    rows = await trial.stage.script.invoke("engine::functions::list", {"worker": NAME})
    assert rows == {"functions": []}
    left = await trial.stage.script.invoke("engine::registered-triggers::list", {})
    for row in left["registered_triggers"]:
        assert not row["function_id"].startswith(f"{NAME}::")
    assert (await trial.get("/zoo")).status_code == 404
    assert (statistics().invocations, statistics().channels) == (0, 0)


STEPS: Final[dict[str, Callable[[Trial], Awaitable[None]]]] = {
    "register": register,
    "call": call_both_ways,
    "error": error_both_ways,
    "void": void,
    "enqueue": enqueue,
    "http": http,
    "cron": cron,
    "state": state,
    "stream": stream,
    "subscribe": pubsub,
    "durable": durable,
    "discovery": discovery,
    "custom types": custom_types,
    "channels": channels,
    "large messages": large_messages,
    "name conflict": name_conflict,
    "namespaces": namespaces,
    "reconnect": reconnect,
    "leave": leave,
}


FAILURES: Final = (AssertionError, IIIError, trio.TooSlowError, pytest.fail.Exception)


def has_namespaces(client: Client) -> bool:
    """The Python and Rust SDKs know namespaces since 0.23, Node not up to 0.22."""
    return tuple(map(int, client.version.split("."))) >= (0, 23)


async def run_steps(client: Client, directory: pathlib.Path) -> dict[str, str]:
    """Take a client through the script; a step that fails ends it.

    Returns:
        Step to ``yes``, ``-``, or what went wrong.
    """
    results: dict[str, str] = {}
    async with open_stage(directory) as stage, open_proxy(stage) as proxy:
        trial = Trial(client, stage, proxy)
        await trial.start()
        for name, step in STEPS.items():
            if name == "namespaces" and not has_namespaces(client):
                results[name] = "-"
                continue
            try:
                with trio.fail_after(2 * PATIENCE):
                    await step(trial)
            except FAILURES as exc:
                results[name] = f"{type(exc).__name__}: {exc}"
                break
            results[name] = "yes"
    return results
