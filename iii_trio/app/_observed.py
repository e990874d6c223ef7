"""An engine whose telemetry, events and log lines are kept."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from iii_trio.app._config import AppConfig
from iii_trio.app._log_floods import FloodFilter
from iii_trio.builtins.observability import EngineLines, Telemetry
from iii_trio.engine import Engine, open_engine


@asynccontextmanager
async def open_observed_engine(
    config: AppConfig, telemetry: Telemetry
) -> AsyncIterator[Engine]:
    """Open an engine that tells ``telemetry`` everything, its own log lines too."""
    lines, package = EngineLines(telemetry), logging.getLogger("iii_trio")
    lines.addFilter(FloodFilter(tells=False))
    package.addHandler(lines)
    try:
        async with open_engine(
            grace=config.registration_namespace_grace,
            limits=config.limits,
            on_telemetry=telemetry.take,
            latest_metrics=telemetry.latest_metrics,
        ) as engine:
            telemetry.attach(engine)
            yield engine
    finally:
        package.removeHandler(lines)
