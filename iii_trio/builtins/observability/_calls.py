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
    """The span around a call, kept with the call until it ends."""

    at: float
    trace_id: str
    span_id: str
    parent_id: str | None
    name: str


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
        call.note = now = self._now()
        sampler = self.sampler
        if sampler is None or (call.traceparent is None and not sampler.has_room(now)):
            return  # nearly always, where there are many
        if self._wants_span(call):
            call.note = self._begin_span(call, now, sampler) or now

    def call_ended(self, call: ObservedCall, code: str | None) -> None:
        """Count the call, and end its span."""
        note = call.note
        if note is None:
            return  # it began before anybody watched
        now = self._now()
        began = note.at if isinstance(note, _Begun) else note
        if self.counting:
            self._count(call, max(0.0, now - began), code)
        if isinstance(note, _Begun):
            self._on_span(self._span_of(call.function_id, note, now, code))

    def _count(self, call: ObservedCall, seconds: float, code: str | None) -> None:
        function_id = call.function_id
        if not function_id.startswith("engine::"):
            self._metrics.call_ended(function_id, seconds, failed=code is not None)
        elif call.kind == "enqueue" and code is None:
            self._metrics.deferred += 1

    def _wants_span(self, call: ObservedCall) -> bool:
        if call.kind == "call" and not (
            call.is_inside and (self.trace_calls or call.traceparent is not None)
        ):
            return False
        function_id = call.function_id
        return not (
            function_id.startswith("engine::") and function_id.startswith(OWN_PREFIXES)
        )

    def _begin_span(
        self, call: ObservedCall, now: float, sampler: Sampler
    ) -> _Begun | None:
        """The span around a call, ``None`` if its trace is not wanted."""
        parent = read_traceparent(call.traceparent)
        name = _name_of(call)
        trace_id = parent.trace_id if parent else f"{self._new_bits(128) or 1:032x}"
        span_id = f"{self._new_bits(64) or 1:016x}"
        decided = parent.sampled if parent else None
        if sampler.wants(name, trace_id, decided, now):
            call.enter_span(f"00-{trace_id}-{span_id}-01")
            above = parent.span_id if parent else None
            return _Begun(now, trace_id, span_id, above, name)
        if parent is None:
            # So that the workers further on do not begin the trace themselves.
            call.enter_span(f"00-{trace_id}-{span_id}-00")
        return None

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
