"""Sockets of ours are refused under virtual time, at once and with an error that says so."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from iii_trio import net
from iii_trio.builtins.http_functions import SecurityConfig
from iii_trio.builtins.http_functions._network import JudgingBackend, resolve_by_system
from iii_trio.builtins.observability._config import ObservabilityConfig, settings_of
from iii_trio.builtins.observability._export import Exporter
from iii_trio.testing import run
from iii_trio.transport import open_trio_websocket_link
from iii_trio.worker import open_worker

URL = "ws://127.0.0.1:9"


async def open_pump() -> None:
    async with net.open_pump():
        pass


async def open_a_worker_by_url() -> None:
    async with open_worker(URL, name="w"):
        pass


async def dial() -> None:
    async with open_trio_websocket_link(URL):
        pass


async def request() -> None:
    backend = JudgingBackend(SecurityConfig(block_private_ips=False), resolve_by_system)
    await backend.connect_tcp("127.0.0.1", 9)


async def export() -> None:
    exporter = Exporter(settings_of(ObservabilityConfig(), {})[0])
    exporter.offer("traces", {"resourceSpans": []})
    await exporter.run()


@pytest.mark.parametrize(
    ("use", "what", "instead"),
    [
        (open_pump, "a pump of sockets", "use memory links"),
        (open_a_worker_by_url, "a worker that dials a URL", "use harness.open_link_wo"),
        (dial, "a socket that is dialled", "use memory links"),
        (request, "an HTTP request", "use a real clock"),
        (export, "an exporter of telemetry", "use a real clock"),
    ],
)
def test_a_socket_of_ours_is_refused_under_a_virtual_clock(
    use: Callable[[], Awaitable[None]], what: str, instead: str
) -> None:
    with pytest.raises(RuntimeError, match=f"^{what} .* virtual clock: {instead}"):
        run(use)


async def test_a_worker_by_url_is_refused_before_time_passes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RuntimeError, match="dials a URL"):
        await open_a_worker_by_url()
    assert trio.current_time() == 0
    assert caplog.records == []
