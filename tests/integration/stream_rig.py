"""An engine with a stream worker on a real port, a worker, and WebSocket clients."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, final

import attrs
import pytest
import trio
import trio_websocket

from iii_trio._util import open_background_nursery
from iii_trio.adapters import KeyValueStore
from iii_trio.adapters.memory import open_memory
from iii_trio.builtins.stream import StreamConfig, StreamServer, serve_stream
from iii_trio.engine import Engine, open_engine
from iii_trio.errors import InvocationError
from iii_trio.net import open_pump
from iii_trio.worker import Worker, open_worker

PATIENCE = 30.0
"""Seconds after which a hang is a failure."""

NOW = 1_700_000_000.25


def event(kind: str, data: Any, *, item: str | None = "i", group: str = "g") -> Any:
    """An envelope of stream ``s``."""
    return {
        "type": "stream",
        "timestamp": 1_700_000_000_250,
        "streamName": "s",
        "groupId": group,
        "id": item,
        "event": {"type": kind, "data": data},
    }


@final
@attrs.frozen(eq=False)
class Subscriber:
    """A WebSocket client."""

    connection: trio_websocket.WebSocketConnection

    async def send(self, kind: str, subscription_id: str = "1", **where: Any) -> None:
        """Send a join or leave of stream ``s``, group ``g``."""
        data = {"streamName": "s", "groupId": "g", **where}
        data["subscriptionId"] = subscription_id
        await self.connection.send_message(json.dumps({"type": kind, "data": data}))

    async def join(self, subscription_id: str = "1", **where: Any) -> Any:
        """Join, and give the first frame that comes."""
        await self.send("join", subscription_id, **where)
        return await self.next()

    async def next(self) -> Any:
        """The next frame."""
        return json.loads(await self.connection.get_message())

    async def lost(self) -> int:
        """Wait for the end; its close code."""
        await trio.lowlevel.checkpoint()
        try:
            while True:
                await self.connection.get_message()
        except trio_websocket.ConnectionClosed as exc:
            return exc.reason.code if exc.reason else 1006


@attrs.frozen(eq=False, kw_only=True)
class StreamRig:
    """What `open_stream_rig` yields."""

    engine: Engine
    server: StreamServer
    client: Worker
    serving: trio.CancelScope

    async def call(self, name: str, **payload: Any) -> Any:
        """Call ``stream::<name>``."""
        return await self.client.invoke(f"stream::{name}", payload)

    async def set(self, data: Any, item: str = "i", group: str = "g") -> Any:
        """Store an item of stream ``s``."""
        return await self.call(
            "set", stream_name="s", group_id=group, item_id=item, data=data
        )

    async def failure(self, name: str, payload: object) -> InvocationError:
        """Call ``stream::<name>``, which must fail; give how."""
        with pytest.raises(InvocationError) as caught:
            await self.client.invoke(f"stream::{name}", payload)
        return caught.value

    def answer(self, function_id: str, answer: Any) -> "Calls":
        """Register a function that gives ``answer`` (or raises it)."""
        calls = Calls()

        async def handle(payload: Any) -> Any:
            calls.note(payload)  # at once: handlers begin in the order of their calls
            await trio.lowlevel.checkpoint()
            if isinstance(answer, Exception):
                raise answer
            return answer(payload) if callable(answer) else answer

        self.client.register_function(function_id, handle)
        return calls

    def hang(self, function_id: str) -> "Hanging":
        """Offer a function that does not answer."""
        hanging = Hanging()
        self.client.register_function(function_id, hanging.run)
        return hanging

    async def record(
        self, trigger_type: str, config: Any = None, answer: Any = None, **options: Any
    ) -> "Calls":
        """Bind a function to a trigger; give its calls."""
        function_id = f"on::{trigger_type}"
        calls = self.answer(function_id, answer)
        await self.client.bind(trigger_type, function_id, config, **options)
        return calls

    @asynccontextmanager
    async def subscriber(
        self, target: str = "/", subprotocols: list[str] | None = None
    ) -> AsyncIterator[Subscriber]:
        """Connect."""
        host, port = self.server.addresses[0]
        async with (
            await trio.open_tcp_stream(host, port) as stream,
            open_background_nursery("test over") as nursery,
        ):
            connection = await trio_websocket.wrap_client_stream(
                nursery, stream, host, target, subprotocols=subprotocols
            )
            async with connection:
                yield Subscriber(connection)


@final
class Calls:
    """The payloads that a function got."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []
        self._changed = trio.Event()

    def note(self, payload: Any) -> None:
        self.payloads.append(payload)
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, count: int) -> list[Any]:
        """Wait for that many."""
        await trio.lowlevel.checkpoint()
        while len(self.payloads) < count:
            await self._changed.wait()
        return self.payloads


@final
class Hanging:
    """A function that does not answer."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.reasons: list[str | None] = []

    async def run(self, _given: Any) -> None:
        self.asked.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            self.reasons.append(exc.reason)
            raise

    def check_subscriber_gone(self) -> None:
        """It was cancelled once, and told why."""
        (reason,) = self.reasons
        assert reason is not None
        assert reason.startswith("the subscriber is gone: ")


@asynccontextmanager
async def open_stream_rig(
    store: KeyValueStore | None = None, **config: Any
) -> AsyncIterator[StreamRig]:
    """Open an engine, a stream worker on a store (default: memory), and a worker."""
    with trio.fail_after(PATIENCE):
        async with (
            open_engine() as engine,
            open_memory() as stores,
            open_pump() as pump,
            open_worker(engine, name="iii-stream") as worker,
            open_worker(engine, name="client") as client,
            open_background_nursery("test over") as nursery,
        ):
            server = await nursery.start(
                partial(
                    serve_stream,
                    worker,
                    StreamConfig(**{"port": 0, "host": "127.0.0.1", **config}),
                    store=store or stores.key_value("stream"),
                    pump=pump,
                    now=lambda: NOW,
                )
            )
            yield StreamRig(
                engine=engine,
                server=server,
                client=client,
                serving=nursery.cancel_scope,
            )
