"""Sending telemetry to an OpenTelemetry collector, by OTLP over HTTP.

What is to be sent waits in a queue that is bounded by count and bytes. A collector that
is lost, slow or unwilling costs the oldest of what waits, which is counted, and nothing
else: nobody ever waits for it.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NoReturn, final

import attrs
import httpx2
import trio

from iii_trio._util import require_real_time
from iii_trio.builtins.observability._config import Settings
from iii_trio.builtins.observability._otlp import Signal
from iii_trio.builtins.observability._otlp_out import CONTENT_TYPES, encode_request

JSON = Any

logger = logging.getLogger("iii_trio.builtins.observability")

QUEUE_REQUESTS: Final = 2048
QUEUE_BYTES: Final = 16 * 2**20
"""What may wait for the collector."""

SEND_TIMEOUT: Final = 10.0
"""Seconds that one request may take, as OpenTelemetry's exporters have it."""

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
"""Seconds between tries while the collector cannot be reached; they double."""

RETRIED: Final = frozenset({429, 502, 503, 504})
"""HTTP statuses after which the same request is sent again (OTLP specification)."""


@attrs.frozen(kw_only=True)
class ExportStatistics:
    """Requests that wait, were sent, and were lost; the last error while it lasts."""

    waiting: int
    sent: int
    dropped: int
    last_error: str | None


@attrs.frozen(eq=False)
class _Waiting:
    signal: Signal
    body: bytes
    url: str
    content_type: str


@final
class Exporter:
    """A bounded queue of requests, and what sends them.

    Args:
        settings: where to; changed by `reconfigure`.
        open_client: makes the HTTP client; for tests.
    """

    def __init__(
        self,
        settings: Settings,
        open_client: Callable[[], httpx2.AsyncClient] | None = None,
    ) -> None:
        self._settings = settings
        self._open_client = open_client or _client
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._sent = 0
        self._dropped = 0
        self._last_error: str | None = None
        self._more = trio.Event()
        self._idle = trio.lowlevel.ParkingLot()
        self._sending = False

    def reconfigure(self, settings: Settings) -> None:
        """Send elsewhere from now on; what waits goes where it was meant to go."""
        self._settings = settings

    def offer(self, signal: Signal, request: JSON) -> None:
        """Add a request. Sync; one that cannot be encoded is dropped and counted."""
        settings = self._settings
        try:
            body = encode_request(signal, request, settings.protocol)
        except ValueError as exc:
            self._dropped += 1
            self._last_error = str(exc)
            return
        self._queue.append(
            _Waiting(
                signal,
                body,
                settings.endpoints[signal],
                CONTENT_TYPES[settings.protocol],
            )
        )
        self._bytes += len(body)
        while len(self._queue) > QUEUE_REQUESTS or self._bytes > QUEUE_BYTES:
            self._bytes -= len(self._queue.popleft().body)
            self._dropped += 1
        self._more.set()

    def statistics(self) -> ExportStatistics:
        """Counts, as of now."""
        return ExportStatistics(
            waiting=len(self._queue) + self._sending,
            sent=self._sent,
            dropped=self._dropped,
            last_error=self._last_error,
        )

    async def wait_sent(self) -> None:
        """Wait until nothing waits any more."""
        await trio.lowlevel.checkpoint()
        while self._queue or self._sending:
            await self._idle.park()

    async def run(self) -> NoReturn:
        """Send what comes, oldest first, until cancelled."""
        await self._more.wait()  # before the client: its set-up of TLS takes 20 ms
        async with self._open_client() as client:
            while True:
                while self._queue:
                    waiting = self._queue.popleft()
                    self._bytes -= len(waiting.body)
                    self._sending = True
                    await self._send(client, waiting)
                    self._sending = False
                self._idle.unpark_all()
                self._more = trio.Event()
                await self._more.wait()

    async def _send(self, client: httpx2.AsyncClient, waiting: _Waiting) -> None:
        """Send a request, until it is taken or refused, or newer ones need its room."""
        pause = FIRST_PAUSE
        while True:
            error = await self._try(client, waiting)
            if error is None:
                return
            if self._last_error is None:
                logger.warning(
                    "telemetry cannot be sent to %s, tried again: %s",
                    waiting.url,
                    error,
                )
            self._last_error = error
            await trio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            if self._is_full():
                self._dropped += 1
                return

    def _is_full(self) -> bool:
        half = QUEUE_REQUESTS // 2, QUEUE_BYTES // 2
        return len(self._queue) > half[0] or self._bytes > half[1]

    async def _try(self, client: httpx2.AsyncClient, waiting: _Waiting) -> str | None:
        """Send once; why it must be sent again, ``None`` if that is not the case."""
        headers = {**self._settings.headers, "content-type": waiting.content_type}
        try:
            answer = await client.post(
                waiting.url, content=waiting.body, headers=headers
            )
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as exc:
            await trio.lowlevel.checkpoint()
            return f"{type(exc).__name__}: {exc}"
        if answer.status_code in RETRIED:
            return f"HTTP {answer.status_code}"
        if answer.is_success:
            self._sent += 1
            if self._last_error is not None:
                logger.info("telemetry is sent to %s", waiting.url)
            self._last_error = None
            return None
        self._dropped += 1
        if self._last_error is None:
            logger.warning(
                "the collector at %s refused telemetry, which is dropped: HTTP %d",
                waiting.url,
                answer.status_code,
            )
        self._last_error = f"HTTP {answer.status_code}"
        return None


def _client() -> httpx2.AsyncClient:
    require_real_time("an exporter of telemetry", "use a real clock")
    return httpx2.AsyncClient(timeout=SEND_TIMEOUT, trust_env=False)
