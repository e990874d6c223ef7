"""Log lines of the server: structlog formats what stdlib loggers say, on stderr."""

import logging
import re
import sys
from typing import Final, Literal

import structlog

from iii_trio.app._config import AppConfig
from iii_trio.app._log_floods import FloodFilter
from iii_trio.builtins.observability import ObservabilityConfig, level_number

LogFormat = Literal["text", "json"]

QUIET: Final = ("watchfiles", "trio-websocket", "httpx")
"""Libraries whose INFO lines are of no use to an operator."""


_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")

_NEXT_LINE: Final = "\n    "
"""What a text of several lines goes on with, so that none looks like another entry."""


def show_as_one_entry(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Let a text neither move the reader's terminal nor forge further entries.

    Workers and peers write into many of them: records, names, errors.
    """
    text = _CONTROLS.sub(lambda found: repr(found[0])[1:-1], str(event["event"]))
    event["event"] = text.replace("\n", _NEXT_LINE)
    return event


def configure_logging(log_format: LogFormat) -> None:
    """Send all log records of this process to stderr, one entry each.

    Args:
        log_format: ``text`` for people, ``json`` for machines.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[structlog.typing.Processor]
    if log_format == "json":
        renderer = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        renderer = [
            show_as_one_entry,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,
                pad_event_to=0,
            ),
        ]
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(FloodFilter())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def follow_config(config: AppConfig, *, default_format: LogFormat) -> None:
    """Let the ``level`` and ``format`` of the observability entry hold for log lines.

    Args:
        config: what runs from now on.
        default_format: unless the entry asks for ``json``.
    """
    wanted = [
        entry.config
        for entry in config.entries
        if isinstance(entry.config, ObservabilityConfig)
    ]
    level, log_format = logging.NOTSET, default_format
    for block in wanted:
        level = level_number(block.level) if block.level else level
        log_format = "json" if block.format == "json" else log_format
    logging.getLogger("iii_trio").setLevel(level)
    configure_logging(log_format)
