"""Watching the engine's calls: counts and times them, and puts spans around some. Pure.

A span of the engine's own is put around what no worker can trace: a firing of a trigger,
an enqueue, and the call of a function of this process by a caller that has a trace. What
one SDK worker calls on another is traced by their SDKs (observability, section 5).
"""

import re
from collections.abc import Callable
from typing import Final, Protocol, final

import attrs

from iii_trio.builtins.observability._metrics import CallMetrics
from iii_trio.builtins.observability._sampling import Sampler
from iii_trio.builtins.observability._spans import Span
from iii_trio.protocol import ObservedCall

OWN_PREFIXES: Final = (
    "engine::alerts::",
    "engine::baggage::",
    "engine::health::",
    "engine::log::",
    "engine::logs::",
    "engine::metrics::",
    "engine::rollups::",
    "engine::sampling::",
    "engine::traces::",
)
"""Functions that look at telemetry; spans of them would show the looking itself."""

_TRACEPARENT: Final = re.compile(
    "(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})"
)


@attrs.frozen
class TraceContext:
    """A W3C ``traceparent``, read."""

    trace_id: str
    span_id: str
    sampled: bool


def read_traceparent(text: str | None) -> TraceContext | None:
    """Read a ``traceparent``; ``None`` if there is none, or a malformed one."""
    found = None if text is None else _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    return TraceContext(found[1], found[2], bool(int(found[3], 16) & 1))


class NewBits(Protocol):
    """Makes random numbers, as ``random.Random.getrandbits`` does."""

    def __call__(self, bits: int, /) -> int:
        """A number of so many bits."""


@attrs.define(eq=False)
class _Begun:
    """What is kept with a call: when it began, and the span around it."""

    at: float
    trace_id: str = ""
    span_id: str = ""
    parent_id: str | None = None
    name: str = ""


@final
class CallRecorder:
    """An observer of the engine's calls.

    Args:
        metrics: where calls are counted.
        now: wall time in seconds.
        new_bits: makes ids of traces and spans.
        on_span: gets the spans that ended.

    Attributes:
        counting: whether calls are counted.
        sampler: decides about spans; ``None``: none are made.
        service_name: of the spans.
        trace_calls: make spans also around calls that came without a trace.
    """

    def __init__(
        self,
        metrics: CallMetrics,
        *,
        now: Callable[[], float],
        new_bits: NewBits,
        on_span: Callable[[Span], None],
    ) -> None:
        self.counting = False
        self.sampler: Sampler | None = None
        self.service_name = "iii"
        self.trace_calls = False
        self._metrics = metrics
        self._now = now
        self._new_bits = new_bits
        self._on_span = on_span

    def call_began(self, call: ObservedCall) -> None:
        """Note when, and begin a span if one belongs around the call."""
        call.note = begun = _Begun(self._now())
        if self.sampler is not None and self._wants_span(call):
            self._begin_span(call, begun, self.sampler)

    def call_ended(self, call: ObservedCall, code: str | None) -> None:
        """Count the call, and end its span."""
        begun = call.note
        if not isinstance(begun, _Begun):
            return  # it began before anybody watched
        now = self._now()
        function_id = call.function_id
        if self.counting:
            if call.kind == "enqueue":
                self._metrics.deferred += code is None
            if not function_id.startswith("engine::"):
                self._metrics.call_ended(
                    function_id, max(0.0, now - begun.at), failed=code is not None
                )
        if begun.span_id:
            self._on_span(self._span_of(function_id, begun, now, code))

    def _wants_span(self, call: ObservedCall) -> bool:
        if call.function_id.startswith(OWN_PREFIXES):
            return False
        if call.kind == "call":
            return call.is_inside and (self.trace_calls or call.traceparent is not None)
        return True

    def _begin_span(self, call: ObservedCall, begun: _Begun, sampler: Sampler) -> None:
        parent = read_traceparent(call.traceparent)
        name = _name_of(call)
        trace_id = parent.trace_id if parent else f"{self._new_bits(128) or 1:032x}"
        decided = parent.sampled if parent else None
        if not sampler.wants(name, trace_id, decided, begun.at):
            if parent is None:
                # So that the workers further on do not begin the trace themselves.
                call.enter_span(f"00-{trace_id}-{self._new_bits(64) or 1:016x}-00")
            return
        begun.trace_id, begun.name = trace_id, name
        begun.span_id = f"{self._new_bits(64) or 1:016x}"
        begun.parent_id = parent.span_id if parent else None
        call.enter_span(f"00-{trace_id}-{begun.span_id}-01")

    def _span_of(
        self, function_id: str, begun: _Begun, now: float, code: str | None
    ) -> Span:
        attributes = [("function_id", function_id)]
        if code is not None:
            attributes.append(("error.type", code))
        start = int(begun.at * 1e9)
        return Span(
            trace_id=begun.trace_id,
            span_id=begun.span_id,
            parent_span_id=begun.parent_id,
            name=begun.name,
            start_time_unix_nano=start,
            end_time_unix_nano=max(start + 1, int(now * 1e9)),
            status="ok" if code is None else "error",
            status_description=code,
            attributes=attributes,
            service_name=self.service_name,
            scope_name="iii",
        )


def _name_of(call: ObservedCall) -> str:
    if call.kind == "enqueue":
        asked = call.asked.partition(b":")[2].strip(b' "')
        return f"enqueue {asked.decode()}"
    return f"{'call' if call.kind == 'call' else 'trigger'} {call.function_id}"
