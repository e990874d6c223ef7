"""Triggers of configurations, and entries that expire after their last one."""

from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from iii_trio.adapters.memory import open_memory
from iii_trio.builtins.configuration import ConfigurationConfig
from iii_trio.builtins.configuration._triggers import MAX_WAITING
from iii_trio.errors import FunctionFailedError, RegistrationError
from tests.component.configuration_rig import ConfigurationRig, open_configuration_rig
from tests.component.test_configuration_functions import FaultyStore

ANY = {"description": "For tests.", "name": "A name", "schema": True}
EXPIRING = ConfigurationConfig(ttl_seconds=60)


def kinds(events: list[Any]) -> list[str]:
    return [event["event_type"].removeprefix("configuration:") for event in events]


# --- events


async def test_events_tell_old_and_new_value_with_placeholders_replaced() -> None:
    async with open_configuration_rig(environ={"A": "1"}) as rig:
        events = await rig.record(
            "configuration", "test::on_change", {"configuration_id": "web"}
        )
        await rig.declare("web", True, metadata="m")
        await rig.call("set", id="web", value=["${A}", "${UNSET}"])
        await rig.call("set", id="web", value=["${A}", "${UNSET}"])
        await rig.call("get", id="web", raw=True)
        await rig.declare("web", True)
        await rig.settle()
    common = {"type": "configuration", "id": "web", **ANY}
    value = [1, "${UNSET}"]
    assert events == [
        {
            **common,
            "event_type": "configuration:registered",
            "metadata": "m",
            "old_value": None,
            "new_value": None,
        },
        {
            **common,
            "event_type": "configuration:updated",
            "metadata": "m",
            "old_value": None,
            "new_value": value,
        },
        {
            **common,
            "event_type": "configuration:updated",
            "metadata": "m",
            "old_value": value,
            "new_value": value,
        },
        {
            **common,
            "event_type": "configuration:updated",
            "old_value": value,
            "new_value": value,
        },
    ]


async def test_a_trigger_hears_of_its_id_and_its_event_types_only() -> None:
    async with open_configuration_rig() as rig:
        everything = await rig.record("configuration", "test::all", None)
        of_one = await rig.record(
            "configuration", "test::one", {"configuration_id": "b"}
        )
        updates = await rig.record(
            "configuration", "test::updates", {"event_types": ["configuration:updated"]}
        )
        nothing = await rig.record(
            "configuration", "test::nothing", {"event_types": []}
        )
        for name in ("a", "b"):
            await rig.declare(name, True, initial_value=0)
            await rig.call("set", id=name, value=1)
        await rig.settle()
    assert kinds(everything) == ["registered", "updated"] * 2
    assert [event["id"] for event in of_one] == ["b", "b"]
    assert [event["id"] for event in updates] == ["a", "b"]
    assert nothing == []


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ([], "invalid type: sequence, expected an object"),
        ({"configuration_id": 5}, "configuration_id: "),
        ({"event_types": "configuration:updated"}, "event_types: "),
        ({"event_types": ["updated"]}, "unknown event type 'updated', known are conf"),
        ({"condition_function_id": 1}, "condition_function_id: "),
    ],
)
async def test_a_trigger_config_that_does_not_fit_is_refused(
    config: Any, reason: str
) -> None:
    async with open_configuration_rig() as rig:
        prefix = "Failed to parse configuration trigger config: "
        with pytest.raises(RegistrationError) as caught:
            await rig.client.bind("configuration", "test::f", config)
        assert str(caught.value).startswith(prefix + reason)


@pytest.mark.parametrize(
    ("answer", "runs"), [(True, True), ({}, True), (False, False), (None, False)]
)
async def test_a_condition_gets_the_event_and_decides(
    answer: Any,
    runs: bool,
) -> None:
    async with open_configuration_rig() as rig:
        asked: list[Any] = []

        @rig.client.function("test::condition")
        async def condition(event: Any) -> Any:
            await trio.lowlevel.checkpoint()
            asked.append(event)
            return answer

        events = await rig.record(
            "configuration", "test::f", {}, condition="test::condition"
        )
        await rig.declare("web", True)
        await rig.settle()
    assert kinds(asked) == ["registered"]
    assert events == asked * runs


async def test_a_failing_condition_or_handler_stops_nobody_else() -> None:
    async with open_configuration_rig() as rig:

        @rig.client.function("test::fails")
        async def fails(_event: Any) -> None:
            await trio.lowlevel.checkpoint()
            raise FunctionFailedError("on purpose", code="oops")

        await rig.client.bind("configuration", "test::fails", {})
        skipped = await rig.record(
            "configuration", "test::skipped", {}, condition="test::fails"
        )
        events = await rig.record("configuration", "test::f", {}, metadata={"m": 1})
        await rig.declare("a", True)
        await rig.declare("b", True)
        await rig.settle()
    assert skipped == []
    assert kinds(events) == ["registered", "registered"]


async def test_a_slow_trigger_gets_changes_in_order_and_delays_nobody(
    autojump_clock: MockClock,
) -> None:
    async with open_configuration_rig() as rig:
        values: list[Any] = []

        @rig.client.function("test::slow")
        async def slow(event: Any) -> None:
            await trio.sleep(10 if event["new_value"] == 0 else 1)
            values.append(event["new_value"])

        await rig.client.bind("configuration", "test::slow", {"configuration_id": "a"})
        events = await rig.record("configuration", "test::quick", {})
        await rig.declare("a", True, initial_value=0)
        for number in range(1, 4):
            await rig.call("set", id="a", value=number)
        await rig.settle()
        assert [event["new_value"] for event in events] == [0, 1, 2, 3]
        assert values == []
        await rig.handle.drain(100)
        assert values == [0, 1, 2, 3]


async def test_draining_ends_when_its_time_is_over(autojump_clock: MockClock) -> None:
    async with open_configuration_rig() as rig:

        @rig.client.function("test::stuck")
        async def stuck(_event: Any) -> None:
            await trio.sleep_forever()

        await rig.client.bind("configuration", "test::stuck", {})
        await rig.declare("a", True)
        began = trio.current_time()
        await rig.handle.drain(5)
        assert trio.current_time() == pytest.approx(began + 5)


async def test_a_trigger_that_is_too_far_behind_misses_the_oldest(
    autojump_clock: MockClock,
) -> None:
    async with open_configuration_rig() as rig:
        values: list[Any] = []
        go_on = trio.Event()

        @rig.client.function("test::slow")
        async def slow(event: Any) -> None:
            await go_on.wait()
            values.append(event["new_value"])

        await rig.declare("a", True)
        await rig.client.bind("configuration", "test::slow", {})
        for number in range(MAX_WAITING + 3):
            await rig.call("set", id="a", value=number)
            await rig.settle()
        go_on.set()
        await rig.handle.drain(100)
    assert values == [0, *range(3, MAX_WAITING + 3)]


async def test_an_unbound_trigger_hears_nothing_more(autojump_clock: MockClock) -> None:
    async with open_configuration_rig() as rig:
        values: list[Any] = []

        @rig.client.function("test::slow")
        async def slow(event: Any) -> None:
            await trio.sleep(1)
            values.append(event["new_value"])

        bound = await rig.client.bind("configuration", "test::slow", {})
        await rig.declare("a", True, initial_value=0)
        await rig.call("set", id="a", value=1)
        await rig.settle()
        rig.client.unbind(bound)
        await rig.handle.drain(100)
        assert values == [0]
        rig.client.unbind(bound)


# --- expiry


@attrs.define(eq=False)
class Watched:
    """A trigger that names an id, which comes and goes."""

    rig: ConfigurationRig
    trigger_id: str = "watch"

    async def bind(self, configuration_id: str = "a") -> None:
        self.rig.client.register_function("test::watch", lambda _event: None)
        await self.rig.client.bind(
            "configuration",
            "test::watch",
            {"configuration_id": configuration_id},
            trigger_id=self.trigger_id,
        )

    def unbind(self) -> None:
        self.rig.client.unbind(self.trigger_id)


async def ids(rig: ConfigurationRig) -> list[str]:
    listed = await rig.call("list")
    return [entry["id"] for entry in listed["configurations"]]


async def test_an_entry_goes_with_the_time_after_its_last_trigger(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_memory() as stores,
        open_configuration_rig(
            stores.key_value("configuration"), config=EXPIRING
        ) as rig,
    ):
        events = await rig.record("configuration", "test::all", {})
        await rig.declare("a", True, initial_value=5)
        await rig.declare("b", True)
        one, two = Watched(rig, "one"), Watched(rig, "two")
        await one.bind()
        await two.bind()
        one.unbind()
        await trio.sleep(100)
        two.unbind()
        await trio.sleep(59)
        assert await ids(rig) == ["a", "b"]
        await trio.sleep(2)
        assert await ids(rig) == ["b"]
        assert await stores.key_value("configuration").items("configuration") != []
        await rig.settle()
        assert kinds(events) == ["registered", "registered", "deleted"]
        assert (events[2]["old_value"], events[2]["new_value"]) == (5, None)
        await trio.sleep(1000)
        assert await ids(rig) == ["b"]  # it never had a trigger


async def test_a_new_trigger_keeps_the_entry(autojump_clock: MockClock) -> None:
    async with open_configuration_rig(config=EXPIRING) as rig:
        watched = Watched(rig)
        await rig.declare("a", True)
        await watched.bind()
        watched.unbind()
        await trio.sleep(30)
        await watched.bind()
        await trio.sleep(100)
        assert await ids(rig) == ["a"]
        watched.unbind()
        await trio.sleep(61)
        assert await ids(rig) == []
        await rig.declare("a", True)
        await trio.sleep(1000)
        assert await ids(rig) == ["a"]


async def test_a_worker_that_is_lost_takes_its_triggers_with_it(
    autojump_clock: MockClock,
) -> None:
    async with open_configuration_rig(config=EXPIRING) as rig:
        await rig.declare("a", True)
        async with rig.under_test.open_link_worker("far") as far:
            far.register_function("far::f", lambda _event: None)
            await far.bind("configuration", "far::f", {"configuration_id": "a"})
            await far.invoke("configuration::list", {})
        await trio.sleep(61)
        assert await ids(rig) == []


async def test_a_trigger_of_an_entry_that_never_was_does_no_harm(
    autojump_clock: MockClock,
) -> None:
    async with open_configuration_rig(config=EXPIRING) as rig:
        watched = Watched(rig)
        for name in ("never", "soon"):
            await watched.bind(name)
            watched.unbind()
        await rig.declare("soon", True)
        await trio.sleep(61)
        await rig.declare("never", True)
        await trio.sleep(61)
        assert await ids(rig) == ["never", "soon"]


async def test_a_trigger_may_come_to_name_another_entry(
    autojump_clock: MockClock,
) -> None:
    async with open_configuration_rig(config=EXPIRING) as rig:
        one, two = Watched(rig, "one"), Watched(rig, "two")
        await rig.declare("a", True)
        await rig.declare("b", True)
        await one.bind("a")
        await two.bind("a")
        await one.bind("b")
        await trio.sleep(61)
        assert await ids(rig) == ["a", "b"]
        await two.bind("b")
        await trio.sleep(61)
        assert await ids(rig) == ["b"]


async def test_the_time_may_change_meanwhile(autojump_clock: MockClock) -> None:
    async with open_configuration_rig() as rig:
        watched = Watched(rig)
        await rig.declare("a", True)
        await watched.bind()
        watched.unbind()
        await trio.sleep(1000)
        assert await ids(rig) == ["a"]
        rig.handle.reconfigure(ConfigurationConfig(ttl_seconds=1010))
        await trio.sleep(9)
        assert await ids(rig) == ["a"]
        await trio.sleep(2)
        assert await ids(rig) == []


async def test_what_cannot_be_deleted_is_tried_again(autojump_clock: MockClock) -> None:
    async with open_memory() as stores:
        store: Any = FaultyStore(stores.key_value("configuration"))
        async with open_configuration_rig(store, config=EXPIRING) as rig:
            watched = Watched(rig)
            await rig.declare("a", True)
            await watched.bind()
            watched.unbind()
            store.broken = True
            await trio.sleep(61)
            assert await ids(rig) == ["a"]
            store.broken = False
            await trio.sleep(61)
            assert await ids(rig) == []


async def test_stopping_withdraws_everything() -> None:
    async with open_configuration_rig() as rig:
        rig.serving.cancel(reason="test")
        await rig.settle()
        assert not rig.client.exists("configuration::get")
        types = await rig.client.invoke("engine::triggers::list", {})
        assert "configuration" not in {one["id"] for one in types["triggers"]}
