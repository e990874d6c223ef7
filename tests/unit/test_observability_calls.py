"""Spans around calls, counts of calls, and the guard against loops."""

from typing import Any

import attrs
import pytest

from iii_trio.builtins.observability import (
    ObservabilityConfig,
    RateLimit,
    SamplingConfig,
    SamplingRule,
)
from iii_trio.builtins.observability import _guard as guard_module
from iii_trio.builtins.observability._calls import CallRecorder, read_traceparent
from iii_trio.builtins.observability._config import settings_of
from iii_trio.builtins.observability._guard import DeliveryGuard
from iii_trio.builtins.observability._metrics import CallMetrics
from iii_trio.builtins.observability._sampling import Sampler
from iii_trio.builtins.observability._spans import Span
from iii_trio.protocol import ObservedKind

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@attrs.define(eq=False)
class Call:
    function_id: str = "shop::pay"
    kind: ObservedKind = "call"
    is_inside: bool = True
    traceparent: str | None = None
    asked: bytes = b""
    note: Any = None
    span: str | None = None

    def enter_span(self, traceparent: str) -> None:
        self.span = traceparent


@attrs.define(eq=False)
class Rig:
    now: float = 100.0
    next_id: int = 0
    spans: list[Span] = attrs.field(factory=list)
    metrics: CallMetrics = attrs.field(factory=CallMetrics)
    recorder: CallRecorder = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.recorder = CallRecorder(
            self.metrics,
            now=lambda: self.now,
            new_bits=self.bits,
            on_span=self.spans.append,
        )

    def bits(self, bits: int, /) -> int:
        self.next_id += 1
        return self.next_id

    def trace(self, **sampling: Any) -> None:
        config = ObservabilityConfig(sampling=SamplingConfig(**sampling))
        self.recorder.sampler = Sampler(settings_of(config, {})[0])

    def run(self, call: Call, code: str | None = None) -> Call:
        self.recorder.call_began(call)
        self.now += 0.5
        self.recorder.call_ended(call, code)
        return call


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"00-{TRACE}-{PARENT}-00", False),
        (f"cc-{TRACE}-{PARENT}-03", True),
    ],
)
def test_a_traceparent_is_read(text: str, sampled: bool) -> None:
    context = read_traceparent(text)
    assert context is not None
    assert (context.trace_id, context.span_id) == (TRACE, PARENT)
    assert context.sampled is sampled


@pytest.mark.parametrize(
    "text",
    [None, "", "x", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01"],
)
def test_a_malformed_traceparent_is_none(text: str | None) -> None:
    assert read_traceparent(text) is None


def test_switched_off_nothing_is_counted_and_no_span_made(rig: Rig) -> None:
    call = rig.run(Call(kind="delivery"))
    assert (call.span, rig.spans, rig.metrics.total) == (None, [], 0)


def test_calls_are_counted_with_their_time_but_those_of_the_engine_not(
    rig: Rig,
) -> None:
    rig.recorder.counting = True
    rig.run(Call())
    rig.run(Call(), code="failed")
    rig.run(Call(function_id="engine::functions::list"))
    rig.run(Call(function_id="engine::queue::enqueue", kind="enqueue"))
    rig.run(Call(function_id="engine::queue::enqueue", kind="enqueue"), code="full")
    row = rig.metrics.row()
    assert row["invocations"]["by_function"] == {"shop::pay": 2}
    assert (row["invocations"]["error"], row["invocations"]["deferred"]) == (1, 1)
    assert row["performance"]["avg_duration_ms"] == 500.0


def test_a_call_that_began_before_anybody_watched_is_passed_over(rig: Rig) -> None:
    rig.recorder.counting = True
    rig.recorder.call_ended(Call(), None)
    assert rig.metrics.total == 0


def test_a_firing_gets_a_span_of_its_own(rig: Rig) -> None:
    rig.trace()
    call = rig.run(Call(kind="delivery", is_inside=False), code="failed")
    [span] = rig.spans
    assert call.span == f"00-{span.trace_id}-{span.span_id}-01"
    assert (span.name, span.parent_span_id) == ("trigger shop::pay", None)
    assert (span.status, span.status_description) == ("error", "failed")
    assert span.duration == 500_000_000
    assert dict(span.attributes) == {
        "function_id": "shop::pay",
        "error.type": "failed",
    }


def test_a_firing_inside_a_trace_belongs_to_it(rig: Rig) -> None:
    rig.trace()
    rig.run(Call(kind="delivery", traceparent=f"00-{TRACE}-{PARENT}-01"))
    [span] = rig.spans
    assert (span.trace_id, span.parent_span_id) == (TRACE, PARENT)
    assert span.status == "ok"


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Call(traceparent=f"00-{TRACE}-{PARENT}-01"), "call shop::pay"),
        (Call(), None),
        (Call(traceparent=f"00-{TRACE}-{PARENT}-01", is_inside=False), None),
        (
            Call(
                kind="enqueue",
                function_id="engine::queue::enqueue",
                asked=b'","function_id":"mail::send"',
            ),
            "enqueue mail::send",
        ),
        (Call(kind="delivery", function_id="engine::log::info"), None),
        (
            Call(
                function_id="engine::traces::list",
                traceparent=f"00-{TRACE}-{PARENT}-01",
            ),
            None,
        ),
    ],
)
def test_which_calls_get_a_span(rig: Rig, call: Call, name: str | None) -> None:
    rig.trace()
    rig.run(call)
    assert [span.name for span in rig.spans] == ([] if name is None else [name])


def test_calls_without_a_trace_get_a_span_when_that_is_asked_for(rig: Rig) -> None:
    rig.trace()
    rig.recorder.trace_calls = True
    rig.run(Call())
    rig.run(Call(is_inside=False))
    assert [span.name for span in rig.spans] == ["call shop::pay"]


def test_a_trace_that_is_not_wanted_is_not_begun_by_others_either(rig: Rig) -> None:
    rig.trace(rules=(SamplingRule(rate=0),))
    call = rig.run(Call(kind="delivery"))
    assert rig.spans == []
    assert call.span is not None
    assert call.span.endswith("-00")


def test_beyond_the_limit_the_engine_says_nothing_of_traces(rig: Rig) -> None:
    rig.trace(rate_limit=RateLimit(max_traces_per_second=1))
    first, second = rig.run(Call(kind="delivery")), rig.run(Call(kind="delivery"))
    assert (first.span is None, second.span) == (False, None)
    assert len(rig.spans) == 1
    rig.run(Call(kind="delivery", traceparent=f"00-{TRACE}-{PARENT}-01"))
    assert len(rig.spans) == 2


def test_a_caller_that_is_not_sampled_decides_for_its_trace(rig: Rig) -> None:
    rig.trace()
    call = rig.run(Call(traceparent=f"00-{TRACE}-{PARENT}-00"))
    assert (call.span, rig.spans) == (None, [])


# --- guard


def test_the_trace_of_a_delivery_is_covered_and_for_a_while_after() -> None:
    guard = DeliveryGuard()
    guard.begin("t", [])
    assert guard.covers("t", None, 1e9)
    assert not guard.covers("u", None, 0)
    guard.end("t", [], now=10)
    assert guard.covers("t", None, 610)
    assert not guard.covers("t", None, 611)
    guard.sweep(611)
    assert not guard.covers("t", None, 610)


def test_untraced_records_of_a_worker_are_covered_while_it_runs_one() -> None:
    guard = DeliveryGuard()
    guard.begin("t", ["w"])
    guard.begin("u", ["w"])
    assert guard.covers(None, "w", 0)
    assert not guard.covers(None, "other", 0)
    assert not guard.covers(None, None, 0)
    assert not guard.covers("foreign", "w", 0)
    guard.end("t", ["w"], now=5)
    guard.sweep(100)
    assert guard.covers(None, "w", 100)
    guard.end("u", ["w"], now=100)
    assert guard.covers(None, "w", 101)
    assert not guard.covers(None, "w", 101.5)
    guard.sweep(102)
    assert not guard.covers(None, "w", 101)


def test_the_guard_forgets_the_oldest_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_module, "REMEMBERED", 2)
    guard = DeliveryGuard()
    for trace_id in "abc":
        guard.begin(trace_id, [])
    guard.end("a", [], now=0)
    assert [guard.covers(one, None, 0) for one in "abc"] == [False, True, True]
