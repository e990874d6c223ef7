"""Handlers of joins and leaves: their conditions, and odd answers."""

from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from iii_trio.errors import FunctionFailedError
from tests.integration.net_rig import UPGRADE
from tests.integration.stream_rig import open_stream_rig

VISIT = {
    "subscription_id": "1",
    "stream_name": "s",
    "group_id": "g",
    "id": None,
    "context": None,
}


@pytest.mark.parametrize(
    ("condition", "strict_kind", "heard"),
    [
        (True, "unauthorized", 1),
        (False, "sync", 0),
        (FunctionFailedError("bad", code="X"), "unauthorized", 0),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
async def test_a_condition_says_for_whom_a_join_handler_is(
    condition: Any, strict_kind: str, heard: int, strict: bool
) -> None:
    async with open_stream_rig(strict_auth=strict) as rig, rig.subscriber() as one:
        asked = rig.answer("is::mine", condition)
        mine = await rig.record("stream:join", condition="is::mine")
        rig.answer("on::all", {"unauthorized": False})
        await rig.client.bind("stream:join", "on::all")
        kind = (await one.join())["event"]["type"]
        assert kind == (strict_kind if strict else "sync")
        assert asked.payloads == [VISIT]
        assert mine.payloads == [VISIT] * heard


async def test_a_condition_says_for_whom_a_leave_handler_is() -> None:
    async with open_stream_rig() as rig:
        rig.answer("is::item", lambda visit: visit["id"])
        left = await rig.record("stream:leave", condition="is::item")
        async with rig.subscriber() as one:
            await one.join()
            await one.join("2", id="i")
        assert await left.until(1) == [{**VISIT, "subscription_id": "2", "id": "i"}]
        await rig.server.drain(10)
        assert len(left.payloads) == 1


async def test_a_stuck_condition_of_a_join_is_given_up() -> None:
    async with open_stream_rig(handler_timeout=20) as rig, rig.subscriber() as one:

        async def stuck(_given: Any) -> None:
            await trio.sleep_forever()

        rig.client.register_function("is::stuck", stuck)
        asked = await rig.record("stream:join", condition="is::stuck")
        assert (await one.join())["event"]["type"] == "sync"
        assert asked.payloads == []


NO_VALUE = msgspec.Raw(b'{"unauthorized":false,"context":1e400}')


@pytest.mark.parametrize("strict", [False, True])
async def test_answers_that_have_no_value_are_no_clear_answers(strict: bool) -> None:
    async with open_stream_rig(strict_auth=strict) as rig:
        await rig.record("stream:join", None, NO_VALUE)
        left = await rig.record("stream:leave", None, NO_VALUE)
        async with rig.subscriber() as one:
            kind = (await one.join())["event"]["type"]
            assert kind == ("unauthorized" if strict else "sync")
            await one.send("leave")
            await left.until(1)
            await one.join()


async def test_who_is_being_vetted_is_not_let_in_once_the_server_drains() -> None:
    async with open_stream_rig(auth_function="auth::check") as rig:
        asked, answered = trio.Event(), trio.Event()

        async def check(_given: Any) -> Any:
            asked.set()
            await answered.wait()
            return {"context": 1}

        rig.client.register_function("auth::check", check)
        async with (
            await trio.open_tcp_stream(*rig.server.addresses[0]) as stream,
            trio.open_nursery() as nursery,
        ):
            await stream.send_all(UPGRADE.format(target="/").encode())
            await asked.wait()
            nursery.start_soon(rig.server.drain, 1000)
            await trio.testing.wait_all_tasks_blocked()
            answered.set()
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize(
    ("provider", "where"),
    [("stream::list(s)", {}), ("stream::get(s)", {"id": "i"})],
)
async def test_who_leaves_while_a_provider_reads_for_it_cancels_that(
    provider: str, where: dict[str, str]
) -> None:
    async with open_stream_rig(handler_timeout=3_600_000) as rig:
        hanging = rig.hang(provider)
        left = await rig.record("stream:leave")
        async with rig.subscriber() as one:
            await one.send("join", **where)
            await hanging.asked.wait()
        assert await left.until(1) == [VISIT | where]
        hanging.check_subscriber_gone()
        assert rig.server.statistics().subscriptions == 0
        await rig.set(1)  # nothing of the group is held up
