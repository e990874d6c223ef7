"""Who is on the stage of a program, and what the steps do that need no waiting.

A step does the same to the real thing, by way of an actor, and to the model.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from iii_trio.engine import Engine
from iii_trio.protocol import Reattach
from iii_trio.testing import EventRecorder, RawPeer
from iii_trio.testing import programs as p
from tests.property.actors import Actor, LinkActor
from tests.property.model import Call, Member, Model

T = TypeVar("T")


class Harness(Protocol):
    """What the steps need of an `EngineUnderTest`."""

    @property
    def engine(self) -> Engine: ...
    @property
    def events(self) -> EventRecorder: ...
    def connect_raw_peer(self) -> RawPeer: ...


class Stage:
    """The model, and the workers by their places."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.model = Model()
        self.places: dict[int, tuple[Actor, Member]] = {}
        self.everybody: list[tuple[Actor, Member]] = []

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

    def clear(self) -> None:
        """Give the places of those who left to others."""
        for place, (_, member) in list(self.places.items()):
            if not member.alive:
                del self.places[place]

    def connect_link(self, step: p.Connect) -> None:
        if step.worker in self.places:
            return
        member, _ = self.model.join(is_link=True, cancels=step.cancels, name=step.name)
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


def pick(things: Sequence[T], index: int) -> T | None:
    return things[index % len(things)] if things else None
