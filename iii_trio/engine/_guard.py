"""Guard: what restricts one connection, and what its worker calls things.

Plain state: the decisions are in ``iii_trio.access``, what they do in ``_gate.py`` (who
comes in, which calls pass) and ``_vetting.py`` (what is registered).
"""

from collections import deque
from typing import final

import attrs

from iii_trio.access import Access, Session
from iii_trio.protocol import AnyFrame
from iii_trio.transport import TriggerSpec


@final
class Aliases:
    """Ids that a worker chose, where everybody else knows another one."""

    __slots__ = ("_own", "_public")

    def __init__(self) -> None:
        self._public: dict[str, str] = {}
        self._own: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._public)

    def add(self, own: str, public: str) -> None:
        """A worker registers ``own``, which becomes ``public``."""
        self.discard(own)
        if own != public:
            self._public[own] = public
            self._own[public] = own

    def discard(self, own: str) -> None:
        """That is no longer registered."""
        public = self._public.pop(own, None)
        if public is not None and self._own.get(public) == own:
            del self._own[public]

    def public(self, own: str) -> str:
        """What others call it."""
        return self._public.get(own, own)

    def own(self, public: str) -> str:
        """What the worker calls it."""
        return self._own.get(public, public)


@final
class Guard:
    """What one connection may do.

    Attributes:
        access: the rules of its listener.
        session: what they allow to it.
        functions: ids of functions; so ``triggers`` and ``types``.
        line: registrations that wait for their turn.
        asking: a hook is asked about one of them; the link is on hold.
        advancing: the line is being worked on, further up the stack.
        warnings: how often the log was told of what was refused.
    """

    __slots__ = (
        "access",
        "advancing",
        "asking",
        "functions",
        "line",
        "session",
        "triggers",
        "types",
        "warnings",
    )

    def __init__(self, access: Access, session: Session) -> None:
        self.access = access
        self.session = session
        self.functions = Aliases()
        self.triggers = Aliases()
        self.types = Aliases()
        self.line: deque[AnyFrame] = deque()
        self.asking = False
        self.advancing = False
        self.warnings = 0

    def own_spec(self, spec: TriggerSpec) -> TriggerSpec:
        """A binding as its binder knows it."""
        return attrs.evolve(
            spec,
            trigger_id=self.triggers.own(spec.trigger_id),
            function_id=self.functions.own(spec.function_id),
        )
