"""The http worker as a server: addresses, new settings, drain, its end."""

import socket
from typing import Any

import pytest
import trio
import trio.testing

from iii_trio.builtins.http import CORSConfig, HTTPConfig, LimitsConfig
from tests.integration.http_trigger_rig import open_http_trigger_rig


async def hello(_payload: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return {"body": "hello"}


@pytest.fixture
def taken_port() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


async def test_a_busy_port_at_start_is_fatal_and_named(taken_port: int) -> None:
    text = f"address 127.0.0.1:{taken_port} is already in use"
    busy = pytest.RaisesExc(OSError, match=text)
    with pytest.RaisesGroup(busy, flatten_subgroups=True):
        async with open_http_trigger_rig(port=taken_port, host="127.0.0.1"):
            pass


async def test_new_settings_on_the_same_address_keep_connections() -> None:
    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve("GET", "/a", hello)
        assert (await client.get("/a")).headers["access-control-allow-origin"] == "*"
        before = rig.server.addresses
        config = HTTPConfig(
            port=0,
            cors=CORSConfig(allowed_origins=("http://x",)),
            limits=LimitsConfig(head_fields=1),
        )
        await rig.server.reconfigure(config)
        assert rig.server.config == config
        assert rig.server.addresses == before
        answer = await client.get("/a", head="X: y\r\n")
        assert answer.status == 200
        assert "access-control-allow-origin" not in answer.headers
        async with rig.client() as fresh:
            assert (await fresh.get("/a", head="X: y\r\n")).status == 431


async def test_a_new_address_is_bound_before_the_old_one_drains() -> None:
    gate, started = trio.Event(), trio.Event()

    async def slow(_payload: Any) -> Any:
        started.set()
        await gate.wait()
        return {"body": "finished"}

    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve("GET", "/slow", slow)
        await rig.serve("GET", "/a", hello)
        old = rig.server.addresses[0]
        await client.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await started.wait()
        await rig.server.reconfigure(HTTPConfig(port=0, host="127.0.0.1"))
        assert rig.server.addresses[0] != old
        async with rig.client() as fresh:
            assert (await fresh.get("/a")).status == 200
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream(*old)
        gate.set()
        assert (await client.response()).body == b'"finished"'
        assert await client.at_end()


async def test_an_address_that_cannot_be_bound_changes_nothing(taken_port: int) -> None:
    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve("GET", "/a", hello)
        before = (rig.server.addresses, rig.server.config)
        config = HTTPConfig(
            port=taken_port, host="127.0.0.1", cors=CORSConfig(allowed_origins=("x",))
        )
        with pytest.raises(OSError, match=f"127.0.0.1:{taken_port} is already in use"):
            await rig.server.reconfigure(config)
        assert (rig.server.addresses, rig.server.config) == before
        assert (await client.get("/a")).headers["access-control-allow-origin"] == "*"
        await rig.server.reconfigure(HTTPConfig(port=0, host="127.0.0.1"))


async def test_an_address_that_is_not_ours_is_refused_with_its_name() -> None:
    async with open_http_trigger_rig() as rig:
        with pytest.raises(OSError, match=r"192\.0\.2\.1"):
            await rig.server.reconfigure(HTTPConfig(port=0, host="192.0.2.1"))


async def test_drain_lets_requests_finish_and_accepts_no_more() -> None:
    gate, started = trio.Event(), trio.Event()

    async def slow(_payload: Any) -> Any:
        started.set()
        await gate.wait()

    async with (
        open_http_trigger_rig() as rig,
        rig.client() as client,
        trio.open_nursery() as nursery,
    ):
        await rig.serve("GET", "/a", slow)
        await client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        await started.wait()
        nursery.start_soon(rig.server.drain, 20)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream(*rig.server.addresses[0])
        gate.set()
        answer = await client.response()
        assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_cancelling_the_server_cancels_handlers_and_drops_connections() -> None:
    started, cancelled = trio.Event(), trio.Event()

    async def handler(_payload: Any) -> None:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with open_http_trigger_rig() as rig, rig.client() as client:
        await rig.serve("GET", "/a", handler)
        await client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        await started.wait()
        rig.serving.cancel(reason="the test says so")
        with trio.CancelScope(shield=True):
            await cancelled.wait()
            assert await client.at_end()
            types = rig.engine.statistics().trigger_types
            assert types == 0
    assert rig.server.statistics().running == 0


async def test_statistics_count_routes() -> None:
    async with open_http_trigger_rig() as rig:
        await rig.serve("GET", "/a", hello)
        await rig.serve("POST", "/a", hello)
        assert rig.server.statistics().routes == 2
