"""Random joins, leaves and writes at once: no subscriber has a gap, a double or a disorder.

Every store call takes some virtual time before and after its work, so that writes,
snapshots and joins overlap in all ways. Each subscriber folds what it gets; what it folds
has to fit at every frame, and to be the store's content at the end.
"""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any, cast

import attrs
import hypothesis
import trio
from hypothesis import strategies as st

from iii_trio._util import open_background_nursery
from iii_trio.adapters import Change, KeyValueStore
from iii_trio.adapters.memory import open_memory
from iii_trio.builtins.stream._config import StreamConfig
from iii_trio.builtins.stream._socket import Hub, SubscriberSocket
from iii_trio.builtins.stream._triggers import StreamTriggers
from iii_trio.builtins.stream._worker import _compose, _register
from iii_trio.net import WebSocket
from iii_trio.testing import open_test_engine, run
from iii_trio.worker import Worker

Step = tuple[float, str, Any]
"""When, what, and about what."""

GROUPS, ITEMS = ("g", "h"), ("i", "j")
CLIENTS = range(3)

writes = st.tuples(st.sampled_from(GROUPS), st.sampled_from(ITEMS))
wishes = st.tuples(
    st.sampled_from(CLIENTS), st.sampled_from(GROUPS), st.sampled_from((None, *ITEMS))
)
moments = st.integers(0, 12).map(float)
steps: st.SearchStrategy[Step] = st.one_of(
    st.tuples(moments, st.just("set"), writes),
    st.tuples(moments, st.just("update"), writes),
    st.tuples(moments, st.just("delete"), writes),
    st.tuples(moments, st.just("send"), writes),
    st.tuples(moments, st.just("join"), wishes),
    st.tuples(moments, st.just("join"), wishes),
    st.tuples(moments, st.just("leave"), wishes),
)
delays = st.lists(st.integers(0, 3).map(float), min_size=1, max_size=8)


@attrs.define
class SlowStore:
    """A store whose calls take time before and after their work, in turn."""

    _store: KeyValueStore
    _delays: list[float]
    _calls: int = 0

    async def _wait(self) -> None:
        self._calls += 1
        await trio.sleep(self._delays[self._calls % len(self._delays)])

    async def get(self, space: str, key: str) -> bytes | None:
        await self._wait()
        found = await self._store.get(space, key)
        await self._wait()
        return found

    async def set(self, space: str, key: str, value: bytes) -> Change:
        await self._wait()
        change = await self._store.set(space, key, value)
        await self._wait()
        return change

    async def update(self, space: str, key: str, change: Any) -> Change:
        await self._wait()
        changed = await self._store.update(space, key, change)
        await self._wait()
        return changed

    async def delete(self, space: str, key: str) -> Change:
        await self._wait()
        change = await self._store.delete(space, key)
        await self._wait()
        return change

    async def items(self, space: str) -> list[tuple[str, bytes]]:
        await self._wait()
        found = await self._store.items(space)
        await self._wait()
        return found

    async def spaces(self) -> list[str]:
        return await self._store.spaces()


Wish = tuple[int, str, str | None]
"""Which client, which group, which item of it if not all."""


@attrs.define(eq=False)
class Screen:
    """What a client shows of a group or an item; it stands for the WebSocket, too.

    Attributes:
        joined: whether it asked last to join, and not to leave.
        items: values by item id, as folded from the frames; ``None`` before the first.
        seen: the numbers of the values and messages that came since the snapshot.
    """

    wish: Wish
    joined: bool = False
    frames: int = 0
    items: dict[str, Any] | None = None
    seen: set[int] = attrs.field(factory=set)
    peer: str = "client"
    closed: bool = False
    outbox_bytes: int = 0

    def send_text_nowait(self, data: bytes) -> None:
        """Fold a frame; it has to fit to what is shown."""
        frame = json.loads(data)
        self.frames += 1
        event = frame["event"]
        if event["type"] == "sync":
            self.begin(event["data"])
        elif event["type"] == "event":
            self.see(event["event"]["data"])
        else:
            self.change(event["type"], frame["id"], event["data"])

    def begin(self, data: Any) -> None:
        rows = data if self.wish[2] is None else [row for row in [data] if row]
        self.items = {row["id"]: row for row in rows}
        self.seen = {row["n"] for row in rows}

    def see(self, data: Any) -> None:
        assert self.items is not None, "before the snapshot"
        assert data["n"] not in self.seen, "a double"
        self.seen.add(data["n"])

    def change(self, kind: str, item: str, data: Any) -> None:
        assert self.items is not None, "before the snapshot"
        assert (item in self.items) == (kind != "create"), "a gap or a double"
        if kind == "delete":
            assert self.items.pop(item) == data, "a gap"
        else:
            self.see(data)
            self.items[item] = data

    def hold(self) -> None:
        """It may ask for more than is handled at once."""

    def resume(self) -> None:
        """It never stopped."""

    def drop(self, reason: str) -> None:
        """Nobody here is slow."""
        raise AssertionError(reason)


@attrs.define(eq=False)
class Stage:
    """The functions of the worker, and who joined."""

    client: Worker
    hub: Hub
    nursery: trio.Nursery
    sockets: dict[Wish, SubscriberSocket] = attrs.field(factory=dict)
    screens: dict[Wish, Screen] = attrs.field(factory=dict)

    def do(self, number: int, what: str, about: Any) -> None:
        """Begin a step."""
        if what in ("join", "leave"):
            self.ask(what, about)
        else:
            self.nursery.start_soon(self.write, number, what, about)

    def ask(self, what: str, wish: Wish) -> None:
        _, group, item = wish
        if wish not in self.sockets:
            socket = SubscriberSocket(
                self.hub, StreamConfig(), None, self.nursery, lambda _: None
            )
            self.sockets[wish], self.screens[wish] = socket, Screen(wish)
            socket.socket = cast("WebSocket", self.screens[wish])
        self.screens[wish].joined = what == "join"
        data = {"subscriptionId": "s", "streamName": "m", "groupId": group}
        data |= {} if item is None else {"id": item}
        self.sockets[wish].on_text(json.dumps({"type": what, "data": data}).encode())

    async def write(self, number: int, what: str, about: tuple[str, str]) -> None:
        group, item = about
        value = {"id": item, "n": number}
        payload: dict[str, Any] = {"stream_name": "m", "group_id": group}
        if what == "send":
            payload |= {"id": item, "type": "t", "data": value}
        else:
            payload |= {"item_id": item}
        if what == "set":
            payload |= {"data": value}
        elif what == "update":
            payload |= {"ops": [{"type": "merge", "value": value}]}
        await self.client.invoke(f"stream::{what}", payload)

    async def check(self) -> None:
        """Who joined shows what there is; who left hears nothing more."""
        await trio.sleep(1000)
        before = {wish: screen.frames for wish, screen in self.screens.items()}
        for number, place in enumerate(itertools.product(GROUPS, ITEMS), 1000):
            await self.write(number, "set", place)
        await trio.sleep(1000)
        for wish, screen in self.screens.items():
            _, group, item = wish
            if not screen.joined:
                assert screen.frames == before[wish], "after it left"
                continue
            rows = await self.client.invoke(
                "stream::list", {"stream_name": "m", "group_id": group}
            )
            held = {row["id"]: row for row in rows if item in (None, row["id"])}
            assert screen.items == held


@asynccontextmanager
async def open_stage(waits: list[float]) -> AsyncIterator[Stage]:
    async with (
        open_memory() as stores,
        open_test_engine() as under_test,
        under_test.open_worker("iii-stream") as server,
        under_test.open_worker("client") as client,
        open_background_nursery("the test is over") as nursery,
    ):
        triggers = StreamTriggers(server)
        store = SlowStore(stores.key_value("stream"), waits)
        hub, functions = _compose(server, store, triggers, under_test.clock)
        with ExitStack() as registered:
            _register(server, hub, triggers, functions, registered)
            yield Stage(client, hub, nursery)


@hypothesis.given(st.lists(steps, max_size=25), delays)
def test_who_joins_sees_every_change_once_and_in_order(
    program: list[Step], waits: list[float]
) -> None:
    async def main() -> None:
        async with open_stage(waits) as stage:
            start = trio.current_time()
            in_order = sorted(program, key=lambda step: step[0])
            for number, (moment, what, about) in enumerate(in_order):
                await trio.sleep_until(start + moment)
                stage.do(number, what, about)
            await stage.check()

    run(main)
