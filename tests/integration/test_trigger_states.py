"""Conditions and states of triggers, of every type that the bundled workers provide."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from iii_trio.app import App, open_app
from iii_trio.protocol import Event, TriggerChanged
from iii_trio.worker import Worker, open_worker
from tests.live import PATIENCE

LISTENER = {"name": "iii-worker-manager", "config": {"port": 0}}
VOLATILE = {"adapter": {"name": "memory"}}
BUILTINS = [
    {"name": "http", "config": {"port": 0}},
    {"name": "state", "config": VOLATILE},
    {"name": "stream", "config": {"port": 0, **VOLATILE}},
    {"name": "queue", "config": VOLATILE},
    {"name": "cron"},
    {"name": "pubsub"},
]
CONFIGURED = {"id": "c", "name": "C", "description": "", "schema": True}


@attrs.define(eq=False)
class Scene:
    """An app, and a function whose triggers ask a condition."""

    app: App
    worker: Worker
    allowed: bool = False
    asked: int = 0
    heard: int = 0
    news: trio.Condition = attrs.field(factory=trio.Condition)
    states: list[str] = attrs.field(factory=list)

    async def ask(self, _event: Any) -> bool:
        async with self.news:
            self.asked += 1
            self.news.notify_all()
        return self.allowed

    async def hear(self, _event: Any) -> None:
        async with self.news:
            self.heard += 1
            self.news.notify_all()

    def notice(self, event: Event) -> None:
        if isinstance(event, TriggerChanged) and event.trigger_id == "t":
            self.states.append(event.state)

    async def until(self, happened: Callable[[], bool]) -> None:
        with trio.fail_after(PATIENCE):
            async with self.news:
                while not happened():
                    await self.news.wait()

    async def row(self) -> dict[str, Any]:
        listed = await self.worker.invoke("engine::registered-triggers::list", {})
        [row] = [row for row in listed["registered_triggers"] if row["id"] == "t"]
        return dict(row)


async def by_http(scene: Scene) -> None:
    port = scene.app.addresses["iii-http"][0][1]
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(
            b"GET /t HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        answer = b"".join([piece async for piece in stream])
    expected = b"HTTP/1.1 200" if scene.allowed else b"HTTP/1.1 422"
    assert answer.startswith(expected)


async def by_time(_scene: Scene) -> None:
    await trio.lowlevel.checkpoint()


def by_call(function_id: str, **payload: Any) -> Callable[[Scene], Awaitable[None]]:
    async def fire(scene: Scene) -> None:
        await scene.worker.invoke(function_id, payload)

    return fire


WAYS: dict[str, tuple[dict[str, Any], Callable[[Scene], Awaitable[None]]]] = {
    "http": ({"api_path": "/t"}, by_http),
    "cron": ({"expression": "* * * * * *"}, by_time),
    "state": (
        {"scope": "s"},
        by_call("state::set", scope="s", key="k", value=1),
    ),
    "stream": (
        {"stream_name": "s"},
        by_call("stream::set", stream_name="s", group_id="g", item_id="i", data=1),
    ),
    "subscribe": ({"topic": "t"}, by_call("publish", topic="t", data=1)),
    "durable:subscriber": (
        {"topic": "t"},
        by_call("iii::durable::publish", topic="t", data=1),
    ),
    "configuration": (
        {"configuration_id": "c"},
        by_call("configuration::register", **CONFIGURED),
    ),
    "log": ({"level": "warn"}, by_call("engine::log::warn", message="x")),
}
ALWAYS_THERE = ("configuration", "log")
"""Types of workers that run whether they are named or not."""


@asynccontextmanager
async def open_scene(directory: Path) -> AsyncIterator[Scene]:
    async with (
        open_app({"workers": [LISTENER]}, data_dir=directory) as app,
        open_worker(app.engine) as worker,
    ):
        scene = Scene(app, worker)
        app.engine.subscribe(scene.notice)
        worker.register_function("test::ask", scene.ask)
        worker.register_function("test::hear", scene.hear)
        yield scene


@pytest.mark.parametrize("trigger_type", WAYS)
async def test_a_trigger_waits_listens_asks_fires_and_goes(
    trigger_type: str, tmp_path: Path
) -> None:
    config, fire = WAYS[trigger_type]
    async with open_scene(tmp_path) as scene:
        await scene.worker.bind(
            trigger_type, "test::hear", config, condition="test::ask", trigger_id="t"
        )
        if trigger_type not in ALWAYS_THERE:
            row = await scene.row()
            assert (row["state"], row["status"]) == ("registered", "pending")
        report = await scene.app.reload({"workers": [LISTENER, *BUILTINS]})
        assert not report.failed
        row = await scene.row()
        assert (row["state"], row["fired"]) == ("active", 0)

        await fire(scene)
        await scene.until(lambda: scene.asked >= 1)
        assert scene.heard == 0
        assert (await scene.row())["state"] == "active"

        scene.allowed = True
        await fire(scene)
        await scene.until(lambda: scene.heard >= 1)
        row = await scene.row()
        assert row["state"] == "invoked"
        assert row["fired"] >= 1
        scene.worker.unbind("t")
        assert scene.states[:3] == ["registered", "active", "invoked"]
        assert scene.states[-1] == "unregistered"


async def test_every_trigger_type_with_a_condition_is_tried(tmp_path: Path) -> None:
    others = {"stream:join", "stream:leave", "trace"}  # tried with their workers
    async with open_scene(tmp_path) as scene:
        await scene.app.reload({"workers": [LISTENER, *BUILTINS]})
        listed = await scene.worker.invoke("engine::triggers::list", {})
        assert {one["id"] for one in listed["triggers"]} - others == set(WAYS)
