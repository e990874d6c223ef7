"""The trigger types ``log`` and ``trace``: what fires, what must not, and no loops."""

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.builtins.observability import EngineLines
from iii_trio.builtins.observability import _triggers as triggers_module
from iii_trio.builtins.observability._otlp import read_message
from iii_trio.errors import FunctionFailedError, RegistrationError
from iii_trio.protocol import InvokeFunction
from iii_trio.worker import Trigger, current_invocation
from tests.component.observability_rig import (
    SPAN_ID,
    TRACE,
    ObservabilityRig,
    log_frame,
    open_observability_rig,
    span_frame,
)
from tests.component.worker_kinds import Hanging

MANY = 25
"""More firings than any test here may see, if it does not loop."""


def trace_of(traceparent: str | None) -> str:
    assert traceparent is not None
    return traceparent.split("-")[1]


# --- log


async def test_records_of_workers_and_of_functions_fire() -> None:
    async with open_observability_rig() as rig:
        got = await rig.record("log", {"level": "warn"}, metadata={"m": 1})
        await rig.tell(log_frame("WARN", "one"), log_frame("INFO", "no"))
        await rig.call("engine::log::warn", message="two")
        await rig.call("engine::log::error", message="exactly this level")
        await rig.settle()
    assert [record["body"] for record in got] == ["one", "two"]
    assert got[0]["service_name"] == "shop"
    assert got[0]["instrumentation_scope_version"] is None


async def test_each_trigger_gets_what_it_asks_for() -> None:
    async with open_observability_rig() as rig:
        everything = await rig.record("log", None)
        serious = await rig.record("log", {"min_level": "warn"})
        for level in ("trace", "info", "warn", "error"):
            await rig.call(f"engine::log::{level}", message=level)
        await rig.settle()
    assert sorted(record["body"] for record in everything) == [
        "error",
        "info",
        "trace",
        "warn",
    ]
    assert sorted(record["body"] for record in serious) == ["error", "warn"]


async def test_a_condition_and_the_end_of_a_binding_stop_firings() -> None:
    async with open_observability_rig() as rig:

        @rig.client.function("is::mine")
        async def is_mine(record: Any) -> bool:
            await trio.lowlevel.checkpoint()
            return bool(record["body"] == "mine")

        got = await rig.record("log", {}, condition="is::mine", trigger_id="t")
        await rig.tell(log_frame(body="mine"), log_frame(body="yours"))
        assert [record["body"] for record in got] == ["mine"]
        rig.client.unbind("t")
        await rig.tell(log_frame(body="mine"))
        assert len(got) == 1


@pytest.mark.parametrize("condition", [None, "is::any"])
async def test_what_was_started_for_a_trigger_that_is_gone_is_not_delivered(
    condition: str | None,
) -> None:
    called: list[str] = []
    async with open_observability_rig() as rig:

        @rig.client.function("is::any")
        async def is_any(_record: Any) -> bool:
            called.append("is::any")
            await trio.lowlevel.checkpoint()
            return True

        @rig.client.function("on::log")
        async def on_log(_record: Any) -> None:
            called.append("on::log")
            await trio.lowlevel.checkpoint()

        # Not by a call: only here event and end are one step.
        deliverer = triggers_module.Deliverer(rig.server, rig.telemetry)
        triggers = triggers_module.LogTriggers(deliverer, rig.telemetry)
        [record] = read_message(log_frame(), now=1).logs
        trigger = Trigger(
            trigger_id="t",
            trigger_type="log",
            function_id="on::log",
            config={},
            condition=condition,
        )
        triggers.bind(trigger)
        triggers.tell(record, None)
        await deliverer.wait_all_done()
        told = [*called]
        triggers.tell(record, None)
        triggers.unbind(trigger)
        await deliverer.wait_all_done()
    assert called == told == ([condition] if condition else []) + ["on::log"]


async def test_a_function_in_another_namespace_is_found() -> None:
    async with (
        open_observability_rig() as rig,
        rig.under_test.open_worker("far", namespace="far") as far,
    ):
        got: list[Any] = []

        async def collect(record: Any) -> None:
            await trio.lowlevel.checkpoint()
            got.append(record)

        far.register_function("far::log", collect)
        await far.bind("log", "far::log", {})
        await rig.tell(log_frame())
    assert len(got) == 1


@pytest.mark.parametrize(
    ("trigger_type", "config"),
    [("log", {"level": "loud"}), ("trace", {"status": "fine"})],
)
async def test_a_config_that_does_not_fit_is_refused(
    trigger_type: str, config: Any
) -> None:
    async with open_observability_rig() as rig:
        with pytest.raises(RegistrationError, match=f"{trigger_type} trigger: "):
            await rig.client.bind(trigger_type, "a::b", config)


async def test_a_failing_function_is_logged_and_others_still_get_theirs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_observability_rig() as rig:
        await rig.client.bind("log", "no::such", {})
        got = await rig.record("log", {})
        await rig.tell(log_frame())
    assert len(got) == 1
    assert any("no::such failed" in record.getMessage() for record in caplog.records)


async def test_too_many_deliveries_at_a_time_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(triggers_module, "MAX_UNDER_WAY", 2)
    go, started = trio.Event(), []
    async with open_observability_rig() as rig:

        @rig.client.function("slow::log")
        async def slow(record: Any) -> None:
            started.append(record["body"])
            await go.wait()

        await rig.client.bind("log", "slow::log", {})
        await rig.tell(*(log_frame(body=str(number)) for number in range(5)))
        assert len(started) == 2
        go.set()
        await rig.settle()
    texts = [record.getMessage() for record in caplog.records]
    assert any("2 deliveries to slow::log are under way" in text for text in texts)
    assert any("3 events were dropped" in text for text in texts)


# --- no loops


async def log_in_handler(rig: ObservabilityRig, how: str, calls: list[Any]) -> None:
    @rig.client.function("on::log")
    async def on_log(record: Any) -> None:
        assert len(calls) < MANY, "it loops"
        calls.append(record["body"])
        if how == "calls":
            await rig.client.invoke("engine::log::info", {"message": "again"})
        elif how == "fires":
            rig.client.fire("engine::log::info", {"message": "again"})
        elif how == "nested":
            await rig.client.invoke("helper::log")
        else:
            trace_id = trace_of(current_invocation().traceparent)
            rig.telemetry.take(log_frame(body="again", traceId=trace_id))
        await trio.lowlevel.checkpoint()

    @rig.client.function("helper::log")
    async def helper() -> None:
        await rig.client.invoke("engine::log::info", {"message": "again"})

    await rig.client.bind("log", "on::log", {})


@pytest.mark.parametrize("how", ["calls", "fires", "nested", "sdk logger"])
async def test_a_log_trigger_whose_function_logs_does_not_feed_itself(
    how: str, autojump_clock: MockClock
) -> None:
    calls: list[Any] = []
    async with open_observability_rig() as rig:
        await log_in_handler(rig, how, calls)
        await rig.call("engine::log::info", message="first")
        await trio.sleep(5)
        assert calls == ["first"]
        assert await rig.logged() == ["again", "first"]
        await rig.call("engine::log::info", message="second")
        await trio.sleep(5)
    assert calls == ["first", "second"]


async def test_a_condition_that_logs_does_not_feed_itself() -> None:
    calls: list[Any] = []
    async with open_observability_rig() as rig:

        @rig.client.function("condition::logs")
        async def condition(record: Any) -> bool:
            assert len(calls) < MANY, "it loops"
            calls.append(record["body"])
            await rig.client.invoke("engine::log::info", {"message": "asked"})
            return True

        got = await rig.record("log", {}, condition="condition::logs")
        await rig.call("engine::log::info", message="first")
        await rig.settle()
    assert calls == ["first"]
    assert [record["body"] for record in got] == ["first"]


async def test_an_sdk_worker_without_traces_does_not_feed_itself(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_observability_rig() as rig,
        rig.under_test.open_raw_peer("p", "on::log") as peer,
    ):
        await rig.settle()
        await rig.client.bind("log", "on::log", {})
        await rig.call("engine::log::info", message="first")
        call = await peer.served("on::log")
        peer.fire("engine::log::info", {"message": "while it runs"})
        peer.answer(call)
        peer.fire("engine::log::info", {"message": "just after"})
        await rig.settle()
        assert peer.unread(InvokeFunction) == []
        assert await rig.logged() == ["just after", "while it runs", "first"]
        await trio.sleep(1.5)
        peer.fire("engine::log::info", {"message": "later"})
        again = await peer.served("on::log")
        assert b"later" in bytes(again.data)
        peer.answer(again)


async def test_two_log_triggers_do_not_feed_each_other() -> None:
    calls: list[str] = []
    async with (
        open_observability_rig() as rig,
        rig.under_test.open_worker("other") as other,
    ):
        for worker, name in ((rig.client, "one"), (other, "two")):

            async def on_log(
                _record: Any, worker: Any = worker, name: str = name
            ) -> None:
                assert len(calls) < MANY, "they loop"
                calls.append(name)
                await worker.invoke("engine::log::info", {"message": name})

            worker.register_function(f"on::{name}", on_log)
            await worker.bind("log", f"on::{name}", {})
        await rig.call("engine::log::info", message="first")
        await rig.settle()
    assert sorted(calls) == ["one", "two"]


async def test_lines_of_the_engine_are_kept_but_fire_nothing() -> None:
    async with open_observability_rig() as rig:
        lines = EngineLines(rig.telemetry)
        package = logging.getLogger("iii_trio")
        package.addHandler(lines)
        try:
            got = await rig.record("log", {})
            await rig.client.bind("log", "no::such", {})
            await rig.call("engine::log::info", message="first")
            await rig.settle()
            bodies = await rig.logged()
        finally:
            package.removeHandler(lines)
    assert [record["body"] for record in got] == ["first"]
    assert any("no::such failed" in body for body in bodies)


# --- trace


async def test_traces_are_gathered_for_a_moment(autojump_clock: MockClock) -> None:
    async with open_observability_rig() as rig:
        got = await rig.record("trace", {"service_name": "SHOP"})
        other = await rig.record("trace", {"status": "error"})
        first = rig.under_test.clock()
        await rig.tell(span_frame(), span_frame(spanId="00f067aa0ba902b7"))
        await rig.tell(span_frame(traceId="1" * 32))
        assert got == []
        await trio.sleep(0.31)
        assert rig.under_test.clock() - first < 0.5
        assert got == [{"trace_ids": [TRACE, "1" * 32]}]
        assert other == []
        await rig.tell(span_frame(traceId="2" * 32, status={"code": 2}))
        await trio.sleep(0.31)
    assert got[1:] == [{"trace_ids": ["2" * 32]}]
    assert other == [{"trace_ids": ["2" * 32]}]


async def test_a_condition_is_cancelled_with_its_trigger() -> None:
    async with open_observability_rig() as rig:
        hanging = Hanging()
        rig.client.register_function("is::hung", hanging)
        got = await rig.record("log", {}, condition="is::hung", trigger_id="t")
        await rig.tell(log_frame(body="here"))
        assert hanging.reasons == []
        rig.client.unbind("t")
        await wait_all_tasks_blocked()
    assert hanging.reasons == ["trigger t is gone"]
    assert got == []


async def test_a_condition_decides_about_traces(autojump_clock: MockClock) -> None:
    async with open_observability_rig() as rig:

        @rig.client.function("is::mine")
        async def is_mine(event: Any) -> bool:
            await trio.lowlevel.checkpoint()
            return TRACE in event["trace_ids"]

        got = await rig.record("trace", {}, condition="is::mine")
        for trace_id in (TRACE, "1" * 32):
            await rig.tell(span_frame(traceId=trace_id))
            await trio.sleep(0.31)
    assert got == [{"trace_ids": [TRACE]}]


async def test_spans_of_firings_of_others_fire_it_too(
    autojump_clock: MockClock,
) -> None:
    async with open_observability_rig() as rig:
        got = await rig.record("trace", {"status": "error"})

        @rig.client.function("a::bad")
        async def bad() -> None:
            await trio.lowlevel.checkpoint()
            raise FunctionFailedError("no", code="bad")

        await rig.failure("a::bad", {})
        with pytest.raises(FunctionFailedError):
            await rig.client.invoke("a::bad", kind="delivery")
        await trio.sleep(0.5)
        [root] = (await rig.call("engine::traces::list", status="error"))["spans"]
    assert got == [{"trace_ids": [root["trace_id"]]}]


async def test_a_trace_trigger_whose_function_is_traced_does_not_feed_itself(
    autojump_clock: MockClock,
) -> None:
    calls: list[Any] = []
    async with open_observability_rig() as rig:

        @rig.client.function("on::trace")
        async def on_trace(event: Any) -> None:
            assert len(calls) < MANY, "it loops"
            calls.append(event)
            trace_id = trace_of(current_invocation().traceparent)
            rig.telemetry.take(span_frame(traceId=trace_id, name="handler"))
            await rig.client.invoke("engine::log::info", {"message": "traced"})

        await rig.client.bind("trace", "on::trace", {})
        logs = await rig.record("log", {})
        await rig.tell(span_frame())
        await trio.sleep(10)
    assert calls == [{"trace_ids": [TRACE]}]
    assert logs == []


async def test_internal_spans_without_a_parent_fire_nothing(
    autojump_clock: MockClock,
) -> None:
    internal = [{"key": "function_id", "value": {"stringValue": "engine::x"}}]
    async with open_observability_rig() as rig:
        got = await rig.record("trace", {})
        await rig.tell(span_frame(attributes=internal))
        await trio.sleep(0.5)
        assert got == []
        await rig.tell(span_frame(attributes=internal, parentSpanId=SPAN_ID[::-1]))
        await trio.sleep(0.5)
    assert len(got) == 1


async def test_a_trace_trigger_that_is_gone_meanwhile_is_not_fired(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers_module, "MAX_TRACE_IDS", 1)
    async with open_observability_rig() as rig:
        got = await rig.record("trace", {}, trigger_id="t")
        await rig.tell(span_frame(), span_frame(traceId="1" * 32))
        await trio.sleep(0.5)
        assert got == [{"trace_ids": [TRACE]}]
        await rig.tell(span_frame())
        rig.client.unbind("t")
        await trio.sleep(0.5)
    assert len(got) == 1


async def test_draining_waits_for_deliveries() -> None:
    done: list[str] = []
    go = trio.Event()
    async with open_observability_rig() as rig, trio.open_nursery() as nursery:

        @rig.client.function("slow::log")
        async def slow() -> None:
            await go.wait()
            done.append("handler")

        await rig.client.bind("log", "slow::log", {})
        rig.telemetry.take(log_frame())

        async def drain() -> None:
            await rig.handle.drain(60)
            done.append("drained")

        nursery.start_soon(drain)
        await rig.settle()
        assert done == []
        go.set()
    assert done == ["handler", "drained"]
