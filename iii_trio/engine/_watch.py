"""Telling of calls: as events to listeners, and to an observer.

The table of invocations holds a `Watch` only while somebody wants to know, so that a call
that nobody watches costs nothing more. Listeners hear of every call; observers of all but
most of the plain ones between links, which are only counted (`InvocationTable.tallies`).
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final, TypeVar, final

from iii_trio.engine._invocation import Invocation, InvocationTable, RawOutcome
from iii_trio.protocol import (
    CallObserver,
    ErrorBody,
    Event,
    InvocationOpened,
    InvocationSettled,
)

_log: Final = logging.getLogger("iii_trio.engine")

T = TypeVar("T")

Listener = Callable[[Event], None]


@final
class Watch:
    """Watches the calls of one engine for its listeners and its observers.

    Attributes:
        wants_all: somebody listens.
    """

    def __init__(self, invocations: InvocationTable) -> None:
        self._invocations = invocations
        self._listeners: list[Listener] = []
        self._observers: list[CallObserver] = []
        self.wants_all = False

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Give a listener the events of calls; the result ends that."""
        return self._add(self._listeners, listener)

    def add_observer(self, observer: CallObserver) -> Callable[[], None]:
        """Tell an observer of calls; the result ends that."""
        return self._add(self._observers, observer)

    def _add(self, whom: list[T], who: T) -> Callable[[], None]:
        whom.append(who)
        self.wants_all = bool(self._listeners)
        self._invocations.watch = self

        def remove() -> None:
            if who in whom:
                whom.remove(who)
            self.wants_all = bool(self._listeners)
            if not self._listeners and not self._observers:
                self._invocations.watch = None

        return remove

    def opened(self, invocation: Invocation) -> None:
        """A call was opened, and is not dispatched yet."""
        for observer in self._observers:
            observer.call_began(invocation)
        if self._listeners:
            sender = invocation.sender
            self._publish(
                InvocationOpened(
                    invocation_id=invocation.id,
                    function_id=invocation.function.function_id,
                    caller_worker_id=None if sender is None else sender.worker_id,
                    callee_worker_id=invocation.callee.worker_id,
                )
            )

    def settled(self, invocation: Invocation, outcome: RawOutcome) -> None:
        """A call has its outcome."""
        code = outcome.code if isinstance(outcome, ErrorBody) else None
        for observer in self._observers:
            observer.call_ended(invocation, code)
        if self._listeners:
            self._publish(
                InvocationSettled(
                    invocation_id=invocation.id,
                    function_id=invocation.function.function_id,
                    code=code,
                )
            )

    def _publish(self, event: Event) -> None:
        publish(self._listeners, event)


def publish(listeners: Iterable[Listener], event: Event) -> None:
    """Tell listeners of an event.

    They are the host's code, called in the middle of our changes: one that raises is
    logged, and neither stops what happens nor keeps it from the others.
    """
    for listener in tuple(listeners):
        try:
            listener(event)
        except Exception:  # noqa: BLE001 - the border to the host's code
            _log.exception("a listener failed at %s", type(event).__name__)
