"""Runs generated programs against an engine and the model, step by step."""

from collections.abc import Callable
from typing import Any, final

import trio
from trio.testing import wait_all_tasks_blocked

from iii_trio.testing import EngineUnderTest
from iii_trio.testing import programs as p
from tests.property.actors import LocalActor
from tests.property.invariants import Invariants
from tests.property.stage import Stage, pick


@final
class Runner(Stage):
    """Runs one program against an engine and the model."""

    def __init__(self, harness: EngineUnderTest, nursery: trio.Nursery) -> None:
        super().__init__(harness)
        self.under_test = harness
        self.nursery = nursery
        self.start = trio.current_time()
        self.invariants = Invariants(
            harness.engine,
            harness.events,
            lambda: len(nursery.child_tasks),
            self.model,
            self.everybody,
        )
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
        self.clear()
        self.invariants.check()
        self.model.end_step()

    # Steps

    async def connect(self, step: p.Connect) -> None:
        await trio.lowlevel.checkpoint()
        if step.worker in self.places:
            return
        if step.kind == "link":
            self.connect_link(step)
            return
        member, _ = self.model.join(is_link=False, cancels=step.cancels, name=step.name)
        local = LocalActor(self.under_test, self.nursery)
        await local.open(step.name)
        self.enter(step.worker, local, member)

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
