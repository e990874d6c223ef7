"""What one subscriber may hold."""

from typing import Any

import pytest
import trio
import trio.testing
import trio_websocket

from iii_trio.builtins.stream import _socket
from tests.integration.stream_rig import Subscriber, open_stream_rig

LONG = "x" * 60_000


async def close_reason(subscriber: Subscriber) -> tuple[int, str | None]:
    """Wait for the end; its close code and text."""
    with pytest.raises(trio_websocket.ConnectionClosed) as caught:
        await subscriber.next()
    assert caught.value.reason is not None
    return caught.value.reason.code, caught.value.reason.reason


async def test_too_many_subscriptions_end_the_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_socket, "MAX_SUBSCRIPTIONS", 1)
    async with open_stream_rig() as rig, rig.subscriber() as one:
        left = await rig.record("stream:leave")
        asked, answered = trio.Event(), trio.Event()

        async def slow(_given: Any) -> list[int]:
            asked.set()
            await answered.wait()
            return []

        rig.client.register_function("stream::list(s)", slow)
        for number in "1234":  # while the first is handled, the others wait
            await one.send("join", number)
        await asked.wait()
        await trio.testing.wait_all_tasks_blocked()
        answered.set()
        await one.next()
        assert await close_reason(one) == (1008, "more than 1 subscriptions")
        await rig.server.drain(10)
        assert [visit["subscription_id"] for visit in left.payloads] == ["1", "2"]
        assert caplog.text.count("more than 1 subscriptions") == 1


async def test_too_long_names_in_all_subscriptions_end_the_connection() -> None:
    async with (
        open_stream_rig() as rig,
        rig.subscriber() as one,
        rig.subscriber() as two,
    ):
        left = await rig.record("stream:leave")
        fitting = 4 * 1024 * 1024 // 60_000
        for number in range(fitting):
            await one.join(str(number), groupId=LONG)
        await one.send("join", "last", groupId=LONG)
        assert await close_reason(one) == (
            1008,
            "more than 4194304 bytes of names in its subscriptions",
        )
        await two.join()
        await left.until(fitting + 1)
        assert rig.server.statistics().subscriptions == 1


async def test_names_that_are_left_or_replaced_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_socket, "MAX_NAMES_BYTES", 3 * 60_000 + 100)
    async with open_stream_rig() as rig, rig.subscriber() as one:
        for _ in range(3):
            await one.join("1", groupId=LONG)  # replaces
            await one.join("2", streamName=LONG)
            await one.send("leave", "2")
            await one.send("leave", "unknown", id=LONG)
        await one.join("2", id=LONG)
        await one.join("3" + LONG)
        await one.send("join", "4", id=LONG)
        assert (await close_reason(one))[0] == 1008
