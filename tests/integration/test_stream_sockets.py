"""Subscribers of streams, by a real WebSocket client."""

import json
import logging
from typing import Any

import msgspec
import pytest
import trio
import trio_websocket

from iii_trio.builtins.stream import StreamConfig
from iii_trio.errors import FunctionFailedError
from iii_trio.net import OP_TEXT, encode_frame
from tests.integration.net_rig import UPGRADE
from tests.integration.stream_rig import event, open_stream_rig
from tests.integration.test_stream_functions import BrokenStore

ITEM = {"stream_name": "s", "group_id": "g", "item_id": "i"}
VISIT = {
    "subscription_id": "1",
    "stream_name": "s",
    "group_id": "g",
    "id": None,
    "context": None,
}


async def test_a_group_is_synced_and_then_followed() -> None:
    async with open_stream_rig() as rig, rig.subscriber() as one:
        await rig.set(1)
        assert await one.join() == event("sync", [1], item=None)
        await rig.set(2)
        assert await one.next() == event("update", 2)
        await rig.set(3, item="other")
        assert await one.next() == event("create", 3, item="other")
        await rig.set(4, group="elsewhere")
        await rig.call("delete", **ITEM)
        assert await one.next() == event("delete", 2)
        await rig.call("send", stream_name="s", group_id="g", type="t", data=5)
        assert (await one.next())["event"] == {
            "type": "event",
            "event": {"type": "t", "data": 5},
        }


async def test_a_subscriber_that_sends_over_64_kib_is_closed_alone() -> None:
    async with (
        open_stream_rig() as rig,
        rig.subscriber() as one,
        rig.subscriber() as two,
    ):
        await one.connection.send_message("x" * (64 * 1024 + 1))
        with pytest.raises(trio_websocket.ConnectionClosed) as caught:
            await one.next()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1009
        await rig.set(1)
        assert await two.join() == event("sync", [1], item=None)


async def test_an_item_is_synced_and_followed_alone() -> None:
    async with open_stream_rig() as rig, rig.subscriber("/stream/s/g?x=1") as one:
        assert await one.join(id="i") == event("sync", None)
        await rig.set(0, item="other")
        await rig.call("send", stream_name="s", group_id="g", type="t", data=5)
        await rig.set(1)
        assert await one.next() == event("create", 1)
        assert await one.join("2", id="i") == event("sync", 1)
        await rig.set(2)
        assert [await one.next(), await one.next()] == [event("update", 2)] * 2


async def test_a_subscription_id_is_replaced_and_left() -> None:
    async with open_stream_rig() as rig, rig.subscriber() as one:
        left = await rig.record("stream:leave", {"stream_name": "not looked at"})
        await one.join()
        await one.join(groupId="h")
        assert rig.server.statistics().subscriptions == 1
        await rig.set(1)
        await rig.set(2, group="h")
        assert await one.next() == event("create", 2, group="h")
        await one.send("leave")
        await one.send("leave", "unknown")
        got = await left.until(2)
        assert [one["subscription_id"] for one in got] == ["1", "unknown"]
        assert rig.server.statistics().subscriptions == 0


async def test_snapshot_and_events_have_no_gap_and_no_double() -> None:
    async with open_stream_rig() as rig:
        written = 0
        over = False

        async def write(item: int) -> None:
            nonlocal written
            await trio.lowlevel.checkpoint()
            while not over:
                written += 1
                await rig.set({"id": item, "n": written}, item=str(item))

        async with trio.open_nursery() as nursery:
            for item in range(4):
                nursery.start_soon(write, item)
            for _ in range(20):
                async with rig.subscriber() as one:
                    synced = await one.join()
                    seen = {
                        value["id"]: value["n"] for value in synced["event"]["data"]
                    }
                    for _ in range(30):
                        data = (await one.next())["event"]["data"]
                        assert data["n"] > seen.get(data["id"], 0)
                        seen[data["id"]] = data["n"]
            over = True


async def test_events_during_the_snapshot_follow_it() -> None:
    async with open_stream_rig() as rig, rig.subscriber() as one:
        asked, release = trio.Event(), trio.Event()

        async def slow(_given: Any) -> Any:
            asked.set()
            await release.wait()
            return ["snapshot"]

        rig.client.register_function("stream::list(s)", slow)
        await one.send("join")
        await asked.wait()
        await rig.set(1)
        release.set()
        assert await one.next() == event("sync", ["snapshot"], item=None)
        assert await one.next() == event("create", 1)


async def test_without_a_snapshot_the_subscription_stays() -> None:
    async with open_stream_rig(BrokenStore()) as rig, rig.subscriber() as one:
        await one.send("join")
        while not rig.server.statistics().subscriptions:
            await rig.call("send", stream_name="x", group_id="", type="", data=0)
        await rig.call("send", stream_name="s", group_id="g", type="t", data=5)
        assert (await one.next())["event"]["type"] == "event"


async def test_a_stuck_snapshot_ends_and_a_flood_meanwhile_drops() -> None:
    async with open_stream_rig(handler_timeout=50) as rig, rig.subscriber() as one:

        async def stuck(_given: Any) -> None:
            await trio.sleep_forever()

        rig.client.register_function("stream::list(s)", stuck)
        await one.send("join")
        while not rig.server.statistics().subscriptions:
            await rig.call("send", stream_name="x", group_id="", type="", data=0)
        await rig.set("x" * 2_000_000)
        assert await one.lost() == 1006


async def test_join_handlers_may_refuse() -> None:
    async with open_stream_rig() as rig, rig.subscriber() as one:
        asked = await rig.record(
            "stream:join", None, lambda visit: {"unauthorized": visit["id"] == "i"}
        )
        assert await one.join(id="i") == {
            **event("sync", None),
            "event": {"type": "unauthorized"},
        }
        assert await one.join() == event("sync", [], item=None)
        assert asked.payloads == [{**VISIT, "id": "i"}, VISIT]
        await rig.set(1)
        assert await one.next() == event("create", 1)


@pytest.mark.parametrize(
    ("answer", "strict_kind"),
    [
        ({"unauthorized": False}, "sync"),
        ({"unauthorized": 1}, "unauthorized"),
        ({}, "unauthorized"),
        (None, "unauthorized"),
        (FunctionFailedError("bad", code="X"), "unauthorized"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
async def test_what_is_no_clear_answer_is_a_yes_unless_strict(
    answer: Any, strict_kind: str, strict: bool
) -> None:
    async with open_stream_rig(strict_auth=strict) as rig, rig.subscriber() as one:
        await rig.record("stream:join", None, answer)
        kind = (await one.join())["event"]["type"]
        assert kind == (strict_kind if strict else "sync")


async def test_strict_without_anybody_to_ask_refuses() -> None:
    async with open_stream_rig(strict_auth=True) as rig, rig.subscriber() as one:
        assert (await one.join())["event"]["type"] == "unauthorized"


async def test_a_stuck_join_handler_is_given_up() -> None:
    async with open_stream_rig(handler_timeout=20) as rig, rig.subscriber() as one:

        async def stuck(_given: Any) -> None:
            await trio.sleep_forever()

        rig.client.register_function("test::stuck", stuck)
        await rig.client.bind("stream:join", "test::stuck")
        assert (await one.join())["event"]["type"] == "sync"


async def test_leaves_are_told_after_the_connection_is_gone() -> None:
    async with open_stream_rig() as rig:
        left = await rig.record("stream:leave")
        async with rig.subscriber() as one:
            await one.join()
            await one.join("2", id="i")
        got = await left.until(2)
        assert got == [VISIT, {**VISIT, "subscription_id": "2", "id": "i"}]
        await rig.server.drain(10)
        statistics = rig.server.statistics()
        assert (statistics.subscribers, statistics.subscriptions) == (0, 0)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("what", ["handler", "condition"])
async def test_who_leaves_while_joining_is_told_to_have_left(
    what: str, strict: bool
) -> None:
    async with open_stream_rig(strict_auth=strict) as rig:
        hanging = rig.hang("test::hang")
        if what == "handler":
            await rig.client.bind("stream:join", "test::hang")
        else:
            await rig.record("stream:join", condition="test::hang")
        left = await rig.record("stream:leave")
        async with rig.subscriber() as one:
            await one.send("join")
            await hanging.asked.wait()
        assert await left.until(1) == [VISIT]
        hanging.check_subscriber_gone()
        assert rig.server.statistics().subscriptions == 0


async def test_frames_that_are_none_are_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with open_stream_rig() as rig, rig.subscriber() as one:
        for text in (" ", "{", "[]", '{"type":"hello"}'):
            await one.connection.send_message(text)
        await one.send("hello")
        data = {"subscriptionId": "1", "streamName": "s", "groupId": "g"}
        join = json.dumps({"type": "join", "data": data})
        await one.connection.send_message(join.encode())
        assert await one.next() == event("sync", [], item=None)
        await one.connection.ping(b"there?")
        assert caplog.text.count("frame ignored") == 4


async def test_many_frames_at_once_are_handled_in_order() -> None:
    async with open_stream_rig() as rig, rig.subscriber() as one:
        for number in range(300):
            await one.send("join", id=str(number))
        for number in range(300):
            assert (await one.next())["id"] == str(number)


async def test_a_slow_subscriber_is_dropped_alone() -> None:
    async with open_stream_rig() as rig, rig.subscriber() as quick:
        host, port = rig.server.addresses[0]
        async with await trio.open_tcp_stream(host, port) as slow:
            data = {"subscriptionId": "1", "streamName": "s", "groupId": "g"}
            join = json.dumps({"type": "join", "data": data}).encode()
            upgrade = UPGRADE.format(target="/").encode()
            masked = encode_frame(OP_TEXT, join, mask=b"mask")
            await slow.send_all(upgrade + masked)
            await quick.join()
            while rig.server.statistics().subscriptions < 2:
                await rig.call("send", stream_name="x", group_id="", type="", data=0)
            sent = 0
            while rig.server.statistics().subscribers == 2:
                sent += 1
                await rig.set(["x" * 100_000, sent])
                assert (await quick.next())["event"]["data"][1] == sent
            await rig.set(0)
            assert (await quick.next())["event"]["data"] == 0


async def test_the_first_offered_subprotocol_is_selected() -> None:
    async with (
        open_stream_rig() as rig,
        rig.subscriber(subprotocols=["Authorization", "token"]) as one,
    ):
        assert one.connection.subprotocol == "Authorization"


async def test_the_auth_function_gives_the_context() -> None:
    async with open_stream_rig(auth_function="auth::check") as rig:
        asked = rig.answer("auth::check", {"context": {"user": 1}})
        joined = await rig.record("stream:join")
        async with rig.subscriber("/p%20q?a=1&a=%202&b", ["token"]) as one:
            await one.join()
        visit = {**VISIT, "context": {"user": 1}}
        assert joined.payloads == [visit]
        (request,) = asked.payloads
        assert request["path"] == "/p%20q"
        assert request["query_params"] == {"a": ["1", "%202"], "b": [""]}
        assert request["headers"]["sec-websocket-protocol"] == "token"
        assert request["addr"].startswith("127.0.0.1:")
        assert request.keys() == {"headers", "path", "query_params", "addr"}


NO_VALUE = msgspec.Raw(b'{"context":1e400}')


@pytest.mark.parametrize(
    "answer", [None, {}, 5, NO_VALUE, FunctionFailedError("b", code="X")]
)
async def test_an_auth_function_that_fails_admits_unless_strict(answer: Any) -> None:
    async with open_stream_rig(auth_function="auth::check") as rig:
        rig.answer("auth::check", answer)
        joined = await rig.record("stream:join")
        async with rig.subscriber() as one:
            assert (await one.join())["event"]["type"] == "sync"
        assert joined.payloads == [VISIT]
    async with open_stream_rig(auth_function="auth::check", strict_auth=True) as rig:
        rig.answer("auth::check", answer)
        async with await trio.open_tcp_stream(*rig.server.addresses[0]) as stream:
            await stream.send_all(UPGRADE.format(target="/").encode())
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 401")


async def test_a_client_that_goes_during_authentication_is_forgotten() -> None:
    async with open_stream_rig(auth_function="auth::check") as rig:
        asked, cancelled = trio.Event(), trio.Event()

        async def stuck(_given: Any) -> None:
            asked.set()
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()

        rig.client.register_function("auth::check", stuck)
        async with await trio.open_tcp_stream(*rig.server.addresses[0]) as stream:
            await stream.send_all(UPGRADE.format(target="/").encode())
            await asked.wait()
        await cancelled.wait()
        assert rig.server.statistics().subscribers == 0


@pytest.mark.parametrize(("method", "status"), [("GET", b"426"), ("POST", b"405")])
async def test_what_is_no_websocket_is_refused(method: str, status: bytes) -> None:
    async with (
        open_stream_rig() as rig,
        await trio.open_tcp_stream(*rig.server.addresses[0]) as stream,
    ):
        request = f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        await stream.send_all(request.encode())
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 " + status)


async def test_drain_says_goodbye_and_tells_leaves() -> None:
    async with open_stream_rig() as rig, rig.subscriber() as one:
        left = await rig.record("stream:leave")
        await one.join()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.server.drain, 10)
            assert await one.lost() == 1001
        assert left.payloads == [VISIT]


async def test_another_address_drops_the_old_connections() -> None:
    async with open_stream_rig() as rig, rig.subscriber() as one:
        await one.join()
        before = rig.server.addresses
        config = StreamConfig(port=0, host="127.0.0.1", auth_function="auth::no")
        await rig.server.reconfigure(config)
        assert rig.server.addresses == before
        await rig.set(1)
        assert await one.next() == event("create", 1)
        await rig.server.reconfigure(StreamConfig(port=0, host="localhost"))
        assert await one.lost() == 1006
        async with rig.subscriber() as other:
            assert await other.join() == event("sync", [1], item=None)
