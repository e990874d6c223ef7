"""Access rules of a running app: from its configuration, and after a reload."""

import json
import pathlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from iii_trio.app import App, open_app
from iii_trio.errors import ConfigError
from iii_trio.net import OP_TEXT
from iii_trio.worker import open_worker
from tests.integration.net_rig import Client

pytestmark = pytest.mark.slow

CALL_ID = "00000000-0000-4000-8000-000000000001"


def document(**listener: Any) -> dict[str, Any]:
    block = {"port": 0, **listener}
    return {"workers": [{"name": "iii-worker-manager", "config": block}]}


@asynccontextmanager
async def dial(app: App, name: str = "iii-worker-manager") -> AsyncIterator[Client]:
    stream = await trio.open_tcp_stream(*app.addresses[name][0])
    try:
        yield await Client(stream).upgrade("/")
    finally:
        stream.socket.close()


async def frame(client: Client) -> Any:
    opcode, data = await client.event()
    assert opcode == OP_TEXT
    return json.loads(data)


async def lists(client: Client) -> Any:
    """Greet, then list the functions; the error, if that is not allowed."""
    assert (await frame(client))["type"] == "workerregistered"
    call = {"type": "invokefunction", "invocation_id": CALL_ID, "data": {}}
    function_id = "engine::functions::list"
    await client.text(json.dumps(call | {"function_id": function_id}).encode())
    return (await frame(client)).get("error", {}).get("code")


async def test_a_reload_locks_a_listener_and_drops_who_came_before(
    tmp_path: pathlib.Path,
) -> None:
    with trio.fail_after(45):
        async with open_app(document(), data_dir=tmp_path) as app, dial(app) as before:
            assert await lists(before) is None
            report = await app.reload(document(rbac={}))
            assert report.changed == ("iii-worker-manager",)
            assert await before.at_end()
            async with dial(app) as after:
                assert await lists(after) == "FORBIDDEN"
            with pytest.raises(ConfigError, match="auth_function_id"):
                await app.reload(document(rbac={"auth_function": "x"}))
            async with dial(app) as after:
                assert await lists(after) == "FORBIDDEN"


async def test_who_offers_the_auth_function_of_a_listener_to_come_is_not_asked(
    tmp_path: pathlib.Path,
) -> None:
    asked: list[Any] = []

    async def open_to_all(request: Any) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        asked.append(request)
        return {"allowed_functions": ["engine::functions::list"]}

    with trio.fail_after(45):
        async with open_app(document(rbac={}), data_dir=tmp_path) as app:
            host, port = app.addresses["iii-worker-manager"][0]
            async with open_worker(f"ws://{host}:{port}") as stranger:
                stranger.register_function("auth::late", open_to_all)
                while app.engine.registry.find("default", "auth::late") is None:
                    await trio.testing.wait_all_tasks_blocked()
                (later,) = document(rbac={"auth_function_id": "auth::late"})["workers"]
                config = document(rbac={})
                config["workers"].append(later)
                with socket.create_server(("127.0.0.1", 0)) as held:
                    free = later["config"]["port"]
                    later["config"]["port"] = held.getsockname()[1]
                    report = await app.reload(config)
                    assert list(report.failed) == ["iii-worker-manager#1"]
                assert app.engine.registry.find("default", "auth::late") is not None
                later["config"]["port"] = free
                report = await app.reload(config)
                assert report.added == ("iii-worker-manager#1",)
                async with dial(app, "iii-worker-manager#1") as client:
                    assert (await frame(client))["error"]["code"] == "AUTH_ERROR"
                while "auth::late" not in stranger.rejections:
                    await trio.testing.wait_all_tasks_blocked()
        assert asked == []


async def test_listeners_beside_each_other_keep_to_their_own_rules(
    tmp_path: pathlib.Path,
) -> None:
    config = document()
    config["workers"] += document(rbac={"auth_function_id": "auth::gone"})["workers"]
    with trio.fail_after(45):
        async with open_app(config, data_dir=tmp_path) as app:
            async with dial(app) as free:
                assert await lists(free) is None
            async with dial(app, "iii-worker-manager#1") as locked:
                refused = await frame(locked)
                assert refused["type"] == "error"
                assert refused["error"]["code"] == "AUTH_ERROR"
