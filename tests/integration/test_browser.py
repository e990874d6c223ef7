"""A page in a real browser is a worker: it offers a function, is called, and calls."""

import pathlib
import sys

import pytest
import trio

from iii_trio.protocol import FunctionRegistered
from tests import sdks
from tests.live import PATIENCE, open_live_engine

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# No browser build of the SDK is published, so the page speaks the protocol itself.
PAGE = """<!doctype html>
<meta charset="utf-8">
<title>a worker</title>
<script>
const socket = new WebSocket('URL')
const send = (frame) => socket.send(JSON.stringify(frame))

socket.onopen = () => {
  send({
    type: 'invokefunction',
    function_id: 'engine::workers::register',
    data: { runtime: 'browser', name: 'page' },
    action: { type: 'void' },
  })
  send({ type: 'registerfunction', id: 'page::shout' })
}

socket.onmessage = ({ data }) => {
  const frame = JSON.parse(data)
  if (frame.type === 'invokefunction') {
    const { invocation_id, function_id } = frame
    const result = { shout: frame.data.text.toUpperCase(), agent: navigator.userAgent }
    send({ type: 'invocationresult', invocation_id, function_id, result })
    send({
      type: 'invokefunction',
      invocation_id: crypto.randomUUID(),
      function_id: 'test::whisper',
      data: { text: frame.data.text },
    })
  }
  if (frame.type === 'invocationresult') {
    send({
      type: 'invokefunction',
      function_id: 'test::heard',
      data: frame.result,
      action: { type: 'void' },
    })
  }
}
</script>
"""


@pytest.mark.needs_chromium
async def test_a_page_is_called_from_the_command_line_and_calls_back(
    tmp_path: pathlib.Path,
) -> None:
    chromium = sdks.need("chromium", "Debian: apt-get install chromium")
    heard: list[object] = []
    done = trio.Event()
    async with open_live_engine(tmp_path) as live:

        @live.caller.function("test::whisper")
        async def whisper(payload: dict[str, str]) -> dict[str, str]:
            await trio.lowlevel.checkpoint()
            return {"whisper": payload["text"].lower()}

        @live.caller.function("test::heard")
        async def hear(payload: dict[str, str]) -> None:
            await trio.lowlevel.checkpoint()
            heard.append(payload)
            done.set()

        page = tmp_path / "page.html"
        page.write_text(PAGE.replace("URL", live.url))
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        await live.start([chromium, *FLAGS, profile, page.as_uri()])
        with trio.fail_after(PATIENCE):
            await live.events.wait_for(FunctionRegistered, function_id="page::shout")
            answer = await trio.run_process(
                [
                    *(sys.executable, "-m", "iii_trio", "trigger", "page::shout"),
                    *("text=Grüße", "--address", "127.0.0.1"),
                    *("--port", str(live.port)),
                ],
                capture_stdout=True,
            )
            await done.wait()

    assert b'"shout": "GR\xc3\x9cSSE"' in answer.stdout
    assert b"Chrome" in answer.stdout
    assert [value["whisper"] for value in heard if isinstance(value, dict)] == ["grüße"]
