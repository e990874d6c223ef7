"""Trigger types and actions that workers on the public SDKs provide."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from iii_trio.app import open_app
from iii_trio.errors import InvocationError, RegistrationError
from iii_trio.protocol import Event, FunctionRegistered
from iii_trio.worker import Worker, open_worker
from tests.integration.sdk_rig import serve_sdk_program
from tests.live import PATIENCE, Language

WORKERS = [
    {"name": "iii-worker-manager", "config": {"port": 0}},
    {"name": "queue", "config": {"adapter": {"name": "memory"}}},
]
BOTH = pytest.mark.parametrize(
    "language", ["py", pytest.param("ts", marks=pytest.mark.needs_node)]
)


@attrs.define(eq=False)
class Scene:
    """An app, a worker on an SDK, and a client with a function that hears."""

    client: Worker
    heard: list[Any] = attrs.field(factory=list)
    news: trio.Condition = attrs.field(factory=trio.Condition)

    async def hear(self, payload: Any) -> Any:
        async with self.news:
            self.heard.append(payload)
            self.news.notify_all()
        return f"heard {payload['tone']}"

    async def has_heard(self, expected: list[Any]) -> None:
        with trio.fail_after(PATIENCE):
            async with self.news:
                while self.heard != expected:
                    await self.news.wait()


@asynccontextmanager
async def open_scene(directory: Path, *languages: Language) -> AsyncIterator[Scene]:
    async with (
        open_app({"workers": WORKERS}, data_dir=directory / "data") as app,
        open_worker(app.engine) as client,
        trio.open_nursery() as nursery,
    ):
        scene = Scene(client)
        client.register_function("test::hear", scene.hear)
        arrived = {f"{language}::ring": trio.Event() for language in languages}

        def notice(event: Event) -> None:
            if isinstance(event, FunctionRegistered) and event.function_id in arrived:
                arrived[event.function_id].set()

        app.engine.subscribe(notice)
        for language in languages:
            nursery.start_soon(serve_sdk_program, app, language, "extender", directory)
        with trio.fail_after(PATIENCE):
            for event in arrived.values():
                await event.wait()
        yield scene
        nursery.cancel_scope.cancel(reason="the test is over")


@BOTH
async def test_a_trigger_of_an_sdks_type_fires_in_every_way(
    language: Language, tmp_path: Path
) -> None:
    async with open_scene(tmp_path, language) as scene:
        kind, ring = f"{language}-chime", f"{language}::ring"
        await scene.client.bind(kind, "test::hear", {"tone": "a"})
        with pytest.raises(RegistrationError, match="a chime needs a tone"):
            await scene.client.bind(kind, "test::hear", {})
        event = {"tone": "a"}
        assert await scene.client.invoke(ring, {"how": "sync"}) == ["heard a"]
        await scene.has_heard([event])
        assert await scene.client.invoke(ring, {"how": "void"}) == [None]
        await scene.has_heard([event] * 2)
        [receipt] = await scene.client.invoke(ring, {"how": "enqueue"})
        assert len(receipt["messageReceiptId"]) == 36
        await scene.has_heard([event] * 3)


@pytest.mark.needs_node
@BOTH
async def test_an_action_that_an_sdk_serves_happens_to_calls_with_it(
    language: Language, tmp_path: Path
) -> None:
    languages: list[Language] = ["ts"] if language == "ts" else ["py", "ts"]
    async with open_scene(tmp_path, *languages) as scene:
        # The Node SDK hands on any action; the Python SDK knows void and enqueue only.
        request = {
            "function_id": "test::hear",
            "payload": {"tone": "b"},
            "action": {"type": f"{language}-later", "minutes": 5},
        }
        answer = await scene.client.invoke("ts::ask", request)
        assert answer == {"minutes": 5, "answer": "heard b"}
        await scene.has_heard([{"tone": "b"}])
        unknown = {**request, "action": {"type": "sooner"}}
        with pytest.raises(InvocationError) as caught:
            await scene.client.invoke("ts::ask", unknown)
        assert "no worker serves the action 'sooner'" in str(caught.value)
        assert f"{language}-later" in str(caught.value)
