"""HTTP-invoked functions of the newest Python and Node SDKs, in a server process."""

import hashlib
import hmac
import os
import pathlib
from base64 import b64encode
from typing import Any

import msgspec
import pytest
import trio

from iii_trio.worker import open_worker
from tests import sdks
from tests.integration.endpoint_rig import Endpoint, Received, open_endpoint, reply
from tests.integration.server_rig import LISTENER, Server, open_server
from tests.live import PATIENCE, Language

pytestmark = pytest.mark.slow

KEY = "key-of-the-engine"
CONFIG = f"""
workers:
  - {LISTENER}
  - {{name: iii-http, config: {{port: 0}}}}
  - name: iii-http-functions
    config:
      security:
        url_allowlist: [localhost, 127.0.0.1]
        block_private_ips: false
        require_https: false
"""


async def echo(request: Received, stream: trio.abc.Stream) -> None:
    """Give the request back, or fail as an endpoint should."""
    if request.path == "/fail":
        error = {"error": {"code": "no_luck", "message": "not today"}}
        await reply(error, "503 Not Today")(request, stream)
        return
    body = msgspec.Raw(request.body)
    await reply({"path": request.path, "body": body})(request, stream)


async def report_of(
    language: Language, directory: pathlib.Path, server: Server, endpoint: Endpoint
) -> dict[str, Any]:
    environment = {
        "III_URL": f"ws://127.0.0.1:{await server.port()}",
        "ENDPOINT_URL": f"http://localhost:{endpoint.port}",
        "GATEWAY_URL": f"http://127.0.0.1:{await server.port('iii-http')}",
    }
    command = sdks.program(language, "http_functions_user", directory)
    finished = await trio.run_process(
        command, cwd=directory, env={**os.environ, **environment}, capture_stdout=True
    )
    # The Node SDK says on the same pipe that it connected.
    report: dict[str, Any] = msgspec.json.decode(finished.stdout.splitlines()[-1])
    return report


@pytest.mark.parametrize(
    "language", ["py", pytest.param("ts", marks=pytest.mark.needs_node)]
)
async def test_an_sdk_registers_endpoints_as_functions(
    language: Language, tmp_path: pathlib.Path
) -> None:
    with trio.fail_after(PATIENCE):
        async with (
            open_endpoint() as endpoint,
            open_server(tmp_path, CONFIG, env={"HOOK_KEY": KEY}) as server,
        ):
            endpoint.answer = echo
            report = await report_of(language, tmp_path, server, endpoint)
            url = f"ws://127.0.0.1:{await server.port()}"
            async with open_worker(url, name="later") as worker:
                rows = await worker.invoke("engine::functions::list", {})
            await server.stop()
    answer = {"path": "/echo", "body": {"n": 1}}
    for name in ("plain", "hmac", "bearer", "api_key"):
        assert report[name] == answer, name
    code, message = report["failing"]
    assert (code, message.removeprefix("no_luck: ")) == ("no_luck", "not today")
    assert report["keyless"][0] == "function_not_found"
    # The echo is an object with a `body`: that is the response of the route.
    assert (report["gateway"]["path"], report["gateway"]["body"]) == ("/hook", {"n": 1})
    plain, signed, bearer, api_key, _, gateway = endpoint.requests
    assert plain.header("X-Tag") == language
    assert plain.header("x-iii-Function-Path") == f"{language}::plain"
    for request in (signed, gateway):
        text = request.header("x-iii-Timestamp").encode() + b":"
        text += b64encode(request.body)
        expected = hmac.new(KEY.encode(), text, hashlib.sha256).hexdigest()
        assert request.header("x-iii-Signature") == f"sha256={expected}"
    assert (bearer.method, bearer.header("Authorization")) == ("PUT", f"Bearer {KEY}")
    assert api_key.header("X-Api-Key") == KEY
    log = "\n".join(server.lines)
    assert f"'{language}::keyless'" in log
    assert "Secret not found: NO_SUCH_KEY" in log
    assert KEY not in log
    # They went with the worker that registered them.
    assert not [f for f in rows["functions"] if f["function_id"][:4] == f"{language}::"]
