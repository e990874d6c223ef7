"""`open_app`: stores, then the engine, then bundled workers, then listeners, nested.

What must die last is outermost. A reload changes entries in place; everything that did
not change, connections above all, does not notice.
"""

import logging
import os
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, final

import attrs
import trio

from iii_trio._util import NoPublicConstructor, open_background_nursery
from iii_trio.adapters.sqlite import RunSync, run_in_thread
from iii_trio.app._config import (
    DEFAULT_DOCUMENT,
    LISTENER,
    AppConfig,
    WorkerEntry,
    parse_config,
)
from iii_trio.app._durations import as_grace
from iii_trio.app._entries import (
    Address,
    EntryRunner,
    RunningEntry,
    difference,
)
from iii_trio.app._listener_keys import new_keys
from iii_trio.app._observed import open_observed_engine
from iii_trio.app._settings import Settings
from iii_trio.app._stores import open_stores
from iii_trio.app._supervise import RestartPolicy
from iii_trio.builtins import BUILTINS, BuiltinSpec
from iii_trio.builtins.observability import Telemetry
from iii_trio.engine import Engine
from iii_trio.errors import IIIError
from iii_trio.net import open_pump

T = TypeVar("T")

logger = logging.getLogger("iii_trio.app")

DATA_DIR: Final = Path("data")
_DRAINS: Final = "the app drains"


@attrs.frozen(kw_only=True)
class ReloadReport:
    """What a reload did, by entry key.

    Attributes:
        kept: did not change, were not touched.
        changed: run with their new settings.
        removed: stopped.
        added: started.
        failed: could not be started or changed, and why; a changed one that failed runs
            on with its old settings.
    """

    kept: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    failed: Mapping[str, str] = attrs.field(factory=dict)

    def __str__(self) -> str:
        parts = [
            f"{word} {', '.join(keys)}"
            for word, keys in attrs.asdict(self).items()
            if keys and word != "kept"
        ]
        return "; ".join(parts) or "nothing changed"


@final
@attrs.define(eq=False, kw_only=True)
class App(metaclass=NoPublicConstructor):
    """A running app.

    Attributes:
        engine: for `open_worker`, statistics and events.
    """

    engine: Engine
    _runner: EntryRunner
    _workers: trio.Nursery
    _listeners: trio.Nursery
    _running: dict[str, RunningEntry] = attrs.field(factory=dict)
    _reloading: trio.Lock = attrs.field(factory=trio.Lock)
    # Held while entries come, go and change.
    _changing: trio.Lock = attrs.field(factory=trio.Lock)
    _is_draining: bool = False

    @property
    def addresses(self) -> Mapping[str, tuple[Address, ...]]:
        """What entries really bound, as (host, port), by canonical name.

        Further listeners are ``iii-worker-manager#1`` and so on.
        """
        bound = {key: running.addresses for key, running in self._running.items()}
        return {key: addresses for key, addresses in bound.items() if addresses}

    @property
    def entries(self) -> tuple[WorkerEntry, ...]:
        """What runs now."""
        return tuple(running.entry for running in self._running.values())

    async def reload(
        self, config: AppConfig | Mapping[str, Any] | None, *, wait: bool = False
    ) -> ReloadReport:
        """Run another configuration: changed, then removed, then added entries.

        Entries that are equal are not touched, nor are connections of workers. An entry
        that cannot be changed, such as to a busy port, is tried again after the others,
        then runs on as it was: two entries cannot swap their ports in one reload.

        Args:
            config: as of `open_app`.
            wait: for another task that is reloading.

        Raises:
            ConfigError: the configuration cannot be used; everything runs on as it was.
            trio.BusyResourceError: another task is reloading, and ``wait`` is false.
            trio.ClosedResourceError: the app drains.

        Cancellation: the entry under way may be left stopped, further ones untouched.
        """
        parsed = _parsed(config, self._runner.specs.values())
        if self._reloading.locked() and not wait:
            raise trio.BusyResourceError("a reload is under way already")
        async with self._reloading:
            if self._is_draining:
                raise trio.ClosedResourceError(_DRAINS)
            _log_notes(parsed)
            async with self._changing:
                return await self._apply({entry.key: entry for entry in parsed.entries})

    async def _apply(self, wanted: dict[str, WorkerEntry]) -> ReloadReport:
        await trio.lowlevel.checkpoint()
        self._renumber_listeners(wanted)
        changed, removed, added = difference(self._running, wanted)
        failed = await self._bring_about(changed, wanted)
        for key in removed:
            await self._remove(key)
        failed |= await self._bring_about(added, wanted)
        if removed or len(failed) < len(changed) + len(added):
            # What stood in their way, such as a port in use, may be gone now.
            failed = await self._bring_about(failed, wanted)
        return ReloadReport(
            kept=tuple(key for key in wanted if key not in {*changed, *added}),
            changed=tuple(key for key in changed if key not in failed),
            removed=tuple(removed),
            added=tuple(key for key in added if key not in failed),
            failed=failed,
        )

    async def _bring_about(
        self, keys: Iterable[str], wanted: Mapping[str, WorkerEntry]
    ) -> dict[str, str]:
        """Change or start entries; what went wrong, by key."""
        await trio.lowlevel.checkpoint()
        failed: dict[str, str] = {}
        for key in keys:
            if key in self._running:
                error = await self._change(self._running[key], wanted[key])
            else:
                error = await self._try_start(_from_file(wanted[key]))
            failed |= {key: error} if error else {}
        return failed

    def _renumber_listeners(self, wanted: Mapping[str, WorkerEntry]) -> None:
        declared = {key: running.declared for key, running in self._running.items()}
        keys = new_keys(declared, [*wanted.values()])
        self._running = {
            keys.get(key, key): running for key, running in self._running.items()
        }
        for key in keys.values():
            self._running[key].rename(key)

    async def drain(self, grace: float) -> None:
        """Stop gracefully: no new clients or workers, let requests and calls finish.

        Front doors finish first, since their requests may need further calls; then the
        engine refuses calls and those in flight settle. Ports of workers stay open, for
        the channels that calls in flight still open. At most ``grace`` seconds in all,
        then what is left is stopped. Nothing is started or changed any more. Leave the
        `open_app` block afterwards.

        Raises:
            ValueError: ``grace`` is negative, or not a number.
        """
        as_grace(grace)
        self._is_draining, self.engine.gate.is_open = True, False
        deadline = trio.current_time() + grace
        with trio.move_on_at(deadline):
            async with trio.open_nursery() as nursery:
                for running in self._running.values():
                    nursery.start_soon(running.drain, grace)
        await self.engine.drain(max(0.0, deadline - trio.current_time()))

    async def _start(self, running: RunningEntry) -> None:
        entry = running.declared
        is_listener = entry.kind == LISTENER
        nursery = self._listeners if is_listener else self._workers
        await nursery.start(self._runner.run, running, name=entry.key)
        self._running[entry.key] = running

    async def _try_start(self, running: RunningEntry) -> str | None:
        if self._is_draining:
            await trio.lowlevel.checkpoint()
            return _DRAINS
        return await _failure_of(self._start, running)

    async def _remove(self, key: str) -> None:
        running = self._running[key]
        await running.stop("removed from the configuration")
        del self._running[key]
        self._runner.free_ids(running)

    async def _change(self, running: RunningEntry, entry: WorkerEntry) -> str | None:
        """Let an entry be as the file says now; what went wrong, or ``None``."""
        old = running.entry
        if running.takes(entry):
            error = await _failure_of(running.reconfigure, entry)
            if error is None:
                running.declared, settings = entry, self._runner.settings
                if running.worker is not None:
                    # One that crashed meanwhile declares them when it starts again.
                    with suppress(trio.ClosedResourceError):
                        await settings.declare(running.worker, entry)
                        settings.note_changed(entry.key)  # perhaps under another name
            return error
        if entry.kind == LISTENER and _moves(old, entry):
            # Bind first, so that a busy port changes nothing.
            error = await self._try_start(_from_file(entry))
            if error is None:
                await running.stop("moved by the configuration")
            return error
        return await self._restart(running, _from_file(entry))

    async def _restart(self, old: RunningEntry, new: RunningEntry) -> str | None:
        """Stop an entry and start it anew, or as it was if that fails."""
        await old.stop("changed by the configuration")
        # Not before: who is cancelled while it drains has to leave it known.
        del self._running[old.entry.key]
        error = await self._try_start(new)
        if error is None:
            return None
        as_before = RunningEntry(
            declared=old.declared, entry=old.entry, keeps_entry=True
        )
        gone = await self._try_start(as_before)
        return f"{error}; nor does it run as it was: {gone}" if gone else error

    async def _follow_settings(self) -> NoReturn:
        """Change entries when the configuration worker says so."""
        settings = self._runner.settings
        while True:
            await settings.changed.wait()
            for key, lost in settings.take_changes().items():
                async with self._changing:
                    if key in self._running and not self._is_draining:
                        await self._take_settings(self._running[key], lost=lost)

    async def _take_settings(self, running: RunningEntry, *, lost: bool) -> None:
        worker, declared, entry = running.worker, running.declared, None
        await trio.lowlevel.checkpoint()
        if not running.is_up:  # what it sees itself when it starts may be older
            running.missed_change = lost or bool(running.missed_change)
        elif worker is not None:
            settings = self._runner.settings
            find = settings.declare if lost else settings.read
            with suppress(trio.ClosedResourceError):  # it crashed meanwhile
                entry = await find(worker, declared)
        if running.worker is not worker or entry is None or entry == running.entry:
            return
        if running.takes(entry):
            error = await _failure_of(running.reconfigure, entry)
        else:
            new = RunningEntry(declared=declared, entry=entry, keeps_entry=True)
            error = await self._restart(running, new)
        if error is None:
            logger.info("%s runs with its new settings", entry.key)
        else:
            logger.error(
                "configuration %r could not be applied to %s: %s",
                entry.name,
                entry.key,
                error,
            )


def _from_file(entry: WorkerEntry) -> RunningEntry:
    return RunningEntry(declared=entry, entry=entry)


def _moves(old: WorkerEntry, new: WorkerEntry) -> bool:
    return (old.config.host, old.config.port) != (new.config.host, new.config.port)


def _parsed(
    config: AppConfig | Mapping[str, Any] | None, builtins: Iterable[BuiltinSpec]
) -> AppConfig:
    if isinstance(config, AppConfig):
        return config
    document = DEFAULT_DOCUMENT if config is None else config
    return parse_config(dict(document), builtins, os.environ)


def _log_notes(config: AppConfig) -> None:
    for note in config.notes:
        logger.warning("%s", note)


@asynccontextmanager
async def open_app(
    config: AppConfig | Mapping[str, Any] | None = None,
    *,
    data_dir: str | os.PathLike[str] = DATA_DIR,
    builtins: Sequence[BuiltinSpec] = BUILTINS,
    restart: RestartPolicy | None = None,
    run: RunSync = run_in_thread,
) -> AsyncIterator[App]:
    """Run an engine with bundled workers and listeners, as ``python -m iii_trio`` does.

    Args:
        config: as `load_config` gives it, or a plain mapping of the same shape;
            ``None``: http, state, queue, cron, pub/sub and stream with their defaults.
        data_dir: where durable data rests; relative to the working directory. Made when
            an entry keeps durable data.
        builtins: the workers that a configuration may name; a host may add rows of its
            own.
        restart: how often a crashed worker is restarted before the app crashes.
        run: where blocking calls of the storage run.

    Raises:
        ConfigError: the configuration cannot be used.
        OSError: an address is in use, or cannot be bound.
        AdapterError: the data directory cannot be used.
        ExceptionGroup: a bundled worker crashed once too often.

    Cancellation: stops at once; `App.drain` first for a graceful end.
    """
    parsed = _parsed(config, builtins)
    _log_notes(parsed)
    specs = {spec.name: spec for spec in builtins}
    telemetry = Telemetry()
    async with (
        open_stores(Path(data_dir), run) as stores,
        open_observed_engine(parsed, telemetry) as engine,
        # What one connection brings about must end no other: a bug is logged instead.
        open_pump(
            crash_on_bug=False, outboxes_bytes=parsed.limits.outboxes_bytes
        ) as pump,
        open_background_nursery("the app was closed") as workers,
        open_background_nursery("the app was closed") as listeners,
    ):
        app = App._create(
            engine=engine,
            workers=workers,
            listeners=listeners,
            runner=EntryRunner(
                engine=engine,
                pump=pump,
                stores=stores,
                specs=specs,
                settings=Settings(specs),
                policy=restart or RestartPolicy(),
                telemetry=telemetry,
                environ=os.environ,
            ),
        )
        for entry in parsed.entries:
            await app._start(_from_file(entry))  # noqa: SLF001 - our own
        workers.start_soon(app._follow_settings, name="settings")  # noqa: SLF001
        yield app


async def _failure_of(
    action: Callable[[T], Awaitable[None]], argument: T
) -> str | None:
    """Do it; the text of an error that a configuration can cause, ``None`` if none."""
    try:
        await action(argument)
    except (IIIError, OSError) as exc:
        await trio.lowlevel.checkpoint()
        return str(exc)
    return None
