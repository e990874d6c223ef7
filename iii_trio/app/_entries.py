"""One running entry of a configuration: its task, its scope, its end.

An entry is served under `supervise` in a task of its own; whoever wants it gone cancels
its scope and waits for ``done``.
"""

import logging
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import attrs
import trio

from iii_trio.adapters import KeyValueStore
from iii_trio.app._adapters import Backend, OtherEngine
from iii_trio.app._config import LISTENER, ListenerConfig, WorkerEntry
from iii_trio.app._exposure import exposure
from iii_trio.app._settings import CONFIGURATION, Settings
from iii_trio.app._stores import Stores
from iii_trio.app._supervise import RestartPolicy, StartedCallback, supervise
from iii_trio.app._worker_port import WorkerPort, door_limits
from iii_trio.builtins import BuiltinSpec, Resources
from iii_trio.builtins.observability import Telemetry
from iii_trio.engine import Engine, open_listener
from iii_trio.errors import ConfigError
from iii_trio.net import Pump
from iii_trio.worker import Worker, open_worker

logger = logging.getLogger("iii_trio.app")

Address = tuple[str, int]

RETIRE_GRACE: Final = 5.0
"""Seconds for the requests in flight of an entry that a reload ends or changes."""


@attrs.define(eq=False, kw_only=True)
class RunningEntry:
    """An entry that runs.

    Attributes:
        declared: what the config file says.
        entry: what it runs with now.
        keeps_entry: whether its next start takes ``entry`` as it is, without a look at
            its settings.
        scope: cancel it to stop the entry.
        done: set when nothing of it is left.
        handle: what its last start gave, ``None`` while it does not run.
        worker: as what it runs, ``None`` while it does not, and for a listener.
        is_up: it has started, and runs.
        missed_change: settings changed while it was not up; true: declare them again.
        retired: `stop` has begun; it is of no use any more, also if that was cancelled.
    """

    declared: WorkerEntry
    entry: WorkerEntry
    keeps_entry: bool = False
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    done: trio.Event = attrs.field(factory=trio.Event)
    handle: Any = None
    worker: Worker | None = None
    is_up: bool = False
    retired: bool = False
    missed_change: bool | None = None
    _told: tuple[Address, ...] = ()
    _warned: str | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """What it really bound, if anything."""
        bound: Sequence[Address] = getattr(self.handle, "addresses", ())
        return tuple(bound)

    def takes(self, entry: WorkerEntry) -> bool:
        """Whether it can run on with the settings of ``entry``."""
        if self.retired:
            return False
        if isinstance(self.handle, WorkerPort):
            return self.handle.takes(entry.config)
        return hasattr(self.handle, "reconfigure") and (
            self.entry.backend == entry.backend
        )

    async def reconfigure(self, entry: WorkerEntry) -> None:
        """Run on with the settings of ``entry``; with the old ones if it raises."""
        # No checkpoint before: it may be down after it.
        done = self.handle.reconfigure(entry.config)
        if done is not None:
            await done
        self.entry = entry
        self.tell_addresses()
        await trio.lowlevel.checkpoint()

    def rename(self, key: str) -> None:
        """Go by another key."""
        self.declared = attrs.evolve(self.declared, key=key)
        self.entry = attrs.evolve(self.entry, key=key)

    def took_off(self, handle: object) -> None:
        """Note what a start gave, and say where it listens."""
        self.handle, self.is_up = handle, True
        self._told, self._warned = (), None
        self.tell_addresses()

    def tell_addresses(self) -> None:
        """Log the addresses, and who can reach them, unless it is as the last time."""
        entry = self.entry
        if self.addresses != self._told:
            self._told = self.addresses
            for host, port in self.addresses:
                shown = f"[{host}]" if ":" in host else host
                logger.info("%s listening on %s:%d", entry.key, shown, port)
        warning = exposure(entry.key, entry.kind, entry.config, self.addresses)
        if warning != self._warned:
            self._warned = warning
            if warning is not None:
                logger.warning("%s", warning)

    async def drain(self, grace: float) -> None:
        """Let it finish what was begun, if it knows how to."""
        drain = getattr(self.handle, "drain", None)
        if drain is None:
            await trio.lowlevel.checkpoint()
        else:
            await drain(grace)

    async def stop(self, reason: str) -> None:
        """Drain, cancel, wait until nothing is left.

        Cancellation: what cannot drain is cancelled all the same.
        """
        self.retired = True
        if hasattr(self.handle, "drain"):
            with trio.move_on_after(RETIRE_GRACE):
                await self.drain(RETIRE_GRACE)
        self.scope.cancel(reason=reason)
        await self.done.wait()


def difference(
    running: Mapping[str, RunningEntry], wanted: Mapping[str, WorkerEntry]
) -> tuple[list[str], list[str], list[str]]:
    """Keys that changed, were removed, were added."""
    both = [key for key in wanted if key in running]
    return (
        [
            key
            for key in both
            if running[key].declared != wanted[key] or running[key].retired
        ],
        [key for key in running if key not in wanted],
        [key for key in wanted if key not in running],
    )


@attrs.frozen(eq=False, kw_only=True)
class EntryRunner:
    """Serves entries with what the app has."""

    engine: Engine
    pump: Pump
    stores: Stores
    specs: dict[str, BuiltinSpec]
    settings: Settings
    policy: RestartPolicy
    telemetry: Telemetry
    environ: Mapping[str, str]
    # Function ids that are kept for an entry, by its key.
    _reserved: dict[str, set[str]] = attrs.field(init=False, factory=dict)

    async def run(
        self, running: RunningEntry, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Serve an entry until its scope is cancelled; ``started`` when it is ready."""

        def ready(_handle: object) -> None:
            task_status.started()

        try:
            with running.scope:
                await supervise(
                    partial(self._serve, running),
                    name=running.entry.key,
                    policy=self.policy,
                    on_started=partial(self._took_off, running),
                    task_status=StartedCallback(ready),
                )
        finally:
            running.done.set()

    def _took_off(self, running: RunningEntry, handle: object) -> None:
        running.took_off(handle)
        missed, running.missed_change = running.missed_change, None
        if missed is not None:
            self.settings.note_changed(running.declared.key, lost=missed)
        if running.entry.kind == CONFIGURATION:
            self.settings.note_restart()

    def _serve(
        self, running: RunningEntry, *, task_status: trio.TaskStatus[Any]
    ) -> Awaitable[None]:
        if running.entry.kind == LISTENER:
            return self._serve_listener(running, task_status)
        return self._serve_builtin(running, task_status)

    async def _serve_listener(
        self, running: RunningEntry, task_status: trio.TaskStatus[Any]
    ) -> None:
        config: ListenerConfig = running.entry.config
        async with open_listener(
            self.engine,
            self.pump,
            host=config.host,
            port=config.port,
            limits=door_limits(config),
            tls=config.tls,
            access=config.access,
        ) as door:
            task_status.started(WorkerPort(door, config))
            try:
                await trio.sleep_forever()
            finally:
                running.handle = None

    async def _serve_builtin(
        self, running: RunningEntry, task_status: trio.TaskStatus[Any]
    ) -> None:
        """Serve it as it was set, or as the file says if it cannot start like that."""
        started = False

        def ready(handle: object) -> None:
            nonlocal started
            started = True
            task_status.started(handle)

        if not running.keeps_entry:
            try:
                await self._serve_once(running, StartedCallback(ready))
            except (ConfigError, OSError) as exc:
                if started or running.entry == running.declared:
                    raise
                if _opens_more(running.declared.config, running.entry.config):
                    logger.error(  # noqa: TRY400 - it says all there is
                        "%s cannot start with the stored value of configuration %r, and "
                        "does not start without its tls or auth_function: mend the "
                        "cause, or give its block of the config file the same",
                        running.declared.key,
                        running.declared.name,
                    )
                    raise
                logger.error(  # noqa: TRY400 - it says all there is
                    "%s cannot start with the stored value of configuration %r: %s; "
                    "it runs with its block of the config file, until another value "
                    "is set with configuration::set",
                    running.declared.key,
                    running.declared.name,
                    exc,
                )
                running.entry, running.keeps_entry = running.declared, True
            else:
                return
        await self._serve_once(running, StartedCallback(ready))

    async def _serve_once(
        self, running: RunningEntry, task_status: trio.TaskStatus[Any]
    ) -> None:
        spec = self.specs[running.entry.kind]
        async with open_worker(
            self.engine, name=spec.name, description=spec.description
        ) as worker:

            def ready(handle: object) -> None:
                self._keep_ids(running, worker.worker_id)
                task_status.started(handle)

            status = StartedCallback(ready)
            running.worker = worker
            try:
                settled = await self._declare(worker, running)
                if not running.keeps_entry:
                    running.entry = settled
                running.keeps_entry = False
                config = running.entry.config
                resources = await self._resources(spec, running.entry.backend)
                await spec.serve(worker, config, resources, task_status=status)
            finally:
                running.handle = running.worker = None
                running.is_up = False

    async def _declare(self, worker: Worker, running: RunningEntry) -> WorkerEntry:
        """Declare the settings that the file has by then; give it as it should run."""
        while True:
            declared = running.declared
            settled = await self.settings.declare(worker, declared)
            if declared is running.declared:
                return settled

    async def _resources(self, spec: BuiltinSpec, backend: Backend | None) -> Resources:
        await trio.lowlevel.checkpoint()
        stores: dict[str, KeyValueStore] = {}
        queue = None
        if isinstance(backend, OtherEngine):
            return Resources(
                pump=self.pump,
                stores=stores,
                checks=self.settings.checks,
                bridge_url=backend.url,
            )
        if backend is not None:
            late = spec.opens_late
            find = self.stores.late_key_value if late else self.stores.key_value
            for name in spec.stores:
                stores[name] = await find(backend, name)
            if spec.keeps_messages:
                queue = await self.stores.queue(backend)
        return Resources(
            pump=self.pump,
            stores=stores,
            queue=queue,
            checks=self.settings.checks,
            telemetry=self.telemetry,
            environ=self.environ,
        )

    def _keep_ids(self, running: RunningEntry, worker_id: str) -> None:
        """Reserve what a worker offers, for the time that it is away after a crash."""
        port = self.engine.supervisor.port_of(worker_id)
        if port is not None:
            key = running.entry.key
            offered = {f.function_id for f in self.engine.registry.owned_by(port)}
            left_out = self._reserved.get(key, set()) - offered
            self.engine.registry.unreserve(sorted(left_out))
            self.engine.reserve(dict.fromkeys(offered, running.entry.kind))
            self._reserved[key] = offered

    def free_ids(self, running: RunningEntry) -> None:
        """Let others offer what an entry offered that is gone for good."""
        self.settings.forget(running.declared)
        reserved = self._reserved.pop(running.entry.key, set())
        self.engine.registry.unreserve(sorted(reserved))


def _opens_more(config: object, secured: object) -> bool:
    """Tell whether settings lack what guards a port, or guard it otherwise."""
    return any(
        getattr(config, name, None) != getattr(secured, name, None)
        for name in ("tls", "auth_function")
    )
