"""The Prometheus endpoint and the way to a collector, over real sockets."""

import errno
import logging
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx2
import msgspec
import pytest
import trio
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from iii_trio.app import App, open_app
from iii_trio.builtins.observability import _export
from iii_trio.builtins.observability._config import ObservabilityConfig, settings_of
from iii_trio.builtins.observability._export import Exporter
from iii_trio.errors import ConfigError, InvocationError
from iii_trio.net import HTTPExchange, open_front_door, open_pump
from iii_trio.worker import open_worker
from tests.component.observability_rig import TRACE, gauge_frame, log_frame, span_frame

LISTENER = {"name": "iii-worker-manager", "config": {"port": 0}}


def config(**block: Any) -> dict[str, Any]:
    given = {"enabled": True, "exporter": "memory", "metrics_enabled": True, **block}
    return {"workers": [LISTENER, {"name": "observability", "config": given}]}


async def fetch(
    app: App, path: str = "/metrics", method: str = "GET"
) -> httpx2.Response:
    host, port = app.addresses["iii-observability"][0]
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await client.request(method, f"http://{host}:{port}{path}")


# --- Prometheus


async def test_prometheus_scrapes_what_was_counted(tmp_path: Path) -> None:
    block = {"prometheus": {"port": 0}}
    async with (
        open_app(config(**block), data_dir=tmp_path) as app,
        open_worker(app.engine, name="w") as worker,
    ):

        @worker.function('odd::"name"')
        async def function(number: int) -> int:
            await trio.lowlevel.checkpoint()
            return 1 // number

        await worker.invoke('odd::"name"', 1)
        with pytest.raises(InvocationError, match="division"):
            await worker.invoke('odd::"name"', 0)
        supervisor = app.engine.supervisor
        supervisor.on_telemetry(
            gauge_frame(worker.worker_id, "iii.worker.memory.rss", 4096)
        )
        supervisor.on_telemetry(b"JUNK")
        await worker.invoke("engine::health::check")
        workers = app.engine.statistics().workers
        answer = await fetch(app)
        assert answer.status_code == 200
        families = {
            family.name: family
            for family in text_string_to_metric_families(answer.text)
        }
        assert (await fetch(app, "/other")).status_code == 404
        refused = await fetch(app, method="POST")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        assert (await fetch(app, method="HEAD")).text == ""

    def value(name: str, sample: str, **labels: str) -> float:
        [found] = [
            one.value
            for one in families[name].samples
            if one.name == sample and labels.items() <= one.labels.items()
        ]
        return float(found)

    by_id = {"function_id": 'odd::"name"'}
    assert value("iii_invocations", "iii_invocations_total", **by_id) == 2
    assert value("iii_invocation_errors", "iii_invocation_errors_total", **by_id) == 1
    duration = "iii_invocation_duration_seconds"
    assert value(duration, f"{duration}_count") == 2
    assert value(duration, f"{duration}_bucket", le="+Inf") == 2
    assert value("iii_workers_active", "iii_workers_active") == workers
    assert value("iii_workers_spawns", "iii_workers_spawns_total") == workers
    rss = "iii_worker_memory_rss_bytes"
    assert value(rss, rss, worker_id=worker.worker_id) == 4096
    dropped = "iii_telemetry_dropped"
    assert value(dropped, f"{dropped}_total", what="unreadable") == 1


async def test_the_endpoint_opens_moves_and_closes_by_reload(tmp_path: Path) -> None:
    async with open_app(config(), data_dir=tmp_path) as app:
        assert "iii-observability" not in app.addresses
        report = await app.reload(
            config(metrics_exporter="prometheus", prometheus={"port": 0})
        )
        assert report.changed == ("iii-observability",)
        first = app.addresses["iii-observability"]
        assert (await fetch(app)).status_code == 200
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            busy = {"host": "127.0.0.1", "port": taken.getsockname()[1]}
            report = await app.reload(config(prometheus=busy))
        assert "in use" in report.failed["iii-observability"]
        assert app.addresses["iii-observability"] == first
        assert (await fetch(app)).status_code == 200
        await app.reload(config())
        assert "iii-observability" not in app.addresses


async def test_a_busy_port_at_start_is_fatal(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = {"host": "127.0.0.1", "port": taken.getsockname()[1]}
        with pytest.raises(OSError, match="in use") as caught:
            async with open_app(config(prometheus=busy), data_dir=tmp_path):
                pass
    assert caught.value.errno == errno.EADDRINUSE


MISSING: dict[str, tuple[str, dict[str, Any]]] = {
    "metrics": ("prometheus_client", {"prometheus": {"port": 0}}),
    "otel": ("google.protobuf.json_format", {"exporter": "otlp"}),
}


@pytest.mark.parametrize("extra", MISSING)
async def test_a_missing_extra_is_named(
    extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, block = MISSING[extra]
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    with pytest.raises(ConfigError, match=rf"iii-trio\[{extra}\]"):
        async with open_app(config(**block), data_dir=tmp_path):
            pass
    async with open_app(config(), data_dir=tmp_path) as app:
        report = await app.reload(config(**block))
        assert f"iii-trio[{extra}]" in report.failed["iii-observability"]


async def test_without_the_extra_otlp_goes_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module, _ = MISSING["otel"]
    monkeypatch.setitem(sys.modules, module, None)
    async with open_collector() as collector:
        block = config(exporter="otlp", endpoint=collector.url)
        async with open_app(block, data_dir=tmp_path) as app:
            app.engine.supervisor.on_telemetry(span_frame())
            await collector.wait(1)
            await app.drain(30)
    [(path, request), *_] = collector.got
    assert path == "/v1/traces"
    [group] = request["resourceSpans"]
    assert group["scopeSpans"][0]["spans"][0]["traceId"] == TRACE
    assert any("sent as JSON" in one.message for one in caplog.records)


# --- OTLP

REQUESTS: dict[str, Any] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
}


@attrs.define(eq=False)
class Collector:
    """Takes OTLP; answers with ``statuses`` first, then 200."""

    url: str = ""
    statuses: list[int] = attrs.field(factory=list)
    got: list[tuple[str, Any]] = attrs.field(factory=list)
    headers: list[dict[str, str]] = attrs.field(factory=list)
    asked: int = 0
    _nursery: Any = None
    _more: trio.Event = attrs.field(factory=trio.Event)

    def on_request(self, exchange: HTTPExchange) -> None:
        self._nursery.start_soon(self._answer, exchange)

    async def _answer(self, exchange: HTTPExchange) -> None:
        body = await exchange.read_body(10**7)
        self.asked += 1
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            path = exchange.request.path
            self.got.append((path, self._read(exchange, body)))
            self.headers.append(dict(exchange.request.headers))
        exchange.respond(status, [], b"")
        self._more.set()
        self._more = trio.Event()

    @staticmethod
    def _read(exchange: HTTPExchange, body: bytes) -> Any:
        headers = dict(exchange.request.headers)
        if headers["content-type"] == "application/json":
            return msgspec.json.decode(body)
        return REQUESTS[exchange.request.path].FromString(body)

    async def wait(self, count: int) -> list[tuple[str, Any]]:
        with trio.fail_after(30):
            await trio.lowlevel.checkpoint()
            while len(self.got) < count:
                await self._more.wait()
        return self.got


@asynccontextmanager
async def open_collector(*statuses: int) -> AsyncIterator[Collector]:
    collector = Collector(statuses=list(statuses))
    async with open_pump() as pump, trio.open_nursery() as nursery:
        collector._nursery = nursery
        async with open_front_door(pump, collector, host="127.0.0.1", port=0) as door:
            collector.url = f"http://127.0.0.1:{door.addresses[0][1]}"
            yield collector
        nursery.cancel_scope.cancel()


async def test_everything_reaches_the_collector_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "iii_trio")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=shop")
    secret = {"key": "Authorization", "value": {"stringValue": "hunter2"}}
    async with open_collector() as collector:
        block = {
            "exporter": "otlp",
            "logs_exporter": "both",
            "metrics_exporter": "otlp",
            "endpoint": collector.url,
            "service_name": "my-engine",
        }
        async with (
            open_app(config(**block), data_dir=tmp_path) as app,
            open_worker(app.engine, name="w") as worker,
        ):
            tell = app.engine.supervisor.on_telemetry
            tell(span_frame(attributes=[secret]))
            tell(log_frame(body="of a worker"))
            tell(gauge_frame("w", "g", 1.5))
            await worker.invoke("engine::log::info", {"message": "of a function"})

            @worker.function("a::b")
            async def function() -> None:
                await trio.lowlevel.checkpoint()

            await worker.invoke("a::b", kind="delivery")
            await app.drain(30)
        got = collector.got
    text = repr(got)
    assert "hunter2" not in text
    assert "[REDACTED]" in text
    for sent in ("of a worker", "of a function", "trigger a::b", "my-engine"):
        assert sent in text
    assert "iii.invocations.total" in text
    assert "listening on" in text  # a line of the engine's own
    assert {path for path, _ in got} == set(REQUESTS)
    assert all(headers["x-team"] == "shop" for headers in collector.headers)
    spans = [
        span
        for path, request in got
        if path == "/v1/traces"
        for span in request.resource_spans[0].scope_spans[0].spans
    ]
    assert any(span.trace_id.hex() == TRACE for span in spans)


def exporter(url: str, **options: Any) -> Exporter:
    block = ObservabilityConfig(enabled=True, exporter="otlp", endpoint=url)
    return Exporter(settings_of(block, {})[0], **options)


@contextmanager
def heard_of(text: str) -> Iterator[trio.Event]:
    """An event that is set once a line of the worker's log has this text."""
    event = trio.Event()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if text in record.getMessage():
                event.set()

    ear, log = Ear(), logging.getLogger("iii_trio.builtins.observability")
    log.addHandler(ear)
    try:
        yield event
    finally:
        log.removeHandler(ear)


EMPTY: dict[str, Any] = {"resourceSpans": []}


async def test_a_busy_collector_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_export, "FIRST_PAUSE", 0.001)
    async with open_collector(503, 429) as collector, trio.open_nursery() as nursery:
        sender = exporter(collector.url)
        nursery.start_soon(sender.run)
        sender.offer("traces", EMPTY)
        await collector.wait(1)
        await sender.wait_sent()
        statistics = sender.statistics()
        nursery.cancel_scope.cancel()
    assert (statistics.sent, statistics.dropped, statistics.last_error) == (1, 0, None)
    assert collector.asked == 3


async def test_what_a_collector_refuses_is_dropped_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "iii_trio")
    async with open_collector(400, 400) as collector, trio.open_nursery() as nursery:
        sender = exporter(collector.url)
        nursery.start_soon(sender.run)
        for _ in range(3):
            sender.offer("traces", EMPTY)
        await collector.wait(1)
        await sender.wait_sent()
        statistics = sender.statistics()
        nursery.cancel_scope.cancel()
    assert (statistics.sent, statistics.dropped) == (1, 2)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


class LostCollector(httpx2.AsyncBaseTransport):
    """Cannot be reached; needs no socket, so time may be virtual."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await trio.lowlevel.checkpoint()
        raise httpx2.ConnectError("lost", request=request)


async def test_a_lost_collector_blocks_nobody_and_costs_bounded_memory(
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_export, "QUEUE_REQUESTS", 10)
    sender = exporter(
        "http://lost",
        open_client=lambda: httpx2.AsyncClient(transport=LostCollector()),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.run)
        for _ in range(1000):
            sender.offer("traces", EMPTY)
        assert sender.statistics().waiting == 10
        await trio.sleep(3600)
        statistics = sender.statistics()
        nursery.cancel_scope.cancel()
    # Half of the queue is kept for better times, with the one that is being tried.
    assert (statistics.sent, statistics.waiting, statistics.dropped) == (0, 6, 994)
    assert statistics.last_error == "ConnectError: lost"
    warnings = [one for one in caplog.records if "cannot be sent" in one.message]
    assert len(warnings) == 1


async def test_a_queue_over_its_bytes_drops_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await trio.lowlevel.checkpoint()
    monkeypatch.setattr(_export, "QUEUE_BYTES", 100)
    sender = exporter("http://localhost:1")
    big = {"resourceSpans": [{"schemaUrl": "x" * 60}]}
    for _ in range(3):
        sender.offer("traces", big)
    assert (sender.statistics().waiting, sender.statistics().dropped) == (1, 2)
    sender.offer("traces", {"resourceSpans": 7})
    assert sender.statistics().dropped == 3


async def test_health_is_degraded_while_the_collector_cannot_be_reached(
    tmp_path: Path,
) -> None:
    block = {"exporter": "both", "endpoint": "http://127.0.0.1:9"}
    async with (
        open_app(config(**block), data_dir=tmp_path) as app,
        open_worker(app.engine, name="w") as worker,
    ):
        with heard_of("cannot be sent") as heard:
            app.engine.supervisor.on_telemetry(span_frame())
            with trio.fail_after(30):
                await heard.wait()
        health = await worker.invoke("engine::health::check")
        assert health["status"] == "degraded"
        export = health["components"]["otel"]["details"]["export"]
        listed = await worker.invoke("engine::traces::list")
    assert export["last_error"]
    assert listed["total"] == 1


async def test_new_requests_go_where_the_settings_say() -> None:
    async with (
        open_collector() as first,
        open_collector() as second,
        trio.open_nursery() as nursery,
    ):
        sender = exporter(first.url)
        nursery.start_soon(partial(sender.run))
        sender.offer("traces", EMPTY)
        await first.wait(1)
        block = ObservabilityConfig(enabled=True, endpoint=second.url)
        sender.reconfigure(settings_of(block, {})[0])
        sender.offer("logs", {"resourceLogs": []})
        await second.wait(1)
        nursery.cancel_scope.cancel()
    assert [path for path, _ in second.got] == ["/v1/logs"]
