"""open_test_engine: an engine in process, with recorded events and faulty links."""

import math
import random
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, Final, final

import attrs
import trio

from iii_trio._util import NoPublicConstructor
from iii_trio.access import Access, ConnectRequest
from iii_trio.engine import Engine, open_engine
from iii_trio.testing._clock import (
    EPOCH,
    YEAR,
    Clock,
    ending_within,
    is_virtual,
    repeatable,
)
from iii_trio.testing._events import EventRecorder
from iii_trio.testing._memory_dialler import MemoryDialler
from iii_trio.testing._raw_peer import RawPeer
from iii_trio.transport import (
    FaultPlan,
    MemoryConnection,
    MemoryNetwork,
    open_memory_network,
)
from iii_trio.worker import (
    SYNC_RUNNER,
    RemoteAttachment,
    Worker,
    open_worker,
    run_inline,
)

_NO_FAULTS = FaultPlan()

_OWN: Final = {
    "on_event": "harness.events records everything",
    "now": "give epoch=..., and read harness.clock",
    "new_id": "give seed=...",
}
"""Options of `open_engine` that a test cannot set, and what there is instead."""


@final
@attrs.define(eq=False, kw_only=True)
class EngineUnderTest(metaclass=NoPublicConstructor):
    """An engine, and what a test needs around it.

    Attributes:
        engine: the engine itself.
        events: everything that happened in it.
        clock: its wall time.
        network: the memory links to it.
    """

    engine: Engine
    events: EventRecorder
    clock: Clock
    network: MemoryNetwork
    _rng: random.Random

    @asynccontextmanager
    async def open_worker(
        self,
        name: str | None = None,
        **options: Any,  # noqa: ANN401 - those of open_worker
    ) -> AsyncIterator[Worker]:
        """Open a worker in process; options as of ``iii_trio.open_worker``."""
        async with open_worker(self.engine, name=name, **options) as worker:
            yield worker

    @asynccontextmanager
    async def open_link_worker(
        self,
        name: str | None = None,
        *,
        to_engine: FaultPlan = _NO_FAULTS,
        to_worker: FaultPlan = _NO_FAULTS,
        on_connect: Callable[[MemoryConnection], None] = lambda _connection: None,
        **options: Any,  # noqa: ANN401 - those of open_worker
    ) -> AsyncIterator[Worker]:
        """Open one of our workers over a memory link; it reconnects by itself.

        Args:
            name: the worker's name.
            to_engine: see `link_attachment`.
            to_worker: see `link_attachment`.
            on_connect: see `link_attachment`.
            options: further ones of ``iii_trio.open_worker``.
        """
        attachment = self.link_attachment(
            to_engine=to_engine, to_worker=to_worker, on_connect=on_connect
        )
        async with open_worker(attachment, name=name, **options) as worker:
            yield worker

    def link_attachment(
        self,
        *,
        to_engine: FaultPlan = _NO_FAULTS,
        to_worker: FaultPlan = _NO_FAULTS,
        on_connect: Callable[[MemoryConnection], None] = lambda _connection: None,
    ) -> RemoteAttachment:
        """What a worker attaches to for memory links, in the place of a URL.

        Channels do not go through the links: no fault reaches them, and their ends are
        as those of workers in process.

        Args:
            to_engine: faults of what the worker sends, on each connection.
            to_worker: faults of what the engine sends, on each connection.
            on_connect: gets each connection, to cut or stall it later. It may raise
                ``trio.BrokenResourceError``: nobody is there.
        """
        dialler = MemoryDialler(
            self.engine, self.network, to_engine, to_worker, on_connect
        )
        return RemoteAttachment(dialler, rng=self._rng)

    def connect_raw_peer(
        self,
        *,
        to_engine: FaultPlan = _NO_FAULTS,
        to_peer: FaultPlan = _NO_FAULTS,
        access: Access | None = None,
        request: ConnectRequest | None = None,
    ) -> RawPeer:
        """Connect a peer made of frames; it stays until it closes or is cut.

        Args:
            to_engine: what goes wrong with the bytes that the peer sends.
            to_peer: what goes wrong with the bytes that the engine sends.
            access: the rules of the listener that it comes through.
            request: what the auth function is told of its handshake.
        """
        connection = self.network.connect(to_server=to_engine, to_client=to_peer)
        peer = RawPeer(connection)
        self.engine.attach(connection.server, access, request)
        return peer

    @asynccontextmanager
    async def open_raw_peer(
        self,
        name: str | None = None,
        *functions: str,
        to_engine: FaultPlan = _NO_FAULTS,
        to_peer: FaultPlan = _NO_FAULTS,
        access: Access | None = None,
        request: ConnectRequest | None = None,
        **announcement: object,
    ) -> AsyncIterator[RawPeer]:
        """Open a raw peer for the length of a block; at its end the link is cut.

        The block begins when the engine has the announcement and the functions, so that
        other peers can call them; with faults in ``to_engine`` it begins at once.

        Args:
            name: announced together with ``announcement``; without both the peer
                announces nothing.
            functions: function ids that it registers.
            to_engine: faults of what the peer sends.
            to_peer: faults of what the engine sends.
            access: the rules of the listener that it comes through.
            request: what the auth function is told of its handshake.
            announcement: further fields of ``engine::workers::register``.
        """
        peer = self.connect_raw_peer(
            to_engine=to_engine, to_peer=to_peer, access=access, request=request
        )
        try:
            if name is not None or announcement:
                peer.announce(name, **announcement)
            for function_id in functions:
                peer.register(function_id)
            if to_engine == _NO_FAULTS:
                await peer.flush()
            yield peer
        finally:
            peer.cut()


def _check_surroundings(options: Mapping[str, object]) -> None:
    if not trio.lowlevel.in_trio_task():
        msg = (
            "open_test_engine needs Trio, and something else runs this task; "
            "with anyio let the fixture anyio_backend return 'trio'"
        )
        raise RuntimeError(msg)
    for name in options.keys() & _OWN.keys():
        msg = f"open_test_engine has no option {name!r}: {_OWN[name]}"
        raise TypeError(msg)


@asynccontextmanager
async def open_test_engine(
    *,
    epoch: float = EPOCH,
    seed: int = 0,
    time_limit: float = YEAR,
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[EngineUnderTest]:
    """Open an engine for a test: no socket, no thread, ids that repeat.

    Works with any clock; with a virtual one (`run`, or the ``autojump_clock`` fixture of
    pytest-trio) all timeouts pass at once, and plain ``def`` handlers run inline instead
    of in threads.

    Args:
        epoch: wall time at the beginning, seconds since 1970.
        seed: of ids, of the order of what happens on several links at once and, with a
            virtual clock, of the order in which tasks run: the same seed gives the same
            run.
        time_limit: seconds of virtual time that the block may take; a real clock knows
            no limit.
        options: further ones of ``iii_trio.open_engine``.

    Raises:
        RuntimeError: it does not run under Trio.
        TypeError: ``on_event``, ``now`` or ``new_id``, which the harness sets itself.
        trio.TooSlowError: the time limit passed, most likely because the test waits
            for something that never comes; says which calls were in flight.
    """
    _check_surroundings(options)
    order: AbstractContextManager[None] = nullcontext()
    if is_virtual():
        SYNC_RUNNER.set(run_inline)
        order = repeatable(seed)
    rng = random.Random(seed)  # noqa: S311
    clock, events = Clock(epoch), EventRecorder()
    with order:
        async with (
            open_engine(
                now=clock,
                new_id=lambda: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                on_event=events,
                **options,
            ) as engine,
            open_memory_network(rng=random.Random(seed)) as network,  # noqa: S311
            ending_within(
                time_limit if is_virtual() else math.inf, lambda: _calls_of(engine)
            ),
        ):
            await trio.lowlevel.checkpoint()
            yield EngineUnderTest._create(
                engine=engine, events=events, clock=clock, network=network, rng=rng
            )


def _calls_of(engine: Engine) -> str:
    calls = [call.function_id for call in engine.invocations.pending()]
    return f"calls in flight: {', '.join(calls) or 'none'}"
