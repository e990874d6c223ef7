"""State triggers: which writes fire, what handlers get, and what happens when they fail."""

from typing import Any

import pytest
import trio
import trio.testing

from iii_trio.builtins.state import StateConfig
from iii_trio.errors import FunctionFailedError, RegistrationError
from iii_trio.worker import current_invocation
from tests.component.state_rig import open_state_rig


def event(kind: str, old: Any, new: Any, *, scope: str = "s", key: str = "k") -> Any:
    return {
        "type": "state",
        "event_type": f"state:{kind}",
        "scope": scope,
        "key": key,
        "old_value": old,
        "new_value": new,
    }


async def test_each_kind_of_write_fires_its_event() -> None:
    async with open_state_rig() as rig:
        events = await rig.record("test::on_state", {})
        place = {"scope": "s", "key": "k"}
        ops: list[dict[str, Any]] = [{"type": "increment", "path": "", "by": 1}]
        for name, fields, expected in (
            ("set", {"value": None}, event("created", None, None)),
            ("set", {"value": 1}, event("updated", None, 1)),
            ("set", {"value": 1}, event("updated", 1, 1)),
            ("update", {"ops": ops}, event("updated", 1, 2)),
            ("compare_and_set", {"expected": 2, "value": 3}, event("updated", 2, 3)),
            ("delete", {}, event("deleted", 3, None)),
            ("delete", {}, event("deleted", None, None)),
            ("compare_and_set", {"value": 1}, event("created", None, 1)),
            ("delete", {}, event("deleted", 1, None)),
            ("update", {"ops": []}, event("created", None, {})),
        ):
            await rig.call(name, **place, **fields)
            await rig.settle()
            assert events == [expected]
            events.clear()


async def test_reading_and_failed_writes_fire_nothing() -> None:
    async with open_state_rig(StateConfig(max_value_bytes=1)) as rig:
        events = await rig.record("test::on_state", {})
        await rig.call("get", scope="s", key="k")
        await rig.call("list", scope="s")
        await rig.call("compare_and_set", scope="s", key="k", expected=1, value=2)
        await rig.failure("set", {"scope": "s", "key": "k", "value": 10})
        await rig.settle()
        assert events == []


@pytest.mark.parametrize(
    ("config", "fires"),
    [
        ({}, True),
        ({"scope": None, "key": None, "later": 1}, True),
        ({"scope": "s"}, True),
        ({"key": "k"}, True),
        ({"scope": "s", "key": "k"}, True),
        ({"scope": "t"}, False),
        ({"scope": ""}, False),
        ({"scope": "s", "key": "other"}, False),
        ({"condition_function_id": ""}, True),
    ],
)
async def test_scope_and_key_of_the_config_choose_the_writes(
    config: Any, fires: bool
) -> None:
    async with open_state_rig() as rig:
        events = await rig.record("test::on_state", config)
        await rig.call("set", scope="s", key="k", value=1)
        await rig.settle()
        assert bool(events) is fires


@pytest.mark.parametrize(
    "config",
    [None, [], "s", {"scope": 1}, {"key": ["k"]}, {"condition_function_id": 5}],
)
async def test_a_config_that_does_not_fit_is_refused(config: Any) -> None:
    async with open_state_rig() as rig:
        with pytest.raises(RegistrationError) as caught:
            await rig.client.bind("state", "test::on_state", config)
        assert caught.value.code == "trigger_registration_failed"
        assert caught.value.message.startswith("Failed to parse trigger config: ")


async def test_the_caller_does_not_wait_for_the_handlers() -> None:
    async with open_state_rig() as rig:
        release = trio.Event()

        async def slow(_event: Any) -> None:
            await release.wait()

        rig.client.register_function("test::slow", slow)
        await rig.client.bind("state", "test::slow", {})
        events = await rig.record("test::on_state", {})
        await rig.call("set", scope="s", key="k", value=1)
        await rig.settle()
        assert events == [], "triggers of one write run one after another"
        release.set()
        await rig.settle()
        assert len(events) == 1


async def test_a_slow_handler_delays_only_its_own_write() -> None:
    async with open_state_rig() as rig:
        seen: list[Any] = []

        async def slow_at_first(payload: Any) -> None:
            await trio.lowlevel.checkpoint()
            if payload["new_value"] == 1:
                await trio.sleep_forever()
            seen.append(payload["new_value"])

        rig.client.register_function("test::slow", slow_at_first)
        await rig.client.bind("state", "test::slow", {})
        await rig.call("set", scope="s", key="k", value=1)
        await rig.call("set", scope="s", key="k", value=2)
        await rig.settle()
        assert seen == [2]


@pytest.mark.parametrize(("grace", "told"), [(3.0, False), (10.0, True)])
async def test_drain_waits_for_handlers_within_its_grace(
    autojump_clock: trio.testing.MockClock, grace: float, told: bool
) -> None:
    async with open_state_rig() as rig:
        await rig.handle.drain(grace)
        assert trio.current_time() == 0, "there was nothing to wait for"
        finished: list[Any] = []

        async def slow(payload: Any) -> None:
            await trio.sleep(5)
            finished.append(payload)

        rig.client.register_function("test::slow", slow)
        await rig.client.bind("state", "test::slow", {})
        await rig.call("set", scope="s", key="k", value=1)
        await rig.handle.drain(grace)
        assert trio.current_time() == pytest.approx(min(grace, 5))
        assert bool(finished) is told


async def test_a_failing_handler_is_logged_and_the_next_one_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_state_rig() as rig:

        async def fail(_event: Any) -> None:
            await trio.lowlevel.checkpoint()
            raise FunctionFailedError("no good", code="BAD")

        rig.client.register_function("test::fail", fail)
        await rig.client.bind("state", "test::fail", {})
        await rig.client.bind("state", "test::missing", {})
        events = await rig.record("test::on_state", {})
        await rig.call("set", scope="s", key="k", value=1)
        await rig.settle()
        assert len(events) == 1
        assert "test::fail failed: BAD: no good" in caplog.text
        assert "test::missing" in caplog.text
        assert await rig.call("get", scope="s", key="k") == 1


@pytest.mark.parametrize(
    ("answer", "runs"),
    [(True, True), ({}, True), (False, False), (0, False), ("", False), (None, False)],
)
async def test_a_condition_must_be_truthy(answer: Any, runs: bool) -> None:
    async with open_state_rig() as rig:
        asked: list[Any] = []

        async def condition(payload: Any) -> Any:
            await trio.lowlevel.checkpoint()
            asked.append(payload)
            return answer

        rig.client.register_function("test::condition", condition)
        events = await rig.record("test::on_state", {}, condition="test::condition")
        await rig.call("set", scope="s", key="k", value=1)
        await rig.settle()
        assert asked == [event("created", None, 1)]
        assert bool(events) is runs


async def test_a_failing_condition_skips_the_handler_but_not_the_next_one() -> None:
    async with open_state_rig() as rig:
        skipped = await rig.record("test::skipped", {}, condition="test::nowhere")
        events = await rig.record("test::on_state", {})
        await rig.call("set", scope="s", key="k", value=1)
        await rig.settle()
        assert skipped == []
        assert len(events) == 1


async def test_metadata_reaches_the_handler_and_the_callers_deadline_does_not() -> None:
    async with open_state_rig() as rig:
        seen: list[Any] = []

        async def note(_event: Any) -> None:
            await trio.lowlevel.checkpoint()
            invocation = current_invocation()
            seen.append((invocation.metadata, invocation.deadline))

        rig.client.register_function("test::note", note)
        await rig.client.bind("state", "test::note", {}, metadata={"who": "me"})
        payload = {"scope": "s", "key": "k", "value": 1}
        await rig.client.invoke("state::set", payload, deadline=5)
        await rig.settle()
        assert [metadata for metadata, _ in seen] == [{"who": "me"}]
        assert seen[0][1] in (None, float("inf"))


async def test_triggers_can_be_turned_off_and_on_again() -> None:
    async with open_state_rig(StateConfig(triggers_enabled=False)) as rig:
        events = await rig.record("test::on_state", {})
        await rig.call("set", scope="s", key="k", value=1)
        await rig.settle()
        assert events == []
        rig.handle.reconfigure(StateConfig())
        await rig.call("set", scope="s", key="k", value=2)
        await rig.settle()
        assert events == [event("updated", 1, 2)]


async def test_an_unbound_trigger_is_not_told() -> None:
    async with open_state_rig() as rig:
        events = await rig.record("test::on_state", {}, trigger_id="one")
        rig.client.unbind("one")
        await rig.call("set", scope="s", key="k", value=1)
        await rig.settle()
        assert events == []


async def test_a_trigger_unbound_before_its_turn_is_not_told() -> None:
    async with open_state_rig() as rig:

        async def unbind_the_next(_event: Any) -> None:
            await trio.lowlevel.checkpoint()
            rig.client.unbind("next")

        rig.client.register_function("test::first", unbind_the_next)
        await rig.client.bind("state", "test::first", {})
        events = await rig.record("test::on_state", {}, trigger_id="next")
        await rig.call("set", scope="s", key="k", value=1)
        await rig.settle()
        assert events == []


async def test_a_trigger_bound_again_under_its_id_replaces_the_first() -> None:
    async with open_state_rig() as rig:
        events = await rig.record("test::on_state", {"scope": "s"}, trigger_id="one")
        await rig.client.bind(
            "state", "test::on_state", {"scope": "t"}, trigger_id="one"
        )
        await rig.call("set", scope="s", key="k", value=1)
        await rig.call("set", scope="t", key="k", value=1)
        await rig.settle()
        assert events == [event("created", None, 1, scope="t")]


async def test_a_link_worker_is_told_of_a_write_sent_right_after_its_binding() -> None:
    async with open_state_rig() as rig:
        async with rig.under_test.open_raw_peer("peer", "peer::on_state") as peer:
            peer.send(
                {
                    "type": "registertrigger",
                    "id": "t1",
                    "trigger_type": "state",
                    "function_id": "peer::on_state",
                    "config": {"scope": "s"},
                }
            )
            peer.call("state::set", {"scope": "s", "key": "k", "value": [1]})
            call = await peer.served("peer::on_state")
            assert bytes(call.data) == (
                b'{"type":"state","event_type":"state:created","scope":"s","key":"k",'
                b'"old_value":null,"new_value":[1]}'
            )
