"""The engine's own log lines, on their way into the log store."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from iii_trio.builtins.observability import EngineLines, ObservabilityConfig, Telemetry
from tests.component.observability_rig import (
    SPAN_ID,
    TRACE,
    log_frame,
    open_observability_rig,
)

logger = logging.getLogger("iii_trio.test_lines")


@contextmanager
def captured(telemetry: Telemetry) -> Iterator[None]:
    lines, package = EngineLines(telemetry), logging.getLogger("iii_trio")
    level = package.level
    package.addHandler(lines)
    package.setLevel(1)
    try:
        yield
    finally:
        package.setLevel(level)
        package.removeHandler(lines)


async def test_lines_become_records_of_the_service_iii() -> None:
    async with open_observability_rig() as rig:
        with captured(rig.telemetry):
            try:
                raise RuntimeError("boom")  # noqa: TRY301 - for its traceback
            except RuntimeError:
                logger.exception("it %s", "broke")
        await rig.settle()
        [record] = (await rig.call("engine::logs::list"))["logs"]
    assert (record["body"], record["severity_text"]) == ("it broke", "ERROR")
    assert record["service_name"] == "iii"
    assert record["instrumentation_scope_name"] == "iii_trio.test_lines"
    assert "RuntimeError: boom" in record["attributes"]["exception.stacktrace"]


async def test_a_line_with_what_is_no_character_can_be_listed() -> None:
    async with open_observability_rig() as rig:
        with captured(rig.telemetry):
            try:
                raise RuntimeError("no \udce9.txt")  # noqa: TRY301 - as above
            except RuntimeError as exc:
                logger.exception("it broke: %s", exc)  # noqa: TRY401 - for its text
        await rig.settle()
        [record] = (await rig.call("engine::logs::list"))["logs"]
    assert record["body"] == r"it broke: no \udce9.txt"
    assert r"no \udce9.txt" in record["attributes"]["exception.stacktrace"]


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        (logging.CRITICAL, "FATAL"),
        (logging.WARNING, "WARN"),
        (logging.INFO, "INFO"),
        (logging.DEBUG, None),
    ],
)
async def test_lines_below_the_level_are_not_kept(
    level: int, shown: str | None
) -> None:
    async with open_observability_rig() as rig:
        with captured(rig.telemetry):
            logger.log(level, "line")
        await rig.settle()
        found = (await rig.call("engine::logs::list"))["logs"]
    assert [record["severity_text"] for record in found] == [shown] * bool(shown)


async def test_the_level_can_be_lowered_while_it_runs() -> None:
    async with open_observability_rig() as rig:
        await rig.handle.reconfigure(ObservabilityConfig(level="trace"))
        with captured(rig.telemetry):
            logger.debug("fine")
            logger.log(5, "finer")
            await rig.settle()
        found = (await rig.call("engine::logs::list"))["logs"]
    assert [one["severity_text"] for one in found[:2]] == ["TRACE", "DEBUG"]


async def test_records_of_workers_are_not_taken_for_lines_of_the_engine() -> None:
    async with open_observability_rig() as rig:
        with captured(rig.telemetry):
            await rig.tell(log_frame(body="once"))
        assert await rig.logged() == ["once"]


async def test_a_line_said_in_a_handler_belongs_to_its_trace() -> None:
    async with (
        open_observability_rig() as rig,
        rig.under_test.open_raw_peer("p") as peer,
    ):

        @rig.client.function("a::b")
        async def handler() -> None:
            await trio.lowlevel.checkpoint()
            logger.warning("inside")

        await rig.settle()
        with captured(rig.telemetry):
            parent = f"00-{TRACE}-{SPAN_ID}-01"
            await peer.outcome(peer.call("a::b", {}, traceparent=parent))
        await rig.settle()
        found = await rig.call("engine::logs::list", trace_id=TRACE)
    assert [record["body"] for record in found["logs"]] == ["inside"]


async def test_lines_of_other_threads_come_too() -> None:
    async with open_observability_rig() as rig:
        with captured(rig.telemetry):
            await trio.to_thread.run_sync(logger.warning, "from a thread")
            await rig.settle()
        assert await rig.logged() == ["from a thread"]


async def test_a_line_whose_text_does_not_fit_its_arguments_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    async with open_observability_rig() as rig:
        lines = EngineLines(rig.telemetry)
        lines.handle(
            logging.LogRecord("iii_trio.x", 40, __file__, 1, "%d", ("text",), None)
        )
        await rig.settle()
        assert await rig.logged() == []


def test_lines_after_the_end_are_passed_over() -> None:
    made: list[EngineLines] = []

    async def main() -> None:
        await trio.lowlevel.checkpoint()
        lines = EngineLines(Telemetry())
        made.append(lines)

    trio.run(main)
    [lines] = made
    lines._home = 0
    lines.emit(logging.LogRecord("iii_trio.x", 40, __file__, 1, "late", (), None))
