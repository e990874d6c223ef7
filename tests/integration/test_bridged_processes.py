"""A server whose data another server keeps, used by an SDK and through a restart."""

import os
import pathlib
import sys
from functools import partial

import msgspec
import pytest
import trio

from tests.integration.bridge_processes import (
    function_is_there,
    listener,
    open_client,
    open_engine_process,
)
from tests.live import PATIENCE

pytestmark = pytest.mark.slow

PROGRAM = pathlib.Path(__file__).parent.parent / "sdk_workers" / "queue_user.py"
STREAM = "{name: iii-stream, config: {port: 0}}"


def keeper(port: int = 0) -> str:
    """A configuration that keeps everything, in its durable file."""
    names = "{name: iii-state}, {name: iii-queue}, {name: iii-pubsub}"
    return f"workers: [{listener(port)}, {names}, {STREAM}]"


def front(url: str) -> str:
    """A configuration that keeps nothing, as one would write it for the reference."""
    adapter = f"adapter: {{name: bridge, config: {{bridge_url: '{url}'}}}}"
    return f"""
workers:
  - {listener()}
  - {{name: iii-state, config: {{{adapter}}}}}
  - {{name: iii-queue, config: {{{adapter}}}}}
  - {{name: iii-pubsub, config: {{{adapter}}}}}
  - {{name: iii-stream, config: {{port: 0, {adapter}}}}}
  - name: iii-bridge
    config:
      url: {url}
      expose: [{{local_function: py::take}}, {{local_function: py::refuse}}]
"""


async def test_an_sdk_uses_queues_that_another_server_keeps(
    tmp_path: pathlib.Path,
) -> None:
    with trio.fail_after(3 * PATIENCE):
        async with (
            open_engine_process(tmp_path / "keeper", keeper()) as (_, there),
            open_engine_process(tmp_path / "front", front(there)) as (server, here),
            open_client(there) as at_there,
        ):
            await function_is_there(at_there, "py::take")  # the bridge lends it
            finished = await trio.run_process(
                [sys.executable, PROGRAM],
                env={**os.environ, "III_URL": here},
                capture_stdout=True,
            )
            assert await server.stop() == 0
    report = msgspec.json.decode(finished.stdout)
    assert report["defined"] == {"queue": "once", "changed": True}
    assert len(report["receipt"]["messageReceiptId"]) == 36
    assert (report["first"], report["second"]) == ({"n": 1}, [2])
    assert report["unknown"][0] == "enqueue_error"
    assert report["unknown"][1].startswith("queue_not_defined: queue 'nowhere'")
    [dead] = report["dead"]
    assert (dead["payload"], dead["error"]) == ({"n": 3}, "invocation_failed: never")
    assert report["redriven"]["redriven"] == report["discarded"]["redriven"] == 1
    assert report["empty"] == ["queue_not_set", "Queue name is required"]


async def test_data_outlives_the_server_that_keeps_it(tmp_path: pathlib.Path) -> None:
    where = {"scope": "s", "key": "k"}
    item = {"stream_name": "s", "group_id": "g", "item_id": "i"}
    heard: list[object] = []
    came = trio.Event()

    async def hear(data: object) -> None:
        await trio.lowlevel.checkpoint()
        heard.append(data)
        came.set()

    with trio.fail_after(3 * PATIENCE):
        async with open_engine_process(tmp_path / "keeper", keeper()) as (kept, there):
            async with (
                open_engine_process(tmp_path / "front", front(there)) as (server, here),
                open_client(here) as at_here,
            ):
                await at_here.invoke("state::set", {**where, "value": {"n": 1}})
                await at_here.invoke("stream::set", {**item, "data": "kept"})
                at_here.register_function("on::news", hear)
                await at_here.bind("subscribe", "on::news", {"topic": "news"})
                kept.process.kill()
                await kept.wait()
                again = keeper(int(there.rpartition(":")[2]))
                async with open_engine_process(tmp_path / "keeper", again):
                    # These wait for the connection.
                    assert await at_here.invoke("state::get", where) == {"n": 1}
                    assert await at_here.invoke("stream::get", item) == "kept"
                    while not came.is_set():
                        news = {"topic": "news", "data": "new"}
                        await at_here.invoke("publish", news)
                        with trio.move_on_after(1):
                            await came.wait()
                assert await server.stop() == 0
    assert set(heard) == {"new"}


async def test_a_server_that_drains_leaves_messages_to_the_next(
    tmp_path: pathlib.Path,
) -> None:
    got: list[object] = []
    begun, may_end, came = trio.Event(), trio.Event(), trio.Event()

    async def take_slowly(data: object) -> None:
        begun.set()
        await may_end.wait()
        got.append(data)

    async def take(data: object) -> None:
        await trio.lowlevel.checkpoint()
        got.append(data)
        came.set()

    once = {"topic": "t", "queue_config": {"maxRetries": 0}}
    relay = "iii-queue-bridge::t::on::t@default"
    with trio.fail_after(3 * PATIENCE):
        async with (
            open_engine_process(tmp_path / "keeper", keeper()) as (_, there),
            open_client(there) as at_there,
        ):
            publish = partial(at_there.invoke, "iii::durable::publish")
            async with (
                open_engine_process(tmp_path / "front", front(there)) as (server, here),
                open_client(here) as at_here,
                trio.open_nursery() as nursery,
            ):
                at_here.register_function("on::t", take_slowly)
                await at_here.bind("durable:subscriber", "on::t", once)
                await function_is_there(at_there, relay)
                await publish({"topic": "t", "data": 1})
                await begun.wait()
                nursery.start_soon(server.stop)
                await function_is_there(at_there, relay, is_there=False)
                await publish({"topic": "t", "data": 2})
                may_end.set()
            stats = await at_there.invoke("engine::queue::topic_stats", {"topic": "t"})
            assert (got, stats["depth"], stats["dlq_depth"]) == ([1], 1, 0)
            async with (
                open_engine_process(tmp_path / "next", front(there)) as (_, here),
                open_client(here) as at_here,
            ):
                at_here.register_function("on::t", take)
                await at_here.bind("durable:subscriber", "on::t", once)
                await came.wait()
    assert got == [1, 2]
