"""What an engine tells whoever observes its calls: for metrics and spans."""

from typing import Any, Literal, Protocol

ObservedKind = Literal["call", "delivery", "enqueue"]
"""``delivery``: a trigger's firing, a condition or a hook: nobody's call."""


class ObservedCall(Protocol):
    """A call in flight as an observer sees it.

    Attributes:
        traceparent: W3C trace context of whoever calls, as it came; may be malformed.
        asked: the id that the caller asked for, as a member of a frame, if an action
            led elsewhere; else empty.
        note: the observer's own; ``None`` at first.
    """

    traceparent: str | None
    asked: bytes
    note: Any

    @property
    def function_id(self) -> str:
        """The function that is called."""

    @property
    def kind(self) -> ObservedKind:
        """What sort of call it is."""

    @property
    def is_inside(self) -> bool:
        """Whether a worker of the engine's process runs it."""

    def enter_span(self, traceparent: str) -> None:
        """Let the callee see this trace context; a caller on a link gets its own back."""


class CallObserver(Protocol):
    """Told of calls, at once: quick, sync, never raises."""

    def call_began(self, call: ObservedCall) -> None:
        """A call was routed, and is about to be handed to its callee."""

    def call_ended(self, call: ObservedCall, code: str | None) -> None:
        """It has its outcome; ``code`` is ``None`` for a result."""
