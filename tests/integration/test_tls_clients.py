"""Real clients over TLS: both SDKs, our worker and command line, curl, OpenSSL."""

import json
import pathlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import pytest
import trio
import trio.testing

from iii_trio.access import Access, parse_rules
from iii_trio.engine import Engine, open_engine, open_listener
from iii_trio.errors import FunctionFailedError
from iii_trio.net import TLSConfig, open_pump
from iii_trio.protocol import AccessDenied, FunctionRegistered
from iii_trio.testing import EventRecorder
from iii_trio.transport import open_trio_websocket
from iii_trio.worker import ChannelWriter, open_worker
from tests import sdks
from tests.integration.server_rig import VOLATILE, open_server, run_cli
from tests.integration.tls_rig import Authority
from tests.live import Language, open_live_engine

LANGUAGES = [
    pytest.param(language, marks=pytest.mark.needs_node if language == "ts" else ())
    for language in get_args(Language)
]


@pytest.fixture
def authority(tmp_path: pathlib.Path) -> Authority:
    directory = tmp_path / "pki"
    directory.mkdir()
    return Authority(directory)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_an_sdk_works_over_wss(
    language: Language, authority: Authority, tmp_path: pathlib.Path
) -> None:
    async with open_live_engine(
        tmp_path, tls=authority.config(), ca=authority.file
    ) as live:
        await live.start_zoo(language)
        for payload in ({"v": "Grüße"}, {"text": "y" * (5 << 20)}):
            answer = await live.caller.invoke(f"{language}::echo", payload)
            del answer["_caller_worker_id"]
            assert answer == payload
        text = await live.caller.invoke(f"{language}::repeat", {"megabytes": 5})
        assert len(text) == 5 << 20


# Our own worker.


@asynccontextmanager
async def open_secure(
    tls: TLSConfig,
) -> AsyncIterator[tuple[Engine, str, EventRecorder]]:
    events = EventRecorder()
    async with (
        open_engine(on_event=events) as engine,
        open_pump() as pump,
        open_listener(engine, pump, host="127.0.0.1", port=0, tls=tls) as door,
    ):
        with trio.fail_after(60):
            await trio.lowlevel.checkpoint()
            yield engine, f"wss://127.0.0.1:{door.addresses[0][1]}", events


async def test_our_worker_calls_serves_and_streams_over_wss(
    authority: Authority,
) -> None:
    config = authority.config(client_ca=str(authority.file))
    context = authority.client_context(authority.issue("billing"))
    async with (
        open_secure(config) as (engine, url, events),
        open_worker(url, name="remote", tls=context) as worker,
        open_worker(engine, name="here") as here,
    ):

        @worker.function("far::double")
        async def double(payload: dict[str, int]) -> int:
            await trio.lowlevel.checkpoint()
            return payload["n"] * 2

        await events.wait_for(FunctionRegistered, function_id="far::double")
        assert await here.invoke("far::double", {"n": 21}) == 42
        channel = await worker.create_channel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, channel.writer)
            assert await channel.reader.read_all() == STREAM


STREAM = b"0123456789" * 100_000


async def write(writer: ChannelWriter) -> None:
    for start in range(0, len(STREAM), 100_000):
        await writer.send(STREAM[start : start + 100_000])
    await writer.aclose()


@pytest.mark.parametrize("trusting", [True, False])
async def test_dialling_fails_clearly_without_trust_or_without_a_certificate(
    trusting: bool, authority: Authority
) -> None:
    config = authority.config(client_ca=str(authority.file))
    context = authority.client_context() if trusting else ssl.create_default_context()
    if trusting:
        # With TLS 1.3 the refusal comes after the client's part of the handshake.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    why = "handshake failure" if trusting else "certificate verify failed"
    async with open_secure(config) as (_, url, _):
        with pytest.raises(trio.BrokenResourceError, match=f"(?i){why}"):
            await dial(url, context)
        with pytest.raises(trio.BrokenResourceError, match="cannot connect"):
            await dial(url.replace("wss", "ws"), None)


async def dial(url: str, context: ssl.SSLContext | None) -> None:
    async with open_trio_websocket(url, tls=context):
        pass


# The server as a program.


def config_text(authority: Authority, **more: Any) -> str:
    tls = {"certificate": str(authority.issue("server")), **more}
    port = {"port": 0, "host": "127.0.0.1", "tls": tls}
    return json.dumps(
        {
            "workers": [
                {"name": "iii-worker-manager", "config": port},
                {"name": "iii-http", "config": port},
                {
                    "name": "iii-stream",
                    "config": port | {"adapter": {"name": "memory"}},
                },
                {"name": "iii-state", "config": {"adapter": {"name": "memory"}}},
            ]
        }
    )


async def output_of(*command: str, stdin: bytes = b"") -> str:
    with trio.fail_after(60):
        done = await trio.run_process(
            command, stdin=stdin, capture_stdout=True, capture_stderr=True, check=False
        )
    return (done.stdout + done.stderr).decode()


async def test_curl_and_openssl_reach_every_port_over_tls(
    authority: Authority, tmp_path: pathlib.Path
) -> None:
    curl = sdks.need("curl", "apt-get install curl")
    openssl = sdks.need("openssl", "apt-get install openssl")
    async with open_server(tmp_path, config_text(authority)) as server:
        answers = {"iii-worker-manager": 426, "iii-http": 404, "iii-stream": 426}
        for name, status in answers.items():
            port = await server.port(name)
            url = f"https://127.0.0.1:{port}/"
            trust = ("--cacert", str(authority.file))
            said = await output_of(curl, "-sv", *trust, url)
            assert f"HTTP/1.1 {status}" in said, name
            assert "TLSv1.3" in said
            assert "SSL certificate problem" in await output_of(curl, "-sv", url)
            plain = await output_of(curl, "-s", url.replace("https", "http"))
            assert "This port speaks TLS: use https:// or wss://" in plain
            said = await output_of(
                openssl,
                "s_client",
                "-connect",
                f"127.0.0.1:{port}",
                "-CAfile",
                str(authority.file),
                "-verify_return_error",
                "-verify_ip",
                "127.0.0.1",
            )
            assert "Verification: OK" in said, name
        assert await server.stop() == 0


async def test_the_command_line_speaks_tls_with_a_certificate_of_its_own(
    authority: Authority, tmp_path: pathlib.Path
) -> None:
    trust = ("--ca", str(authority.file))
    mine = ("--cert", str(authority.issue("operator")))
    config = config_text(authority, client_ca=str(authority.file))
    async with open_server(tmp_path, config) as server:
        call = ("trigger", "state::list_groups", "--address=127.0.0.1")
        here = (*call, "--port", str(await server.port()))
        code, out, err = await run_cli(*here, *trust, *mine)
        assert (code, err) == (0, "")
        assert json.loads(out) == {"groups": []}
        code, out, err = await run_cli(*here, *trust, *mine, "--help")
        assert (code, err) == (0, "")
        assert "state::list_groups" in out
        # Not trusted, without TLS, without a certificate: no connection is made.
        for options in (mine, (), trust):
            code, _, err = await run_cli(*here, *options, "--timeout-ms=300")
            assert code == 1
            assert "Timed out" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ca", "/none.pem"), "--ca: the file cannot be used: No such file"),
        (("--tls", "--cert", "/none.pem"), "--cert: the file cannot be used: No such"),
        (("--key", "/none.pem"), "--key needs --cert"),
    ],
)
async def test_the_command_line_names_a_file_that_cannot_be_used(
    options: tuple[str, ...], message: str
) -> None:
    code, _, err = await run_cli("trigger", "any::thing", *options)
    assert code == 1
    assert message in err


async def test_the_server_does_not_start_with_a_bad_certificate(
    tmp_path: pathlib.Path,
) -> None:
    config = (
        "workers: [{name: iii-worker-manager, "
        f"config: {{port: 0, tls: {{certificate: none.pem}}}}}}, {VOLATILE}]"
    )
    async with open_server(tmp_path, config) as server:
        assert await server.wait() == 1
        assert "cannot read none.pem: No such file" in server.lines[-1]


async def test_tls_settings_change_while_the_server_runs(
    authority: Authority, tmp_path: pathlib.Path
) -> None:
    curl = sdks.need("curl", "apt-get install curl")
    plain = '{"name": "iii-http", "config": {"port": 0}}'
    text = '{"workers": [%s, {"name": "iii-worker-manager", "config": {"port": 0}}]}'
    tls = json.dumps({"certificate": str(authority.issue("server"))})
    async with open_server(tmp_path, text % plain, "--reload-delay=0.01") as server:
        port = await server.port("iii-http")
        file = trio.Path(tmp_path, "config.yaml")
        secure = plain.replace('"port": 0', f'"port": 0, "tls": {tls}')
        await file.write_text(text % secure)
        await server.line("applied: changed iii-http")
        url = f"https://127.0.0.1:{port}/"
        said = await output_of(curl, "-s", "--cacert", str(authority.file), url)
        assert "HTTP" not in said
        assert said
        await file.write_text(text % secure.replace("server.pem", "none.pem"))
        await server.line("iii-http could not be started or changed: tls: cannot read")
        again = await output_of(curl, "-s", "--cacert", str(authority.file), url)
        assert again == said


# Who can reach it.


async def test_a_server_that_others_can_reach_unhindered_says_so(
    authority: Authority, tmp_path: pathlib.Path
) -> None:
    tls = json.dumps({"certificate": str(authority.issue("server"))})
    config = (
        "workers:\n"
        "- {name: iii-worker-manager, config: {port: 0, host: 0.0.0.0}}\n"
        f"- {{name: iii-http, config: {{port: 0, host: 0.0.0.0, tls: {tls}}}}}\n"
        "- {name: iii-stream, config: {port: 0, adapter: {name: memory}}}\n"
    )
    async with open_server(tmp_path, config) as server:
        await server.line(r"iii-worker-manager listening on 0\.0\.0\.0:\d+")
        await server.line(
            r"iii-worker-manager listens on 0\.0\.0\.0:\d+, WHERE OTHERS CAN REACH IT, "
            r"without TLS and without access rules.* tls block or an rbac block"
        )
        assert await server.stop() == 0
    assert len([line for line in server.lines if "OTHERS CAN REACH" in line]) == 1


async def test_a_worker_port_changes_its_tls_and_limits_without_dropping_a_worker(
    authority: Authority, tmp_path: pathlib.Path
) -> None:
    def text(**settings: Any) -> str:
        listener = {"name": "iii-worker-manager", "config": {"port": 0, **settings}}
        state = {"name": "iii-state", "config": {"adapter": {"name": "memory"}}}
        return json.dumps({"workers": [listener, state]})

    tls = {"certificate": str(authority.issue("server"))}
    async with open_server(tmp_path, text(), "--reload-delay=0.01") as server:
        port = await server.port()
        file = trio.Path(tmp_path, "config.yaml")
        async with open_worker(f"ws://127.0.0.1:{port}", name="early") as early:
            first_id = early.worker_id
            await file.write_text(text(tls=tls))
            await server.line("applied: changed iii-worker-manager")
            url = f"wss://127.0.0.1:{port}"
            context = authority.client_context()
            async with open_worker(url, name="late", tls=context) as late:
                await late.invoke("engine::workers::list", {})
                seen = len(server.lines)
                await file.write_text(text(tls=tls, limits={"head_fields": 1}))
                await server.line("changed iii-worker-manager", after=seen)
                with pytest.raises(trio.BrokenResourceError, match="431"):
                    await dial(url, context)
                seen = len(server.lines)
                await file.write_text(text(tls={"certificate": "none.pem"}))
                await server.line("could not be started or changed", after=seen)
                await late.invoke("engine::workers::list", {})
            await early.invoke("engine::workers::list", {})
            assert early.worker_id == first_id
        assert await server.stop() == 0


# Access rules by certificate.


async def knock(url: str, context: ssl.SSLContext) -> None:
    async with open_worker(url, tls=context):
        pytest.fail("let in")


async def test_an_auth_function_decides_by_the_certificate_of_a_worker(
    authority: Authority,
) -> None:
    config = authority.config(
        client_ca=str(authority.file), client_certificates="optional"
    )
    asked: list[dict[str, Any]] = []
    access = Access(rules=parse_rules({"auth_function_id": "auth::check"}))
    events = EventRecorder()
    async with (
        open_engine(on_event=events) as engine,
        open_pump() as pump,
        open_worker(engine, name="operator") as operator,
        open_listener(
            engine, pump, host="127.0.0.1", port=0, tls=config, access=access
        ) as door,
    ):

        @operator.function("auth::check")
        async def check(request: dict[str, Any]) -> dict[str, Any]:
            await trio.lowlevel.checkpoint()
            asked.append(request)
            if request.get("peer_certificate", {}).get("common_name") != "billing":
                raise FunctionFailedError("not with this certificate", code="NO")
            return {"allowed_functions": ["engine::workers::list"]}

        url = f"wss://127.0.0.1:{door.addresses[0][1]}"
        for name in (None, "intruder"):
            file = None if name is None else authority.issue(name)
            denied = len(events.of(AccessDenied)) + 1
            async with trio.open_nursery() as nursery:
                nursery.start_soon(knock, url, authority.client_context(file))
                while len(events.of(AccessDenied)) < denied:
                    await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel(reason="it was turned away")
        context = authority.client_context(authority.issue("billing", "billing.test"))
        with trio.fail_after(60):
            async with open_worker(url, name="billing", tls=context) as worker:
                listed = await worker.invoke("engine::workers::list", {})
    assert "billing" in {one["name"] for one in listed["workers"]}
    assert "peer_certificate" not in asked[0]
    assert asked[-1]["peer_certificate"]["dns_names"] == ["billing.test"]
