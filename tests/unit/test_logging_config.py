"""Which log lines the server shows, by the configuration."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from iii_trio.app import AppConfig
from iii_trio.app._load import config_of_text
from iii_trio.app._logging import LogFormat, configure_logging, follow_config

ROOT, PACKAGE = logging.getLogger(), logging.getLogger("iii_trio")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    handlers, levels = ROOT.handlers[:], (ROOT.level, PACKAGE.level)
    yield
    ROOT.handlers[:] = handlers
    ROOT.setLevel(levels[0])
    PACKAGE.setLevel(levels[1])


def config(block: str) -> AppConfig:
    text = f"workers: [{{name: iii-observability, config: {block}}}]"
    return config_of_text(text, {})


def renderer() -> Any:
    [formatter] = [one.formatter for one in ROOT.handlers]
    assert isinstance(formatter, structlog.stdlib.ProcessorFormatter)
    return formatter.processors[-1]


@pytest.mark.parametrize(
    ("block", "level"),
    [
        ("{}", logging.NOTSET),
        ("{level: debug}", logging.DEBUG),
        ("{level: WARNING}", logging.WARNING),
        ("{level: error}", logging.ERROR),
    ],
)
def test_the_level_is_that_of_the_observability_entry(block: str, level: int) -> None:
    PACKAGE.setLevel(7)
    follow_config(config(block), default_format="text")
    assert PACKAGE.level == level


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_text_forges_no_entry_and_moves_no_cursor(
    log_format: LogFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(log_format)
    forged = "harmless\n2026-01-01T00:00:00Z [error    ] all is lost\r\x1b[2J\x9b1A"
    logging.getLogger("iii_trio.workers").warning("%s: %s", "shop", forged)
    first, *others = capsys.readouterr().err.splitlines()
    assert "shop: harmless" in first
    assert all(line.startswith("    ") for line in others)
    assert len(others) == (log_format == "text")
    assert not set("".join([first, *others])) & {"\r", "\x1b", "\x9b"}


def test_json_is_what_the_entry_or_the_command_line_asks_for() -> None:
    follow_config(config("{format: json}"), default_format="text")
    assert isinstance(renderer(), structlog.processors.JSONRenderer)
    follow_config(config("{format: default}"), default_format="text")
    assert isinstance(renderer(), structlog.dev.ConsoleRenderer)
    follow_config(config("{}"), default_format="json")
    assert isinstance(renderer(), structlog.processors.JSONRenderer)
