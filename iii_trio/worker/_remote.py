"""The attachment by URL: connect, announce, replay, reconnect."""

import logging
import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, final

import trio

from iii_trio._util import open_background_nursery
from iii_trio.errors import RegistrationError
from iii_trio.protocol import (
    AnyFrame,
    ChannelRef,
    Reattach,
    UnregisterFunction,
    UnregisterTrigger,
    UnregisterTriggerType,
    encode,
    exception_from,
    timed_out,
)
from iii_trio.transport import (
    AttachedPort,
    ChannelEnd,
    FunctionSpec,
    Handlers,
    Invoker,
    Link,
    Outcome,
    Request,
    TriggerSpec,
    TriggerTypeSpec,
    WorkerSpec,
)
from iii_trio.worker._dialler import Dialler
from iii_trio.worker._frames import (
    call_frame,
    function_frame,
    trigger_frame,
    trigger_type_frame,
)
from iii_trio.worker._ids import call_id_maker
from iii_trio.worker._offline import OfflineFires
from iii_trio.worker._reconnect import retry_delay
from iii_trio.worker._session import Session

logger = logging.getLogger(__name__)

GREETING_TIMEOUT: Final = 10.0
"""Seconds in which an engine has to tell our id; as long as the SDKs' connect timeout."""


def _ignore(_what: str, _error: RegistrationError) -> None:
    """The default of `RemoteAttachment.on_rejected`."""


@final
class RemoteAttachment:
    """Attaches workers to an engine elsewhere; satisfies `Attachment`.

    Attributes:
        on_rejected: called with a function id or trigger id that the engine refused.
    """

    def __init__(
        self, dialler: Dialler, *, rng: random.Random, grace: float = 1.0
    ) -> None:
        """Nothing is dialled yet.

        Args:
            dialler: reaches the engine.
            rng: for ids, and for the jitter of reconnects.
            grace: seconds that queued frames may take at the end.
        """
        self.dialler = dialler
        self.on_rejected: Callable[[str, RegistrationError], None] = _ignore
        self.rng = rng
        self.grace = grace

    def for_worker(
        self, on_rejected: Callable[[str, RegistrationError], None]
    ) -> "RemoteAttachment":
        """One that tells another listener: several workers may share an attachment."""
        own = RemoteAttachment(self.dialler, rng=self.rng, grace=self.grace)
        own.on_rejected = on_rejected
        return own

    @asynccontextmanager
    async def attach_local(
        self, spec: WorkerSpec, handlers: Handlers
    ) -> AsyncIterator[AttachedPort]:
        """Attach for the length of a block, which begins once connected.

        Raises:
            RegistrationError: a live worker holds the name.
        """
        async with open_background_nursery("worker detached") as nursery:
            port = RemotePort(self, spec, handlers, nursery)
            nursery.start_soon(port.stay_connected, name=f"connection of {spec.name}")
            await port.wait_ready()
            port.in_use = True
            try:
                yield port
            finally:
                port.detach()
                with trio.move_on_after(self.grace, shield=True):
                    await port.wait_stopped()


@final
class RemotePort:
    """A worker's hold on an engine behind a URL; satisfies `AttachedPort`.

    It remembers what the worker offers and binds, and tells it anew to every
    connection.

    Attributes:
        in_use: the block of `RemoteAttachment.attach_local` has begun; before that it
            raises by itself.
    """

    def __init__(
        self,
        home: RemoteAttachment,
        spec: WorkerSpec,
        handlers: Handlers,
        nursery: trio.Nursery,
    ) -> None:
        self.in_use = False
        self._home = home
        self._spec = spec
        self._handlers = handlers
        self._nursery = nursery
        self._session: Session | None = None
        self._ready = False  # the session's engine has greeted
        self._previous: Reattach | None = None
        self._detached = False
        self._fatal: RegistrationError | None = None
        self._changed = trio.Event()
        self._stopped = trio.Event()
        self._functions: dict[str, FunctionSpec] = {}
        self._trigger_types: dict[str, TriggerTypeSpec] = {}
        self._triggers: dict[str, TriggerSpec] = {}
        self._fires = OfflineFires()

    # The connection

    async def stay_connected(self) -> None:
        """Connect, and connect again when the connection is lost, until detached."""
        attempt = 0
        while True:
            try:
                async with self._home.dialler.dial() as link:
                    session = await self._greet(link)
                    if session.worker_id:
                        attempt = 0
                        await session.closed.wait()
                    reason = session.reason
            except trio.BrokenResourceError as exc:
                reason = str(exc)
            if self._detached or self._fatal is not None:
                break
            self._handlers.on_disconnected(reason)
            await trio.sleep(retry_delay(attempt, self._home.rng.random))
            attempt += 1
        await trio.lowlevel.checkpoint()
        self._stopped.set()

    async def _greet(self, link: Link) -> Session:
        """Begin a session: announce everything, wait for the engine's greeting."""
        session = Session(
            link,
            self._handlers,
            self,
            self._spec.namespace,
            call_id_maker(self._home.rng),
        )
        self._session = session
        link.start(session)
        if self._previous is not None:
            session.send(self._previous)
        session.announce(self._spec)
        for frame in self._offers():
            session.send(frame)
        with trio.move_on_after(GREETING_TIMEOUT) as scope:
            await session.greeted.wait()
        if scope.cancelled_caught:
            session.end("the engine did not greet in time")
        if not session.closed.is_set():
            self._on_ready(session)
        return session

    def _offers(self) -> list[AnyFrame]:
        return [
            *map(trigger_type_frame, self._trigger_types.values()),
            *map(function_frame, self._functions.values()),
            *map(trigger_frame, self._triggers.values()),
        ]

    def _on_ready(self, session: Session) -> None:
        self._previous = Reattach(
            previous_worker_id=session.worker_id, reattach_token=session.reattach_token
        )
        self._ready = True
        for text in self._fires.take():
            session.send_text(text)
        self._handlers.on_connected(session.worker_id)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def on_rejected(self, what: str, error: RegistrationError) -> None:
        """The engine refused a function or a trigger."""
        self._home.on_rejected(what, error)

    def on_fatal(self, error: RegistrationError) -> None:
        """The engine refused this worker: do not come back."""
        self._fatal = error
        self._end_session("refused by the engine")
        if self.in_use:
            self._handlers.on_failed(error)

    def detach(self) -> None:
        """Stop accepting; what is queued is sent, then the connection is closed."""
        self._detached = True
        if self._fires:
            logger.warning("%d void calls were never sent", len(self._fires))
        if self._session is None:
            self._stopped.set()
        self._end_session("worker closed")

    def _end_session(self, reason: str) -> None:
        if self._session is not None:
            self._session.end(reason)
        self._notify()

    def on_lost(self) -> None:
        """The connection is lost: calls wait for the next one."""
        self._session, self._ready = None, False

    async def wait_ready(self) -> Session:
        """Wait until there is a connection.

        Raises:
            RegistrationError: the engine refused this worker.
            trio.ClosedResourceError: detached.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if self._fatal is not None:
                raise self._fatal
            self._check_open()
            if self._ready and self._session is not None:
                return self._session
            await self._changed.wait()

    def _check_open(self) -> None:
        if self._detached:
            msg = "the worker was closed"
            raise trio.ClosedResourceError(msg)

    async def wait_stopped(self) -> None:
        """Wait until the connection is closed for good."""
        await self._stopped.wait()

    # AttachedPort

    channel_maker = None  # it takes a round trip

    @property
    def worker_id(self) -> str:
        """The current id; ``""`` while not connected."""
        return "" if self._session is None else self._session.worker_id

    async def invoke(self, request: Request) -> bytes:
        """Call and wait, also for the connection."""
        timeout = math.inf if request.timeout is None else max(0.0, request.timeout)
        with trio.move_on_after(timeout) as scope:
            session = await self.wait_ready()
            while timeout != math.inf and not session.calls.knows_features:
                await session.calls.wait_features()  # may it be told the deadline?
                session = await self.wait_ready()
            return await session.call(request, scope.deadline)
        raise exception_from(timed_out(timeout * 1000), function_id=request.function_id)

    def start(self, request: Request, on_outcome: Callable[[Outcome], None]) -> None:
        """Do nothing: a call may have to wait for the connection."""
        del request, on_outcome

    def fire(self, request: Request) -> None:
        """Call without an answer: at most once, never blocks."""
        self._check_open()
        text = encode(call_frame(request, None, None))
        session = self._session if self._ready else None
        problem = (
            self._fires.room_for(len(text))
            if session is None
            else session.check_room(len(text))
        )
        if problem is not None:
            raise exception_from(problem, function_id=request.function_id)
        if session is not None:
            session.send_text(text)
            return
        self._fires.put(text)

    def register_function(self, spec: FunctionSpec) -> None:
        """Offer a function, on this connection and on later ones."""
        self._check_open()
        text = encode(function_frame(spec))
        self._functions[spec.function_id] = spec
        self._send(text)

    def unregister_function(self, function_id: str) -> None:
        """Stop offering it."""
        if self._functions.pop(function_id, None) is not None:
            self._send(encode(UnregisterFunction(id=function_id)))

    def register_invoker(self, invoker: Invoker) -> None:
        """Impossible: the protocol has no frame for it."""
        msg = "HTTP-invoked functions are performed inside the engine's process only"
        raise RegistrationError(msg)

    def unregister_invoker(self) -> None:
        """Nothing: see above."""

    def register_trigger_type(self, spec: TriggerTypeSpec) -> None:
        """Provide a trigger type, on this connection and on later ones."""
        self._check_open()
        text = encode(trigger_type_frame(spec))
        self._trigger_types[spec.trigger_type] = spec
        self._send(text)

    def unregister_trigger_type(self, trigger_type: str) -> None:
        """Stop providing it."""
        if self._trigger_types.pop(trigger_type, None) is not None:
            self._send(encode(UnregisterTriggerType(id=trigger_type)))

    async def register_trigger(self, spec: TriggerSpec) -> None:
        """Bind, on this connection and on later ones; a refusal comes later."""
        await trio.lowlevel.checkpoint()
        self._check_open()
        text = encode(trigger_frame(spec))
        self._triggers[spec.trigger_id] = spec
        self._send(text)

    def unregister_trigger(self, trigger_id: str) -> None:
        """End a binding, also one of somebody else."""
        spec = self._triggers.pop(trigger_id, None)
        trigger_type = None if spec is None else spec.trigger_type
        frame = UnregisterTrigger(id=trigger_id, trigger_type=trigger_type)
        self._send(encode(frame))

    def note_fired(self, trigger_id: str) -> None:
        """The protocol has no frame for it: the engine sees the call itself."""

    def is_local(self, function_id: str, namespace: str) -> bool:
        """Never: the engine, and whoever serves the function, is elsewhere."""
        return False

    def exists(self, function_id: str, namespace: str) -> bool:
        """Maybe: only the engine knows."""
        return True

    async def open_channel_end(self, ref: ChannelRef) -> ChannelEnd:
        """Take the end of a channel that ``ref`` names."""
        self._check_open()
        name = f"channel {ref.channel_id} {ref.direction}"
        start, serve = self._nursery.start, self._home.dialler.serve_channel_end
        end: ChannelEnd = await start(serve, ref, name=name)
        return end

    def _send(self, text: bytes) -> None:
        """Tell the current connection, if any; the next ones get a replay.

        Frames are encoded before they are kept: one that cannot be would end them all.
        """
        if self._session is not None:
            self._session.send_text(text)
