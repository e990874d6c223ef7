"""How workers reach an engine under test, without sockets."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import final

import attrs
import trio

from iii_trio.engine import Engine, LocalChannelEnd
from iii_trio.protocol import ChannelRef
from iii_trio.transport import (
    ChannelEnd,
    FaultPlan,
    Link,
    MemoryConnection,
    MemoryNetwork,
)


@final
@attrs.frozen(eq=False)
class MemoryDialler:
    """Gives memory links, and ends of channels in process; satisfies `Dialler`.

    Attributes:
        engine: whom it reaches.
        network: the links to it.
        to_engine: faults of what the worker sends, on each link.
        to_worker: faults of what the engine sends, on each link.
        on_connect: gets each connection; may raise ``trio.BrokenResourceError``.
    """

    engine: Engine
    network: MemoryNetwork
    to_engine: FaultPlan
    to_worker: FaultPlan
    on_connect: Callable[[MemoryConnection], None]

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Link]:
        """Open a link for the length of a block."""
        await trio.lowlevel.checkpoint()
        connection = self.network.connect(
            to_server=self.to_engine, to_client=self.to_worker
        )
        try:
            self.on_connect(connection)
        except trio.BrokenResourceError:
            self.network.forget(connection)
            raise
        self.engine.attach(connection.server)
        try:
            yield connection.client
        finally:
            connection.client.close("the worker left", polite=True)

    async def serve_channel_end(
        self, ref: ChannelRef, *, task_status: trio.TaskStatus[ChannelEnd]
    ) -> None:
        """Take an end; what is not closed when the worker leaves is lost with it."""
        channels, holder = self.engine.channels, object()
        task_status.started(LocalChannelEnd.take(channels, ref, holder))
        try:
            await trio.sleep_forever()
        finally:
            channels.owner_gone(holder, holds_ends=True)
