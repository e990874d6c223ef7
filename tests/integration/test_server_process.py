"""``python -m iii_trio`` as a process: start, signals, exit codes, log."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from iii_trio.worker import open_worker
from tests.integration.server_rig import (
    HTTP,
    LISTENER,
    VOLATILE,
    call_in_flight,
    names_in,
    open_server,
)
from tests.integration.test_binding import held_port

CONFIG = f"workers: [{LISTENER}, {HTTP}, {VOLATILE}]\n"


@contextmanager
def hangups(handling: signal.Handlers) -> Iterator[None]:
    """Start servers that take SIGHUP as a shell has it, or as ``nohup`` does."""
    before = signal.signal(signal.SIGHUP, handling)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_server_says_where_it_listens_and_drains_on_sigterm(
    tmp_path: Path,
) -> None:
    async with open_server(tmp_path, CONFIG) as server:
        port = await server.port()
        http_port = await server.port("iii-http")
        assert port != http_port
        async with open_worker(f"ws://127.0.0.1:{port}") as worker:
            answer = await worker.invoke("engine::workers::list", {})
        names = {each["name"] for each in answer["workers"]}
        assert {"iii-http", "iii-state"} <= names
        assert await server.stop() == 0
    assert any("draining" in line for line in server.lines)
    assert not any("Traceback" in line for line in server.lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signal_lets_calls_in_flight_finish(
    number: signal.Signals, tmp_path: Path
) -> None:
    with hangups(signal.SIG_DFL):
        async with open_server(tmp_path, f"workers: [{LISTENER}]") as server:
            url = f"ws://127.0.0.1:{await server.port()}"
            async with open_worker(url) as callee, open_worker(url) as caller:
                async with call_in_flight(caller, callee):
                    server.process.send_signal(number)
                    await server.line("draining")
                assert await server.wait() == 0


async def test_a_terminal_that_closes_ends_nothing_under_nohup(tmp_path: Path) -> None:
    with hangups(signal.SIG_IGN):
        async with open_server(tmp_path, f"workers: [{LISTENER}]") as server:
            url = f"ws://127.0.0.1:{await server.port()}"
            server.process.send_signal(signal.SIGHUP)
            async with open_worker(url) as worker:
                assert await worker.invoke("engine::workers::list", {})
            assert await server.stop() == 0
    assert not any("SIGHUP" in line for line in server.lines)


async def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    async with open_server(
        tmp_path, f"workers: [{LISTENER}]", "--drain-timeout", "1000"
    ) as server:
        url = f"ws://127.0.0.1:{await server.port()}"
        async with open_worker(url) as worker:
            started = trio.Event()

            @worker.function("stuck::call")
            async def stuck() -> None:
                started.set()
                await trio.sleep_forever()

            worker.fire("stuck::call")
            await started.wait()
            server.process.send_signal(signal.SIGINT)
            await server.line("draining")
            server.process.send_signal(signal.SIGINT)
            assert await server.wait() == 1


async def test_drain_ends_after_its_timeout(tmp_path: Path) -> None:
    async with open_server(
        tmp_path, f"workers: [{LISTENER}]", "--drain-timeout", "0.01"
    ) as server:
        url = f"ws://127.0.0.1:{await server.port()}"
        async with open_worker(url) as worker:
            started = trio.Event()

            @worker.function("stuck::call")
            async def stuck() -> None:
                started.set()
                await trio.sleep_forever()

            worker.fire("stuck::call")
            await started.wait()
            assert await server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_it_starts_ends_it(
    number: signal.Signals, tmp_path: Path
) -> None:
    with held_port() as held:
        entry = f"{{name: iii-worker-manager, config: {{port: {held.port}}}}}"
        config = f"workers: [{VOLATILE}, {entry}]"
        async with open_server(tmp_path, config) as server:
            await server.line(f"Port {held.port}: nobody listens there")
            server.process.send_signal(number)
            assert await server.wait() == 0
    assert not any("Traceback" in line for line in server.lines)


async def test_busy_port_at_start_is_fatal_and_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        config = f"workers: [{{name: iii-worker-manager, config: {{port: {port}}}}}]"
        async with open_server(tmp_path, config) as server:
            assert await server.wait() == 1
    last = server.lines[-1]
    assert last.startswith("Error: ")
    assert str(port) in last
    assert "in use" in last


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("workers: [{name: htpp}]", "workers[0].name: unknown worker 'htpp'"),
        ("workers: [", "line 2, column 1"),
        ("a: ${NOBODY_EXPORTS_THIS}", "NOBODY_EXPORTS_THIS (line 1)"),
        (
            "workers: [{name: http}, {name: iii-http}]",
            "Duplicate worker configurations:",
        ),
    ],
)
async def test_bad_config_is_fatal_with_its_file(
    config: str, message: str, tmp_path: Path
) -> None:
    async with open_server(tmp_path, config) as server:
        assert await server.wait() == 1
    text = "\n".join(server.lines)
    assert "Error: " in text
    assert message in text
    assert f"in {tmp_path / 'config.yaml'}" in text
    assert "Traceback" not in text


async def test_missing_file_that_was_asked_for_is_fatal(tmp_path: Path) -> None:
    async with open_server(tmp_path, None, "-c", "absent.yaml") as server:
        assert await server.wait() == 1
    assert "No such file" in "\n".join(server.lines)


async def test_durable_state_survives_kill_and_its_place_is_logged(
    tmp_path: Path,
) -> None:
    config = f"workers: [{LISTENER}, {{name: state}}]"
    key = {"scope": "s", "key": "k"}
    for expected in (None, 41):
        async with open_server(tmp_path, config) as server:
            where = await server.line(r"(/\S*iii-trio\.db)")
            assert where[1] == str((tmp_path / "data" / "iii-trio.db").resolve())
            async with open_worker(f"ws://127.0.0.1:{await server.port()}") as worker:
                assert await worker.invoke("state::get", key) == expected
                await worker.invoke("state::set", key | {"value": 41})
                server.process.kill()
                await server.wait()
    assert names_in(tmp_path) == ["config.yaml", "data"]


async def test_data_dir_of_the_command_line_is_used(tmp_path: Path) -> None:
    config = f"workers: [{LISTENER}, {{name: state}}]"
    async with open_server(tmp_path, config, "--data-dir", "elsewhere") as server:
        await server.port()
        assert await server.stop() == 0
    assert names_in(tmp_path) == ["config.yaml", "elsewhere"]


async def test_unwritable_data_dir_is_fatal(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    async with open_server(
        tmp_path, f"workers: [{LISTENER}, {{name: state}}]"
    ) as server:
        assert await server.wait() == 1
    assert "Error: " in server.lines[-1]


async def test_json_log_lines_are_json(tmp_path: Path) -> None:
    async with open_server(tmp_path, CONFIG, "--log-format", "json") as server:
        await server.port()
        assert await server.stop() == 0
    records = [json.loads(line) for line in server.lines]
    assert all({"event", "level", "logger", "timestamp"} <= set(r) for r in records)


async def test_port_and_file_may_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(
        "workers: [{name: iii-worker-manager, config: {port: ${TEST_PORT:1}}}]"
    )
    async with open_server(
        tmp_path, None, "-c", "other.yaml", env={"TEST_PORT": "0"}
    ) as server:
        assert await server.port() > 1
        assert await server.stop() == 0


async def test_skipped_entries_are_warned_about_once(tmp_path: Path) -> None:
    config = f"workers: [{LISTENER}, {{name: iii-engine-functions}}, {{name: iii-telemetry}}]"
    async with open_server(tmp_path, config) as server:
        await server.port()
        assert await server.stop() == 0
    warned = [line for line in server.lines if "needs no entry" in line]
    assert len(warned) == 2


async def test_the_format_of_log_lines_follows_the_config_file(
    tmp_path: Path,
) -> None:
    config = f"workers: [{LISTENER}, {{name: iii-observability, config: {{}}}}]"
    as_json = config.replace("{}", "{format: json}")
    async with open_server(tmp_path, as_json, "--reload-delay", "0.05") as server:
        await server.port()
        [line] = [line for line in server.lines if "127.0.0.1" in line]
        assert json.loads(line)["level"] == "info"
        await trio.Path(tmp_path, "config.yaml").write_text(config)
        applied = await server.line("applied: changed iii-observability")
        assert not applied.string.startswith("{")
        assert await server.stop() == 0
