"""What an engine should do, as plain dicts: the oracle of generated programs."""

import math
from typing import Final, final

import attrs

NOT_FOUND: Final = "function_not_found"
STOPPED: Final = "invocation_stopped"
TIMEOUT: Final = "TIMEOUT"
DRAINING: Final = "engine_draining"
GRACE: Final = 5.0


@attrs.define(eq=False)
class Call:
    """One call.

    Attributes:
        waits: somebody wants its outcome.
        tracked: its caller could cancel it by frame.
        parent: the call whose handler, in this process, makes this one.
        outcomes: what its caller may have been told, one of these lists.
        cancelled: its callee must have been told to stop; ``None``: perhaps.
    """

    n: int
    caller: "Member"
    callee: "Member | None"
    waits: bool
    tracked: bool
    deadline: float
    parent: "Call | None"
    outcomes: list[list[str | None]] = attrs.Factory(lambda: [[]])
    cancelled: bool | None = False

    def has_deadline(self) -> bool:
        """Whether it ends by itself: it has at most the time of the call it serves."""
        inherited = self.parent is not None and self.parent.has_deadline()
        return inherited or self.deadline != math.inf


@attrs.define(eq=False)
class Member:
    """One attached worker."""

    is_link: bool
    number: int
    cancels: bool
    joined: float
    name: str | None = None
    held: list[tuple[str, str]] | None = None
    rejected: list[str] = attrs.Factory(list)
    alive: bool = True


@final
class Model:
    """Workers, functions and calls, and what each of them should have seen."""

    def __init__(self) -> None:
        self.now = 0.0
        self.members: list[Member] = []
        self.functions: dict[str, Member] = {}
        self.calls: list[Call] = []
        self._pending: dict[Call, None] = {}
        self.draining = False
        self._joined = 0
        self._just_settled: list[Call] = []

    # Who is there

    def join(
        self, *, is_link: bool, cancels: bool, name: str | None
    ) -> tuple[Member, bool]:
        """A worker attaches; a local one whose name is held does not."""
        self._joined += 1
        member = Member(is_link, self._joined, cancels=False, joined=self.now)
        if is_link:
            member.held = []
            self.members.append(member)
            return member, True
        if self._holder(name) is not None:
            member.rejected.append("WORKER_NAMESPACE_CONFLICT")
            member.alive = False
            return member, False
        member.name = name
        member.cancels = cancels
        self.members.append(member)
        return member, True

    def announce(self, member: Member, name: str | None, *, cancels: bool) -> None:
        holder = self._holder(name)
        if holder not in (None, member):
            member.rejected.append("WORKER_NAMESPACE_CONFLICT")
            member.held = None
            self.leave(member)
            return
        member.name = name or member.name
        member.cancels = cancels
        self._release(member)

    def leave(self, member: Member) -> None:
        """A worker is gone: end the calls that it ran, then those that it made."""
        member.alive = False
        self.members.remove(member)
        self.functions = {f: m for f, m in self.functions.items() if m is not member}
        for call in self.running(member):
            self._settle(call, STOPPED)
            self._abandon(call)
        for call in self.made(member):
            self._settle(call, STOPPED)
            self._abandon(call)

    def _holder(self, name: str | None) -> Member | None:
        named = (m for m in self.members if name is not None and m.name == name)
        return next(named, None)

    def _release(self, member: Member) -> None:
        held, member.held = member.held, None
        for action, function in held or ():
            (self.register if action == "+" else self.unregister)(member, function)

    # What they offer

    def register(self, member: Member, function: str) -> None:
        if member.held is not None:
            member.held.append(("+", function))
        elif self.functions.setdefault(function, member) is not member:
            member.rejected.append("FUNCTION_NAMESPACE_CONFLICT")

    def unregister(self, member: Member, function: str) -> None:
        if member.held is not None:
            member.held.append(("-", function))
        elif self.functions.get(function) is member:
            del self.functions[function]

    # What is in flight

    def call(
        self,
        caller: Member,
        function: str,
        *,
        waits: bool,
        deadline: float | None,
        parent: Call | None,
    ) -> Call:
        callee = self.functions.get(function)
        code = NOT_FOUND if callee is None else DRAINING if self.draining else None
        call = Call(
            n=len(self.calls),
            caller=caller,
            callee=callee if code is None else None,
            waits=waits,
            tracked=caller.cancels,
            deadline=math.inf if deadline is None else self.now + deadline,
            parent=parent,
        )
        self.calls.append(call)
        self._pending[call] = None
        if code is not None:
            self._settle(call, code)
        return call

    def pending(self) -> list[Call]:
        return list(self._pending)

    def running(self, member: Member) -> list[Call]:
        return [call for call in self.pending() if call.callee is member]

    def made(self, member: Member) -> list[Call]:
        return [c for c in self.pending() if c.caller is member and c.waits]

    def children(self, call: Call) -> list[Call]:
        return [child for child in self.pending() if child.parent is call]

    def answer(self, call: Call, code: str | None) -> None:
        self._settle(call, code)

    def cancel(self, call: Call) -> None:
        """The caller gives up: nobody is told but the callee."""
        del self._pending[call]
        self._abandon(call)

    def _settle(self, call: Call, code: str | None) -> None:
        if call in self._pending:
            del self._pending[call]
            self._just_settled.append(call)
            if call.waits:
                call.outcomes = [[code]]
                if call.caller.is_link and not call.caller.alive:
                    call.outcomes.append([])  # whether it still heard is no matter

    def _abandon(self, call: Call) -> None:
        """The callee hears of it if it can, and so do those that it called for it."""
        callee = call.callee
        if callee is None:
            return
        call.cancelled = not callee.is_link or (callee.cancels and callee.alive)
        if callee.is_link:
            return
        for child in self._just_settled:
            if child.parent is call:
                child.outcomes.append([])  # its handler was cancelled before it heard
        for child in self.children(call):
            # It may be told in the same moment in which its handler is cancelled.
            del self._pending[child]
            child.outcomes = [[], [STOPPED], [TIMEOUT]]
            self._abandon(child)

    # Time

    def advance(self, now: float) -> None:
        """Let everything happen that is due until ``now``, in order of time."""
        moments = {call.deadline for call in self.pending()}
        moments |= {member.joined + GRACE for member in self.members}
        for moment in sorted(moment for moment in moments if moment <= now):
            self.now = moment
            for member in list(self.members):
                if member.held is not None and member.joined + GRACE <= moment:
                    self._release(member)
            for call in self.pending():
                if call.deadline <= moment and call in self._pending:
                    self._settle(call, TIMEOUT)
                    self._abandon(call)
        self.now = now

    def end_step(self) -> None:
        """Everything is at rest: what settles from now on is later."""
        self._just_settled.clear()

    def stop_all(self) -> None:
        """A drain ends."""
        for call in self.pending():
            self._settle(call, STOPPED)
            self._abandon(call)
