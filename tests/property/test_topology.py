"""Listeners hear of every connect, disconnect, registration and removal, in order.

Random programs of workers that come, go, register and remove, with pauses; the engine's
events are compared with a model after each step. Time is virtual and passes only in
pauses, so what an event of the functions must hold is known exactly.
"""

from typing import Any

import attrs
import hypothesis
import msgspec
import trio
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from iii_trio.testing import EngineUnderTest, RawPeer, open_test_engine, run

SLOTS = ("s0", "s1", "s2")
SHORT, LONG = 0.03, 0.15
"""Pauses, in seconds: within the debounce of 100 ms, and beyond it."""
DEBOUNCE = 0.1

Step = tuple[str, Any]

slots = st.sampled_from(SLOTS)
functions = st.tuples(slots, st.integers(0, 2))
steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("connect"), slots),
    st.tuples(st.just("close"), slots),
    st.tuples(st.just("cut"), slots),
    st.tuples(st.just("register"), functions),
    st.tuples(st.just("unregister"), functions),
    st.tuples(st.just("wait"), st.sampled_from([SHORT, LONG])),
)


@attrs.define(eq=False)
class Stage:
    """An engine, a listener, and what it must have heard."""

    t: EngineUnderTest
    listener: RawPeer
    began: int
    revision: int
    seen: int
    changes: int = 0
    peers: dict[str, RawPeer] = attrs.field(factory=dict)
    present: set[str] = attrs.field(factory=set)
    announced: set[str] = attrs.field(factory=set)
    # When the event is due that tells the changes since the last one.
    due: float = 0.0
    # Kinds of worker events, by slot and life, and the worker ids that came with them.
    expected: list[tuple[str, str]] = attrs.field(factory=list)
    heard: list[tuple[str, str]] = attrs.field(factory=list)
    lives: dict[str, int] = attrs.field(factory=dict)

    async def do(self, step: Step) -> None:
        name, about = step
        match name:
            case "wait":
                await trio.sleep(about)
            case "connect" if about not in self.peers:
                self.connect(about)
            case "close" | "cut" if about in self.peers:
                self.leave(about, name)
            case "register" | "unregister" if about[0] in self.peers:
                self.change(about, name)
            case _:
                pass
        await wait_all_tasks_blocked()
        self.listen()
        assert self.t.engine._topology.revision - self.began >= self.changes
        if step == ("wait", LONG):
            assert self.announced == self.present, "told within the debounce"

    def connect(self, slot: str) -> None:
        peer = self.peers[slot] = self.t.connect_raw_peer()
        peer.announce(slot)
        life = f"{slot}.{self.lives.setdefault(slot, 0)}"
        self.expected.append((life, "worker_connected"))
        self.expected.append((life, "worker_metadata_updated"))
        self.changes += 2

    def leave(self, slot: str, how: str) -> None:
        peer = self.peers.pop(slot)
        peer.close() if how == "close" else peer.cut()
        self.expected.append((f"{slot}.{self.lives[slot]}", "worker_disconnected"))
        self.lives[slot] += 1
        gone = {one for one in self.present if one.startswith(slot)}
        if gone:
            self.functions_change()
        self.present -= gone
        self.changes += 1 + len(gone)

    def change(self, function: tuple[str, int], how: str) -> None:
        slot, number = function
        function_id = f"{slot}::f{number}"
        if (function_id in self.present) == (how == "register"):
            return
        self.changes += 1
        self.functions_change()
        if how == "register":
            self.peers[slot].register(function_id)
            self.present.add(function_id)
        else:
            self.peers[slot].unregister(function_id)
            self.present.remove(function_id)

    def functions_change(self) -> None:
        now = trio.current_time()
        if now > self.due:
            self.due = now + DEBOUNCE

    def listen(self) -> None:
        """Compare what came with the model."""
        frames = self.listener.unread()
        fresh, self.seen = frames[self.seen :], len(frames)
        for call in fresh:
            event = msgspec.json.decode(getattr(call, "data", b"null"))
            if not isinstance(event, dict) or "revision" not in event:
                continue
            later = event["revision"] - self.revision
            self.revision = event["revision"]
            if event["event"] == "functions_changed":
                assert later >= 0, "in order"
                assert trio.current_time() >= self.due, "before a burst is over"
                told = {row["function_id"] for row in event["functions"]}
                told = {one for one in told if one.startswith(SLOTS)}
                assert told == self.present != self.announced
                self.announced = told
            else:
                assert later > 0, "in order"
                self.heard.append((event["worker_id"], event["event"]))
        self.compare_workers()

    def compare_workers(self) -> None:
        assert [kind for _, kind in self.heard] == [kind for _, kind in self.expected]
        ids = dict(
            zip(
                (life for life, _ in self.expected),
                (worker_id for worker_id, _ in self.heard),
                strict=True,
            )
        )
        assert [ids[life] for life, _ in self.expected] == [
            one for one, _ in self.heard
        ]
        assert len(set(ids.values())) == len(ids), "one id for each life"


async def open_stage(t: EngineUnderTest) -> Stage:
    listener = t.connect_raw_peer()
    listener.announce("listener")
    listener.register("on::event")
    await trio.sleep(1)
    for what in ("functions", "workers"):
        trigger = {"trigger_type": f"engine::{what}-available", "id": what}
        frame = {"type": "registertrigger", "function_id": "on::event"}
        listener.send({**frame, **trigger, "config": None})
    await wait_all_tasks_blocked()
    began = t.engine._topology.revision
    seen = len(listener.unread())
    return Stage(t, listener, began=began, revision=began, seen=seen)


@hypothesis.given(st.lists(steps, max_size=30))
def test_every_change_of_the_topology_is_told_in_order(program: list[Step]) -> None:
    async def main() -> None:
        async with open_test_engine() as t:
            stage = await open_stage(t)
            for step in [*program, ("wait", LONG)]:
                await stage.do(step)

    run(main)
