"""An engine made of a script: it says what a test tells it to, over links that die.

For what a real engine never does: greet late, lie, refuse, forget.
"""

import json
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import trio

from iii_trio.protocol import ChannelRef
from iii_trio.transport import ChannelEnd, Link, LinkSink
from iii_trio.worker import RemoteAttachment

GREETING = {
    "worker_id": "11111111-1111-4111-8111-111111111111",
    "reattach_token": "secret",
}
FEATURES = ["iii-trio.cancel.v1"]


class ScriptedLink:
    """The worker's end of a connection whose other end is the test.

    Attributes:
        said: every frame that the worker sent, in order.
        closed: why the link ended.
    """

    peer = "script"

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.closed: str | None = None
        self.outbox_bytes = 0
        self._sink: LinkSink | None = None
        self._heard = trio.Event()

    def start(self, sink: LinkSink) -> None:
        self._sink = sink

    def send_nowait(self, text: bytes) -> None:
        if self.closed is None:
            self.said.append(json.loads(text))
            self._heard.set()
            self._heard = trio.Event()

    def hold(self) -> None: ...

    def limit_outbox(self, size: int) -> None: ...

    def resume(self) -> None: ...

    def close(self, reason: str, *, polite: bool) -> None:
        self.lose(reason)

    def lose(self, reason: str = "lost") -> None:
        """End the link."""
        if self.closed is None:
            self.closed = reason
            assert self._sink is not None
            self._sink.on_closed(reason)

    def say(self, kind: str, **fields: Any) -> None:
        """Let the engine say a frame."""
        self.say_text(json.dumps({"type": kind, **fields}))

    def say_text(self, text: str) -> None:
        """Let the engine say anything."""
        assert self._sink is not None
        self._sink.on_frame(text.encode())

    async def heard(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The first frame of the worker with these fields; waits for it."""
        wanted = {"type": kind, **fields}.items()
        while True:
            for frame in self.said:
                if all(frame.get(key) == value for key, value in wanted):
                    return frame
            await self._heard.wait()

    def kinds(self) -> list[str]:
        """The types of what the worker sent."""
        return [frame["type"] for frame in self.said]


class ScriptedEngine:
    """Hands a `ScriptedLink` to each connection.

    Attributes:
        links: all of them, in order.
        greeting: said to each connection; ``None`` says nothing.
        features: told in the answer to the announcement; ``None``: it has none.
        lag: seconds from the greeting to that answer.
        refusals: so many next connections fail.
        dialled: when each try was made, by Trio's clock.
    """

    def __init__(self) -> None:
        self.links: list[ScriptedLink] = []
        self.greeting: dict[str, Any] | None = GREETING
        self.features: list[str] | None = FEATURES
        self.lag = 0.0
        self.refusals = 0
        self.dialled: list[float] = []
        self._connected = trio.Event()

    @property
    def link(self) -> ScriptedLink:
        """The latest connection."""
        return self.links[-1]

    async def connection(self, number: int) -> ScriptedLink:
        """The connection of this number, counted from 1; waits for it."""
        await trio.lowlevel.checkpoint()
        while len(self.links) < number:
            await self._connected.wait()
        return self.links[number - 1]

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Link]:
        """The next connection; the script is a `Dialler`."""
        self.dialled.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.refusals:
            self.refusals -= 1
            msg = "cannot connect: refused"
            raise trio.BrokenResourceError(msg)
        link = ScriptedLink()
        self.links.append(link)
        self._connected.set()
        self._connected = trio.Event()
        async with trio.open_nursery() as nursery:
            if self.greeting is not None:
                nursery.start_soon(self._greet, link, self.greeting)
            yield link
            link.close("the worker left", polite=True)
            nursery.cancel_scope.cancel(reason="the worker left")

    def serve_channel_end(
        self, ref: ChannelRef, *, task_status: trio.TaskStatus[ChannelEnd]
    ) -> Coroutine[Any, Any, None]:
        """It knows no channels."""
        msg = f"channel {ref.channel_id} is not known"
        raise trio.BrokenResourceError(msg)

    async def _greet(self, link: ScriptedLink, greeting: dict[str, Any]) -> None:
        announced = await link.heard(
            "invokefunction", function_id="engine::workers::register"
        )
        link.say("workerregistered", **greeting)
        if self.lag:
            await trio.sleep(self.lag)
        answer: dict[str, Any] = {"success": True}
        if self.features is not None:
            answer["features"] = self.features
        link.say(
            "invocationresult",
            invocation_id=announced["invocation_id"],
            function_id="engine::workers::register",
            result=answer,
        )

    def attachment(self, seed: int = 0) -> RemoteAttachment:
        """To open a worker with."""
        return RemoteAttachment(self, rng=random.Random(seed))
