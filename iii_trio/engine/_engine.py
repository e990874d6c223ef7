"""The ordinary composition of an engine: its tables, its one task, its way to stop."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, final

import attrs
import trio

from iii_trio._listening import EngineLimits
from iii_trio._util import (
    NoPublicConstructor,
    open_background_nursery,
    uuid_source,
)
from iii_trio.access import Access, ConnectRequest
from iii_trio.engine._bindings import Bindings
from iii_trio.engine._channels import Channels
from iii_trio.engine._discovery import Discovery
from iii_trio.engine._engine_port import EnginePort
from iii_trio.engine._gate import Gate, compose_gate
from iii_trio.engine._intrinsics import Intrinsics
from iii_trio.engine._invocation import InvocationTable
from iii_trio.engine._invoker import InvokerPort
from iii_trio.engine._link_port import LinkPort
from iii_trio.engine._listings import Listings
from iii_trio.engine._local import ENGINE_IDS, LocalWorkerPort
from iii_trio.engine._ports import AnyPort, LocalPort
from iii_trio.engine._quotas import Quotas
from iii_trio.engine._registrar import Registrar
from iii_trio.engine._registry import Registry
from iii_trio.engine._roster import Roster, WorkerRecord
from iii_trio.engine._router import Router
from iii_trio.engine._statistics import EngineStatistics
from iii_trio.engine._supervisor import Supervisor
from iii_trio.engine._timers import Timers
from iii_trio.engine._topology import (
    CONFIG_FORMAT,
    FUNCTIONS_AVAILABLE,
    WORKERS_AVAILABLE,
    Topology,
)
from iii_trio.engine._triggers import Triggers, TriggerType
from iii_trio.engine._watch import Watch, publish
from iii_trio.protocol import DEFAULT_NAMESPACE, CallObserver, Event
from iii_trio.transport import AttachedPort, Handlers, Link, WorkerSpec

NAMESPACE_GRACE: Final = 5.0
"""Seconds that a new connection has to tell its namespace (protocol, section 3.2)."""


@final
@attrs.define(eq=False, kw_only=True)
class Engine(metaclass=NoPublicConstructor):
    """An open engine: attach workers to it, ask it what it does, drain it.

    It satisfies ``iii_trio.transport.Attachment``, so ``open_worker(engine)`` works.
    """

    supervisor: Supervisor
    gate: Gate
    registry: Registry[AnyPort]
    router: Router
    invocations: InvocationTable
    roster: Roster
    triggers: Triggers[AnyPort]
    channels: Channels
    _registrar: Registrar
    _bindings: Bindings
    _timers: Timers
    _topology: Topology
    _own_functions: int
    _listeners: list[Callable[[Event], None]]
    _watch: Watch
    _engine_ids: Mapping[str, str]

    def attach(
        self,
        link: Link,
        access: Access | None = None,
        request: ConnectRequest | None = None,
    ) -> LinkPort:
        """Take a link of a worker; it is detached when the link closes.

        Args:
            link: not yet started.
            access: the rules that hold for it; ``None``: everything is allowed. Keep
                `Gate.using` open as long as such links come.
            request: for the auth function of ``access``.
        """
        if access is None:
            return self.supervisor.attach(link)
        return self.gate.admit(link, access, request or ConnectRequest())

    def attach_local(
        self, spec: WorkerSpec, handlers: Handlers
    ) -> AbstractAsyncContextManager[AttachedPort]:
        """Attach a worker of this process for the length of a block."""
        return self._attach_local(spec, handlers)

    @asynccontextmanager
    async def _attach_local(
        self, spec: WorkerSpec, handlers: Handlers
    ) -> AsyncIterator[AttachedPort]:
        await trio.lowlevel.checkpoint()
        port = self.supervisor.attach_local(spec, handlers)
        handlers.on_connected(port.worker_id)
        try:
            yield LocalWorkerPort(
                port=port,
                router=self.router,
                invocations=self.invocations,
                registrar=self._registrar,
                bindings=self._bindings,
                channels=self.channels,
                engine_ids=self._engine_ids,
            )
        finally:
            self.supervisor.detach(port, "the worker closed")

    def subscribe(
        self, listener: Callable[[Event], None], *, calls: bool = True
    ) -> Callable[[], None]:
        """Call ``listener`` (sync, quick) with every event from now on.

        Args:
            listener: gets the events. What it raises is logged, and changes nothing.
            calls: whether it wants those of invocations; they are made only while
                somebody does.

        Returns:
            A function that ends the subscription.
        """
        self._listeners.append(listener)
        end_calls = self._watch.add_listener(listener) if calls else None

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)
            if end_calls is not None:
                end_calls()

        return unsubscribe

    def observe(self, observer: CallObserver) -> Callable[[], None]:
        """Tell an observer of calls, and let it put spans around them.

        Of plain calls between links (no trace, no deadline, no action) it is told of one
        in seventeen. `tallies` counts those that nobody was told of.

        Returns:
            A function that ends it. While nobody observes, calls cost nothing more.
        """
        return self._watch.add_observer(observer)

    def tallies(self) -> dict[str, tuple[int, int]]:
        """Calls since the start that no observer was told of: ended, and failed.

        By function id; above 10,000 ids the rest is counted as ``(others)``.
        """
        return self.invocations.tallies.counts()

    def reserve(self, function_ids: dict[str, str]) -> None:
        """Keep function ids of ``default`` for local workers; see `Registry.reserve`."""
        self.registry.reserve(function_ids)

    async def drain(self, grace: float) -> None:
        """Stop gracefully: refuse new calls, let those in flight settle.

        After ``grace`` seconds what is left ends with ``invocation_stopped`` and its
        handlers are cancelled. Links stay; see `close_links`. Cancelling a drain ends
        the waiting only: the engine keeps refusing calls.
        """
        self.router.draining = True
        with trio.move_on_after(grace):
            await self.invocations.wait_idle()
        self.invocations.stop_all("the engine is shutting down")

    def close_links(self, reason: str) -> None:
        """Drop every link without a Close frame, which SDKs take as "reconnect"."""
        for port in self.supervisor.ports:
            if isinstance(port, LinkPort):
                self.supervisor.detach(port, reason)
                port.link.close(reason, polite=False)

    def _close(self, reason: str) -> None:
        """End every call and every worker: nothing serves deadlines any more."""
        self.router.draining = True
        self.invocations.stop_all(reason)
        self.close_links(reason)
        for port in self.supervisor.ports:
            if isinstance(port, LocalPort):
                self.supervisor.detach(port, reason)

    def statistics(self) -> EngineStatistics:
        """Counts at this moment."""
        quotas = self.invocations.quotas
        return EngineStatistics(
            workers=len(self.roster) - 1,
            functions=len(self.registry) - self._own_functions,
            trigger_types=len(list(self.triggers.types)) - 2,
            triggers=len(self.triggers),
            parked=self.triggers.parked(),
            invocations=len(self.invocations),
            channels=len(self.channels),
            opened=self.invocations.opened,
            bad_frames=self.router.bad_frames,
            dropped_fires=self.router.dropped_fires + quotas.dropped_fires,
            late_answers=self.invocations.late_answers,
            denied=self.gate.denied,
            refused_calls=quotas.refused_calls,
            refused_registrations=quotas.refused_registrations,
            timers=len(self._timers),
        )


@asynccontextmanager
async def open_engine(
    *,
    now: Callable[[], float] = time.time,
    new_id: Callable[[], str] | None = None,
    grace: float = NAMESPACE_GRACE,
    on_event: Callable[[Event], None] | None = None,
    on_telemetry: Callable[[bytes], None] = lambda _data: None,
    latest_metrics: Callable[[str], dict[str, Any] | None] = lambda _worker_id: None,
    engine_ids: Mapping[str, str] = ENGINE_IDS,
    limits: EngineLimits | None = None,
) -> AsyncIterator[Engine]:
    """Open an engine: no socket, no process, no thread.

    Leaving the block ends every call with ``invocation_stopped``, drops every link and
    leaves no task behind. For a graceful end `Engine.drain` first.

    Args:
        now: wall time, epoch seconds.
        new_id: makes UUID text: worker ids, tokens, channels, triggers, receipts.
            Default: random ones.
        grace: seconds that registrations of a new link wait for its namespace.
        on_event: told of everything that happens; see also `Engine.subscribe`.
        on_telemetry: gets OTLP messages (four-letter prefix, then JSON) of workers.
        latest_metrics: for ``engine::workers::info``.
        engine_ids: which ids below ``engine::`` workers of this process may offer:
            prefix to the name of the worker. Workers on links may offer those of a
            queue provider only.
        limits: what workers on links may take.
    """
    engine = _compose(
        Timers(),
        now,
        new_id or uuid_source(),
        grace,
        on_telemetry,
        latest_metrics,
        engine_ids,
        Quotas(limits),
    )
    if on_event is not None:
        engine.subscribe(on_event)
    async with open_background_nursery("the engine was closed") as nursery:
        await nursery.start(engine._timers.serve, name="engine timers")  # noqa: SLF001 - our own
        try:
            yield engine
        finally:
            engine._close("the engine was closed")  # noqa: SLF001 - our own


def _compose(
    timers: Timers,
    now: Callable[[], float],
    new_id: Callable[[], str],
    grace: float,
    on_telemetry: Callable[[bytes], None],
    latest_metrics: Callable[[str], dict[str, Any] | None],
    engine_ids: Mapping[str, str],
    quotas: Quotas,
) -> Engine:
    listeners: list[Callable[[Event], None]] = []
    on_event = partial(publish, listeners)

    def port_of(worker_id: str) -> AnyPort:
        return supervisor.port_of(worker_id)

    registry: Registry[AnyPort] = Registry()
    roster = Roster()
    triggers: Triggers[AnyPort] = Triggers()
    invocations = InvocationTable(timers, lambda: new_id()[:24], quotas=quotas)
    bindings = Bindings(triggers, now, on_event, quotas)
    router = Router(registry, invocations, bindings, new_id)
    discovery = Discovery(registry, roster, triggers, port_of, latest_metrics)
    topology = Topology(
        triggers,
        router,
        timers,
        discovery.function_summaries,
        bindings.note_fired,
    )
    registrar = Registrar(
        registry,
        bindings,
        InvokerPort(invocations),
        on_event,
        topology.functions_changed,
        quotas,
    )
    channels = Channels(timers, new_id, quotas.limits)
    supervisor = Supervisor(
        roster=roster,
        registrar=registrar,
        invocations=invocations,
        bindings=bindings,
        channels=channels,
        router=router,
        timers=timers,
        topology=topology,
        now=now,
        new_id=new_id,
        grace=grace,
        on_event=on_event,
        on_telemetry=on_telemetry,
    )
    gate, trigger_vetting = compose_gate(
        router=router,
        supervisor=supervisor,
        registrar=registrar,
        triggers=triggers,
        on_event=on_event,
    )
    own = supervisor.add_engine(
        EnginePort(engine_record(new_id(), now()), invocations, topology.let_go)
    )
    intrinsics = Intrinsics(
        port=own,
        listings=Listings(discovery, port_of),
        supervisor=supervisor,
        vetting=trigger_vetting,
        bindings=bindings,
        channels=channels,
        invocations=invocations,
        timers=timers,
        new_id=new_id,
    )
    functions = intrinsics.install()
    for function in functions:
        registry.claim(function)
    topology.begin()
    for own_type in _own_types(own):
        triggers.add_type(own_type)
    return Engine._create(
        supervisor=supervisor,
        gate=gate,
        registry=registry,
        router=router,
        invocations=invocations,
        roster=roster,
        triggers=triggers,
        channels=channels,
        registrar=registrar,
        bindings=bindings,
        timers=timers,
        topology=topology,
        own_functions=len(functions),
        listeners=listeners,
        watch=Watch(invocations),
        engine_ids=engine_ids,
    )


def _own_types(own: EnginePort) -> Iterator[TriggerType[AnyPort]]:
    """The trigger types that the engine itself provides."""
    for trigger_type, description in (
        (FUNCTIONS_AVAILABLE, "The set of functions changed."),
        (WORKERS_AVAILABLE, "A worker connected, told who it is, or is gone."),
    ):
        yield TriggerType(
            trigger_type=trigger_type,
            namespace=DEFAULT_NAMESPACE,
            provider=own,
            description=description,
            config_format=CONFIG_FORMAT,
        )


def engine_record(worker_id: str, now: float) -> WorkerRecord:
    """Who the engine itself is in listings."""
    return WorkerRecord(
        worker_id=worker_id,
        reattach_token="",
        kind="local",
        connected_at_ms=int(now * 1000),
        announced=True,
        name="iii-engine-functions",
        namespace=DEFAULT_NAMESPACE,
        runtime="engine",
        internal=True,
    )
