"""An engine with an observability worker in it, and a client."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import msgspec
import pytest
import trio
import trio.testing

from iii_trio._util import open_background_nursery
from iii_trio.builtins.observability import (
    DEFAULT_BLOCK,
    ObservabilityConfig,
    ObservabilityHandle,
    Telemetry,
    serve_observability,
)
from iii_trio.errors import InvocationError
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.worker import Worker

EPOCH = 1_767_225_600.0
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"


def span_frame(**fields: Any) -> bytes:
    """An ``OTLP`` message with one span."""
    span = {
        "traceId": TRACE,
        "spanId": SPAN_ID,
        "name": "work",
        "startTimeUnixNano": "1767225600000000000",
        "endTimeUnixNano": "1767225600500000000",
        **fields,
    }
    return _frame(b"OTLP", "resourceSpans", "scopeSpans", "spans", span)


def log_frame(text: str = "INFO", body: str = "hello", **fields: Any) -> bytes:
    """A ``LOGS`` message with one record."""
    record = {"severityText": text, "body": {"stringValue": body}, **fields}
    return _frame(b"LOGS", "resourceLogs", "scopeLogs", "logRecords", record)


def gauge_frame(worker_id: str, name: str, value: float) -> bytes:
    """An ``MTRC`` message with one gauge of a worker."""
    attribute = {"key": "worker.id", "value": {"stringValue": worker_id}}
    point = {
        "attributes": [attribute],
        "timeUnixNano": str(int(EPOCH * 1e9)),
        "asDouble": value,
    }
    metric = {"name": name, "gauge": {"dataPoints": [point]}}
    return _frame(b"MTRC", "resourceMetrics", "scopeMetrics", "metrics", metric)


def _frame(prefix: bytes, outer: str, inner: str, leaf: str, record: Any) -> bytes:
    service = {"key": "service.name", "value": {"stringValue": "shop"}}
    group = {"resource": {"attributes": [service]}, inner: [{leaf: [record]}]}
    return prefix + msgspec.json.encode({outer: [group]})


@attrs.frozen
class ObservabilityRig:
    """What `open_observability_rig` yields."""

    under_test: EngineUnderTest
    telemetry: Telemetry
    server: Worker
    client: Worker
    handle: ObservabilityHandle
    serving: trio.CancelScope

    async def call(self, function_id: str, /, **payload: Any) -> Any:
        """Call a function of the observability worker."""
        return await self.client.invoke(function_id, payload)

    async def failure(self, function_id: str, payload: object) -> InvocationError:
        """Call a function, which must fail; give how."""
        with pytest.raises(InvocationError) as caught:
            await self.client.invoke(function_id, payload)
        return caught.value

    async def tell(self, *frames: bytes) -> None:
        """Let a worker's telemetry come, and be read."""
        for frame in frames:
            self.telemetry.take(frame)
        await self.settle()

    async def logged(self, **query: Any) -> list[str]:
        """The bodies of the records that are kept."""
        found = await self.call("engine::logs::list", **query)
        return [record["body"] for record in found["logs"]]

    async def record(self, trigger_type: str, config: Any, **options: Any) -> list[Any]:
        """Bind a function that collects payloads; give the list that they go to."""
        got: list[Any] = []
        function_id = f"collect::{len(self.under_test.engine.triggers)}"

        async def collect(payload: Any) -> None:
            await trio.lowlevel.checkpoint()
            got.append(payload)

        self.client.register_function(function_id, collect)
        await self.client.bind(trigger_type, function_id, config, **options)
        return got

    async def settle(self) -> None:
        """Wait until all that was started is done."""
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def open_observability_rig(
    environ: Mapping[str, str] | None = None, **block: Any
) -> AsyncIterator[ObservabilityRig]:
    """Open an engine whose observability worker keeps everything in memory."""
    config = ObservabilityConfig(**{**DEFAULT_BLOCK, **block})
    clock_of: list[Any] = []
    telemetry = Telemetry(now=lambda: float(clock_of[0]()))
    async with (
        open_test_engine(
            epoch=EPOCH,
            on_telemetry=telemetry.take,
            latest_metrics=telemetry.latest_metrics,
        ) as under_test,
        under_test.open_worker("iii-observability") as server,
        under_test.open_worker("client") as client,
        open_background_nursery("test over") as nursery,
    ):
        clock_of.append(under_test.clock)
        telemetry.attach(under_test.engine)
        handle = await nursery.start(
            partial(
                serve_observability,
                server,
                config,
                telemetry=telemetry,
                environ=environ or {},
            )
        )
        yield ObservabilityRig(
            under_test, telemetry, server, client, handle, nursery.cancel_scope
        )
