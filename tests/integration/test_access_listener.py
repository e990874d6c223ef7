"""A listener with rules on real sockets: refusal, the wait for the auth function, /otel."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, final

import attrs
import pytest
import trio

from iii_trio.access import Access, parse_rules
from iii_trio.engine import open_listener
from iii_trio.errors import FunctionFailedError, InvocationStoppedError
from iii_trio.net import (
    OP_BINARY,
    OP_CLOSE,
    OP_PING,
    OP_PONG,
    OP_TEXT,
    close_payload,
    open_pump,
)
from iii_trio.protocol import AccessDenied, FunctionRegistered, WorkerAttached
from iii_trio.worker import open_worker
from tests.integration.net_rig import Client
from tests.integration.net_rig import frame as bytes_of
from tests.integration.test_listener import Port, frame, open_port, send

RULES = {"auth_function_id": "auth::check"}


@final
@attrs.define(eq=False)
class Auth:
    """An auth function: the token ``open-sesame`` opens, once it may answer."""

    go: trio.Event = attrs.field(factory=trio.Event)
    asked: list[Any] = attrs.field(factory=list)
    reasons: list[str | None] = attrs.field(factory=list)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        self._changed.unpark_all()
        try:
            await self.go.wait()
        except trio.Cancelled as exc:
            self.reasons.append(exc.reason)
            self._changed.unpark_all()
            raise
        if request["query_params"].get("token") != ["open-sesame"]:
            raise FunctionFailedError("wrong token", code="NO")
        return {}

    async def asked_once(self) -> None:
        """Wait until it is asked."""
        await trio.lowlevel.checkpoint()
        while not self.asked:
            await self._changed.park()

    async def cancelled_once(self) -> str:
        """Wait until it is cancelled; gives the reason."""
        await trio.lowlevel.checkpoint()
        while not self.reasons:
            await self._changed.park()
        (reason,) = self.reasons
        return str(reason)


@asynccontextmanager
async def open_locked_port(
    rules: dict[str, str] = RULES, **options: Any
) -> AsyncIterator[tuple[Port, Auth]]:
    auth = Auth()
    async with (
        open_port(access=Access(rules=parse_rules(rules), **options)) as port,
        open_worker(port.engine, name="operator") as operator,
    ):
        operator.register_function("auth::check", auth.__call__)
        yield port, auth


def link_workers(port: Port) -> int:
    return sum(e.kind == "link" for e in port.events.of(WorkerAttached))


async def test_the_facts_of_a_real_handshake() -> None:
    async with open_locked_port() as (port, auth):
        auth.go.set()
        async with port.socket("/?token=open-sesame&x=%20") as client:
            assert (await frame(client))["type"] == "workerregistered"
    (request,) = auth.asked
    assert request["headers"]["upgrade"] == "websocket"
    assert request["query_params"] == {"token": ["open-sesame"], "x": ["%20"]}
    assert request["ip_address"] == port.address[0]


@pytest.mark.parametrize("path", ["/", "/otel", "/?token=", "/otel?token=x"])
async def test_refusal_is_101_then_an_error_then_close_without_code(path: str) -> None:
    async with open_locked_port() as (port, auth):
        auth.go.set()
        async with port.socket(path) as client:
            assert await frame(client) == {
                "type": "error",
                "error": {"code": "AUTH_ERROR", "message": "wrong token"},
            }
            assert await client.close_code() is None
        await port.events.wait_for(AccessDenied, action="connect")
        assert link_workers(port) == 0


async def test_telemetry_of_a_stranger_is_not_taken() -> None:
    async with open_locked_port() as (port, auth):
        auth.go.set()
        async with port.socket("/otel") as client:
            await client.frame(OP_BINARY, b"OTLP{}")
            await frame(client)
        async with port.socket("/otel?token=open-sesame") as client:
            await client.text(b"no telemetry")
            await client.frame(OP_BINARY, b"no telemetry")
            await client.frame(OP_BINARY, b"OTLP{1}")
            await client.answers_ping()
        assert port.telemetry == [b"OTLP{1}"]
        assert link_workers(port) == 0


async def leave(client: Client, how: str) -> None:
    if how == "reset":
        client.reset()
    elif how == "end of input":
        await client.stream.send_eof()
    else:
        await client.frame(OP_CLOSE, close_payload(1000))
    await trio.lowlevel.checkpoint()


HOW = pytest.mark.parametrize("how", ["end of input", "reset", "closed by the peer"])


@HOW
@pytest.mark.parametrize("path", ["/", "/otel"])
async def test_the_auth_function_is_cancelled_when_nobody_waits_for_it(
    path: str, how: str
) -> None:
    async with open_locked_port() as (port, auth):
        async with port.socket(path) as client:
            await auth.asked_once()
            await leave(client, how)
            reason = await auth.cancelled_once()
            assert reason.startswith("its connection is gone: ")
            assert how in reason
        assert port.engine.statistics().invocations == 0
        assert link_workers(port) == 0


@HOW
async def test_callers_of_a_worker_that_waits_for_a_hook_learn_of_its_loss_at_once(
    how: str,
) -> None:
    rules = {
        "auth_function_id": "auth::check",
        "on_function_registration_function_id": "hook::slow",
    }
    async with open_locked_port(rules=rules) as (port, auth):
        hook = Auth()
        auth.go.set()
        async with (
            open_worker(port.engine, name="hooks") as hooks,
            port.socket("/?token=open-sesame") as client,
        ):
            hooks.register_function("hook::slow", lambda _: {})
            await frame(client)
            call = {"function_id": "engine::workers::register", "data": {"name": "w"}}
            await send(client, type="invokefunction", **call)
            await send(client, type="registerfunction", id="w::f")
            await port.events.wait_for(FunctionRegistered, function_id="w::f")
            hooks.register_function("hook::slow", hook.__call__)
            outcomes: list[str | None] = []

            async def invoke() -> None:
                with pytest.raises(InvocationStoppedError) as caught:
                    await hooks.invoke("w::f")
                outcomes.append(caught.value.code)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(invoke)
                assert (await frame(client))["function_id"] == "w::f"
                await send(client, type="registerfunction", id="w::g")
                await hook.asked_once()
                await leave(client, how)
            assert outcomes == ["invocation_stopped"]
            assert how in await hook.cancelled_once()
            assert port.engine.statistics().invocations == 0


async def test_frames_that_come_during_the_wait_are_kept_in_order() -> None:
    async with (
        open_locked_port() as (port, auth),
        port.socket("/?token=open-sesame") as client,
    ):
        for number in range(50):
            await send(client, type="registerfunction", id=f"f{number}")
        call = {"function_id": "engine::workers::register", "data": {"name": "w"}}
        await send(client, type="invokefunction", **call)
        await client.frame(OP_PING, b"still there?")
        assert link_workers(port) == 0
        auth.go.set()
        assert (await frame(client))["type"] == "workerregistered"
        await port.events.wait_for(FunctionRegistered, function_id="f49")
        ids = [event.function_id for event in port.events.of(FunctionRegistered)]
        assert ids[-50:] == [f"f{number}" for number in range(50)]
        assert await client.event() == (OP_PONG, b"still there?")


async def test_frames_of_one_read_with_the_handshake_wait_too() -> None:
    async with open_locked_port() as (port, auth), port.client() as client:
        head = (
            "GET /?token=open-sesame HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        )
        await client.send(head.encode() + bytes_of(OP_TEXT, b'{"type":"ping"}'))
        assert (await client.response()).status == 101
        auth.go.set()
        assert (await frame(client))["type"] == "workerregistered"
        assert (await frame(client))["type"] == "pong"


async def test_an_auth_function_that_never_answers_lets_nobody_in() -> None:
    async with open_locked_port(timeout=0.05) as (port, _):
        async with port.socket("/?token=open-sesame") as client:
            told = await frame(client)
            assert told["error"]["message"] == "invocation timed out after 50ms"
        assert link_workers(port) == 0


async def test_channels_need_no_session_but_their_key() -> None:
    async with open_locked_port() as (port, auth):
        channel = port.channel()
        path = f"/ws/channels/{channel.channel_id}?dir=write&key="
        for key in ("", "wrong", channel.access_key[:-1], channel.access_key + "0"):
            async with port.client() as client:
                await client.send(
                    f"GET {path}{key} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                )
                status = (await client.response()).status
                assert status == (400 if not key else 404)
        async with port.socket(path + channel.access_key) as client:
            await client.frame(OP_BINARY, b"data")
            await client.answers_ping()
        assert auth.asked == []


async def test_two_listeners_of_one_engine_have_rules_of_their_own() -> None:
    async with (
        open_locked_port() as (port, auth),
        open_pump() as pump,
        open_listener(port.engine, pump, port=0) as free,
    ):
        auth.go.set()
        open_door = attrs.evolve(port, address=free.addresses[0])
        async with open_door.socket("/") as client:
            assert (await frame(client))["type"] == "workerregistered"
        async with port.socket("/") as client:
            assert (await frame(client))["type"] == "error"


async def test_a_token_in_an_address_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "hush-0a9"
    async with open_locked_port() as (port, auth):
        auth.go.set()
        for path in ("/", "/otel"):
            async with port.socket(f"{path}?token={secret}") as client:
                assert (await frame(client))["type"] == "error"
        async with port.socket(f"/?token=open-sesame&also={secret}") as client:
            assert (await frame(client))["type"] == "workerregistered"
            await client.text(b"no json")
            await client.frame(OP_BINARY, b"\xff")
            await client.answers_ping()
        for target in (f"/ws/channels/{secret}?key={secret}&dir=read", f"/x?{secret}"):
            async with port.client() as client:
                head = f"Authorization: Bearer {secret}\r\n"
                assert (await client.get(target, head=head)).status in {404, 426}
        async with port.client() as client:
            await client.send(f"GET /?{secret} HTTP/9.9\r\nA\x00: {secret}\r\n\r\n")
            assert (await client.response()).status in {400, 505}
    assert len(auth.asked) == 3
    assert secret not in caplog.text + repr(port.events.events)
