"""Streams that another engine keeps, with subscribers of several engines."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from iii_trio._util import open_background_nursery
from iii_trio.adapters.memory import open_memory
from iii_trio.builtins.pubsub import PubSubConfig, serve_pubsub
from iii_trio.builtins.stream import StreamConfig, serve_bridged_stream, serve_stream
from iii_trio.engine import open_engine
from iii_trio.net import Pump, open_pump
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.transport import MemoryConnection
from iii_trio.worker import RemoteAttachment, open_worker
from tests.integration.stream_rig import NOW, PATIENCE, StreamRig, event

pytestmark = pytest.mark.slow
CONFIG = StreamConfig(port=0, host="127.0.0.1")


@attrs.define(eq=False)
class Keeper:
    """The engine that keeps the data, and the links to it."""

    under_test: EngineUnderTest
    direct: StreamRig
    links: list[MemoryConnection] = attrs.field(factory=list)
    up: bool = True

    def connect(self, _url: str) -> RemoteAttachment:
        return self.under_test.link_attachment(on_connect=self._on_connect)

    def _on_connect(self, link: MemoryConnection) -> None:
        if not self.up:
            raise trio.BrokenResourceError("nobody is there")
        self.links.append(link)

    def cut(self) -> None:
        """Cut all links; nobody answers until ``up`` is true again."""
        self.up = False
        for link in self.links:
            link.cut("the test cut it")


@asynccontextmanager
async def open_keeper(pump: Pump) -> AsyncIterator[Keeper]:
    async with (
        open_test_engine() as under_test,
        open_memory() as stores,
        under_test.open_worker("iii-stream") as streams,
        under_test.open_worker("iii-pubsub") as topics,
        under_test.open_worker("client") as client,
        open_background_nursery("test over") as nursery,
    ):
        await nursery.start(partial(serve_pubsub, topics, PubSubConfig()))
        server = await nursery.start(
            partial(
                serve_stream,
                streams,
                CONFIG,
                store=stores.key_value("stream"),
                pump=pump,
                now=lambda: NOW,
            )
        )
        scope = nursery.cancel_scope
        direct = StreamRig(
            engine=under_test.engine, server=server, client=client, serving=scope
        )
        yield Keeper(under_test, direct)


@asynccontextmanager
async def open_front(
    pump: Pump, keeper: Keeper, number: int
) -> AsyncIterator[StreamRig]:
    ids = itertools.count()
    async with (
        open_engine() as engine,
        open_worker(engine, name="iii-stream") as streams,
        open_worker(engine, name="client") as client,
        open_background_nursery("test over") as nursery,
    ):
        server = await nursery.start(
            partial(
                serve_bridged_stream,
                streams,
                CONFIG,
                url="ws://keeper.example",
                pump=pump,
                new_id=lambda: f"{number:08}-0000-4000-8000-{next(ids):012}",
                connect=keeper.connect,
                now=lambda: NOW,
            )
        )
        rig = StreamRig(
            engine=engine, server=server, client=client, serving=nursery.cancel_scope
        )
        await rig.call("list_all")  # answered once it is connected
        yield rig


@asynccontextmanager
async def open_fronts() -> AsyncIterator[tuple[Keeper, StreamRig, StreamRig]]:
    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as opened:
            enter = opened.enter_async_context
            pump = await enter(open_pump())
            keeper = await enter(open_keeper(pump))
            one = await enter(open_front(pump, keeper, 1))
            yield keeper, one, await enter(open_front(pump, keeper, 2))


STEPS: list[tuple[str, dict[str, Any]]] = [
    ("get", {"item_id": "i"}),
    ("set", {"item_id": "i", "data": {"n": 1}}),
    ("set", {"item_id": "i", "data": [None]}),
    ("get", {"item_id": "i"}),
    ("update", {"item_id": "n", "ops": [{"type": "increment", "path": "c", "by": 2}]}),
    ("update", {"item_id": "i", "ops": [{"type": "increment", "path": "c", "by": 2}]}),
    ("list", {}),
    ("list_groups", {}),
    ("list_all", {}),
    ("delete", {"item_id": "i"}),
    ("delete", {"item_id": "i"}),
    ("send", {"type": "t", "data": 1}),
]


async def outcomes(rig: StreamRig) -> list[Any]:
    await trio.lowlevel.checkpoint()
    where = {"stream_name": "s", "group_id": "g"}
    return [await rig.call(name, **where, **payload) for name, payload in STEPS]


async def test_functions_answer_as_if_the_data_were_here() -> None:
    async with open_fronts() as (_, one, _):
        bridged = await outcomes(one)
    async with open_fronts() as (keeper, _, _):
        direct = await outcomes(keeper.direct)
    assert bridged == direct
    assert bridged[3] == [None]


async def test_subscribers_of_all_engines_hear_the_writes_of_any() -> None:
    async with (
        open_fronts() as (_, one, two),
        one.subscriber() as at_one,
        two.subscriber() as at_two,
    ):
        for subscriber in (at_one, at_two):
            joined = await subscriber.join(id="i")
            assert joined["event"] == {"type": "sync", "data": None}
        await one.set("from one")
        await two.set("from two")
        await two.call("delete", stream_name="s", group_id="g", item_id="i")
        await one.call("send", stream_name="s", group_id="g", id="i", type="t", data=1)
        heard = [[await at.next() for _ in range(4)] for at in (at_one, at_two)]
        # In one order; which, is decided where the events meet.
        assert heard[0] == heard[1]
        written = [one for one in heard[0] if one["event"]["type"] != "event"]
        expected = [
            event("create", "from one"),
            event("update", "from two"),
            event("delete", "from two"),
        ]
        assert sorted(map(str, written)) == sorted(map(str, expected))


async def test_many_events_come_in_one_order_none_twice() -> None:
    async with (
        open_fronts() as (_, one, two),
        one.subscriber() as at_one,
        two.subscriber() as at_two,
    ):
        for subscriber in (at_one, at_two):
            await subscriber.join()
        for number in range(100):
            await one.set(number)
        for subscriber in (at_one, at_two):
            heard = [(await subscriber.next())["event"]["data"] for _ in range(100)]
            assert heard == list(range(100))


async def test_triggers_fire_where_it_was_written_and_where_it_is_kept() -> None:
    async with open_fronts() as (keeper, one, two):
        config = {"stream_name": "s"}
        at_keeper = await keeper.direct.record("stream", config)
        at_one = await one.record("stream", config)
        at_two = await two.record("stream", config)
        await one.set(1)
        await two.set(2)
        assert len(await at_keeper.until(2)) == 2
        assert await at_one.until(1) == [event("create", 1)]
        assert await at_two.until(1) == [event("update", 2)]


async def test_a_write_that_was_sent_is_told_though_its_caller_is_cancelled() -> None:
    async with open_fronts() as (keeper, one, two), two.subscriber() as at_two:
        await at_two.join()
        begun, release = trio.Event(), trio.Event()

        async def write(given: Any) -> Any:
            begun.set()
            await release.wait()
            return {"old_value": None, "new_value": given["data"]}

        keeper.direct.client.register_function("stream::set(s)", write)
        fired = await one.record("stream", {"stream_name": "s"})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.set, 1)
            await begun.wait()
            nursery.cancel_scope.cancel(reason="no longer wanted")
            release.set()
        assert await fired.until(1) == [event("create", 1)]
        assert await at_two.next() == event("create", 1)


async def test_a_custom_provider_here_comes_first() -> None:
    async with open_fronts() as (_, one, two):
        one.answer("stream::get(s)", "mine")
        one.answer("stream::set(s)", {"old_value": None, "new_value": "mine"})
        await two.set("kept")
        where = {"stream_name": "s", "group_id": "g", "item_id": "i"}
        assert await one.call("get", **where) == "mine"
        assert (await one.set("x"))["new_value"] == "mine"
        assert await two.call("get", **where) == "kept"


async def test_answers_that_are_no_stream_workers_are_refused() -> None:
    async with open_test_engine() as under_test, open_pump() as pump:
        async with under_test.open_worker("odd") as odd:

            async def wrong() -> list[int]:
                await trio.lowlevel.checkpoint()
                return [1]

            async def listed() -> dict[str, Any]:
                await trio.lowlevel.checkpoint()
                return {"stream": []}

            odd.register_function("stream::set", wrong)
            odd.register_function("stream::list_all", listed)
            direct: Any = None
            async with open_front(pump, Keeper(under_test, direct), 1) as rig:
                where = {"stream_name": "s", "group_id": "g", "item_id": "i"}
                failure = await rig.failure("set", {**where, "data": 1})
                assert failure.code == "STREAM_SET_ERROR"
                assert "answer does not fit" in failure.message
                failure = await rig.failure("get", where)
                assert failure.code == "STREAM_GET_ERROR"
                assert "function_not_found" in failure.message


async def test_a_lost_engine_comes_back_with_the_subscribers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_fronts() as (keeper, one, two), two.subscriber() as at_two:
        await at_two.join()
        keeper.cut()
        await wait_all_tasks_blocked()
        await one.call("send", stream_name="s", group_id="g", type="t", data="lost")
        keeper.up = True
        await one.set("written")  # waits for the connection
        await two.call("list_all")
        while True:
            await one.set("heard")
            with trio.move_on_after(1):
                heard = await at_two.next()
                break
        assert heard["event"]["data"] in ("written", "heard")
    assert "an event of s/g reaches no subscriber: " in caplog.text
