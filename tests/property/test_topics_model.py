"""Random subscriptions and messages give what a few lists would: durable and not.

Durable topics also live through restarts of their worker, and through ``lost`` workers.
"""

from collections import defaultdict

import attrs
import hypothesis
import trio
from hypothesis import strategies as st

from iii_trio.adapters.memory import MemoryStores, open_memory
from iii_trio.testing import run
from tests.component.builtin_rig import BuiltinRig, open_pubsub_rig
from tests.component.queue_rig import QueueRig, open_queue_rig

Step = tuple[str, str, str]
"""What, which function, which topic."""

functions = st.sampled_from(["on::a", "on::b", "on::c"])
topics = st.sampled_from(["t", "u", "t.u"])


def steps(*names: str) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.tuples(st.sampled_from(names), functions, topics), max_size=25)


# Durable topics

Subscription = tuple[str, str]
"""Function and topic."""


@attrs.define
class Durable:
    """What must be delivered to whom, over several lives of the queue worker.

    Attributes:
        known: subscriptions, in the order in which they came.
        live: those with a trigger, by its id.
        waiting: what a subscription gets once its function is there.
        unread: what was published before anybody subscribed.
    """

    known: list[Subscription] = attrs.field(factory=list)
    live: dict[Subscription, str] = attrs.field(factory=dict)
    waiting: dict[Subscription, list[int]] = attrs.field(
        factory=lambda: defaultdict(list)
    )
    unread: dict[str, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    expected: dict[Subscription, list[int]] = attrs.field(
        factory=lambda: defaultdict(list)
    )
    got: dict[Subscription, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    number: int = 0

    async def follow(self, rig: QueueRig, program: list[Step]) -> None:
        await trio.lowlevel.checkpoint()
        self.live.clear()
        for function_id in ("on::a", "on::b", "on::c"):
            for topic in ("t", "u", "t.u"):
                self._register(rig, (f"{function_id}::{topic}", topic))
        for what, function_id, topic in program:
            pair = (f"{function_id}::{topic}", topic)
            if what == "bind":
                await self.bind(rig, pair)
            elif what == "unbind":
                self.unbind(rig, pair)
            else:
                await self.publish(rig, topic)
            await trio.sleep(1)
            self.check()

    def _register(self, rig: QueueRig, pair: Subscription) -> None:
        async def take(number: int) -> None:
            await trio.lowlevel.checkpoint()
            self.got[pair].append(number)

        rig.client.register_function(pair[0], take)

    async def bind(self, rig: QueueRig, pair: Subscription) -> None:
        await trio.lowlevel.checkpoint()
        function_id, topic = pair
        if pair in self.live:
            return
        trigger = await rig.client.bind(
            "durable:subscriber", function_id, {"topic": topic}
        )
        if pair not in self.known:
            self.known.append(pair)
            self.waiting[pair] += self.unread.pop(topic, [])
        self.live[pair] = trigger
        self.expected[pair] += self.waiting.pop(pair, [])

    def unbind(self, rig: QueueRig, pair: Subscription) -> None:
        trigger = self.live.pop(pair, None)
        if trigger is not None:
            rig.client.unbind(trigger)
            self.known.remove(pair)

    async def publish(self, rig: QueueRig, topic: str) -> None:
        self.number += 1
        await rig.call("iii::durable::publish", topic=topic, data=self.number)
        subscribers = [pair for pair in self.known if pair[1] == topic]
        for pair in subscribers:
            where = self.expected if pair in self.live else self.waiting
            where[pair].append(self.number)
        if not subscribers:
            self.unread[topic].append(self.number)

    def check(self) -> None:
        for pair in {*self.expected, *self.got}:
            # Deliveries of one subscription run side by side.
            assert sorted(self.got[pair]) == self.expected[pair], pair


@hypothesis.given(st.lists(steps("bind", "publish", "publish", "unbind"), max_size=3))
def test_durable_subscriptions_get_what_was_published_through_restarts(
    lives: list[list[Step]],
) -> None:
    model = Durable()

    async def main() -> None:
        async with open_memory() as stores:
            for program in lives:
                await one_life(stores, model, program)

    run(main)


async def one_life(stores: MemoryStores, model: Durable, program: list[Step]) -> None:
    async with open_queue_rig(stores=stores) as rig:
        await model.follow(rig, program)
        # The worker goes first, as in a crash: no trigger is taken back.
        rig.serving.cancel(reason="the life is over")
        await rig.settle()


# Topics that are not stored


@attrs.define
class Broadcast:
    """Who is subscribed now, by trigger id."""

    subscribed: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    expected: dict[str, list[int]] = attrs.field(
        factory=lambda: {"on::a": [], "on::b": [], "on::c": []}
    )
    got: dict[str, list[int]] = attrs.field(
        factory=lambda: {"on::a": [], "on::b": [], "on::c": []}
    )

    async def follow(self, rig: BuiltinRig, program: list[Step]) -> None:
        await trio.lowlevel.checkpoint()
        for function_id, got in self.got.items():
            self._register(rig, function_id, got)
        for number, (what, function_id, topic) in enumerate(program):
            if what == "bind":
                trigger = await rig.client.bind(
                    "subscribe", function_id, {"topic": topic}
                )
                self.subscribed[trigger] = (function_id, topic)
            elif what == "unbind":
                # The oldest trigger of that function, if it has any.
                for trigger, (bound, _) in list(self.subscribed.items()):
                    if bound == function_id:
                        del self.subscribed[trigger]
                        rig.client.unbind(trigger)
                        break
            else:
                await rig.client.invoke("publish", {"topic": topic, "data": number})
                for bound, of in self.subscribed.values():
                    if of == topic:
                        self.expected[bound].append(number)
            await rig.settle()
            assert self.got == self.expected

    def _register(self, rig: BuiltinRig, function_id: str, got: list[int]) -> None:
        async def take(number: int) -> None:
            await trio.lowlevel.checkpoint()
            got.append(number)

        rig.client.register_function(function_id, take)


@hypothesis.given(steps("bind", "publish", "publish", "unbind"))
def test_subscribers_get_what_is_published_while_they_are_subscribed(
    program: list[Step],
) -> None:
    async def main() -> None:
        async with open_pubsub_rig() as rig:
            await Broadcast().follow(rig, program)

    run(main)
