"""Runs generated programs against an engine and the model, step by step."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, final

import trio
from trio.testing import wait_all_tasks_blocked

from iii_trio.protocol import Reattach
from iii_trio.testing import EngineUnderTest
from iii_trio.testing import programs as p
from tests.property.actors import Actor, LinkActor, LocalActor
from tests.property.invariants import Invariants
from tests.property.model import Call, Member, Model

T = TypeVar("T")


@final
class Runner:
    """Runs one program against an engine and the model."""

    def __init__(self, harness: EngineUnderTest, nursery: trio.Nursery) -> None:
        self.harness = harness
        self.nursery = nursery
        self.start = trio.current_time()
        self.model = Model()
        self.places: dict[int, tuple[Actor, Member]] = {}
        self.everybody: list[tuple[Actor, Member]] = []
        self.invariants = Invariants(harness, nursery, self.model, self.everybody)
        self._do: dict[type, Callable[[Any], Any]] = {
            p.Connect: self.connect,
            p.Announce: self.announce,
            p.Reattach: self.reattach,
            p.Register: self.register,
            p.Unregister: self.unregister,
            p.Call: self.call,
            p.Answer: self.answer,
            p.Lie: self.lie,
            p.Cancel: self.cancel,
            p.HalfFrame: self.half_frame,
            p.Disconnect: self.disconnect,
            p.Sleep: self.sleep,
            p.Drain: self.drain,
        }

    async def run(self, program: list[p.Step]) -> None:
        for step in program:
            await self.settle(self._do[type(step)](step))
        while self.places:
            await self.settle(self.disconnect(p.Disconnect(0)))
        await self.settle(self.sleep(p.Sleep(1)))
        self.invariants.check_nothing_is_left()

    async def settle(self, doing: Any) -> None:
        if doing is not None:
            await doing
        await wait_all_tasks_blocked()
        self.model.advance(trio.current_time() - self.start)
        for place, (_, member) in list(self.places.items()):
            if not member.alive:
                del self.places[place]
        self.invariants.check()
        self.model.end_step()

    # Steps

    def at(self, place: int, kind: type = object) -> tuple[Any, Member] | None:
        """A worker of this kind that can still say something."""
        return pick(
            [
                (actor, member)
                for actor, member in self.places.values()
                if isinstance(actor, kind) and not actor.in_mid_frame
            ],
            place,
        )

    def enter(self, place: int, actor: Actor, member: Member) -> None:
        self.places[place] = actor, member
        self.everybody.append((actor, member))

    async def connect(self, step: p.Connect) -> None:
        await trio.lowlevel.checkpoint()
        if step.worker in self.places:
            return
        is_link = step.kind == "link"
        member, _ = self.model.join(
            is_link=is_link, cancels=step.cancels, name=step.name
        )
        if not is_link:
            local = LocalActor(self.harness, self.nursery)
            await local.open(step.name)
            self.enter(step.worker, local, member)
            return
        link = LinkActor(self.harness)
        self.enter(step.worker, link, member)
        if step.announces:
            link.announce(step.name, cancels=step.cancels)
            self.model.announce(member, step.name, cancels=step.cancels)

    def announce(self, step: p.Announce) -> None:
        if found := self.at(step.worker, LinkActor):
            actor, member = found
            actor.announce(step.name, cancels=member.cancels)
            self.model.announce(member, step.name, cancels=member.cancels)

    def reattach(self, step: p.Reattach) -> None:
        is_there = step.token != "old"
        links = [
            (actor, member)
            for actor, member in self.everybody
            if isinstance(actor, LinkActor) and member.alive is is_there
        ]
        found = pick(links, step.worker)
        if found is None or step.place in self.places:
            return
        old, old_member = found
        assert old.welcome is not None
        token = "wrong" if step.token == "wrong" else old.welcome.reattach_token
        member, _ = self.model.join(is_link=True, cancels=False, name=None)
        new = LinkActor(self.harness)
        self.enter(step.place, new, member)
        new.peer.send(Reattach(previous_worker_id=old.worker_id, reattach_token=token))
        if step.token == "right":
            self.model.leave(old_member)
        new.announce(old_member.name, cancels=False)
        self.model.announce(member, old_member.name, cancels=False)

    def register(self, step: p.Register) -> None:
        if found := self.at(step.worker):
            actor, member = found
            actor.register(step.function)
            self.model.register(member, step.function)

    def unregister(self, step: p.Unregister) -> None:
        if found := self.at(step.worker):
            actor, member = found
            actor.unregister(step.function)
            self.model.unregister(member, step.function)

    def call(self, step: p.Call) -> None:
        found = self.at(step.worker)
        if found is None:
            return
        actor, member = found
        parent = None
        if step.inside is not None and not step.void and not member.is_link:
            parent = pick(self.idle(member), step.inside)
        call = self.model.call(
            member,
            step.function,
            waits=not step.void,
            deadline=None if step.void else step.deadline,
            parent=parent,
        )
        if step.void:
            actor.fire(call.n, step.function)
        else:
            inside = None if parent is None else parent.n
            actor.call(call.n, step.function, inside, step.deadline)

    def idle(self, member: Member) -> list[Call]:
        """Calls that a worker runs whose handler does not wait for another one."""
        running = self.model.running(member)
        return [call for call in running if not self.model.children(call)]

    def answer(self, step: p.Answer) -> None:
        if found := self.at(step.worker):
            actor, member = found
            if call := pick(self.idle(member), step.call):
                actor.answer(call.n, step.code, 2 if step.twice else 1)
                self.model.answer(call, step.code)

    def lie(self, step: p.Lie) -> None:
        found = self.at(step.worker, LinkActor)
        if found is None:
            return
        liar, member = found
        others = [
            (actor, call)
            for actor, other in self.places.values()
            if other is not member and isinstance(actor, LinkActor)
            for call in self.model.running(other)
        ]
        if step.call is None or not others:
            liar.lie()
        else:
            actor, call = others[step.call % len(others)]
            liar.lie(actor.wire_id(call.n))

    def cancel(self, step: p.Cancel) -> None:
        if found := self.at(step.worker):
            actor, member = found
            if call := pick(self.model.made(member), step.call):
                actor.cancel(call.n)
                if call.tracked or not member.is_link:
                    self.model.cancel(call)

    def half_frame(self, step: p.HalfFrame) -> None:
        if found := self.at(step.worker, LinkActor):
            actor, _ = found
            actor.begin_frame()

    async def disconnect(self, step: p.Disconnect) -> None:
        await trio.lowlevel.checkpoint()
        if found := pick(list(self.places.values()), step.worker):
            actor, member = found
            await actor.leave(step.how)
            self.model.leave(member)

    async def sleep(self, step: p.Sleep) -> None:
        await trio.sleep(step.seconds)

    async def drain(self, step: p.Drain) -> None:
        self.model.draining = True
        await self.harness.engine.drain(step.seconds)
        self.model.advance(trio.current_time() - self.start)
        self.model.stop_all()


def pick(things: Sequence[T], index: int) -> T | None:
    return things[index % len(things)] if things else None
