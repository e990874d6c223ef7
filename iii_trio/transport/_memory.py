"""Memory links: two `Link`s joined by two byte pipes, for tests with faults on demand.

Frames travel as real WebSocket bytes, so a cut after byte N leaves what a cut leaves. One
task moves all bytes of a network; it picks the next piece by chance among all pipes that
are ready, never runs inside a send, and knows no socket and no thread: virtual time works.
"""

import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, final

import attrs
import trio

from iii_trio._util import NoPublicConstructor, open_background_nursery
from iii_trio.transport._byte_pipe import BytePipe, FaultPlan
from iii_trio.transport._memory_link import MemoryLink

Direction = Literal["to_server", "to_client"]


@final
@attrs.define(eq=False, kw_only=True)
class MemoryConnection:
    """A pair of links, and the handle on what happens between them.

    Attributes:
        client: the end with the role of a WebSocket client.
        server: the end with the role of a WebSocket server: attach this to an engine.
    """

    client: MemoryLink
    server: MemoryLink
    _pipes: dict[Direction, BytePipe]
    _stepped: trio.lowlevel.ParkingLot

    def arrived_bytes(self, direction: Direction) -> int:
        """Bytes that arrived so far, frame headers included."""
        return self._pipe(direction).taken_bytes

    async def wait_delivered(self, direction: Direction) -> None:
        """Wait until all that was sent in that direction was given to the other end.

        A stall or a cut in the middle makes that wait for `release`, or end.
        """
        await trio.lowlevel.checkpoint()
        pipe = self._pipe(direction)
        link = self.server if direction == "to_server" else self.client
        while (pipe.waiting_bytes or link.is_behind) and not link.is_over:
            await self._stepped.park()

    def cut(self, reason: str = "cut") -> None:
        """Cut both directions now; what is on its way is lost."""
        for pipe in self._pipes.values():
            pipe.cut()
        self.client.lose(reason)
        self.server.lose(reason)

    def end(self, direction: Direction) -> None:
        """The sender of that direction hangs up, after what it sent (half-close)."""
        self._pipe(direction).end()

    def stall(self, direction: Direction) -> None:
        """Let nothing arrive in that direction until `release`."""
        self._pipe(direction).stall()

    def release(self, direction: Direction) -> None:
        """End a stall."""
        self._pipe(direction).release()

    def _pipe(self, direction: Direction) -> BytePipe:
        if direction not in self._pipes:
            to = "'to_server' (to the engine) or 'to_client' (to the worker or peer)"
            raise ValueError(f"a direction is {to}, not {direction!r}")
        return self._pipes[direction]

    @property
    def is_over(self) -> bool:
        """Whether both ends are gone and were told."""
        return self.client.is_over and self.server.is_over

    def due_at(self) -> float:
        """When `step` has something to do."""
        return min(
            self.client.due_at(),
            self.server.due_at(),
            *(pipe.ready_at() for pipe, link in self._readers() if link.is_reading),
        )

    def step(self, rng: random.Random, now: float) -> None:
        """Do one of the things that are due, chosen by ``rng``."""
        due: list[tuple[BytePipe | None, MemoryLink]] = [
            (pipe, link)
            for pipe, link in self._readers()
            if link.is_reading and pipe.ready_at() <= now
        ]
        links = (self.client, self.server)
        due += [(None, link) for link in links if link.due_at() <= now]
        pipe, link = rng.choice(due)
        if pipe is None:
            link.step()
            return
        link.receive(pipe.take())
        if pipe.is_cut:
            self.cut()

    def _readers(self) -> tuple[tuple[BytePipe, MemoryLink], ...]:
        pipes = self._pipes
        return ((pipes["to_server"], self.server), (pipes["to_client"], self.client))


@final
class MemoryNetwork(metaclass=NoPublicConstructor):
    """Memory links of one test, and the one task that moves their bytes."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._connections: list[MemoryConnection] = []
        self._changed = trio.Event()
        self._stepped = trio.lowlevel.ParkingLot()

    def connect(
        self,
        *,
        to_server: FaultPlan = FaultPlan(),  # noqa: B008 - frozen
        to_client: FaultPlan = FaultPlan(),  # noqa: B008 - frozen
    ) -> MemoryConnection:
        """Make a pair of links that is open already.

        Args:
            to_server: what goes wrong with what the client sends.
            to_client: what goes wrong with what the server sends.
        """
        pipes: dict[Direction, BytePipe] = {
            "to_server": self._pipe(to_server),
            "to_client": self._pipe(to_client),
        }
        connection = MemoryConnection(
            client=MemoryLink._create(self, "client", pipes["to_server"]),
            server=MemoryLink._create(self, "server", pipes["to_client"]),
            pipes=pipes,
            stepped=self._stepped,
        )
        self._connections.append(connection)
        return connection

    def forget(self, connection: MemoryConnection) -> None:
        """Drop a connection of which no end was started: nobody can be told."""
        self._connections.remove(connection)

    def new_mask(self) -> bytes:
        """Four bytes for a client's frame."""
        return self._rng.randbytes(4)

    def wake(self) -> None:
        """Something may be due now."""
        self._changed.set()

    async def run(self) -> None:
        """Move bytes until cancelled. For `open_memory_network` only."""
        while True:
            changed = self._changed = trio.Event()
            due, when = self._choose()
            if due is not None:
                due.step(self._rng, trio.current_time())
                self._stepped.unpark_all()
                if due.is_over:
                    self._connections.remove(due)
                await trio.lowlevel.checkpoint()
            else:
                with trio.move_on_at(when):
                    await changed.wait()

    def end(self) -> None:
        """Cut everything and tell every sink."""
        for connection in self._connections:
            connection.cut("the memory network closed")
            while connection.due_at() == -math.inf:
                connection.step(self._rng, -math.inf)
        self._stepped.unpark_all()

    def _choose(self) -> tuple[MemoryConnection | None, float]:
        """A connection with something to do, or the time of the next one."""
        times = [(one.due_at(), one) for one in self._connections]
        now = trio.current_time()
        due = [one for when, one in times if when <= now]
        if due:
            return self._rng.choice(due), now
        return None, min((when for when, _ in times), default=math.inf)

    def _pipe(self, plan: FaultPlan) -> BytePipe:
        return BytePipe(plan, now=trio.current_time, on_change=self.wake)


@asynccontextmanager
async def open_memory_network(
    *, rng: random.Random | None = None
) -> AsyncIterator[MemoryNetwork]:
    """Open a network of memory links whose bytes move as long as the block runs.

    At the end of the block every link is cut and its sink told.

    Args:
        rng: orders what happens at the same time on several links; a fixed seed by
            default, so that a run can be repeated.
    """
    network = MemoryNetwork._create(random.Random(0) if rng is None else rng)  # noqa: S311
    async with open_background_nursery("memory network closed") as nursery:
        nursery.start_soon(network.run, name="memory network")
        try:
            yield network
        finally:
            network.end()
