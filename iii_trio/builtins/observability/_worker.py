"""`serve_observability`: logs, traces and metrics of an engine and all its workers."""

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from typing import Any, Final, NoReturn, cast, final

import attrs
import msgspec
import trio

from iii_trio._util import (
    ConflictDetector,
    NoPublicConstructor,
    open_background_nursery,
)
from iii_trio.builtins.observability._config import (
    PROTOCOL_VARIABLE,
    ObservabilityConfig,
    PrometheusConfig,
    Settings,
    settings_of,
)
from iii_trio.builtins.observability._export import Exporter, ExportStatistics
from iii_trio.builtins.observability._functions import ObservabilityFunctions
from iii_trio.builtins.observability._intake import Intake
from iii_trio.builtins.observability._otlp_out import require_encoder
from iii_trio.builtins.observability._prometheus import MetricsPage, metrics_text
from iii_trio.builtins.observability._schemas import (
    LOG_CONFIG_FORMAT,
    LOG_FORMAT,
    TRACE_CONFIG_FORMAT,
    TRACE_FORMAT,
)
from iii_trio.builtins.observability._telemetry import Telemetry
from iii_trio.builtins.observability._trace_functions import Table, TraceFunctions
from iii_trio.builtins.observability._triggers import (
    LOG,
    TRACE,
    Deliverer,
    LogTriggers,
    TraceTriggers,
)
from iii_trio.errors import ConfigError
from iii_trio.net import KeptDoor, Pump, start_front_door
from iii_trio.worker import Worker

JSON = Any

logger = logging.getLogger("iii_trio.builtins.observability")

_schema_of: Final = cast("Callable[[type], JSON]", cache(msgspec.json.schema))
"""Cached, as it takes longer than all the rest of starting this worker."""

FLUSH_GRACE: Final = 2.0
"""Seconds that a drain waits for the collector."""


@attrs.frozen(kw_only=True)
class ObservabilityStatistics:
    """What is kept, and what was lost, at one moment.

    Attributes:
        waiting: what was told and is not read yet.
        dropped: what was lost unread, because too much was told at once.
        unreadable: messages, and records inside of them, that could not be used.
        export: requests to the collector.
    """

    logs: int
    spans: int
    metrics: int
    waiting: int
    dropped: int
    unreadable: int
    export: ExportStatistics


@final
@attrs.define(eq=False, kw_only=True)
class ObservabilityHandle(metaclass=NoPublicConstructor):
    """A running observability worker."""

    _telemetry: Telemetry
    _intake: Intake
    _exporter: Exporter
    _deliverer: Deliverer
    _environ: Mapping[str, str]
    _pump: Pump | None
    _nursery: trio.Nursery
    _prometheus: PrometheusConfig | None = None
    _door: KeptDoor | None = None
    _one_user: ConflictDetector = attrs.field(
        factory=lambda: ConflictDetector("another task is changing the settings")
    )

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of the Prometheus endpoint, if it is open."""
        return () if self._door is None else self._door.door.addresses

    def statistics(self) -> ObservabilityStatistics:
        """Counts, as of now."""
        telemetry = self._telemetry
        return ObservabilityStatistics(
            logs=len(telemetry.logs),
            spans=len(telemetry.spans),
            metrics=len(telemetry.metrics),
            waiting=len(telemetry.inbox) + len(telemetry.ended),
            dropped=telemetry.inbox.dropped + telemetry.ended.dropped,
            unreadable=telemetry.refused + telemetry.left_out,
            export=self._exporter.statistics(),
        )

    async def reconfigure(self, config: ObservabilityConfig) -> None:
        """Take other settings; what is kept stays, as far as it still fits.

        Raises:
            ConfigError: an extra is missing; everything stays as it was.
            OSError: the endpoint's address cannot be bound; likewise.
            trio.BusyResourceError: another task is at it.
        """
        with self._one_user:
            await trio.lowlevel.checkpoint()
            settings = _settings(config, self._environ)
            await self._open_endpoint(settings.prometheus)
            self.apply(settings)

    async def drain(self, grace: float) -> None:
        """Read what was told, wait for deliveries, and let the collector have the rest.

        At most ``grace`` seconds, and at most `FLUSH_GRACE` for the collector.
        """
        with trio.move_on_after(grace):
            await self._intake.wait_read()
            await self._deliverer.wait_all_done()
            if self._intake.settings.metrics:
                self._intake.note_engine_metrics()
            with trio.move_on_after(FLUSH_GRACE):
                await self._exporter.wait_sent()

    def apply(self, settings: Settings) -> None:
        """Let settings hold from now on. Sync."""
        self._intake.settings = settings
        self._exporter.reconfigure(settings)
        self._telemetry.apply(settings)

    async def _open_endpoint(self, wanted: PrometheusConfig | None) -> None:
        """Open, move or close the Prometheus endpoint; a new address is bound first."""
        await trio.lowlevel.checkpoint()
        if wanted == self._prometheus:
            return
        old, new = self._door, None
        if wanted is not None:
            new = await self._start_door(wanted)
        self._door, self._prometheus = new, wanted
        if old is not None:
            old.give_up()

    async def _start_door(self, wanted: PrometheusConfig) -> KeptDoor:
        assert self._pump is not None, "an endpoint needs a pump"
        return await start_front_door(
            self._nursery,
            self._pump,
            MetricsPage(metrics_text(self._telemetry)),
            name="prometheus front door",
            host=wanted.host,
            port=wanted.port,
        )


def _settings(config: ObservabilityConfig, environ: Mapping[str, str]) -> Settings:
    """Fill in a configuration, and look whether it can be had.

    Raises:
        ConfigError: the environment asks for protobuf, and the extra ``otel`` is missing.
    """
    settings, notes = settings_of(config, environ)
    if settings.sends:
        try:
            require_encoder(settings.protocol)
        except ConfigError:
            if environ.get(PROTOCOL_VARIABLE):
                raise
            notes.append("OTLP is sent as JSON: the extra `otel` is not installed")
            settings = attrs.evolve(settings, protocol="http/json")
    for note in notes:
        logger.warning("%s", note)
    return settings


async def serve_observability(
    worker: Worker,
    config: ObservabilityConfig,
    *,
    telemetry: Telemetry,
    pump: Pump | None = None,
    environ: Mapping[str, str] = os.environ,
    task_status: trio.TaskStatus[ObservabilityHandle] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Keep, show and send logs, traces and metrics until cancelled.

    Args:
        worker: offers the functions and the trigger types ``log`` and ``trace``; its name
            must be ``iii-observability``, or what the engine's ``engine_ids`` say.
        config: see `ObservabilityConfig`; what it leaves out comes from ``environ``.
        telemetry: what the engine tells; see there.
        pump: for the Prometheus endpoint, if the configuration wants one.
        environ: environment variables of OpenTelemetry.
        task_status: gets an `ObservabilityHandle` once all is registered.

    Raises:
        ConfigError: an extra that the configuration needs is not installed.
        OSError: the Prometheus endpoint cannot be bound.
        RegistrationError: another worker offers one of the functions.

    Cancellation withdraws everything at once; for a graceful end
    `ObservabilityHandle.drain` first.
    """
    settings = _settings(config, environ)
    exporter = Exporter(settings)
    deliverer = Deliverer(worker, telemetry)
    log_triggers = LogTriggers(deliverer, telemetry)
    trace_triggers = TraceTriggers(worker, deliverer, telemetry)
    intake = Intake(telemetry, settings, exporter, log_triggers, trace_triggers)
    async with open_background_nursery("the observability worker ends") as nursery:
        handle = ObservabilityHandle._create(
            telemetry=telemetry,
            intake=intake,
            exporter=exporter,
            deliverer=deliverer,
            environ=environ,
            pump=pump,
            nursery=nursery,
        )
        with ExitStack() as registered:
            functions = {
                **ObservabilityFunctions(telemetry, intake, exporter).by_id(),
                **TraceFunctions(telemetry, intake).by_id(),
            }
            _register(worker, functions, log_triggers, trace_triggers, registered)
            await handle._open_endpoint(settings.prometheus)  # noqa: SLF001 - our own
            registered.callback(telemetry.stop_observing)
            handle.apply(settings)
            nursery.start_soon(intake.run, name="telemetry")
            nursery.start_soon(intake.run_spans, name="engine spans")
            nursery.start_soon(intake.run_clock, name="telemetry clock")
            nursery.start_soon(exporter.run, name="telemetry export")
            task_status.started(handle)
            await trio.sleep_forever()
    raise AssertionError  # pragma: no cover - sleep_forever does not return


def _register(
    worker: Worker,
    functions: Table,
    log_triggers: LogTriggers,
    trace_triggers: TraceTriggers,
    registered: ExitStack,
) -> None:
    """Register everything; the stack takes it back."""
    worker.register_trigger_type(
        LOG,
        bind=log_triggers.bind,
        unbind=log_triggers.unbind,
        description="A worker logged something.",
        config_format=LOG_CONFIG_FORMAT,
        call_format=LOG_FORMAT,
    )
    registered.callback(worker.unregister_trigger_type, LOG)
    worker.register_trigger_type(
        TRACE,
        bind=trace_triggers.bind,
        unbind=trace_triggers.unbind,
        description="Spans of traces ended.",
        config_format=TRACE_CONFIG_FORMAT,
        call_format=TRACE_FORMAT,
    )
    registered.callback(worker.unregister_trigger_type, TRACE)
    for function_id, (handler, takes, description) in functions.items():
        worker.register_function(
            function_id,
            handler,
            description=description,
            request_format={"type": "object"} if takes is None else _schema_of(takes),
        )
        registered.callback(worker.unregister_function, function_id)
