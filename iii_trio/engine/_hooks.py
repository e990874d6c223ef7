"""Hooks: the registrations of a restricted worker stand in line while one is asked about.

The registration whose hook is asked holds the others up, and the link, which is put on
hold: frames that were decoded already are kept. A hook that its own connection would have
to answer is not asked at all; one that needs it in a roundabout way ends by its time
limit.
"""

import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar, final

import msgspec

from iii_trio.engine._denials import Denials
from iii_trio.engine._guard import Guard
from iii_trio.engine._inquiries import Inquiries
from iii_trio.engine._invocation import Calls, RawOutcome
from iii_trio.engine._link_port import LinkPort
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._registry import Registry
from iii_trio.protocol import (
    AnyFrame,
    ErrorBody,
    JSONBytes,
    RegisterFunction,
    RegisterTrigger,
    RegisterTriggerType,
)

_log: Final = logging.getLogger("iii_trio.engine.access")

Then = Callable[[JSONBytes], None]
"""Gets the answer of a hook; empty if it failed."""

RegistrationT = TypeVar(
    "RegistrationT", RegisterFunction, RegisterTrigger, RegisterTriggerType
)

Vet = Callable[[LinkPort, Guard, Any], None]
"""Applies or refuses one registration frame, or asks a hook about it."""


@final
class Hooks:
    """Asks hooks, and keeps lines of registrations in order.

    Args:
        registry: where hooks are.
        inquiries: asks them.
        denials: told of what they refuse.
    """

    def __init__(
        self, registry: Registry[AnyPort], inquiries: Inquiries, denials: Denials
    ) -> None:
        self.vets: dict[type, Vet] = {}
        self._registry = registry
        self._inquiries = inquiries
        self._denials = denials

    def apply(self, port: LinkPort, frame: AnyFrame) -> None:
        """Take one registration frame, in turn."""
        guard = port.guard
        assert guard is not None, "only guarded ports come here"
        guard.line.append(frame)
        self._advance(port, guard)

    def _advance(self, port: LinkPort, guard: Guard) -> None:
        if guard.advancing:
            return
        guard.advancing = True
        try:
            while guard.line and not guard.asking and port.is_live:
                frame = guard.line.popleft()
                vet = self.vets.get(type(frame))
                if vet is not None:
                    _apply(port, vet, port, guard, frame)
        finally:
            guard.advancing = False

    def judge_in_line(
        self,
        port: LinkPort,
        guard: Guard,
        frame: RegistrationT,
        *,
        hook: str | None,
        question: Callable[[], bytes],
        apply: Callable[[RegistrationT, JSONBytes], RegistrationT | None],
        then: Callable[[RegistrationT], None],
    ) -> None:
        """Let a hook accept, change or refuse a registration, if there is a hook.

        Args:
            port: who registers.
            guard: its guard.
            frame: what it registers.
            hook: the function that is asked.
            question: makes its input.
            apply: makes the frame as the answer wants it, ``None`` for a refusal.
            then: takes what was accepted.
        """
        if hook is None:
            then(frame)
            return

        def answered(answer: JSONBytes) -> None:
            accepted = apply(frame, answer)
            if accepted is None:
                self._denials.tell(port, "register", frame.id, f"hook {hook!r} refused")
            else:
                then(accepted)

        self._ask_in_line(port, guard, hook, question(), answered)

    def _ask_in_line(
        self, port: LinkPort, guard: Guard, hook: str, question: bytes, then: Then
    ) -> None:
        """Ask a hook while the link is on hold and the line waits."""
        guard.asking = True
        port.link.hold()

        def answered(answer: JSONBytes) -> None:
            guard.asking = False
            if port.is_live:
                _apply(port, then, answer)
                self._advance(port, guard)
            if not guard.asking:
                port.link.resume()

        self.ask(port, guard, hook, question, answered, made=port.inquiries)

    def ask(
        self,
        port: LinkPort,
        guard: Guard,
        hook: str,
        question: bytes,
        then: Then,
        *,
        made: Calls,
    ) -> None:
        """Ask a hook; nothing waits for its answer but ``then``.

        Args:
            port: who registers.
            guard: its guard.
            hook: the function that is asked.
            question: its input.
            then: gets its answer.
            made: where it is kept while it is in flight, to be cancelled.
        """
        function = self._registry.find("default", hook)
        if function is not None and function.callee is port:
            _log.warning("%s hosts the hook %r that it needs: refused", port, hook)
            _apply(port, then, b"")
            return

        def answered(outcome: RawOutcome) -> None:
            if isinstance(outcome, ErrorBody):
                _log.warning(
                    "hook %r for %s failed: %s: %s",
                    hook,
                    port,
                    outcome.code,
                    outcome.message,
                )
                outcome = b""
            _apply(port, then, outcome)

        timeout = guard.access.timeout
        self._inquiries.ask(hook, question, answered, made=made, timeout=timeout)


def _apply(port: LinkPort, do: Callable[..., None], *args: object) -> None:
    """Do something with JSON that may be no value after all, such as 1e400."""
    try:
        do(*args)
    except (msgspec.DecodeError, RecursionError) as exc:
        _log.warning("%s: registration dropped: %s", port, exc)
