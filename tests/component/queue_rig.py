"""An engine with a queue worker in it, and a client, for tests of queues."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from iii_trio._util import open_background_nursery
from iii_trio.adapters import KeyValueStore, QueueStore
from iii_trio.adapters.memory import MemoryStores, open_memory
from iii_trio.adapters.sqlite import SQLiteStores
from iii_trio.builtins.queue import NamedQueue, QueueConfig, QueueHandle, serve_queue
from iii_trio.errors import FunctionFailedError, InvocationError
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.worker import Worker

EPOCH = 1_767_225_600.0
"""Where wall time begins, in seconds since 1970."""

Stores = MemoryStores | SQLiteStores


@attrs.frozen
class QueueRig:
    """What `open_queue_rig` yields."""

    under_test: EngineUnderTest
    client: Worker
    handle: QueueHandle
    store: QueueStore
    records: KeyValueStore
    serving: trio.CancelScope

    async def call(self, function_id: str, /, **payload: Any) -> Any:
        """Call a function of the queue worker."""
        return await self.client.invoke(function_id, payload)

    async def failure(self, function_id: str, payload: object) -> InvocationError:
        """Call a function that must fail; give how."""
        with pytest.raises(InvocationError) as caught:
            await self.client.invoke(function_id, payload)
        return caught.value

    async def enqueue(
        self, data: Any = None, *, queue: str = "default", to: str = "job::run"
    ) -> str:
        """Enqueue; the receipt."""
        return await self.client.enqueue(to, data, queue=queue)

    def collect(
        self,
        function_id: str = "job::run",
        failing: Callable[[Any], bool] = lambda _data: False,
    ) -> list[Any]:
        """Register a function that collects what it gets; the list that it goes to."""
        got: list[Any] = []

        async def run(data: Any) -> None:
            await trio.lowlevel.checkpoint()
            got.append(data)
            if failing(data):
                raise FunctionFailedError("not this one", code="refused")

        self.client.register_function(function_id, run)
        return got

    async def stats(self, topic: str = "default") -> Any:
        """``engine::queue::topic_stats``."""
        return await self.call("engine::queue::topic_stats", topic=topic)

    async def dead(self, topic: str = "default") -> Any:
        """``engine::queue::dlq_messages``."""
        return await self.call("engine::queue::dlq_messages", topic=topic)

    async def settle(self) -> None:
        """Wait until all that was started is done, or waits for time."""
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def open_queue_rig(
    queues: Mapping[str, NamedQueue] | None = None,
    *,
    stores: Stores | None = None,
    store: QueueStore | None = None,
    records: KeyValueStore | None = None,
    since: float | None = None,
) -> AsyncIterator[QueueRig]:
    """Open an engine, a queue worker on stores (default: memory), and a client.

    Args:
        queues: the named queues of the configuration.
        stores: where everything rests.
        store: where messages rest.
        records: where definitions and subscriptions rest.
        since: Trio's time at which wall time began; default: now.
    """
    passed = 0.0 if since is None else trio.current_time() - since
    async with (
        open_test_engine(epoch=EPOCH + passed) as under_test,
        open_memory() as memory,
        under_test.open_worker("iii-queue") as server,
        under_test.open_worker("client") as client,
        open_background_nursery("test over") as nursery,
    ):
        backing = stores or memory
        store = store or backing.queue()
        records = records or backing.key_value("queue")
        handle = await nursery.start(
            partial(
                serve_queue,
                server,
                QueueConfig(queue_configs=queues or {}),
                store=store,
                records=records,
                now=under_test.clock,
            )
        )
        yield QueueRig(under_test, client, handle, store, records, nursery.cancel_scope)
