"""`serve`: an app as a whole program, with its file watched and signals that drain it."""

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from iii_trio._util import open_background_nursery
from iii_trio.app._app import DATA_DIR, App, open_app
from iii_trio.app._config import DEFAULT_DOCUMENT, AppConfig
from iii_trio.app._durations import as_delay, as_grace
from iii_trio.app._load import config_of_text, read_text
from iii_trio.app._reload import watch_text
from iii_trio.errors import ConfigError

logger = logging.getLogger("iii_trio.app")

DEFAULT_FILE: Final = Path("config.yaml")
DRAIN_TIMEOUT: Final = 10.0
"""Seconds; what supervisors such as systemd and Docker grant at the least."""


@attrs.frozen(kw_only=True)
class _Source:
    """Where the configuration comes from."""

    config: AppConfig | None = None
    path: Path | None = None
    text: str = ""


async def serve(
    config_path: str | os.PathLike[str] | None = None,
    *,
    data_dir: str | os.PathLike[str] = DATA_DIR,
    drain_timeout: float = DRAIN_TIMEOUT,
    reload_delay: float = 0.5,
    signals: bool = True,
    on_config: Callable[[AppConfig], None] = lambda _config: None,
    task_status: trio.TaskStatus[App] = trio.TASK_STATUS_IGNORED,
) -> bool:
    """Run an app until a signal ends it, as ``python -m iii_trio`` does.

    The configuration file is watched: a new text is applied while everything runs, an
    invalid or empty one is logged and changes nothing. What could not be applied, such
    as a busy port, is tried again when the file is saved again. What is no regular
    file, such as a pipe, is read once. SIGINT, SIGTERM and, unless it is ignored or
    handled already, SIGHUP drain; a second one ends at once, and so does one that comes
    before everything listens.

    Args:
        config_path: default: ``config.yaml`` if there is one, else http, state, queue,
            cron, pub/sub and stream with their defaults.
        data_dir: where durable data rests; made when it is needed.
        drain_timeout: seconds that calls in flight may take after a signal.
        reload_delay: seconds that the file must stay the same before a change counts.
        signals: false outside the main thread, and where the host handles them.
        on_config: gets each configuration of the file before it is run.
        task_status: gets the app once everything listens.

    Returns:
        Whether the app was drained, or had not begun; false when a second signal cut
        that short.

    Raises:
        ConfigError: the configuration cannot be used.
        OSError: an address is in use, or cannot be bound.
        AdapterError: the data directory cannot be used.
        ValueError: ``drain_timeout`` or ``reload_delay`` is no such time.

    Cancellation: stops at once, without draining.
    """
    as_grace(drain_timeout)
    as_delay(reload_delay)
    source = await _find_source(config_path)
    if source.config is not None:
        on_config(source.config)
    async with _open_stop(signals=signals) as stop:
        with trio.CancelScope() as starting:
            stop.starting = starting
            async with open_app(source.config, data_dir=data_dir) as app:
                stop.starting = None
                task_status.started(app)
                await _run(app, source, stop, on_config, reload_delay)
                logger.info(
                    "draining, at most %g s; a second signal ends it", drain_timeout
                )
                await app.drain(drain_timeout)
                stop.drained = True
    return stop.drained or starting.cancelled_caught


async def _run(
    app: App,
    source: _Source,
    stop: "_Stop",
    on_config: Callable[[AppConfig], None],
    reload_delay: float,
) -> None:
    """Follow the file until the app is to end."""
    async with trio.open_nursery() as nursery:
        if source.path is not None:
            apply = partial(_apply, app, source, on_config)
            nursery.start_soon(
                partial(watch_text, settle=reload_delay),
                source.path,
                source.text,
                apply,
                name=f"watch {source.path}",
            )
        await stop.requested.wait()
        nursery.cancel_scope.cancel(reason="the app is shutting down")


async def _find_source(config_path: str | os.PathLike[str] | None) -> _Source:
    await trio.lowlevel.checkpoint()
    path = trio.Path(config_path or DEFAULT_FILE)
    if config_path is None and not await path.exists():
        names = ", ".join(entry["name"] for entry in DEFAULT_DOCUMENT["workers"])
        logger.info("no %s here: running with defaults: %s", path, names)
        return _Source()
    path = await path.absolute()
    try:
        text = await read_text(path)
        config = config_of_text(text, os.environ)
    except ConfigError as exc:
        exc.add_note(f"in {path}")
        raise
    logger.info("configuration is %s", path)
    if not await path.is_file():
        # Such as a pipe: it would be read dry, or for ever.
        logger.info("%s is no regular file: it is not read again", path)
        return _Source(config=config)
    return _Source(config=config, path=Path(path), text=text)


async def _apply(
    app: App, source: _Source, on_config: Callable[[AppConfig], None], text: str
) -> bool:
    """Apply a new text of the file, or log why not; false if it should be retried."""
    path = source.path
    if not text.strip():
        # Who writes it anew empties it first, and may take its time.
        await trio.lowlevel.checkpoint()
        logger.error(
            "%s is empty: the running configuration is kept (to run no workers, "
            "write `workers: []`)",
            path,
        )
        return True
    try:
        config = config_of_text(text, os.environ)
    except ConfigError as exc:
        await trio.lowlevel.checkpoint()
        logger.error(  # noqa: TRY400 - the mistake is in the file, not in our stack
            "%s: parse failed, the running configuration is kept: %s", path, exc
        )
        return True
    if _of_the_engine(config) != _of_the_engine(source.config):
        logger.warning(
            "%s: limits and registration_namespace_grace_ms are read at start: the "
            "running engine keeps those that it has",
            path,
        )
    on_config(config)
    try:
        report = await app.reload(config, wait=True)
    except trio.ClosedResourceError as exc:
        await trio.lowlevel.checkpoint()
        logger.info("%s is not applied: %s", path, exc)
        return True
    logger.info("%s applied: %s", path, report)
    for key, error in report.failed.items():
        logger.error("%s could not be started or changed: %s", key, error)
    return not report.failed


def _of_the_engine(config: AppConfig | None) -> object:
    assert config is not None, "there is a file"
    return config.limits, config.registration_namespace_grace


@attrs.define(eq=False)
class _Stop:
    requested: trio.Event = attrs.field(factory=trio.Event)
    starting: trio.CancelScope | None = None  # until there is something to drain
    drained: bool = False


@asynccontextmanager
async def _open_stop(*, signals: bool) -> AsyncIterator[_Stop]:
    """A block whose ``requested`` is set by a first signal, and that a second ends."""
    stop = _Stop()
    async with open_background_nursery("the app has ended") as nursery:
        if signals:
            await nursery.start(_watch_signals, stop, nursery.cancel_scope)
        yield stop


async def _watch_signals(
    stop: _Stop,
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    with trio.open_signal_receiver(*_ending_signals()) as received:
        task_status.started()
        async for number in received:
            name = signal.Signals(number).name
            if stop.requested.is_set():
                logger.warning("%s again: ending at once", name)
                scope.cancel(reason=f"a second {name}")
            else:
                logger.info("%s: shutting down", name)
                stop.requested.set()
                if stop.starting is not None:
                    stop.starting.cancel(reason=name)


def _ending_signals() -> list[signal.Signals]:
    ending = [signal.SIGINT, signal.SIGTERM]
    # Its terminal closes; under nohup that is ignored.
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        ending.append(signal.SIGHUP)
    return ending
