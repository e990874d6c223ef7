"""The http worker on a real port, handlers in process and behind a link, raw clients."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from iii_trio.builtins.http import HTTPConfig, HTTPServer, serve_http
from iii_trio.engine import Engine, open_engine, open_listener
from iii_trio.net import Pump, open_pump
from iii_trio.protocol import ChannelRef
from iii_trio.worker import ChannelReader, ChannelWriter, Worker, open_worker
from tests.integration.net_rig import Client

PATIENCE = 30.0
"""Seconds after which a hang is a failure."""

Handler = Callable[..., Awaitable[Any]]


@attrs.frozen(eq=False, kw_only=True)
class HTTPTriggerRig:
    """What `open_http_trigger_rig` yields.

    Attributes:
        worker: in process.
        far: attached by URL.
        serving: the scope of `serve_http`.
    """

    engine: Engine
    pump: Pump
    server: HTTPServer
    provider: Worker
    worker: Worker
    far: Worker
    serving: trio.CancelScope

    async def serve(
        self, method: str, path: str, handler: Handler, **config: Any
    ) -> None:
        """Serve a route with a handler in process."""
        function_id = f"on::{method} {path}"
        self.worker.register_function(function_id, handler)
        config = {"http_method": method, "api_path": path, **config}
        await self.worker.bind("http", function_id, config)

    async def serve_far(self, method: str, path: str, handler: Handler) -> None:
        """Serve a route with a handler behind a link."""
        function_id = f"far::{method} {path}"
        self.far.register_function(function_id, handler)
        config = {"http_method": method, "api_path": path}
        await self.far.bind("http", function_id, config)
        # Frames of a link are handled in order: an answer says that the others were.
        await self.far.invoke("engine::workers::list", {})

    def body_of(self, payload: Any) -> ChannelReader:
        """The request body's end of a handler behind the link."""
        return self.far.open_reader(ChannelRef(**payload["request_body"]))

    def response_of(self, payload: Any) -> ChannelWriter:
        """The response's end of a handler behind the link."""
        return self.far.open_writer(ChannelRef(**payload["response"]))

    @asynccontextmanager
    async def client(
        self, address: tuple[str, int] | None = None
    ) -> AsyncIterator[Client]:
        """Connect."""
        stream = await trio.open_tcp_stream(*(address or self.server.addresses[0]))
        async with stream:
            yield Client(stream)


@asynccontextmanager
async def open_http_trigger_rig(**config: Any) -> AsyncIterator[HTTPTriggerRig]:
    """Open it on loopback; config as of `HTTPConfig`."""
    with trio.fail_after(PATIENCE):
        async with (
            open_pump() as pump,
            open_engine() as engine,
            open_listener(engine, pump, port=0) as door,
            open_worker(engine, name="iii-http") as provider,
            open_worker(engine, name="near") as worker,
            open_worker(f"ws://127.0.0.1:{door.addresses[0][1]}", name="far") as far,
            trio.open_nursery() as nursery,
        ):
            http_config = HTTPConfig(**{"port": 0, **config})
            server = await nursery.start(
                partial(serve_http, provider, http_config, pump=pump)
            )
            yield HTTPTriggerRig(
                engine=engine,
                pump=pump,
                server=server,
                provider=provider,
                worker=worker,
                far=far,
                serving=nursery.cancel_scope,
            )
            nursery.cancel_scope.cancel(reason="the test is over")
