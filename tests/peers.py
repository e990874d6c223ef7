"""The zoo: workers that misbehave, each in its own way, over raw frames.

Each animal takes a test engine; ``await animal.run()`` lives its life until cancelled or
until it is over. The rest of the engine must not notice any of them.
"""

import abc
import itertools

import trio
from trio.testing import wait_all_tasks_blocked

from iii_trio.protocol import InvokeFunction, Reattach
from iii_trio.testing import EngineUnderTest, RawPeer

STRANGER = "00000000-0000-4000-8000-00000000dead"


class Animal(abc.ABC):
    """A peer that offers ``zoo::<name of its class>`` and then misbehaves."""

    def __init__(self, harness: EngineUnderTest) -> None:
        self.harness = harness
        self.name = type(self).__name__.lower()
        self.function_id = f"zoo::{self.name}"
        self.peer = self.connect()

    def connect(self) -> RawPeer:
        """Make a connection, announced and with the function registered."""
        peer = self.harness.connect_raw_peer()
        peer.announce(self.name, features=["large-messages.v1"])
        peer.register(self.function_id)
        return peer

    @abc.abstractmethod
    async def run(self) -> None:
        """Misbehave."""


class Crashing(Animal):
    """Vanishes in the middle of the frame that answers its first call."""

    async def run(self) -> None:
        await self.peer.served(self.function_id)
        # The beginning of a masked text frame of 100 bytes, and no more of it.
        self.peer.connection.client.send_bytes_nowait(b"\x81\xe4\0\0\0\0{")
        await wait_all_tasks_blocked()
        self.peer.cut()


class Silent(Animal):
    """Takes every call and never answers one."""

    async def run(self) -> None:
        await trio.sleep_forever()


class Slow(Animal):
    """Stops reading: what the engine sends piles up."""

    async def run(self) -> None:
        await self.peer.accepted()
        self.peer.connection.stall("to_client")
        await trio.sleep_forever()


class Flooding(Animal):
    """Sends as many calls as it can, and garbage in between.

    Attributes:
        victim: the function that it calls.
    """

    def __init__(self, harness: EngineUnderTest, victim: str) -> None:
        super().__init__(harness)
        self.victim = victim

    async def run(self) -> None:
        await self.peer.accepted()
        for n in itertools.count():
            for _ in range(20):
                self.peer.call(self.victim, {"flood": n})
                self.peer.fire("nobody::home", {"flood": n})
                self.peer.send(b'{"type":"invocationresult"}')
            await trio.sleep(0.1)


class Lying(Animal):
    """Answers twice, answers calls of others, answers what was never asked.

    Attributes:
        overheard: ids of calls that other workers run.
    """

    def __init__(self, harness: EngineUnderTest) -> None:
        super().__init__(harness)
        self.overheard: list[str] = []

    async def run(self) -> None:
        while True:
            frame = await self.peer.receive()
            for wire_id in (STRANGER, "no uuid", *self.overheard):
                self.peer.answer(
                    InvokeFunction(function_id="x", invocation_id=wire_id), "a lie"
                )
            if isinstance(frame, InvokeFunction):
                self.peer.answer(frame, "first")
                self.peer.answer(frame, "second")
                self.peer.fail(frame, "third")


class HalfClosed(Animal):
    """Hangs up its side while a call of it is under way, and goes on reading."""

    async def run(self) -> None:
        await self.peer.served(self.function_id)
        self.peer.connection.end("to_server")
        await self.peer.wait_closed()


class ReconnectingStorm(Animal):
    """Reconnects again and again with its token, without ever saying goodbye."""

    times = 30

    async def run(self) -> None:
        await trio.lowlevel.checkpoint()
        for _ in range(self.times):
            welcome = await self.peer.accepted()
            self.peer = self.harness.connect_raw_peer()
            self.peer.send(
                Reattach(
                    previous_worker_id=welcome.worker_id,
                    reattach_token=welcome.reattach_token,
                )
            )
            self.peer.announce(self.name)
            self.peer.register(self.function_id)
