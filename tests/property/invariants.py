"""What must hold after each step of a program, whatever the step was.

Everything is at rest then. Each invariant is a method of its own, whose name is in the
traceback when it does not hold: ``tests/mutations.py`` shows that each of them can fail.
"""

from collections.abc import Callable
from typing import final

from iii_trio.engine import Engine, LinkPort
from iii_trio.protocol import InvocationOpened, InvocationSettled
from iii_trio.testing import EventRecorder
from tests.property.actors import Actor, LinkActor
from tests.property.model import Member, Model


@final
class Invariants:
    """Compares an engine, and what its workers saw, with the model.

    Args:
        engine: the engine.
        events: what happened in it.
        tasks: counts the tasks of local workers, and of the calls that they make.
        model: what should be.
        everybody: all workers so far, also those that left.
    """

    def __init__(
        self,
        engine: Engine,
        events: EventRecorder,
        tasks: Callable[[], int],
        model: Model,
        everybody: list[tuple[Actor, Member]],
    ) -> None:
        self._engine = engine
        self._events = events
        self._tasks = tasks
        self._model = model
        self._everybody = everybody
        self._ids: dict[Member, str] = {}
        self._events_read = 0
        self._unsettled: set[str] = set()

    def check(self) -> None:
        for actor, member in self._everybody:
            if isinstance(actor, LinkActor):
                actor.read()
            if member.alive and actor.is_open:
                self._ids[member] = actor.worker_id
        self.nobody_else_notices()
        self.handlers_run_and_are_cancelled_as_they_should()
        self.no_caller_is_told_twice_or_wrongly()
        self.each_call_settles_exactly_once()
        self.no_entry_is_left()
        self.no_timer_is_left()
        self.no_lease_is_left()
        self.no_outbox_byte_is_left()
        self.no_task_is_left()

    def nobody_else_notices(self) -> None:
        for actor, member in self._everybody:
            assert actor.is_open == member.alive
            assert actor.diary.rejected == member.rejected

    def handlers_run_and_are_cancelled_as_they_should(self) -> None:
        for actor, member in self._everybody:
            seen = actor.diary
            ran = [call for call in self._model.calls if call.callee is member]
            assert seen.started == {call.n: self._ids[call.caller] for call in ran}
            for call in ran:
                assert (call.n in seen.cancelled) == call.cancelled, call
            assert all(seen.cancelled.values()), "cancelled without a reason"

    def no_caller_is_told_twice_or_wrongly(self) -> None:
        for actor, member in self._everybody:
            told = actor.diary.outcomes
            made = {call.n: call for call in self._model.calls if call.caller is member}
            assert told.keys() <= made.keys(), "told of somebody else's call"
            for n, call in made.items():
                assert told.get(n, []) in call.outcomes, call

    def each_call_settles_exactly_once(self) -> None:
        events = self._events.events
        for event in events[self._events_read :]:
            if isinstance(event, InvocationOpened):
                self._unsettled.add(event.invocation_id)
            elif isinstance(event, InvocationSettled):
                self._unsettled.remove(event.invocation_id)
        self._events_read = len(events)
        assert len(self._unsettled) == len(self._model.pending())

    def no_entry_is_left(self) -> None:
        model, engine = self._model, self._engine
        statistics = engine.statistics()
        assert statistics.workers == len(model.members)
        assert statistics.invocations == len(model.pending())
        assert statistics.triggers == statistics.trigger_types == 0
        assert statistics.channels == 0
        offered = {one.function_id: one.owner.worker_id for one in engine.registry}
        own = [one for one in offered if one.startswith("engine::")]
        for function_id in own:
            del offered[function_id]
        assert offered == {f: self._ids[m] for f, m in model.functions.items()}
        for member in model.members:
            port = engine.supervisor.port_of(self._ids[member])
            made = model.made(member)
            assert len(port.executing) == len(model.running(member))
            assert len(port.made) == len(made)
            if isinstance(port, LinkPort):
                tracked = [call for call in made if call.tracked]
                assert len(port.made_by_ref) == len(tracked)

    def no_timer_is_left(self) -> None:
        model = self._model
        waiting = [member for member in model.members if member.held is not None]
        limited = [call for call in model.pending() if call.has_deadline()]
        expected = len(waiting) + len(limited)
        if self._engine._topology._waiting:
            expected += 1  # it soon tells that functions came or went
        assert self._engine.statistics().timers == expected

    def no_lease_is_left(self) -> None:
        held = {
            name: record.worker_id
            for (_, name), record in self._engine.roster._names.items()
            if record.runtime != "engine"
        }
        named = [member for member in self._model.members if member.name is not None]
        assert held == {member.name: self._ids[member] for member in named}

    def no_outbox_byte_is_left(self) -> None:
        for port in self._engine.supervisor.ports:
            if isinstance(port, LinkPort):
                assert port.link.outbox_bytes == 0

    def no_task_is_left(self) -> None:
        """Each handler of a local worker has its own task, or runs in its caller's."""
        pending = self._model.pending()
        local = [(a, m) for a, m in self._everybody if m.alive and not m.is_link]
        for actor, member in local:
            in_own_task = [
                call
                for call in pending
                if call.callee is member and (call.caller.is_link or not call.waits)
            ]
            assert actor.tasks() == len(in_own_task)
        calling = [
            call
            for call in pending
            if call.waits and not call.caller.is_link and call.parent is None
        ]
        assert self._tasks() == len(local) + len(calling)

    def check_nothing_is_left(self) -> None:
        """Everybody has gone, and time has passed."""
        left = self._engine.statistics()
        assert left.workers == left.functions == left.invocations == left.timers == 0
        assert left.triggers == left.parked == left.trigger_types == left.channels == 0
        assert not self._unsettled
        assert self._tasks() == 0
