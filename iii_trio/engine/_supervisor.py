"""Supervisor: workers attach, tell who they are, come back, and are taken down.

Sync from end to end: a teardown is one step that nobody can see half done, so a worker
that reattaches finds nothing of its former self.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Literal, final

from iii_trio.engine._bindings import Bindings
from iii_trio.engine._channels import Channels
from iii_trio.engine._connection import Connection
from iii_trio.engine._depth import limit_depth
from iii_trio.engine._engine_port import EnginePort
from iii_trio.engine._invocation import InvocationTable
from iii_trio.engine._link_port import LinkPort
from iii_trio.engine._ports import LocalPort
from iii_trio.engine._quotas import OUTBOX_LIMIT, STRANGER_OUTBOX_LIMIT
from iii_trio.engine._registrar import Registrar
from iii_trio.engine._relay import Relay
from iii_trio.engine._roster import Announcement, Roster, WorkerRecord
from iii_trio.engine._router import Router
from iii_trio.engine._timers import Timers
from iii_trio.engine._topology import Topology
from iii_trio.errors import RegistrationError
from iii_trio.protocol import (
    DEFAULT_NAMESPACE,
    AnyFrame,
    ErrorBody,
    Event,
    Reattach,
    RegistrationRejected,
    WorkerAnnounced,
    WorkerAttached,
    WorkerDetached,
    WorkerRegistered,
    blank_namespace,
    ends_at_close,
    is_blank,
)
from iii_trio.transport import Handlers, Link, WorkerSpec

_log: Final = logging.getLogger("iii_trio.engine.supervisor")

MAX_HELD_WEIGHT: Final = 20_000
"""What registrations may count as that wait for a namespace (see `weight_of`); above it
the connection is dropped."""


@final
class _Sink:
    """Gives a link's frames to their reader and its end to the supervisor."""

    __slots__ = ("_port", "_supervisor", "on_frame")

    def __init__(
        self,
        port: LinkPort,
        on_frame: Callable[[LinkPort, bytes], bool],
        supervisor: "Supervisor",
    ) -> None:
        self._port = port
        self._supervisor = supervisor
        # The hot path: no function of ours between the link and the reader.
        self.on_frame = partial(on_frame, port)

    def on_telemetry(self, data: bytes) -> None:
        self._supervisor.on_telemetry(data)

    def on_closed(self, reason: str) -> None:
        self._supervisor.detach(self._port, reason)


@final
class Supervisor:
    """Brings workers in and takes them out, in the one right order.

    Args:
        now: wall time, epoch seconds.
        new_id: makes UUID text: worker ids and reattach tokens.
        grace: seconds that registrations of a new connection wait for its namespace.
        on_event: told of everything that happened.
        on_telemetry: gets the telemetry messages that came over worker links.
    """

    def __init__(
        self,
        *,
        roster: Roster,
        registrar: Registrar,
        invocations: InvocationTable,
        bindings: Bindings,
        channels: Channels,
        router: Router,
        timers: Timers,
        topology: Topology,
        now: Callable[[], float],
        new_id: Callable[[], str],
        grace: float,
        on_event: Callable[[Event], None],
        on_telemetry: Callable[[bytes], None],
    ) -> None:
        self.roster = roster
        self.on_telemetry = on_telemetry
        self._registrar = registrar
        self._invocations = invocations
        self._bindings = bindings
        self._channels = channels
        self._router = router
        relay = Relay(router.registry, invocations, router)
        deepest = invocations.quotas.limits.json_depth
        self._on_frame = limit_depth(relay.on_frame, router, deepest)
        self._timers = timers
        self._topology = topology
        self._now = now
        self._new_id = new_id
        self._grace = grace
        self._on_event = on_event
        self._ports: dict[str, Connection] = {}
        router.supervisor = self

    # Attach

    def attach(self, link: Link) -> LinkPort:
        """Take a new link: it gets an id and a token, and its frames are read."""
        port = self.port_for(link)
        self.welcome(port)
        self.start(port)
        return port

    def port_for(self, link: Link) -> LinkPort:
        """Make the port of a link that nobody knows yet; it is not started."""
        record = self._new_record("link", link.peer.rpartition(":")[0].strip("[]"))
        port = LinkPort(record, link, self._invocations)
        link.limit_outbox(STRANGER_OUTBOX_LIMIT)
        port.handlers = self._router.handlers
        port.apply = self._registrar.register
        return port

    def start(self, port: LinkPort, *, restricted: bool = False) -> None:
        """Let a link deliver its frames.

        Args:
            port: not started yet.
            restricted: by access rules; what they let pass is asked of its guard.
        """
        if restricted:
            port.passes = set()
        port.link.start(_Sink(port, self._on_frame, self))

    def welcome(self, port: LinkPort) -> None:
        """Enter a worker that connected, and tell it who it is."""
        self._enter(port)
        port.grace = self._timers.call_after(self._grace, lambda: self._end_grace(port))
        port.send(
            WorkerRegistered(
                worker_id=port.worker_id, reattach_token=port.record.reattach_token
            )
        )

    def attach_local(self, spec: WorkerSpec, handlers: Handlers) -> LocalPort:
        """Take a worker of this process; it is known from the first moment.

        Raises:
            RegistrationError: its name is held, or its namespace blank.
        """
        if is_blank(spec.namespace):
            blank = blank_namespace()
            raise RegistrationError(blank.message, code=blank.code)
        record = self._new_record("local", None)
        told = Announcement(
            name=spec.name,
            namespace=spec.namespace,
            runtime=spec.runtime,
            version=spec.version,
            description=spec.description,
            os=spec.os,
            pid=spec.pid,
            isolation=spec.isolation,
        )
        holder = self.roster.announce(record, told)
        if holder is not None:
            msg = (
                f"worker name {spec.name!r} in namespace {spec.namespace!r} is held by "
                f"live worker {holder.worker_id}"
            )
            raise RegistrationError(
                msg, code="WORKER_NAMESPACE_CONFLICT", owner_worker_id=holder.worker_id
            )
        record.internal = spec.internal
        port = LocalPort(record, handlers, self._invocations)
        port.on_bound = lambda trigger, error: self._bindings.bound(
            trigger, port, error
        )
        self._enter(port)
        self._report_announced(record)
        return port

    def _new_record(
        self, kind: Literal["link", "local"], ip_address: str | None
    ) -> WorkerRecord:
        return WorkerRecord(
            worker_id=self._new_id(),
            reattach_token=self._new_id(),
            kind=kind,
            connected_at_ms=int(self._now() * 1000),
            ip_address=ip_address or None,
        )

    def _enter(self, port: LinkPort | LocalPort) -> None:
        record = port.record
        self.roster.add(record)
        self._ports[port.worker_id] = port
        self._on_event(WorkerAttached(worker_id=port.worker_id, kind=record.kind))
        self._topology.worker_changed("worker_connected", port.worker_id)

    def add_engine(self, port: EnginePort) -> EnginePort:
        """Enter the engine itself, the owner of its own functions."""
        self.roster.add(port.record)
        self._ports[port.worker_id] = port
        return port

    def port_of(self, worker_id: str) -> Connection:
        """The port of an attached worker."""
        return self._ports[worker_id]

    @property
    def ports(self) -> list[Connection]:
        """Every attached worker."""
        return list(self._ports.values())

    # Announce

    def announce(self, port: LinkPort, told: Announcement) -> ErrorBody | None:
        """A worker tells who it is; its namespace and its registrations take effect.

        Returns:
            ``None``, or why it was refused: answer, then `dismiss` it. A worker whose
            name is held is dismissed already: it is told by a frame of its own.
        """
        if is_blank(told.namespace):
            return ErrorBody(
                code="INVALID_NAMESPACE",
                message=(
                    f"namespace is empty: worker '{told.name or '<unnamed>'}' declared "
                    f'"{told.namespace}". Give it a name, or omit the field to '
                    "register in 'default'."
                ),
            )
        forbidden = _forbidden_namespace(port, told.namespace or DEFAULT_NAMESPACE)
        if forbidden is not None:
            return forbidden
        known = port.record.namespace
        if known is not None and told.namespace not in {None, known}:
            _log.warning(
                "%s is already in namespace %r and cannot move to %r",
                port,
                known,
                told.namespace,
            )
        holder = self.roster.announce(port.record, told)
        if holder is not None:
            return self._reject_name(port, told, holder)
        port.registered = True
        port.announce_features(told.features)
        self._release_held(port)
        self._report_announced(port.record)
        return None

    def _reject_name(
        self, port: LinkPort, told: Announcement, holder: WorkerRecord
    ) -> ErrorBody:
        namespace = told.namespace or port.namespace
        port.send(
            RegistrationRejected(
                code="WORKER_NAMESPACE_CONFLICT",
                namespace=namespace,
                worker_name=told.name,
                owner_worker_id=holder.worker_id,
            )
        )
        message = f"worker name {told.name!r} in {namespace!r} is held by a live worker"
        polite = not ends_at_close(told.runtime, told.version)
        self.dismiss(port, message, polite=polite)
        return ErrorBody(code="WORKER_NAMESPACE_CONFLICT", message=message)

    def dismiss(self, port: LinkPort, reason: str, *, polite: bool = True) -> None:
        """Close a refused connection; what it registered is never applied."""
        _log.warning("%s refused: %s", port, reason)
        port.drop_registrations()
        if port.grace is not None:
            self._timers.cancel(port.grace)
        port.link.close(reason, polite=polite)

    def _report_announced(self, record: WorkerRecord) -> None:
        self._on_event(
            WorkerAnnounced(
                worker_id=record.worker_id,
                name=record.name,
                namespace=record.namespace or "",
            )
        )
        self._topology.worker_changed("worker_metadata_updated", record.worker_id)

    def _end_grace(self, port: LinkPort) -> None:
        if port.held is None or not port.is_live:
            return
        forbidden = _forbidden_namespace(port, port.namespace)
        if forbidden is not None:
            if port.held:
                self.dismiss(port, f"it did not announce itself: {forbidden.message}")
            return  # what it registers later waits for an announcement
        if port.held:
            _log.warning(
                "%s did not announce itself within %g s: its %d registrations go to "
                "namespace 'default'",
                port,
                self._grace,
                len(port.held),
            )
        port.record.namespace = port.record.namespace or "default"
        self._release_held(port)

    def _release_held(self, port: LinkPort) -> None:
        """The namespace is known: apply what waited for it, in order."""
        port.link.limit_outbox(OUTBOX_LIMIT)
        held, port.held = port.held, None
        if port.grace is not None:
            self._timers.cancel(port.grace)
            port.grace = None
        for frame in held or ():
            port.apply(port, frame)

    def hold(self, port: LinkPort, frame: AnyFrame) -> None:
        """Keep a registration until the namespace is known."""
        if port.held is None:
            port.apply(port, frame)
        elif port.keep(frame) > MAX_HELD_WEIGHT:
            self._invocations.quotas.refused_registrations += 1
            reason = f"more than {MAX_HELD_WEIGHT} registrations before announcement"
            self.dismiss(port, reason)

    # Reattach and detach

    def reattach(self, port: LinkPort, frame: Reattach) -> None:
        """The peer says who it was: take that down first, completely."""
        if port.registered:
            _log.info("%s sent a late reattach: ignored", port)
            return
        port.registered = True
        old = self.roster.find_for_reattach(
            frame.previous_worker_id, frame.reattach_token, port.record
        )
        if old is None:
            _log.info("%s: no worker to reattach to", port)
            return
        ghost = self._ports[old.worker_id]
        if isinstance(ghost, LinkPort):
            self.detach(ghost, "its worker reconnected")
            ghost.link.close("its worker reconnected", polite=False)

    def detach(self, port: LinkPort | LocalPort, reason: str) -> None:
        """Take a worker down; the order is that of the protocol, section 3.6.

        What a successor has taken over already is left alone. The link itself is not
        touched. A second call does nothing.
        """
        record = port.record
        if not record.is_live:
            return
        record.is_live = False
        if isinstance(port, LinkPort):
            port.held = []
            gone = f"its connection is gone: {reason}"
            self._invocations.cancel_all(port.inquiries, gone)
        if port.worker_id not in self._ports:
            return  # it was never let in
        self._registrar.release_functions(port)
        self._invocations.callee_gone(port, f"its worker is gone: {reason}")
        self._invocations.caller_gone(
            port, f"its caller is gone: {reason}", tell=port.is_local
        )
        self._registrar.release_triggers(port)
        self._channels.owner_gone(port, holds_ends=port.is_local)
        self.roster.release_name(record)
        self.roster.remove(record)
        del self._ports[port.worker_id]
        if isinstance(port, LinkPort) and port.grace is not None:
            self._timers.cancel(port.grace)
        self._topology.worker_changed("worker_disconnected", port.worker_id)
        self._on_event(WorkerDetached(worker_id=port.worker_id, reason=reason))


def _forbidden_namespace(port: LinkPort, namespace: str) -> ErrorBody | None:
    session = port.session
    reason = None if session is None else session.refuses_namespace(namespace)
    return None if reason is None else ErrorBody(code="FORBIDDEN", message=reason)
