"""Edits of config.yaml under a running server."""

import math
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from iii_trio.app import App, AppConfig, WorkerEntry, _reload, serve
from iii_trio.app._reload import watch_text
from iii_trio.worker import open_worker
from tests.integration.server_rig import (
    HTTP,
    LISTENER,
    PATIENCE,
    VOLATILE,
    Server,
    call_in_flight,
    open_server,
)

PROMPT = ("--reload-delay", "0.05")
BASE = f"workers: [{LISTENER}]\n"
WITH_STATE = f"workers: [{LISTENER}, {VOLATILE}]\n"


async def write(directory: Path, text: str) -> None:
    await trio.Path(directory, "config.yaml").write_text(text)


async def edit(server: Server, directory: Path, text: str, pattern: str) -> str:
    """Write a new text and wait for the line that tells what came of it."""
    after = len(server.lines)
    await write(directory, text)
    return (await server.line(pattern, after=after))[0]


async def test_edits_add_change_and_remove_workers_without_touching_links(
    tmp_path: Path,
) -> None:
    async with open_server(tmp_path, BASE, *PROMPT) as server:
        url = f"ws://127.0.0.1:{await server.port()}"
        async with open_worker(url) as worker, open_worker(url) as callee:
            before = worker.worker_id
            async with call_in_flight(worker, callee):
                await edit(server, tmp_path, WITH_STATE, "applied: added iii-state")
                key = {"scope": "s", "key": "k"}
                await worker.invoke("state::set", key | {"value": 5})
                assert await worker.invoke("state::get", key) == 5
                limited = WITH_STATE.replace(
                    "config: {adapter", "config: {max_value_bytes: 1, adapter"
                )
                await edit(server, tmp_path, limited, "applied: changed iii-state")
                assert await worker.invoke("state::get", key) == 5
                await edit(server, tmp_path, BASE, "applied: removed iii-state")
            assert worker.worker_id == before
        assert await server.stop() == 0


@pytest.mark.parametrize(
    "bad",
    [
        "workers: [",
        "wokers: []",
        "workers: [{name: htpp}]",
        "workers: [{name: http, config: {prot: 1}}]",
        "a: ${NOBODY_EXPORTS_THIS}",
    ],
)
async def test_invalid_file_keeps_the_running_configuration(
    bad: str, tmp_path: Path
) -> None:
    async with open_server(tmp_path, WITH_STATE, *PROMPT) as server:
        async with open_worker(f"ws://127.0.0.1:{await server.port()}") as worker:
            await edit(server, tmp_path, bad, "parse failed")
            key = {"scope": "s", "key": "k"}
            assert await worker.invoke("state::get", key) is None
            await edit(server, tmp_path, BASE, "applied: removed iii-state")
        assert await server.stop() == 0


async def test_busy_port_keeps_the_old_door_and_is_told(tmp_path: Path) -> None:
    async with open_server(
        tmp_path, f"workers: [{LISTENER}, {HTTP}]", *PROMPT
    ) as server:
        port = await server.port()
        http_port = await server.port("iii-http")
        busy = f"workers: [{LISTENER}, {{name: http, config: {{port: {port}}}}}]"
        line = await edit(server, tmp_path, busy, "iii-http could not be .*")
        assert str(port) in line
        async with await trio.open_tcp_stream("127.0.0.1", http_port):
            pass
        assert await server.stop() == 0


async def test_what_failed_is_tried_again_when_the_same_text_is_saved(
    tmp_path: Path,
) -> None:
    with trio.socket.socket() as other:
        await other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        text = f"workers: [{LISTENER}, {{name: http, config: {{port: {port}}}}}]"
        async with open_server(tmp_path, BASE, *PROMPT) as server:
            await server.port()
            await edit(server, tmp_path, text, "iii-http could not be .*")
            other.close()
            await edit(server, tmp_path, text, "applied: added iii-http")
            assert await server.port("iii-http") == port
            assert await server.stop() == 0


async def test_file_that_is_replaced_or_recreated_is_followed(tmp_path: Path) -> None:
    async with open_server(tmp_path, BASE, *PROMPT) as server:
        await server.port()
        after = len(server.lines)
        new = trio.Path(tmp_path, "config.yaml.new")
        await new.write_text(WITH_STATE)
        await new.replace(tmp_path / "config.yaml")
        await server.line("applied: added iii-state", after=after)
        after = len(server.lines)
        await trio.Path(tmp_path, "config.yaml").unlink()
        await server.line("parse failed", after=after)
        await edit(server, tmp_path, BASE, "applied: removed iii-state")
        assert await server.stop() == 0


async def test_files_beside_it_and_touching_it_change_nothing(tmp_path: Path) -> None:
    async with open_server(tmp_path, BASE, *PROMPT) as server:
        await server.port()
        await trio.Path(tmp_path, "config.yaml.swp").write_text(WITH_STATE)
        await trio.Path(tmp_path, "config.yaml").touch()
        await edit(server, tmp_path, WITH_STATE, "applied: added iii-state")
        applied = [line for line in server.lines if "applied" in line]
        assert len(applied) == 1
        assert await server.stop() == 0


async def test_a_file_that_is_emptied_keeps_the_running_configuration(
    tmp_path: Path,
) -> None:
    """As by ``generate > config.yaml``, as long as ``generate`` thinks."""
    async with open_server(tmp_path, WITH_STATE, *PROMPT) as server:
        await server.port()
        await edit(server, tmp_path, "", "config.yaml is empty")
        await edit(server, tmp_path, BASE, "applied: removed iii-state")
        assert await server.stop() == 0
    assert sum("applied" in line for line in server.lines) == 1


@pytest.mark.parametrize("by", ["reload", "drain"])
async def test_an_edit_while_the_host_reloads_or_drains_ends_nothing(
    by: str, tmp_path: Path
) -> None:
    held, release, edited = trio.Event(), trio.Event(), trio.Event()
    path = tmp_path / "config.yaml"
    listener = {"name": "iii-worker-manager", "config": {"port": 0}}
    without_http = {"workers": [listener]}
    await write(tmp_path, f"workers: [{LISTENER}, {HTTP}]")

    async def hold() -> None:
        held.set()
        await release.wait()

    def on_config(config: AppConfig) -> None:
        if has_state(config.entries):
            edited.set()

    def has_state(entries: Iterable[WorkerEntry]) -> bool:
        return any(entry.kind == "iii-state" for entry in entries)

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            run = partial(serve, path, data_dir=tmp_path / "data", signals=False)
            app: App = await nursery.start(
                partial(run, reload_delay=0.05, on_config=on_config)
            )
            async with open_worker(app.engine) as worker:
                worker.register_function("slow::call", hold)
                route = {"http_method": "GET", "api_path": "/slow"}
                await worker.bind("http", "slow::call", route)
                address = app.addresses["iii-http"][0]
                async with await trio.open_tcp_stream(*address) as client:
                    await client.send_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
                    await held.wait()
                    async with trio.open_nursery() as host:
                        if by == "reload":
                            host.start_soon(app.reload, without_http)
                        else:
                            host.start_soon(app.drain, 30)
                        await trio.testing.wait_all_tasks_blocked()
                        await write(tmp_path, f"workers: [{LISTENER}, {VOLATILE}]")
                        await edited.wait()
                        await trio.testing.wait_all_tasks_blocked()
                        release.set()
                while by == "reload" and not has_state(app.entries):
                    await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


async def test_what_is_read_at_start_only_is_said(tmp_path: Path) -> None:
    async with open_server(tmp_path, BASE, *PROMPT) as server:
        await server.port()
        limited = f"limits: {{json_depth: 9}}\n{BASE}"
        await edit(server, tmp_path, limited, "limits and .* are read at start")
        await edit(server, tmp_path, WITH_STATE, "applied: added iii-state")
        assert await server.stop() == 0
    assert sum("are read at start" in line for line in server.lines) == 1


async def test_a_configuration_from_a_pipe_is_read_once(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, WITH_STATE.encode())
    os.close(writing)
    try:
        path = f"/proc/{os.getpid()}/fd/{reading}"
        async with open_server(tmp_path, None, "-c", path, *PROMPT) as server:
            async with open_worker(f"ws://127.0.0.1:{await server.port()}") as worker:
                await server.line("is no regular file: it is not read again")
                await worker.invoke("state::list_groups", {})
            assert await server.stop() == 0
    finally:
        os.close(reading)


async def replace(path: trio.Path, text: str) -> None:
    """Write all of it at once."""
    fresh = path.with_suffix(".fresh")
    await fresh.write_text(text)
    await fresh.replace(path)


async def test_a_text_counts_when_it_was_read_twice_with_time_between(
    tmp_path: Path, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trio.Path(tmp_path, "config.yaml")
    await path.write_text("old")
    got: list[str] = []
    send, readings = trio.open_memory_channel[str | None](math.inf)

    async def read(*given: Any, **more: Any) -> str | None:
        text = await really_read(*given, **more)
        if text != "old":
            send.send_nowait(text)
        return text

    async def apply(text: str) -> bool:
        await trio.lowlevel.checkpoint()
        got.append(text)
        return True

    really_read = _reload._read
    monkeypatch.setattr(_reload, "_read", read)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(watch_text, Path(path), "old", apply, settle=3600))
        await replace(path, "ne")
        assert await readings.receive() == "ne"
        await replace(path, "new")
        mock_clock.jump(3600)
        assert await readings.receive() == "new"
        assert got == []
        mock_clock.jump(3600)
        assert await readings.receive() == "new"
        assert await readings.receive() == "new"  # nothing more came of it
        assert got == ["new"]
        nursery.cancel_scope.cancel(reason="seen")


async def test_a_file_that_cannot_be_watched_is_looked_at(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = trio.Path(tmp_path, "later", "config.yaml")
    got: list[str] = []

    async def apply(text: str) -> bool:
        await trio.lowlevel.checkpoint()
        got.append(text)
        nursery.cancel_scope.cancel(reason="it was told")
        return True

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_text, Path(path), "", apply)
            while "cannot be watched" not in caplog.text:
                await trio.testing.wait_all_tasks_blocked()
            await path.parent.mkdir()
            await path.write_text(BASE)
    assert got == [BASE]
