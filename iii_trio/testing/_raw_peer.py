"""RawPeer: a worker made of nothing but frames, for tests that say each one."""

import itertools
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, final

import attrs
import msgspec
import trio

from iii_trio.protocol import (
    AnyFrame,
    Frame,
    InvocationResult,
    InvokeFunction,
    WorkerRegistered,
    decode,
    encode,
)
from iii_trio.testing._fields import check_field_names, has_fields
from iii_trio.transport import MemoryConnection

F = TypeVar("F", bound=Frame)


@final
@attrs.define(eq=False)
class RawPeer:
    """The other end of an engine's memory link.

    Sending is sync and never waits. What comes in is kept until a test takes it.

    Attributes:
        connection: the link, with its faults.
        received: every frame that came, oldest first, also those already taken.
        closed: why the link ended, ``None`` while it is open.
    """

    connection: MemoryConnection
    received: list[AnyFrame] = attrs.field(factory=list, init=False)
    closed: str | None = attrs.field(default=None, init=False)
    _unread: list[AnyFrame] = attrs.field(factory=list, init=False)
    _lot: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )
    _ids: "itertools.count[int]" = attrs.field(factory=itertools.count, init=False)

    def __attrs_post_init__(self) -> None:
        """Listen to the link."""
        self.connection.client.start(self)

    # Sending

    def send(self, frame: AnyFrame | Mapping[str, Any] | str | bytes) -> None:
        """Send a frame, a JSON object, or any text as it is."""
        if isinstance(frame, Frame):
            text = encode(frame)
        elif isinstance(frame, Mapping):
            text = msgspec.json.encode(frame)
        else:
            text = frame.encode() if isinstance(frame, str) else frame
        self.connection.client.send_nowait(text)

    def announce(self, name: str | None = None, **fields: object) -> None:
        """Call ``engine::workers::register``: the engine learns name and namespace.

        Args:
            name: the worker's name, if it has one.
            fields: further fields, such as ``namespace`` or ``features``.
        """
        data = {"runtime": "test", "name": name, **fields}
        self.fire("engine::workers::register", data)

    def register(self, function_id: str, **fields: object) -> None:
        """Offer a function."""
        self.send({"type": "registerfunction", "id": function_id, **fields})

    def unregister(self, function_id: str) -> None:
        """Stop offering it."""
        self.send({"type": "unregisterfunction", "id": function_id})

    def call(self, function_id: str, data: object = None, **fields: object) -> str:
        """Send a call; its outcome comes as an `InvocationResult`.

        Returns:
            The id of the call, unique for this peer.
        """
        invocation_id = str(uuid.UUID(int=next(self._ids)))
        self.send(
            {
                "type": "invokefunction",
                "invocation_id": invocation_id,
                "function_id": function_id,
                "data": data,
                **fields,
            }
        )
        return invocation_id

    def fire(self, function_id: str, data: object = None, **fields: object) -> None:
        """Send a void call."""
        self.send(
            {
                "type": "invokefunction",
                "function_id": function_id,
                "data": data,
                "action": {"type": "void"},
                **fields,
            }
        )

    def answer(self, call: InvokeFunction, result: object = None) -> None:
        """Give the result of a call that this peer executes."""
        self.send(
            {
                "type": "invocationresult",
                "invocation_id": call.invocation_id,
                "function_id": call.function_id,
                "result": result,
            }
        )

    def fail(self, call: InvokeFunction, code: str, message: str = "failed") -> None:
        """Give an error as the outcome of a call that this peer executes."""
        self.send(
            {
                "type": "invocationresult",
                "invocation_id": call.invocation_id,
                "function_id": call.function_id,
                "error": {"code": code, "message": message},
            }
        )

    async def flush(self) -> None:
        """Wait until the engine has taken all that was sent, or the link ended.

        What other peers sent meanwhile may come before or after it.
        """
        await self.connection.wait_delivered("to_server")

    # Receiving

    async def receive(self) -> AnyFrame:
        """Take the next frame.

        Raises:
            trio.BrokenResourceError: the link ended and nothing is left.
        """
        return await self._take(lambda _frame: True, "frame")

    async def expect(self, kind: type[F], /, **fields: object) -> F:
        """Take the next frame of a class; others stay for later.

        Args:
            kind: the class of the frame.
            fields: values that the frame must have.

        Raises:
            TypeError: the class has no field of that name.
            trio.BrokenResourceError: the link ended and no such frame is left.
        """
        check_field_names(kind, fields)
        frame = await self._take(
            lambda frame: isinstance(frame, kind) and has_fields(frame, fields),
            f"{kind.__name__} with {fields}",
        )
        assert isinstance(frame, kind)
        return frame

    def take_nowait(self) -> AnyFrame:
        """Take the next frame that has come already.

        Raises:
            trio.WouldBlock: there is none.
        """
        if not self._unread:
            raise trio.WouldBlock
        return self._unread.pop(0)

    async def accepted(self) -> WorkerRegistered:
        """Wait for the engine's welcome: this peer's id and reattach token."""
        return await self.expect(WorkerRegistered)

    async def served(self, function_id: str) -> InvokeFunction:
        """Wait for a call of a function of this peer."""
        return await self.expect(InvokeFunction, function_id=function_id)

    async def outcome(self, invocation_id: str) -> InvocationResult:
        """Wait for the outcome of a call that this peer made."""
        return await self.expect(InvocationResult, invocation_id=invocation_id)

    async def wait_closed(self) -> str:
        """Wait for the end of the link, and give its reason."""
        await trio.lowlevel.checkpoint()
        while self.closed is None:
            await self._lot.park()
        return self.closed

    def unread(self, kind: type[F] | None = None) -> list[AnyFrame]:
        """The frames that nobody has taken, without taking them."""
        return [one for one in self._unread if kind is None or isinstance(one, kind)]

    async def _take(self, wanted: Callable[[AnyFrame], bool], name: str) -> AnyFrame:
        await trio.lowlevel.checkpoint()
        while True:
            for at, frame in enumerate(self._unread):
                if wanted(frame):
                    return self._unread.pop(at)
            if self.closed is not None:
                msg = f"no {name} came before the link ended: {self.closed}"
                raise trio.BrokenResourceError(msg)
            await self._lot.park()

    # Ending

    def close(self) -> None:
        """Leave politely: a Close after what was sent."""
        self.connection.client.close("the peer left", polite=True)

    def cut(self) -> None:
        """Vanish: what is on its way is lost."""
        self.connection.cut("the peer vanished")

    # What the link calls

    def on_frame(self, text: bytes) -> None:
        """Keep a frame."""
        frame = decode(text)
        self.received.append(frame)
        self._unread.append(frame)
        self._lot.unpark_all()

    def on_telemetry(self, data: bytes) -> None:
        """Engines send no telemetry."""
        raise AssertionError(data)

    def on_closed(self, reason: str) -> None:
        """Remember that the link ended."""
        self.closed = reason
        self._lot.unpark_all()
