"""Two server processes with a bridge between them, and SDK workers on both sides."""

import os
import pathlib
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from iii_trio._util import open_background_nursery
from iii_trio.worker import Worker, open_worker
from tests import sdks
from tests.integration.server_rig import Server, open_server
from tests.live import PATIENCE, Language


def listener(port: int = 0) -> str:
    return f"{{name: iii-worker-manager, config: {{port: {port}}}}}"


@asynccontextmanager
async def open_zoo(
    language: Language, url: str, directory: pathlib.Path
) -> AsyncIterator[None]:
    """Run the zoo of a language against a server, until the block ends."""
    await trio.Path(directory).mkdir(exist_ok=True)
    command = sdks.program(language, "zoo", directory)
    with (directory / "output.log").open("ab") as log:
        async with open_background_nursery("the zoo closes") as nursery:
            run = partial(
                trio.run_process,
                command,
                cwd=directory,
                env={**os.environ, "III_URL": url},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
            await nursery.start(run)
            yield


async def function_is_there(
    worker: Worker, function_id: str, *, is_there: bool = True
) -> None:
    """Wait until a server offers a function, or no longer."""
    changed = trio.Event()
    listening = f"test::changed::{function_id}"

    async def on_change() -> None:
        await trio.lowlevel.checkpoint()
        changed.set()

    worker.register_function(listening, on_change)
    trigger_id = await worker.bind("engine::functions-available", listening, {})
    with trio.fail_after(PATIENCE):
        while True:
            changed = trio.Event()
            asked = {"include_internal": True}
            listed = await worker.invoke("engine::functions::list", asked)
            offered = {row["function_id"] for row in listed["functions"]}
            if (function_id in offered) == is_there:
                break
            await changed.wait()
    worker.unbind(trigger_id)
    worker.unregister_function(listening)


@asynccontextmanager
async def open_engine_process(
    directory: pathlib.Path, config: str, **env: str
) -> AsyncIterator[tuple[Server, str]]:
    """A server process and its URL."""
    await trio.Path(directory).mkdir(exist_ok=True)
    async with open_server(directory, config, env=env) as server:
        yield server, f"ws://127.0.0.1:{await server.port()}"


@asynccontextmanager
async def open_client(url: str) -> AsyncIterator[Worker]:
    """A worker of ours in a server, by URL."""
    async with open_worker(url, name=f"test-{url[-5:]}") as worker:
        yield worker
