"""The workers of generated programs: one over a raw link, one in process.

They do what a step says and note what they see; what they should have seen is in
``model.py``. Each call carries its number ``n`` as payload.
"""

import math
from collections import defaultdict
from typing import Any, Final, Protocol, final

import msgspec
import trio

from iii_trio.errors import FunctionFailedError, InvocationError, RegistrationError
from iii_trio.protocol import (
    CANCEL_FEATURE,
    AnyFrame,
    CancelInvocation,
    InvocationResult,
    InvokeFunction,
    Pong,
    RegistrationRejected,
    WorkerRegistered,
    decode_error,
)
from iii_trio.testing import EngineUnderTest, RawPeer
from iii_trio.testing.programs import HowToLeave
from iii_trio.worker import Worker, current_invocation

STRANGER: Final = "00000000-0000-4000-8000-00000000dead"


class Diary:
    """What one worker saw.

    Attributes:
        started: calls that it was asked to run, with who called.
        cancelled: calls that it was told to stop, with the reason.
        outcomes: codes (``None`` for a result) of the calls that it made.
        rejected: codes of refused registrations.
    """

    def __init__(self) -> None:
        self.started: dict[int, str | None] = {}
        self.cancelled: dict[int, str] = {}
        self.outcomes: dict[int, list[str | None]] = defaultdict(list)
        self.rejected: list[str] = []


class Actor(Protocol):
    """A worker that does what steps say."""

    diary: Diary
    in_mid_frame: bool

    @property
    def worker_id(self) -> str:
        """The engine's id for it."""

    @property
    def is_open(self) -> bool:
        """Whether it is still attached."""

    def register(self, function: str) -> None: ...
    def unregister(self, function: str) -> None: ...
    def call(
        self, n: int, function: str, inside: int | None, deadline: float | None
    ) -> None: ...
    def fire(self, n: int, function: str) -> None: ...
    def answer(self, n: int, code: str | None, times: int) -> None: ...
    def cancel(self, n: int) -> None: ...
    async def leave(self, how: HowToLeave) -> None: ...
    def tasks(self) -> int: ...


class ConnectsPeers(Protocol):
    """An `EngineUnderTest`, or what does the same without Trio."""

    def connect_raw_peer(self) -> RawPeer: ...


@final
class LinkActor:
    """A worker made of frames."""

    def __init__(self, harness: ConnectsPeers) -> None:
        self.diary = Diary()
        self.peer = harness.connect_raw_peer()
        self.welcome: WorkerRegistered | None = None
        self.in_mid_frame = False
        # A worker may call itself: the ids of both sides of a call are kept apart.
        self._made: dict[int, str] = {}
        self._given: dict[int, str] = {}
        self._numbers: dict[str, int] = {}

    @property
    def worker_id(self) -> str:
        assert self.welcome is not None
        return self.welcome.worker_id

    @property
    def is_open(self) -> bool:
        return self.peer.closed is None

    def announce(self, name: str | None, *, cancels: bool) -> None:
        self.peer.announce(name, features=[CANCEL_FEATURE] if cancels else [])

    def register(self, function: str) -> None:
        self.peer.register(function)

    def unregister(self, function: str) -> None:
        self.peer.unregister(function)

    def call(
        self, n: int, function: str, inside: int | None, deadline: float | None
    ) -> None:
        del inside  # on a link nobody can tell
        fields = {} if deadline is None else {"deadline_ms": deadline * 1000}
        self._made[n] = self.peer.call(function, {"n": n}, **fields)
        self._numbers[self._made[n]] = n

    def fire(self, n: int, function: str) -> None:
        self.peer.fire(function, {"n": n})

    def answer(self, n: int, code: str | None, times: int) -> None:
        call = InvokeFunction(function_id="f", invocation_id=self._given[n])
        for _ in range(times):
            if code is None:
                self.peer.answer(call, {"n": n})
            else:
                self.peer.fail(call, code)

    def lie(self, wire_id: str = STRANGER) -> None:
        """Answer a call that is not ours."""
        self.peer.answer(InvokeFunction(function_id="f", invocation_id=wire_id), "lie")

    def wire_id(self, n: int) -> str:
        """The engine's id of a call that this worker runs."""
        return self._given[n]

    def cancel(self, n: int) -> None:
        self.peer.send(CancelInvocation(invocation_id=self._made[n]))

    def begin_frame(self) -> None:
        """Send the beginning of a masked text frame of 100 bytes."""
        self.peer.connection.client.send_bytes_nowait(b"\x81\xe4\0\0\0\0{")
        self.in_mid_frame = True

    async def leave(self, how: HowToLeave) -> None:
        if how == "half-close":
            self.peer.connection.end("to_server")
        elif how == "cut" or self.in_mid_frame:
            self.peer.cut()
        else:
            self.peer.close()
        await self.peer.wait_closed()

    def tasks(self) -> int:
        """None in this process."""
        return 0

    def read(self) -> None:
        """Note what came in."""
        while self.peer.unread():
            self._note(self.peer.take_nowait())

    def _note(self, frame: AnyFrame) -> None:
        match frame:
            case WorkerRegistered():
                assert self.welcome is None
                self.welcome = frame
            case InvokeFunction(invocation_id=str() as wire_id):
                data = msgspec.json.decode(frame.data)
                n = data["n"]
                assert n not in self.diary.started, "a call came twice"
                self.diary.started[n] = data["_caller_worker_id"]
                self._given[n] = wire_id
                self._numbers[wire_id] = n
            case CancelInvocation():
                n = self._numbers[frame.invocation_id]
                self.diary.cancelled[n] = frame.reason or ""
            case InvocationResult():
                n = self._numbers[frame.invocation_id]
                error = bytes(frame.error)
                code = decode_error(error).code if error else None
                if code is None:
                    assert msgspec.json.decode(frame.result) == {"n": n}
                self.diary.outcomes[n].append(code)
            case RegistrationRejected():
                self.diary.rejected.append(frame.code)
            case Pong():
                pass
            case _:
                raise AssertionError(frame)


@final
class LocalActor:
    """A worker of this process; its handlers wait until a step ends them."""

    in_mid_frame = False

    def __init__(self, harness: EngineUnderTest, nursery: trio.Nursery) -> None:
        self.diary = Diary()
        self._harness = harness
        self._nursery = nursery
        self._worker: Worker | None = None
        self._leave = trio.Event()
        self._left = trio.Event()
        self._scopes: dict[int, trio.CancelScope] = {}
        self._orders: dict[int, trio.MemorySendChannel[Any]] = {}

    async def open(self, name: str | None) -> None:
        """Attach; a refused name leaves the worker closed."""
        await self._nursery.start(self._live, name)

    async def _live(
        self,
        name: str | None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        await trio.lowlevel.checkpoint()
        try:
            async with self._harness.open_worker(name) as worker:
                self._worker = worker
                task_status.started()
                await self._leave.wait()
        except RegistrationError as exc:
            self.diary.rejected.append(exc.code)
            task_status.started()
        self._worker = None
        self._left.set()

    @property
    def worker_id(self) -> str:
        assert self._worker is not None
        return self._worker.worker_id

    @property
    def is_open(self) -> bool:
        return self._worker is not None

    def register(self, function: str) -> None:
        assert self._worker is not None
        try:
            self._worker.register_function(function, self._handle)
        except RegistrationError as exc:
            self.diary.rejected.append(exc.code)

    def unregister(self, function: str) -> None:
        assert self._worker is not None
        self._worker.unregister_function(function)

    async def _handle(self, data: dict[str, int]) -> dict[str, int]:
        n = data.pop("n")
        assert not data, "a local worker sees nothing but the payload"
        self.diary.started[n] = current_invocation().caller_worker_id
        send, receive = trio.open_memory_channel[Any](math.inf)
        self._orders[n] = send
        try:
            async for order in receive:
                if isinstance(order, BaseException):
                    raise order
                if order is None:
                    return {"n": n}
                await self._call(*order)
        except trio.Cancelled as exc:
            self.diary.cancelled[n] = exc.reason or ""
            raise
        raise AssertionError

    def call(
        self, n: int, function: str, inside: int | None, deadline: float | None
    ) -> None:
        if inside is None:
            self._nursery.start_soon(self._call, n, function, deadline)
        else:
            self._orders[inside].send_nowait((n, function, deadline))

    async def _call(self, n: int, function: str, deadline: float | None) -> None:
        assert self._worker is not None
        await trio.lowlevel.checkpoint()
        with trio.CancelScope() as self._scopes[n]:
            await trio.lowlevel.checkpoint()
            try:
                result = await self._worker.invoke(
                    function, {"n": n}, deadline=deadline
                )
            except InvocationError as exc:
                self.diary.outcomes[n].append(exc.code)
            else:
                assert result == {"n": n}
                self.diary.outcomes[n].append(None)

    def fire(self, n: int, function: str) -> None:
        assert self._worker is not None
        self._worker.fire(function, {"n": n})

    def answer(self, n: int, code: str | None, times: int) -> None:
        del times  # a handler returns once
        self._orders[n].send_nowait(
            None if code is None else FunctionFailedError("failed", code=code)
        )

    def cancel(self, n: int) -> None:
        self._scopes[n].cancel(reason="the program says so")

    async def leave(self, how: HowToLeave) -> None:
        del how
        self._leave.set()
        await self._left.wait()

    def tasks(self) -> int:
        """How many tasks the worker has."""
        assert self._worker is not None
        return len(self._worker._handlers.nursery.child_tasks)
