"""The functions of the observability worker, in one engine under virtual time."""

from functools import partial
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from iii_trio._util import open_background_nursery
from iii_trio.builtins.observability import (
    ObservabilityConfig,
    SamplingConfig,
    SamplingRule,
    Telemetry,
    _trace_functions,
    serve_observability,
)
from iii_trio.builtins.observability import _functions as functions_module
from iii_trio.builtins.observability import _telemetry as telemetry_module
from iii_trio.builtins.observability._telemetry import LOG_BYTES
from iii_trio.engine import open_engine
from iii_trio.errors import FunctionFailedError, RegistrationError
from iii_trio.worker import current_invocation, open_worker
from tests.component.observability_rig import (
    EPOCH,
    SPAN_ID,
    TRACE,
    gauge_frame,
    log_frame,
    open_observability_rig,
    span_frame,
)

LEVELS = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "error": 17}
EPOCH_MS = int(EPOCH * 1000)


# --- logs


@pytest.mark.parametrize(("level", "severity"), LEVELS.items())
async def test_a_message_is_kept_at_the_level_of_the_function(
    level: str, severity: int, autojump_clock: MockClock
) -> None:
    async with open_observability_rig() as rig:
        result = await rig.call(
            f"engine::log::{level}",
            message="\x1b[1mhot\x1b[0m",
            data={"a": [1, "\x1b[0m"]},
            trace_id=TRACE,
            span_id=SPAN_ID,
            service_name="shop",
        )
        assert result is None
        [record] = (await rig.call("engine::logs::list"))["logs"]
    assert record == {
        "timestamp_unix_nano": int(EPOCH * 1e9),
        "observed_timestamp_unix_nano": int(EPOCH * 1e9),
        "severity_number": severity,
        "severity_text": level.upper(),
        "body": "hot",
        "attributes": {"a": [1, ""]},
        "trace_id": TRACE,
        "span_id": SPAN_ID,
        "resource": {"service.name": "shop"},
        "service_name": "shop",
        "instrumentation_scope_name": "iii",
    }


async def test_data_that_is_no_object_is_dropped_and_the_service_is_unknown() -> None:
    async with open_observability_rig() as rig:
        await rig.call("engine::log::info", message="m", data=[1])
        [record] = (await rig.call("engine::logs::list"))["logs"]
    assert (record["attributes"], record["service_name"]) == ({}, "unknown")


async def test_a_message_belongs_to_the_trace_of_its_caller() -> None:
    async with (
        open_observability_rig() as rig,
        rig.under_test.open_raw_peer("p") as peer,
    ):
        parent = f"00-{TRACE}-{SPAN_ID}-01"
        message = {"message": "m"}
        call = peer.call("engine::log::info", message, traceparent=parent)
        await peer.outcome(call)
        [record] = (await rig.call("engine::logs::list"))["logs"]
    assert (record["trace_id"], record["span_id"]) == (TRACE, SPAN_ID)


async def test_listing_gives_the_newest_first_and_pages() -> None:
    async with open_observability_rig() as rig:
        for number in range(5):
            await rig.call("engine::log::info", message=str(number))
        listed = await rig.call("engine::logs::list", offset=1, limit=2)
        assert [record["body"] for record in listed["logs"]] == ["3", "2"]
        assert listed["total"] == 5
        assert listed["query"] == {"offset": 1, "limit": 2}
        assert listed["timestamp"] >= EPOCH_MS
        everything = await rig.client.invoke("engine::logs::list")
        assert "query" not in everything
        assert await rig.call("engine::logs::clear") == {"success": True}
        assert await rig.logged() == []


async def test_listing_filters_records() -> None:
    async with open_observability_rig() as rig:
        await rig.call("engine::log::info", message="i", trace_id="t")
        await rig.call("engine::log::error", message="e", span_id="s")
        assert await rig.logged(severity_min=10) == ["e"]
        assert await rig.logged(severity_text="Info") == ["i"]
        assert await rig.logged(trace_id="t") == ["i"]
        assert await rig.logged(span_id="s") == ["e"]
        assert await rig.logged(end_time=EPOCH_MS - 1) == []
        assert await rig.logged(start_time=EPOCH_MS) == ["e", "i"]


async def test_records_are_kept_for_their_time(autojump_clock: MockClock) -> None:
    async with open_observability_rig(logs_retention_seconds=100) as rig:
        await rig.call("engine::log::info", message="old")
        await trio.sleep(60)
        await rig.call("engine::log::info", message="new")
        await trio.sleep(50)
        assert await rig.logged() == ["new"]
        await trio.sleep(121)
        assert rig.handle.statistics().logs == 0


async def test_the_number_of_records_is_bounded_also_after_a_change() -> None:
    async with open_observability_rig(logs_max_count=3) as rig:
        for number in range(5):
            await rig.call("engine::log::info", message=str(number))
        assert await rig.logged() == ["4", "3", "2"]
        await rig.handle.reconfigure(ObservabilityConfig(logs_max_count=1))
        assert await rig.logged() == ["4"]


async def test_with_logs_switched_off_nothing_is_kept_and_nothing_fails() -> None:
    async with open_observability_rig(logs_enabled=False) as rig:
        await rig.call("engine::log::info", message="m")
        await rig.tell(log_frame())
        assert await rig.logged() == []
        health = await rig.call("engine::health::check")
        assert health["components"]["logs"] == {"status": "disabled", "details": None}


async def test_sampled_out_records_have_no_effect() -> None:
    async with open_observability_rig(logs_sampling_ratio=0.5) as rig:
        got = await rig.record("log", None)
        low, high = "0" * 24 + "00000001", "0" * 24 + "ffffffff"
        await rig.call("engine::log::info", message="low", trace_id=low)
        await rig.call("engine::log::info", message="high", trace_id=high)
        await rig.settle()
        assert await rig.logged() == ["low"]
        assert [record["body"] for record in got] == ["low"]
        await rig.handle.reconfigure(ObservabilityConfig(logs_sampling_ratio=0.0))
        await rig.call("engine::log::info", message="none")
        assert "none" not in await rig.logged()


async def test_a_trace_id_that_is_none_can_be_sampled() -> None:
    async with open_observability_rig(logs_sampling_ratio=0.5) as rig:
        for trace_id in ("", "mine", "0x1", "z" * 32):
            await rig.call("engine::log::info", message="m", trace_id=trace_id)


async def test_hostile_messages_fill_no_more_than_the_stores_may_take() -> None:
    """Megabytes where few look: each record of a ring could keep as much."""
    big = "x" * (4 * 2**20)
    long_resource = {"attributes": [text("service.name", "shop"), text("host", big)]}
    async with open_observability_rig() as rig:
        for _ in range(12):
            scoped = {"scope": {"name": "s"}, "logRecords": [{"body": {}}]}
            group = {"resource": long_resource, "scopeLogs": [scoped]}
            rig.telemetry.take(b"LOGS" + msgspec.json.encode({"resourceLogs": [group]}))
            await rig.settle()
            await rig.call("engine::log::info", message="m", service_name=big)
        assert 0 < rig.telemetry.logs.bytes <= LOG_BYTES
        assert len(rig.telemetry.logs) <= LOG_BYTES // len(big)


def text(key: str, value: str) -> Any:
    return {"key": key, "value": {"stringValue": value}}


async def test_records_of_workers_are_kept_and_shown_on_the_console(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_observability_rig() as rig:
        data = {"key": "log.data", "value": {"stringValue": "x"}}
        await rig.tell(log_frame("WARN", "careful", attributes=[data]), log_frame())
        assert await rig.logged() == ["hello", "careful"]
    shown = [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == "iii_trio.workers"
    ]
    assert ("WARNING", 'shop: careful {"log.data":"x"}') in shown


async def test_what_is_only_sent_is_not_kept_but_fires_and_shows_nothing_here(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_observability_rig(
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
        exporter="otlp",
        logs_exporter="otlp",
        logs_console_output=False,
        metrics_exporter="otlp",
        endpoint="http://127.0.0.1:9",
    ) as rig:
        got = await rig.record("log", {})
        gauge = gauge_frame(rig.client.worker_id, "iii.worker.memory.rss", 1)
        await rig.tell(log_frame(), span_frame(), gauge)
        statistics = rig.handle.statistics()
        info = await rig.call("engine::workers::info", name="client")
        assert await rig.logged() == []
    assert (statistics.logs, statistics.spans, statistics.metrics) == (0, 0, 0)
    assert statistics.export.waiting + statistics.export.sent == 3
    assert len(got) == 1
    assert info["worker"]["latest_metrics"]["memory_rss"] == 1
    assert not [one for one in caplog.records if one.name == "iii_trio.workers"]


# --- traces


async def test_a_span_of_a_worker_is_listed() -> None:
    async with open_observability_rig() as rig:
        await rig.tell(span_frame(status={"code": 1}))
        listed = await rig.call("engine::traces::list")
    [span] = listed["spans"]
    assert span["trace_id"] == TRACE
    assert span["parent_span_id"] is None
    assert (span["status"], span["service_name"]) == ("ok", "shop")
    assert (listed["total"], listed["offset"], listed["limit"]) == (1, 0, 100)
    assert listed["storage"]["completeness"] == "complete"
    assert listed["storage"]["known_dropped_spans"] == 0


async def test_a_trace_is_shown_as_a_tree() -> None:
    child = span_frame(spanId="00f067aa0ba902b7", parentSpanId=SPAN_ID, name="step")
    async with open_observability_rig() as rig:
        await rig.tell(child, span_frame())
        [root] = (await rig.call("engine::traces::tree", trace_id=TRACE))["roots"]
        assert root["name"] == "work"
        assert [one["name"] for one in root["children"]] == ["step"]
        nothing = await rig.call("engine::traces::tree", trace_id="none")
        assert nothing["roots"] == []
        listed = await rig.call("engine::traces::list")
        assert [span["name"] for span in listed["spans"]] == ["work"]
        found = await rig.call("engine::traces::list", trace_ids=[TRACE])
        assert found["total"] == 2
        by_id = await rig.call("engine::traces::list", trace_id=TRACE, limit=1)
        assert (by_id["total"], len(by_id["spans"])) == (2, 1)


async def test_lists_of_spans_are_filtered_sorted_and_paged() -> None:
    async with open_observability_rig() as rig:
        for number in range(3):
            await rig.tell(
                span_frame(
                    traceId=f"{number + 1:032x}",
                    name=f"n{number}",
                    startTimeUnixNano=str(10**9 * (number + 1)),
                    endTimeUnixNano=str(10**9 * 10),
                    attributes=[
                        {"key": "n", "value": {"intValue": str(number)}},
                    ],
                )
            )

        async def names(**query: Any) -> list[str]:
            listed = await rig.call("engine::traces::list", **query)
            return [span["name"] for span in listed["spans"]]

        assert await names() == ["n0", "n1", "n2"]
        assert await names(sort_order="desc") == ["n2", "n1", "n0"]
        assert await names(sort_order="anything") == ["n2", "n1", "n0"]
        assert await names(sort_by="duration") == ["n2", "n1", "n0"]
        assert await names(sort_by="nonsense") == ["n0", "n1", "n2"]
        assert await names(offset=1, limit=1) == ["n1"]
        assert await names(attributes=[["n", "1"]]) == ["n1"]
        assert await names(exclude_attributes=[["n", "1"]]) == ["n0", "n2"]
        assert await names(min_duration_ms=8500) == ["n0"]
        assert await names(start_time=2000, end_time=2000) == ["n1"]


async def test_spans_are_grouped_by_an_attribute() -> None:
    async with open_observability_rig() as rig:
        user = [{"key": "user", "value": {"stringValue": "ada"}}]
        await rig.tell(span_frame(attributes=user))
        grouped = await rig.call("engine::traces::group_by", attribute="user")
        [group] = grouped["groups"]
        assert (group["value"], group["trace_ids"]) == ("ada", [TRACE])
        none = await rig.call("engine::traces::group_by", attribute="user", limit=0)
        assert none["groups"] == []


async def test_spans_can_be_dropped() -> None:
    async with open_observability_rig() as rig:
        await rig.tell(span_frame())
        assert await rig.call("engine::traces::clear") == {"success": True}
        assert (await rig.call("engine::traces::list"))["total"] == 0


@pytest.mark.parametrize(
    ("function_id", "payload"),
    [
        ("engine::traces::list", {}),
        ("engine::traces::tree", {"trace_id": "t"}),
        ("engine::traces::group_by", {"attribute": "a"}),
        ("engine::traces::clear", {}),
    ],
)
async def test_without_a_store_of_spans_their_functions_fail(
    function_id: str, payload: Any
) -> None:
    async with open_observability_rig(enabled=False) as rig:
        await rig.tell(span_frame())
        error = await rig.failure(function_id, payload)
    assert error.code == "memory_exporter_not_enabled"
    assert "exporter: memory" in str(error)


async def test_many_spans_are_searched_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_trace_functions, "MANY_SPANS", 0)
    async with open_observability_rig() as rig:
        await rig.tell(span_frame())
        assert (await rig.call("engine::traces::list"))["total"] == 1


# --- spans of the engine's own


async def test_a_firing_and_what_it_calls_are_one_trace() -> None:
    seen: list[str | None] = []
    async with (
        open_observability_rig() as rig,
        rig.under_test.open_worker("provider") as provider,
    ):
        triggers: list[Any] = []
        provider.register_trigger_type("ring", bind=triggers.append)

        @rig.client.function("inner::step")
        async def step() -> None:
            await trio.lowlevel.checkpoint()
            seen.append(current_invocation().traceparent)

        @rig.client.function("on::ring")
        async def on_ring() -> None:
            seen.append(current_invocation().traceparent)
            await rig.client.invoke("inner::step")

        await rig.client.bind("ring", "on::ring")
        await provider.emit(triggers[0], {})
        await rig.settle()
        [root] = (await rig.call("engine::traces::list"))["spans"]
        tree = await rig.call("engine::traces::tree", trace_id=root["trace_id"])
    assert root["name"] == "trigger on::ring"
    [shown] = tree["roots"]
    [child] = shown["children"]
    assert child["name"] == "call inner::step"
    assert seen == [
        f"00-{root['trace_id']}-{root['span_id']}-01",
        f"00-{root['trace_id']}-{child['span_id']}-01",
    ]


async def test_spans_of_firings_are_kept_without_anybody_asking(
    autojump_clock: MockClock,
) -> None:
    async with open_observability_rig() as rig:
        rig.client.register_function("a::b", _nothing)
        await rig.client.invoke("a::b", kind="delivery")
        assert rig.handle.statistics().waiting == 1
        await trio.sleep(1)
        statistics = rig.handle.statistics()
    assert (statistics.waiting, statistics.spans) == (0, 1)


async def test_too_many_spans_at_once_drop_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telemetry_module, "INBOX_ITEMS", 2)
    async with open_observability_rig() as rig:
        for name in ("a", "b", "c"):
            rig.client.register_function(name, _nothing)
            await rig.client.invoke(name, kind="delivery")
        listed = await rig.call("engine::traces::list")
        assert rig.handle.statistics().dropped == 1
    assert [span["name"] for span in listed["spans"]] == ["trigger b", "trigger c"]


async def test_sampled_out_firings_leave_no_span() -> None:
    sampling = SamplingConfig(rules=(SamplingRule(operation="trigger *", rate=0.0),))
    async with open_observability_rig(sampling=sampling) as rig:
        rig.client.register_function("a::b", _nothing)
        await rig.client.invoke("a::b", kind="delivery")
        assert (await rig.call("engine::traces::list"))["total"] == 0
        rules = await rig.call("engine::sampling::rules")
    assert rules["traces"]["rules"] == [
        {"operation": "trigger *", "service": None, "rate": 0.0}
    ]
    assert rules["logs"] == {"sampling_ratio": 1.0}


async def _nothing() -> None:
    await trio.lowlevel.checkpoint()


async def test_calls_are_watched_only_while_that_is_needed() -> None:
    off = ObservabilityConfig(enabled=False, metrics_enabled=False)
    telemetry = Telemetry()
    async with (
        open_engine(on_telemetry=telemetry.take) as engine,
        open_worker(engine, name="iii-observability") as worker,
        open_background_nursery("test over") as nursery,
    ):
        telemetry.attach(engine)
        serve = partial(
            serve_observability, worker, off, telemetry=telemetry, environ={}
        )
        handle = await nursery.start(serve)
        assert engine.invocations.watch is None
        worker.register_function("a::b", _nothing)
        await worker.invoke("a::b")
        for switched_on in (True, False):
            config = ObservabilityConfig(metrics_enabled=switched_on)
            await handle.reconfigure(config)
            assert (engine.invocations.watch is not None) is switched_on
            await worker.invoke("a::b")
        counts = await worker.invoke("engine::metrics::list")
        assert counts["engine_metrics"]["invocations"]["total"] == 1


# --- metrics


async def test_calls_and_workers_are_counted() -> None:
    async with open_observability_rig() as rig:

        @rig.client.function("a::bad")
        async def bad() -> None:
            await trio.lowlevel.checkpoint()
            raise FunctionFailedError("no", code="bad")

        rig.client.register_function("a::b", _nothing)
        await rig.client.invoke("a::b")
        await rig.failure("a::bad", {})
        async with rig.under_test.open_worker("short"):
            pass
        counts = (await rig.call("engine::metrics::list"))["engine_metrics"]
    assert counts["invocations"]["by_function"] == {"a::b": 1, "a::bad": 1}
    assert (counts["invocations"]["success"], counts["invocations"]["error"]) == (1, 1)
    assert counts["workers"] == {"spawns": 1, "deaths": 1, "active": 0}
    assert counts["performance"]["max_duration_ms"] >= 0


async def test_gauges_of_workers_are_listed_and_shown_as_their_latest(
    autojump_clock: MockClock,
) -> None:
    async with open_observability_rig() as rig:
        worker_id = rig.client.worker_id
        await rig.tell(
            gauge_frame(worker_id, "iii.worker.memory.rss", 4096),
            gauge_frame(worker_id, "iii.worker.cpu.percent", 1.5),
            gauge_frame(worker_id, "other", 1),
        )
        listed = await rig.call("engine::metrics::list", metric_name="other")
        [row] = listed["sdk_metrics"]
        assert (row["metric_type"], row["service_name"]) == ("gauge", "shop")
        info = await rig.call("engine::workers::info", name="client")
        assert info["worker"]["latest_metrics"] == {
            "memory_rss": 4096,
            "cpu_percent": 1.5,
            "timestamp_ms": EPOCH_MS,
            "runtime": "unknown",
        }
        await trio.sleep(121)
        info = await rig.call("engine::workers::info", name="client")
        assert "latest_metrics" not in info["worker"]


async def test_metrics_are_summed_up_by_windows(autojump_clock: MockClock) -> None:
    async with open_observability_rig() as rig:
        await rig.tell(gauge_frame("w", "g", 1), gauge_frame("w", "g", 3))
        await trio.sleep(61)
        listed = await rig.call(
            "engine::metrics::list", metric_name="g", aggregate_interval=10
        )
        [window] = listed["aggregated_metrics"]
        assert (window["count"], window["avg"]) == (2, 2.0)
        rolled = await rig.call("engine::rollups::list", level=1)
        names = {row["metric_name"] for row in rolled["rollups"]}
        assert {"g", "iii.invocations.total", "iii.workers.active"} <= names
        [histogram] = rolled["histogram_rollups"]
        assert histogram["metric_name"] == "iii.invocation.duration"
        assert rolled["level"] == 1
        deep = await rig.call("engine::rollups::list", level=9, metric_name="g")
        assert deep["level"] == 2
        [hour] = deep["rollups"]
        assert hour["end_time_unix_nano"] - hour["start_time_unix_nano"] == 3600 * 10**9


@pytest.mark.parametrize(
    "function_id", ["engine::metrics::list", "engine::rollups::list"]
)
@pytest.mark.parametrize("field", ["start_time", "end_time"])
async def test_a_time_that_is_too_large_is_refused(
    function_id: str, field: str
) -> None:
    async with open_observability_rig() as rig:
        largest = functions_module.LATEST_TIME
        await rig.call(function_id, **{field: largest})
        error = await rig.failure(function_id, {field: largest + 1})
    assert error.code == "time_value_overflow"
    assert field in str(error)


# --- health, alerts, baggage


async def test_health_tells_of_every_part() -> None:
    async with open_observability_rig() as rig:
        await rig.tell(b"OTLP nonsense", b"JUNK")
        health = await rig.client.invoke("engine::health::check")
    assert health["status"] == "healthy"
    parts = health["components"]
    assert {part["status"] for part in parts.values()} == {"healthy"}
    assert parts["otel"]["details"]["refused"] == 2
    assert health["version"]
    assert health["timestamp"] >= EPOCH_MS


async def test_alerts_are_always_none() -> None:
    async with open_observability_rig() as rig:
        listed = await rig.call("engine::alerts::list")
        evaluated = await rig.call("engine::alerts::evaluate")
    assert (listed["alerts"], listed["firing_count"]) == ([], 0)
    assert evaluated["evaluated"] is False
    assert "Alertmanager" in evaluated["message"]


async def test_the_baggage_of_one_caller_is_not_shown_to_another() -> None:
    async with (
        open_observability_rig() as rig,
        rig.under_test.open_worker("other") as other,
    ):
        await rig.call("engine::baggage::set", key="a", value="1")
        assert await other.invoke("engine::baggage::get_all") == {"baggage": {}}
        asked = {"key": "a"}
        assert await other.invoke("engine::baggage::get", asked) == {"value": None}


async def test_nobody_takes_the_room_of_another_caller_s_baggage() -> None:
    most = functions_module.MAX_BAGGAGE
    async with (
        open_observability_rig() as rig,
        rig.under_test.open_worker("other") as other,
    ):
        await rig.call("engine::baggage::set", key="a", value="1")
        for number in range(most + 1):
            entry = {"key": str(number), "value": "x"}
            await other.invoke("engine::baggage::set", entry)
        assert await rig.call("engine::baggage::get", key="a") == {"value": "1"}
        kept = await other.invoke("engine::baggage::get_all")
        assert [*kept["baggage"]] == [str(number) for number in range(1, most + 1)]


async def test_of_many_callers_the_baggage_of_the_last_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(functions_module, "MAX_BAGGAGE_CALLERS", 2)
    async with (
        open_observability_rig() as rig,
        rig.under_test.open_worker("b") as second,
        rig.under_test.open_worker("c") as third,
    ):
        callers = rig.client, second, third
        for caller in (rig.client, second, rig.client, third):
            await caller.invoke("engine::baggage::set", {"key": "k", "value": "v"})
        asked = {"key": "k"}
        kept = [await one.invoke("engine::baggage::get", asked) for one in callers]
    assert kept == [{"value": "v"}, {"value": None}, {"value": "v"}]


async def test_baggage_that_the_engine_keeps() -> None:
    async with open_observability_rig() as rig:
        await rig.call("engine::baggage::set", key="a", value="1")
        assert await rig.call("engine::baggage::get", key="a") == {"value": "1"}
        assert await rig.call("engine::baggage::get", key="b") == {"value": None}
        everything = await rig.client.invoke("engine::baggage::get_all")
        assert everything == {"baggage": {"a": "1"}}
        for number in range(functions_module.MAX_BAGGAGE):
            await rig.call("engine::baggage::set", key=str(number), value="x")
        kept = (await rig.call("engine::baggage::get_all"))["baggage"]
        assert len(kept) == functions_module.MAX_BAGGAGE
        assert "a" not in kept
        error = await rig.failure(
            "engine::baggage::set", {"key": "k", "value": "v" * 5000}
        )
    assert error.code == "baggage_too_large"


# --- wrong inputs


@pytest.mark.parametrize(
    ("function_id", "payload"),
    [
        ("engine::log::info", {}),
        ("engine::log::trace", {"message": 1}),
        ("engine::logs::list", {"limit": -1}),
        ("engine::traces::list", {"attributes": ["x"]}),
        ("engine::traces::tree", None),
        ("engine::traces::group_by", {}),
        ("engine::metrics::list", {"start_time": "now"}),
        ("engine::rollups::list", {"level": 1.5}),
        ("engine::baggage::get", {}),
        ("engine::baggage::set", {"key": "k"}),
    ],
)
async def test_a_payload_that_does_not_fit_is_refused(
    function_id: str, payload: Any
) -> None:
    async with open_observability_rig() as rig:
        error = await rig.failure(function_id, payload)
    assert error.code == "deserialization_error"
    assert f"Failed to deserialize input for {function_id}: " in str(error)


# --- taking telemetry


async def test_the_inbox_drops_the_oldest_when_too_much_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telemetry_module, "INBOX_ITEMS", 2)
    monkeypatch.setattr(telemetry_module, "MAX_MESSAGE_BYTES", 10_000)
    async with open_observability_rig() as rig:
        await rig.tell(
            *(log_frame(body=str(number)) for number in range(4)),
            log_frame(body="x" * 20_000),
        )
        assert await rig.logged() == ["3", "2"]
        statistics = rig.handle.statistics()
        assert (statistics.dropped, statistics.unreadable) == (2, 1)


async def test_a_large_message_is_read_in_a_thread() -> None:
    async with open_observability_rig() as rig:
        rig.telemetry.take(log_frame(body="x" * 200_000))
        await rig.handle.drain(60)
        assert [len(body) for body in await rig.logged()] == [200_000]


async def test_frames_on_a_worker_s_own_socket_count_too() -> None:
    async with open_observability_rig() as rig:
        rig.under_test.engine.supervisor.on_telemetry(log_frame())
        await rig.settle()
        assert await rig.logged() == ["hello"]


async def test_what_was_told_survives_the_worker() -> None:
    async with open_observability_rig() as rig:
        await rig.tell(log_frame(body="before"))
        rig.serving.cancel()
        await rig.settle()
        assert len(rig.telemetry.logs) == 1
        rig.telemetry.take(log_frame(body="meanwhile"))
        assert len(rig.telemetry.inbox) == 1


async def test_another_worker_may_not_offer_these_functions() -> None:
    async with open_observability_rig() as rig:
        with pytest.raises(RegistrationError):
            rig.client.register_function("engine::log::info", _nothing)
