"""An engine with the http trigger and no socket: requests are objects of the test."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, final

import attrs
import trio
import trio.testing

from iii_trio.builtins.http import HTTPConfig
from iii_trio.builtins.http._admission import Admission
from iii_trio.builtins.http._dispatch import Dispatcher, settings_of
from iii_trio.builtins.http._exchange import Exchange
from iii_trio.builtins.http._request import RequestRun, Routed
from iii_trio.builtins.http._worker import provide_trigger_type
from iii_trio.net import BodyTooLargeError, HTTPRequest
from iii_trio.protocol import ChannelRef
from iii_trio.testing import EngineUnderTest, open_test_engine
from iii_trio.worker import Worker

JSON_TYPE = ("content-type", "application/json")
NOW = 1.0


@final
class MemoryExchange:
    """A request that a test makes, and what was answered.

    Attributes:
        done: the response is complete, or was aborted.
        committed: a streamed response was begun.
    """

    def __init__(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: Sequence[bytes] | None = None,
        *,
        cut: bool = False,
    ) -> None:
        path, _, query = target.partition("?")
        self.request = HTTPRequest(
            method=method,
            target=target,
            path=path,
            query=query,
            headers=tuple(headers),
            peer=("127.0.0.1", 1),
            content_length=0 if body is None else None,
        )
        self.on_gone: Any = None
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.aborted = ""
        self.done = trio.Event()
        self.committed = trio.Event()
        self.writable = trio.Event()
        self.writable.set()
        self.read_bytes = 0
        self._pieces = list(body or ())
        self._cut = cut
        self._gone = ""

    @property
    def has_body(self) -> bool:
        return self.request.content_length != 0

    def respond(
        self, status: int, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        assert not self.status
        self.status, self.headers, self.body = status, list(headers), body
        self._complete()

    def start_response(
        self, status: int, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        assert not self.status
        self.status, self.headers = status, list(headers)
        self.committed.set()

    def write_nowait(self, data: bytes) -> None:
        assert self.committed.is_set()
        assert not self.done.is_set()
        self.body += data

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        await self.writable.wait()
        if self._gone:
            raise trio.BrokenResourceError(self._gone)

    def finish(self) -> None:
        assert self.committed.is_set()
        self._complete()

    def abort(self, reason: str) -> None:
        if not self.done.is_set():
            self.aborted = reason
            self._complete()

    def _complete(self) -> None:
        assert not self.done.is_set()
        self.on_gone = None
        self.done.set()

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self._pieces:
            piece = self._pieces.pop(0)
            self.read_bytes += len(piece)
            return piece
        if self._cut:
            raise trio.BrokenResourceError("the body was cut short")
        return b""

    def take_body_nowait(self, max_bytes: int) -> bytes | None:
        if (
            self._cut
            or len(self._pieces) > 1
            or len(b"".join(self._pieces)) > max_bytes
        ):
            return None
        body, self._pieces = b"".join(self._pieces), []
        self.read_bytes += len(body)
        return body

    async def read_body(self, max_bytes: int) -> bytes:
        body = b""
        while piece := await self.receive_some():
            body += piece
            if len(body) > max_bytes:
                raise BodyTooLargeError("too large")
        return body

    def hang_up(self, reason: str = "the client hung up") -> None:
        """The client goes away."""
        self._gone = reason
        callback, self.on_gone = self.on_gone, None
        if callback is not None:
            callback(reason)

    # What tests look at.

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    def error(self) -> tuple[int, str, str]:
        """Status, code and message of an error envelope."""
        error = self.json()["error"]
        return self.status, error["code"], error["message"]

    def values(self, name: str) -> list[str]:
        """The values of a header."""
        return [value for key, value in self.headers if key == name]


@final
@attrs.frozen
class HTTPRig:
    """What `open_http_rig` yields.

    Attributes:
        client: a worker in process, for handlers.
        server: the http worker.
    """

    under_test: EngineUnderTest
    client: Worker
    server: Worker
    dispatcher: Dispatcher
    nursery: trio.Nursery

    def tasks(self) -> int:
        """How many tasks the http worker has."""
        return len(self.nursery.child_tasks)

    def send(self, exchange: MemoryExchange) -> MemoryExchange:
        """Give a request to the http worker."""
        as_protocol: Exchange = exchange
        self.dispatcher.on_request(as_protocol)
        return exchange

    def run_of(self, exchange: MemoryExchange) -> RequestRun:
        """A request that has its place, to be run by the test itself."""
        request = exchange.request
        match = self.dispatcher.routes.match(request.method, request.path)
        assert match is not None
        admission: Admission[object] = Admission(1)
        admission.admit(exchange)
        return RequestRun(
            exchange,
            Routed(request, match, 0),
            self.server,
            settings_of(HTTPConfig()),
            lambda: NOW,
            admission.leave,
        )

    def start(self, method: str, target: str, *args: Any, **kw: Any) -> MemoryExchange:
        """Make a request and do not wait for its answer."""
        return self.send(MemoryExchange(method, target, *args, **kw))

    async def request(
        self, method: str, target: str, *args: Any, **kw: Any
    ) -> MemoryExchange:
        """Make a request and wait for its answer."""
        exchange = self.start(method, target, *args, **kw)
        await exchange.done.wait()
        return exchange

    async def post(self, target: str, body: bytes, *types: str) -> MemoryExchange:
        """POST a body, by default without a content type."""
        headers = [("content-type", value) for value in types]
        return await self.request("POST", target, headers, [body] if body else [])

    async def serve(
        self, method: str, path: str, result: object = None, **config: Any
    ) -> list[Any]:
        """Bind a handler in process that gives ``result``; gives what it is called with.

        A function as ``result`` is called with the payload and awaited.
        """
        calls: list[Any] = []

        async def handler(payload: Any) -> Any:
            calls.append(payload)
            if callable(result):
                return await result(payload)
            await trio.lowlevel.checkpoint()
            return result

        function_id = f"on::{method} {path}"
        self.client.register_function(function_id, handler)
        await self.bind(method, path, function_id, **config)
        return calls

    async def bind(
        self,
        method: str,
        path: str,
        function_id: str,
        *,
        options: dict[str, Any] | None = None,
        **config: Any,
    ) -> str:
        """Bind a function to a method and a path."""
        config = {"http_method": method, "api_path": path, **config}
        return await self.client.bind("http", function_id, config, **options or {})

    async def settle(self) -> None:
        """Wait until all that was started is done."""
        await trio.testing.wait_all_tasks_blocked()

    def is_idle(self) -> bool:
        """Whether no request runs or waits, and no channel is left."""
        admission = self.dispatcher.admission
        return not admission.running and not admission.waiting


@asynccontextmanager
async def open_http_rig(**config: Any) -> AsyncIterator[HTTPRig]:
    """Open an engine, the http trigger (config as of `HTTPConfig`) and a client."""
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("iii-http") as server,
        under_test.open_worker("client") as client,
        trio.open_nursery() as nursery,
    ):
        dispatcher = Dispatcher(server, nursery, HTTPConfig(**config), lambda: NOW)
        provide_trigger_type(server, dispatcher.routes)
        yield HTTPRig(under_test, client, server, dispatcher, nursery)
        nursery.cancel_scope.cancel(reason="test over")


def ref_from(payload: Any, key: str) -> ChannelRef:
    """The channel reference in a handler's payload."""
    return ChannelRef(**payload[key])
