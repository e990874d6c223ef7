"""The stream functions: results, errors, custom providers, triggers."""

from collections.abc import Callable
from typing import Any, Never

import msgspec
import pytest
import trio
import trio.testing

from iii_trio.adapters import Change
from iii_trio.builtins.stream._providers import Providers
from iii_trio.engine import open_listener
from iii_trio.errors import AdapterError, FunctionFailedError, RegistrationError
from iii_trio.net import open_pump
from iii_trio.worker import NULL, open_worker
from tests.integration.stream_rig import event, open_stream_rig

ITEM = {"stream_name": "s", "group_id": "g", "item_id": "i"}
GROUP = {"stream_name": "s", "group_id": "g"}
INCREMENT = [{"type": "increment", "path": "n", "by": 2}]


async def test_items_are_written_and_read() -> None:
    async with open_stream_rig() as rig:
        assert await rig.call("get", **ITEM) is None
        assert await rig.set({"n": 1}) == {"old_value": None, "new_value": {"n": 1}}
        assert await rig.set({"n": 2}) == {
            "old_value": {"n": 1},
            "new_value": {"n": 2},
        }
        assert await rig.call("get", **ITEM) == {"n": 2}
        assert await rig.call("update", **ITEM, ops=INCREMENT) == {
            "old_value": {"n": 2},
            "new_value": {"n": 4},
        }
        assert await rig.call("list", **GROUP) == [{"n": 4}]
        assert await rig.call("delete", **ITEM) == {"old_value": {"n": 4}}
        assert await rig.call("delete", **ITEM) == {"old_value": None}
        assert await rig.call("list", **GROUP) == []
        assert await rig.call("list_groups", stream_name="s") == []
        assert await rig.call("list_all") == {"stream": [], "count": 0}


async def test_a_stored_null_is_a_value() -> None:
    async with open_stream_rig() as rig:
        assert await rig.set(None) == {"old_value": None, "new_value": None}
        result = await rig.client.invoke_json(
            "stream::get", b'{"stream_name":"s","group_id":"g","item_id":"i"}'
        )
        assert result == b"null"


async def test_names_may_hold_any_character() -> None:
    async with open_stream_rig() as rig:
        for name, group in (("b", "z"), ("a:b", 'c"'), ("a", "b:c"), ("b", "a")):
            await rig.call("set", stream_name=name, group_id=group, item_id="", data=1)
        assert await rig.call("list_groups", stream_name="a:b") == ['c"']
        assert await rig.call("list_all") == {
            "stream": [
                {"id": "a", "groups": ["b:c"]},
                {"id": "a:b", "groups": ['c"']},
                {"id": "b", "groups": ["a", "z"]},
            ],
            "count": 3,
        }


async def test_operations_that_fail_are_listed() -> None:
    async with open_stream_rig() as rig:
        await rig.set({"n": "text"})
        result = await rig.call("update", **ITEM, ops=INCREMENT)
        assert result["new_value"] == {"n": "text"}
        assert [error["op_index"] for error in result["errors"]] == [0]


async def test_send_answers_null_and_stores_nothing() -> None:
    async with open_stream_rig() as rig:
        payload = b'{"stream_name":"s","group_id":"g","type":"t","data":1}'
        assert await rig.client.invoke_json("stream::send", payload) == b"null"
        assert (await rig.call("list_all"))["count"] == 0


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        ("set", ITEM, "missing field `data`"),
        ("get", {}, "missing field `stream_name`"),
        ("delete", [], "invalid type: sequence, expected an object"),
        ("update", {**ITEM, "ops": [{}]}, "ops[0]: missing field `type`"),
        ("list", {"stream_name": "s"}, "missing field `group_id`"),
        ("list_groups", {}, "missing field `stream_name`"),
        ("list_all", None, "invalid type: null, expected an object"),
        ("send", {**GROUP, "data": 1}, "missing field `type`"),
    ],
)
async def test_malformed_input_is_refused(name: str, payload: Any, reason: str) -> None:
    async with open_stream_rig() as rig:
        error = await rig.failure(name, payload)
        assert error.code == "deserialization_error"
        expected = f"Failed to deserialize input for stream::{name}: {reason}"
        assert error.message == expected


class BrokenStore:
    """Fails whatever is asked."""

    async def _fail(self) -> Never:
        await trio.lowlevel.checkpoint()
        raise AdapterError("no disk")

    async def get(self, space: str, key: str) -> bytes | None:
        await self._fail()

    async def set(self, space: str, key: str, value: bytes) -> Change:
        await self._fail()

    async def delete(self, space: str, key: str) -> Change:
        await self._fail()

    async def update(
        self, space: str, key: str, change: Callable[[bytes | None], bytes | None]
    ) -> Change:
        await self._fail()

    async def items(self, space: str) -> list[tuple[str, bytes]]:
        await self._fail()

    async def spaces(self) -> list[str]:
        await self._fail()


@pytest.mark.parametrize(
    ("name", "payload", "code", "message"),
    [
        ("set", {**ITEM, "data": 1}, "STREAM_SET_ERROR", "Failed to set value"),
        ("get", ITEM, "STREAM_GET_ERROR", "Failed to get value"),
        ("delete", ITEM, "STREAM_DELETE_ERROR", "Failed to delete value"),
        (
            "update",
            {**ITEM, "ops": []},
            "STREAM_UPDATE_ERROR",
            "Failed to update value",
        ),
        ("list", GROUP, "STREAM_GET_GROUP_ERROR", "Failed to get group"),
        (
            "list_groups",
            {"stream_name": "s"},
            "STREAM_LIST_GROUPS_ERROR",
            "Failed to list groups",
        ),
        ("list_all", {}, "STREAM_LIST_ALL_ERROR", "Failed to list stream"),
    ],
)
async def test_a_failing_store_has_the_code_of_the_function(
    name: str, payload: Any, code: str, message: str
) -> None:
    async with open_stream_rig(BrokenStore()) as rig:
        error = await rig.failure(name, payload)
        assert (error.code, error.message) == (code, f"{message}: no disk")


async def test_a_provider_takes_the_place_of_the_store() -> None:
    async with open_stream_rig() as rig:
        events = await rig.record("stream", {"stream_name": "s"})
        sets = rig.answer(
            "stream::set(s)",
            lambda given: {"old_value": None, "new_value": [given["data"]]},
        )
        rig.answer("stream::get(s)", "got")
        rig.answer("stream::list(s)", ["listed"])
        rig.answer("stream::list_groups(s)", ["group"])
        rig.answer("stream::delete(s)", {"old_value": 7})
        assert await rig.set(1) == {"old_value": None, "new_value": [1]}
        assert sets.payloads == [{**ITEM, "data": 1}]
        assert await rig.call("get", **ITEM) == "got"
        assert await rig.call("list", **GROUP) == ["listed"]
        assert await rig.call("list_groups", stream_name="s") == ["group"]
        assert await rig.call("delete", **ITEM) == {"old_value": 7}
        assert (await rig.call("list_all"))["count"] == 0
        got = await events.until(2)
        assert event("create", [1]) in got
        assert event("delete", 7) in got
        rig.answer("stream::get(s)", None)
        assert await rig.call("get", **ITEM) is None


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (None, "STREAM_SET_ERROR", "Failed to set value: Function returned no result"),
        (
            FunctionFailedError("bad", code="X"),
            "STREAM_SET_ERROR",
            "Failed to set value: Failed to invoke function: X: bad",
        ),
        (
            NULL,
            "JSON_ERROR",
            "Failed to convert result to value: invalid type: null, expected an object",
        ),
        (
            {"old_value": 1},
            "JSON_ERROR",
            "Failed to convert result to value: missing field `new_value`",
        ),
        (
            msgspec.Raw(b"1e400"),
            "JSON_ERROR",
            "Failed to convert result to value: Number out of range",
        ),
    ],
)
async def test_a_provider_that_does_not_set_is_an_error(
    answer: Any, code: str, message: str
) -> None:
    async with open_stream_rig() as rig:
        rig.answer("stream::set(s)", answer)
        error = await rig.failure("set", {**ITEM, "data": 1})
        assert (error.code, error.message) == (code, message)


async def test_errors_of_reading_providers_pass_unchanged() -> None:
    async with open_stream_rig() as rig:
        rig.answer("stream::get(s)", FunctionFailedError("bad", code="X"))
        error = await rig.failure("get", ITEM)
        assert (error.code, error.message) == ("X", "bad")
        rig.answer("stream::set(s)", {"new_value": 1})
        error = await rig.failure("update", {**ITEM, "ops": []})
        assert error.code == "STREAM_UPDATE_ERROR"


async def test_a_provider_without_update_is_updated_by_get_and_set() -> None:
    async with open_stream_rig() as rig:
        values: dict[str, Any] = {}

        async def get(given: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return values.get(given["item_id"])

        async def set_(given: Any) -> Any:
            await trio.lowlevel.checkpoint()
            old = values.get(given["item_id"])
            values[given["item_id"]] = given["data"]
            return {"old_value": old, "new_value": given["data"]}

        rig.client.register_function("stream::get(s)", get)
        rig.client.register_function("stream::set(s)", set_)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(lambda: rig.call("update", **ITEM, ops=INCREMENT))
        assert values == {"i": {"n": 10}}
        bad = [{"type": "append", "path": "n", "value": 1}]
        assert "errors" in await rig.call("update", **ITEM, ops=bad)
        answer = {"old_value": 1, "new_value": 2, "errors": [{"op_index": 0}]}
        rig.answer("stream::update(s)", answer)
        assert await rig.call("update", **ITEM, ops=INCREMENT) == answer


async def test_a_provider_that_misses_a_function_has_failed() -> None:
    async with open_stream_rig() as rig:
        missing = FunctionFailedError("db::put not found", code="function_not_found")
        rig.answer("stream::set(s)", missing)
        error = await rig.failure("set", {**ITEM, "data": 1})
        assert error.code == "STREAM_SET_ERROR"
        assert (await rig.call("list_all"))["count"] == 0


async def test_a_provider_that_vanishes_leaves_the_store() -> None:
    async with open_stream_rig() as rig:

        async def get(_given: Any) -> None:
            await trio.lowlevel.checkpoint()
            rig.client.unregister_function("stream::set(s)")

        rig.client.register_function("stream::get(s)", get)
        rig.answer("stream::set(s)", {"new_value": 1})
        updated = await rig.call("update", **ITEM, ops=INCREMENT)
        assert updated == {"old_value": None, "new_value": {"n": 2}}
        assert (await rig.call("list_all"))["count"] == 1


async def test_by_url_the_engine_says_who_provides() -> None:
    async with (
        open_stream_rig() as rig,
        open_pump() as pump,
        open_listener(rig.engine, pump, port=0) as door,
        open_worker("ws://{}:{}".format(*door.addresses[0])) as far,
    ):
        providers = Providers(far)
        assert await providers.read("get", ITEM) is None
        rig.answer("stream::get(s)", 5)
        assert await providers.read("get", ITEM) == b"5"


async def test_each_kind_of_event_fires_triggers() -> None:
    async with open_stream_rig() as rig:
        everything = await rig.record("stream", {"stream_name": "s", "group_id": ""})
        await rig.set(1)
        assert await everything.until(1) == [event("create", 1)]
        await rig.set(2)
        assert (await everything.until(2))[1:] == [event("update", 2)]
        await rig.call("delete", **ITEM)
        await rig.call("delete", **ITEM)
        assert (await everything.until(3))[2:] == [event("delete", 2)]
        await rig.call("send", **GROUP, type="t", data=3)
        sent = (await everything.until(4))[3]
        assert sent["id"] is None
        assert sent["event"] == {"type": "event", "event": {"type": "t", "data": 3}}
        await rig.set(1, group="other")
        assert len(await everything.until(5)) == 5


@pytest.mark.parametrize(
    "config", [None, {}, [], {"stream_name": 1}, {"stream_name": "s", "item_id": 1}]
)
async def test_a_stream_trigger_that_does_not_fit_is_refused(config: Any) -> None:
    async with open_stream_rig() as rig:
        with pytest.raises(RegistrationError) as caught:
            await rig.client.bind("stream", "test::x", config)
        assert caught.value.code == "trigger_registration_failed"
        assert caught.value.message.startswith("Failed to deserialize stream trigger: ")


async def test_a_falsy_condition_and_a_failing_handler_skip_one_trigger_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_stream_rig() as rig:
        rig.answer("test::no", 0)
        rig.answer("test::odd", msgspec.Raw(b"1e400"))
        skipped = rig.answer("test::skipped", None)
        place = {"stream_name": "s"}
        await rig.client.bind("stream", "test::skipped", place, condition="test::no")
        await rig.client.bind("stream", "test::nowhere", place)
        await rig.client.bind("stream", "test::odd", place)
        told = await rig.record("stream", place)
        await rig.set(1)
        await told.until(1)
        assert skipped.payloads == []
        assert "test::nowhere failed" in caplog.text
        assert "test::odd failed" in caplog.text
        await rig.server.drain(10)


async def test_events_sent_in_a_burst_are_heard_in_their_order() -> None:
    async with open_stream_rig() as rig, rig.subscriber() as one:
        told = await rig.record("stream", {"stream_name": "s"})
        await one.join()
        for begin in range(0, 100, 10):  # Trio turns every other batch round
            numbers = range(begin, begin + 10)
            for number in numbers:
                payload = {**GROUP, "type": "t", "data": number}
                rig.client.fire("stream::send", payload)
            heard = [await one.next() for _ in numbers]
            assert [sent["event"]["event"]["data"] for sent in heard] == [*numbers]
        events = await told.until(100)
        assert [sent["event"]["event"]["data"] for sent in events] == [*range(100)]


async def test_a_trigger_unbound_before_its_turn_is_not_told() -> None:
    async with open_stream_rig() as rig:
        place = {"stream_name": "s"}
        await rig.client.bind("stream", "test::first", place)
        late = rig.answer("test::late", None)
        await rig.client.bind("stream", "test::late", place, trigger_id="late")

        async def unbind(_event: Any) -> None:
            await trio.lowlevel.checkpoint()
            rig.client.unbind("late")

        rig.client.register_function("test::first", unbind)
        await rig.set(1)
        await rig.server.drain(10)
        assert late.payloads == []


async def test_everything_is_withdrawn_at_the_end() -> None:
    async with open_stream_rig() as rig:
        before = rig.engine.statistics()
        rig.serving.cancel(reason="over")
        await trio.testing.wait_all_tasks_blocked()
        after = rig.engine.statistics()
        assert before.functions - after.functions == 8
