"""Programs on the newest public SDKs, run to their end against an app of this process."""

import os
from pathlib import Path
from typing import Any

import msgspec
import trio

from iii_trio.app import App
from tests import sdks
from tests.live import PATIENCE, Language


async def run_sdk_program(
    app: App, language: Language, name: str, directory: Path, *, stdin: bytes = b""
) -> Any:
    """Run ``tests/sdk_workers/<name>`` in a language; give the JSON value it prints."""
    with trio.fail_after(PATIENCE):
        finished = await trio.run_process(
            sdks.program(language, name, directory),
            cwd=directory,
            env=_environment(app),
            stdin=stdin,
            capture_stdout=True,
        )
    # The Node SDK says on the same pipe that it connected.
    return msgspec.json.decode(finished.stdout.splitlines()[-1])


async def serve_sdk_program(
    app: App, language: Language, name: str, directory: Path
) -> None:
    """Run such a program until cancelled."""
    await trio.run_process(
        sdks.program(language, name, directory),
        cwd=directory,
        env=_environment(app),
        deliver_cancel=_kill,
    )


async def _kill(process: trio.Process) -> None:
    process.kill()
    await trio.lowlevel.checkpoint()


def _environment(app: App) -> dict[str, str]:
    host, port = app.addresses["iii-worker-manager"][0]
    return {**os.environ, "III_URL": f"ws://{host}:{port}"}


def failure_in(answer: list[str]) -> tuple[str, str]:
    """Code and message; the Node SDK puts the code before the message too."""
    code, message = answer
    return code, message.removeprefix(f"{code}: ")
