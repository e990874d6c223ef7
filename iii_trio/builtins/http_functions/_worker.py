"""`serve_http_functions`: perform functions that are registered with an ``invocation``."""

import os
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final, NoReturn, final

import attrs
import httpcore2
import msgspec
import trio

from iii_trio.builtins.http_functions._answer import result_of
from iii_trio.builtins.http_functions._config import HTTPFunctionsConfig
from iii_trio.builtins.http_functions._endpoint import Endpoint, read_endpoint
from iii_trio.builtins.http_functions._network import (
    JudgingBackend,
    Resolve,
    resolve_by_system,
)
from iii_trio.builtins.http_functions._policy import URLRefusedError
from iii_trio.errors import FunctionFailedError
from iii_trio.worker import InvokedFunction, Worker

FAILURE_CHARACTERS: Final = 200
"""How much an error repeats of what went wrong below."""


@attrs.frozen(kw_only=True)
class HTTPFunctionsStatistics:
    """Counts of the worker.

    Attributes:
        requests: that were begun.
        failed: of those, how many ended in an error of any kind.
        under_way: that have not ended.
    """

    requests: int
    failed: int
    under_way: int


@final
@attrs.define(eq=False)
class HTTPFunctionsHandle:
    """What the running worker offers to whoever serves it."""

    _client: "_Client"

    async def drain(self, grace: float) -> None:
        """Wait until no request is under way, at most ``grace`` seconds."""
        with trio.move_on_after(grace):
            await self._client.wait_idle()

    def statistics(self) -> HTTPFunctionsStatistics:
        """Counts, as of now."""
        return self._client.statistics()


async def serve_http_functions(
    worker: Worker,
    config: HTTPFunctionsConfig,
    *,
    environ: Mapping[str, str] = os.environ,
    now: Callable[[], float] = time.time,
    new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    resolve: Resolve = resolve_by_system,
    ssl_context: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[HTTPFunctionsHandle] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Perform the HTTP-invoked functions of all workers, until cancelled.

    Args:
        worker: what performs them; in the engine's process.
        config: settings.
        environ: where registrations name their secrets.
        now: wall time, in seconds since 1970.
        new_id: makes UUID text.
        resolve: finds the addresses of names.
        ssl_context: default: certificates that the system trusts.
        task_status: gets an `HTTPFunctionsHandle` once functions can be registered.

    Raises:
        RegistrationError: another worker does it.

    Cancellation: requests under way are cancelled. Functions stay registered while the
    engine lives, and calls to them are refused until somebody serves this again.
    """
    limits = config.limits
    pool = httpcore2.AsyncConnectionPool(
        ssl_context=ssl_context or ssl.create_default_context(),
        max_connections=limits.max_connections,
        max_keepalive_connections=limits.max_idle_connections,
        keepalive_expiry=limits.idle_timeout_ms / 1000,
        network_backend=JudgingBackend(config.security, resolve),
    )
    client = _Client(
        config=config,
        pool=pool,
        slots=trio.CapacityLimiter(limits.max_connections),
        now=now,
        new_id=new_id,
    )

    def admit(function: InvokedFunction) -> Callable[[msgspec.Raw], Awaitable[object]]:
        return client.handler_of(
            read_endpoint(
                function.function_id, function.invocation, config.security, environ
            )
        )

    async with pool:
        worker.register_invoker(admit)
        try:
            task_status.started(HTTPFunctionsHandle(client))
            await trio.sleep_forever()
        finally:
            worker.unregister_invoker()
    raise AssertionError  # pragma: no cover - sleep_forever does not return


@attrs.define(eq=False, kw_only=True)
class _Client:
    """Makes requests."""

    _config: HTTPFunctionsConfig
    _pool: httpcore2.AsyncConnectionPool
    _slots: trio.CapacityLimiter
    _now: Callable[[], float]
    _new_id: Callable[[], str]
    _requests: int = 0
    _failed: int = 0
    _under_way: int = 0
    _idle: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def handler_of(
        self, endpoint: Endpoint
    ) -> Callable[[msgspec.Raw], Awaitable[msgspec.Raw]]:
        """The handler of a function."""

        async def request(payload: msgspec.Raw) -> msgspec.Raw:
            return msgspec.Raw(await self._counted(endpoint, bytes(payload)))

        return request

    async def wait_idle(self) -> None:
        await trio.lowlevel.checkpoint()
        while self._under_way:
            await self._idle.park()

    def statistics(self) -> HTTPFunctionsStatistics:
        return HTTPFunctionsStatistics(
            requests=self._requests, failed=self._failed, under_way=self._under_way
        )

    async def _counted(self, endpoint: Endpoint, body: bytes) -> bytes:
        self._requests += 1
        self._under_way += 1
        succeeded = False
        try:
            result = await self._request(endpoint, body)
            succeeded = True
            return result
        finally:
            self._failed += not succeeded
            self._under_way -= 1
            if not self._under_way:
                self._idle.unpark_all()

    async def _request(self, endpoint: Endpoint, body: bytes) -> bytes:
        """One request within its timeout; its result."""
        with trio.move_on_after(endpoint.timeout):
            async with self._slots:
                return result_of(*await self._response(endpoint, body))
        raise FunctionFailedError(
            f"request timed out after {endpoint.timeout * 1000:g} ms",
            code="http_request_failed",
        )

    async def _response(
        self, endpoint: Endpoint, body: bytes
    ) -> tuple[int, str, bytes]:
        target = endpoint.target
        url = httpcore2.URL(
            scheme=target.scheme.encode(),
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        )
        headers = endpoint.request_headers(
            body, timestamp=int(self._now()), invocation_id=self._new_id()
        )
        code = "http_request_failed"
        try:
            async with self._pool.stream(
                endpoint.method, url, headers=headers, content=body
            ) as response:
                code = "http_response_failed"
                reason = response.extensions.get("reason_phrase", b"")
                received = await self._read(response)
        except URLRefusedError as exc:
            raise FunctionFailedError(str(exc), code="url_validation_failed") from None
        except _TRANSPORT_ERRORS as exc:
            raise FunctionFailedError(_explain(exc), code=code) from None
        return response.status, reason.decode("latin-1"), received

    async def _read(self, response: httpcore2.Response) -> bytes:
        limit = self._config.limits.max_response_bytes
        pieces: list[bytes] = []
        size = 0
        async with aclosing(response.aiter_stream()) as body:
            async for piece in body:
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    msg = (
                        f"the response is larger than {limit} bytes; return a reference "
                        "to the data, or raise limits.max_response_bytes"
                    )
                    raise FunctionFailedError(msg, code="http_response_failed")
        return b"".join(pieces)


_TRANSPORT_ERRORS: Final = (
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.TimeoutException,
    ssl.SSLError,
)


def _explain(exc: BaseException) -> str:
    """What went wrong, with its causes; none of them repeats what was sent."""
    parts: list[str] = []
    cause: BaseException | None = exc
    while cause is not None:
        text = str(cause)
        if text and text not in parts:
            parts.append(text)
        # The pool raises anew "from None"; what it came from is in the context.
        cause = cause.__cause__ or cause.__context__
    prefix = (
        "could not connect" if isinstance(exc, httpcore2.ConnectError) else "failed"
    )
    text = ": ".join(parts) or type(exc).__name__
    return f"{prefix}: {text}"[:FAILURE_CHARACTERS]
