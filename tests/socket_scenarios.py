"""Scenarios with sockets and threads, to be cancelled at random instants.

See ``tests/cancel_scenarios.py``: those are cancelled at every step, these at some.
"""

import pathlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import attrs
import httpx2
import trio

from iii_trio.app import App, load_config, open_app, serve
from iii_trio.builtins import BUILTINS, BuiltinSpec
from iii_trio.engine import open_engine, serve_listener
from iii_trio.net import HTTPExchange, open_pump
from iii_trio.transport import open_trio_websocket
from iii_trio.worker import open_worker
from tests.cancel_scenarios import Scenario, check_empty, echo
from tests.integration.net_rig import Host, open_rig
from tests.integration.tls_rig import shared_config

LISTENER: Final = {"name": "iii-worker-manager", "config": {"port": 0}}
UNATTENDED: Final = {"iii-bridge", "iii-exec"}
"""Bundled workers that need something else to be there."""


@asynccontextmanager
async def directory() -> AsyncIterator[pathlib.Path]:
    await trio.lowlevel.checkpoint()
    with tempfile.TemporaryDirectory() as name:
        yield pathlib.Path(name)


TOKEN: Final = "secret" * 8
NEEDED: Final[dict[str, dict[str, Any]]] = {
    "iii-auth": {"tokens": [{"name": "one", "token": TOKEN}]}
}
"""What must be configured, by name."""


def entry_of(spec: BuiltinSpec, **config: Any) -> dict[str, Any]:
    """An entry of a configuration, on any port."""
    fields = {field.name for field in attrs.fields(spec.config_class)}
    port = {"port": 0} if "port" in fields else {}
    needed = NEEDED.get(spec.name, {})
    return {"name": spec.name, "config": port | needed | config}


CHANGED: Final[dict[str, dict[str, Any]]] = {
    "iii-http": {"default_timeout": 9000},
    "iii-stream": {"handler_timeout": 9000},
    "iii-auth": {"query_parameter": "key"},
}
"""Other settings, for workers that take them while they run."""


def config(*, changed: bool = False) -> dict[str, Any]:
    """A configuration of everything that is bundled."""
    chosen = [spec for spec in BUILTINS if spec.name not in UNATTENDED]
    entries = [
        entry_of(spec, **(CHANGED.get(spec.name, {}) if changed else {}))
        for spec in chosen
    ]
    return {"workers": [LISTENER, *entries]}


async def url_of(app: App) -> str:
    """Where its listener is; one that was cancelled may have none any more."""
    await trio.lowlevel.checkpoint()
    return "ws://{}:{}".format(*app.addresses["iii-worker-manager"][0])


async def run_an_app(home: pathlib.Path) -> None:
    async with open_app(config(), data_dir=home) as app:
        url = await url_of(app)
        async with open_worker(url) as far:
            far.register_function("far::echo", echo)
            await far.bind("http", "far::echo", {"api_path": "/e"})
            entry = {"scope": "s", "key": "k", "value": 1}
            await far.invoke("state::set", entry)
            await far.enqueue("far::echo", 1, queue="default")
            await far.invoke(
                "auth::check", {"headers": {"authorization": f"Bearer {TOKEN}"}}
            )
            port = app.addresses["iii-http"][0][1]
            async with httpx2.AsyncClient(trust_env=False) as client:
                await client.get(f"http://127.0.0.1:{port}/e")
            channel = await far.create_channel()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.reader.read_all)
                async with channel.writer as writer:
                    await writer.send(b"x")
        async with open_trio_websocket(url):
            pass
        report = await app.reload(config(changed=True))
        assert report.changed == tuple(CHANGED)
        await app.reload({"workers": [LISTENER]})
        await app.drain(1)


async def run_a_program(home: pathlib.Path) -> None:
    path = home / "config.yaml"
    await trio.Path(path).write_text(
        "workers: [{name: iii-worker-manager, config: {port: 0}}]"
    )
    await load_config(path)
    async with trio.open_nursery() as nursery:
        app = await nursery.start(
            partial(serve, path, data_dir=home / "data", signals=False)
        )
        async with open_worker(await url_of(app)) as worker:
            await worker.invoke("engine::workers::list")
        nursery.cancel_scope.cancel(reason="enough")


async def serve_requests(_: pathlib.Path) -> None:
    host = Host()

    async def read(exchange: HTTPExchange) -> None:
        body = await exchange.receive_some()
        body += await exchange.read_body(1 << 20)
        await exchange.wait_writable()
        exchange.respond(200, (), body)

    async with open_rig(host=host) as rig, trio.open_nursery() as nursery:
        host.on_path["/body"] = lambda exchange: nursery.start_soon(read, exchange)
        port = rig.door.addresses[0][1]
        async with httpx2.AsyncClient(trust_env=False) as client:
            body = b"x" * 200_000
            answer = await client.post(f"http://127.0.0.1:{port}/body", content=body)
            assert answer.content == body
        await rig.door.use_tls(shared_config())
        await rig.door.use_tls(None)
        await rig.door.drain(1)


async def listen(_: pathlib.Path) -> None:
    engine = None
    try:
        async with (
            open_pump() as pump,
            open_engine() as engine,
            trio.open_nursery() as nursery,
        ):
            door = await nursery.start(
                partial(serve_listener, engine, pump, host="127.0.0.1", port=0)
            )
            url = f"ws://127.0.0.1:{door.addresses[0][1]}"
            async with open_worker(url) as far, open_worker(engine) as near:
                far.register_function("far::echo", echo)
                await far.invoke("engine::workers::list")
                assert await near.invoke("far::echo", 1) == 1
            nursery.cancel_scope.cancel(reason="enough")
    finally:
        if engine is not None:
            check_empty(engine.statistics())


SOCKET_SCENARIOS: Final = {
    one.__name__: Scenario(one, directory)
    for one in (run_an_app, run_a_program, serve_requests, listen)
}
