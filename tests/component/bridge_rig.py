"""Two engines in one test, and bridges between them over memory links with faults."""

import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import msgspec
import pytest
import trio
import trio.testing

from iii_trio._util import open_background_nursery
from iii_trio.adapters.memory import open_memory
from iii_trio.builtins.bridge import (
    BridgeConfig,
    BridgeHandle,
    ExposeConfig,
    ForwardConfig,
    serve_bridge,
)
from iii_trio.builtins.queue import (
    BridgedQueueHandle,
    NamedQueue,
    QueueConfig,
    serve_bridged_queue,
    serve_queue,
)
from iii_trio.errors import InvocationError
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.transport import MemoryConnection
from iii_trio.worker import RemoteAttachment, Worker


@attrs.define(eq=False)
class Wire:
    """How one engine reaches another; a test may cut it, or let nobody answer.

    Attributes:
        up: whether there is somebody at the other end.
        connections: every connection ever made.
        dialled: every attempt, successful or not.
    """

    target: EngineUnderTest
    up: bool = True
    connections: list[MemoryConnection] = attrs.field(factory=list)
    dialled: int = 0

    def connect(self, _url: str) -> RemoteAttachment:
        return self.target.link_attachment(on_connect=self._on_connect)

    def _on_connect(self, connection: MemoryConnection) -> None:
        self.dialled += 1
        if not self.up:
            raise trio.BrokenResourceError("nobody is there")
        self.connections.append(connection)

    def cut(self, *, stay_down: bool = False) -> None:
        self.up = not stay_down
        self.connections[-1].cut("the test cut it")

    async def come_back(self) -> None:
        """Let somebody be there again, so that a call of 30 s outlasts the next attempt.

        That is at most 39 s away: the longest pause between two, with its jitter.
        """
        self.up = True
        await trio.sleep(10)


@attrs.define(eq=False, kw_only=True)
class Side:
    """One engine, and a worker in it that calls and offers.

    Attributes:
        wire: how its bridge reaches the other engine.
    """

    under_test: EngineUnderTest
    worker: Worker
    wire: Wire

    async def record(
        self, trigger_type: str, function_id: str, config: object, **options: Any
    ) -> list[Any]:
        """Bind a function that collects payloads; give the list that they go to."""
        got = self.offer(function_id, None)
        await self.worker.bind(trigger_type, function_id, config, **options)
        await trio.testing.wait_all_tasks_blocked()
        return got

    async def failure(
        self, function_id: str, payload: object = None
    ) -> InvocationError:
        with pytest.raises(InvocationError) as caught:
            await self.worker.invoke(function_id, payload)
        return caught.value

    def offer(self, function_id: str, result: object) -> list[Any]:
        """Offer a function with a fixed result; gives the payloads that it gets."""
        got: list[Any] = []

        async def run(payload: msgspec.Raw) -> Any:
            got.append(msgspec.json.decode(payload))  # in the order of the calls
            await trio.lowlevel.checkpoint()
            return result

        self.worker.register_function(function_id, run)
        return got


@attrs.define(eq=False)
class BridgeRig:
    """Two engines; `bridge` starts a bridge in one of them."""

    here: Side
    there: Side
    _nursery: trio.Nursery
    _workers: dict[str, Worker]

    async def bridge(
        self, side: Side, config: BridgeConfig | None = None, **options: Any
    ) -> BridgeHandle:
        worker = self._workers["here" if side is self.here else "there"]
        given: dict[str, Any] = {"environ": {}, "connect": side.wire.connect}
        handle: BridgeHandle = await self._nursery.start(
            partial(serve_bridge, worker, config or bridge_config(), **given | options)
        )
        await trio.testing.wait_all_tasks_blocked()
        return handle

    async def serve(self, side: Side, serve: Callable[..., Any], **options: Any) -> Any:
        """Serve a bundled worker on a side; gives what it gives to ``started``."""
        worker = self._workers["here" if side is self.here else "there"]
        handle = await self._nursery.start(partial(serve, worker, **options))
        await trio.testing.wait_all_tasks_blocked()
        return handle

    async def serve_bridged(
        self, serve: Callable[..., Any], config: object, **options: Any
    ) -> Any:
        """Serve one here whose data the engine over there keeps."""
        ids = itertools.count()
        return await self.serve(
            self.here,
            serve,
            config=config,
            url="ws://other.example:49134/?token=s3cret",
            new_id=lambda: f"{next(ids):08}-0000-4000-8000-{id(self) % 10**12:012}",
            connect=self.here.wire.connect,
            **options,
        )

    def stop_bridges(self) -> None:
        self._nursery.cancel_scope.cancel(reason="the test stops the bridges")


def bridge_config(
    *, expose: Mapping[str, str | None] | None = None, forward: Mapping[str, str] | None = None, timeout_ms: int = 30_000
) -> BridgeConfig:  # fmt: skip
    return BridgeConfig(
        url="ws://other.example:49134/?token=s3cret",
        expose=tuple(
            ExposeConfig(local_function=local, remote_function=remote)
            for local, remote in (expose or {}).items()
        ),
        forward=tuple(
            ForwardConfig(
                local_function=local, remote_function=remote, timeout_ms=timeout_ms
            )
            for local, remote in (forward or {}).items()
        ),
    )


@asynccontextmanager
async def open_bridge_rig() -> AsyncIterator[BridgeRig]:
    async with (
        open_test_engine(seed=1) as here,
        open_test_engine(seed=2) as there,
        here.open_worker("bridge-here") as bridge_here,
        there.open_worker("bridge-there") as bridge_there,
        here.open_worker("worker-here") as worker_here,
        there.open_worker("worker-there") as worker_there,
        open_background_nursery("test over") as nursery,
    ):
        yield BridgeRig(
            Side(under_test=here, worker=worker_here, wire=Wire(there)),
            Side(under_test=there, worker=worker_there, wire=Wire(here)),
            nursery,
            {"here": bridge_here, "there": bridge_there},
        )


@asynccontextmanager
async def open_queue_rigs_with_handle(
    config: QueueConfig | None = None,
) -> AsyncIterator[tuple[BridgeRig, BridgedQueueHandle]]:
    """Two engines; the queues of the one are those of the other."""
    async with open_bridge_rig() as rig, open_memory() as stores:
        await rig.serve(
            rig.there,
            serve_queue,
            config=QueueConfig(queue_configs={"mail": NamedQueue(backoff_ms=10)}),
            store=stores.queue(),
            records=stores.key_value("queue"),
            now=rig.there.under_test.clock,
        )
        handle = await rig.serve_bridged(serve_bridged_queue, config or QueueConfig())
        yield rig, handle


async def wait_until(condition: Callable[[], bool]) -> None:
    """Let virtual time pass until something is so."""
    with trio.fail_after(600):
        await trio.lowlevel.checkpoint()
        while not condition():  # noqa: ASYNC110 - virtual time
            await trio.sleep(0.05)
