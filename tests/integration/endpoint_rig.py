"""An endpoint for HTTP-invoked functions that shows every byte, and an engine for it."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import httptools
import msgspec
import pytest
import trio

from iii_trio._util import open_background_nursery
from iii_trio.builtins.http_functions import (
    HTTPFunctionsConfig,
    HTTPFunctionsHandle,
    SecurityConfig,
    serve_http_functions,
)
from iii_trio.errors import InvocationError
from iii_trio.testing import EngineUnderTest, RawPeer, open_test_engine
from iii_trio.worker import Worker

PATIENCE = 60.0
LOCAL = SecurityConfig(block_private_ips=False, require_https=False)


@attrs.define
class Received:
    """One request as it came."""

    connection: int
    method: str = ""
    path: str = ""
    headers: list[tuple[str, str]] = attrs.field(factory=list)
    body: bytes = b""
    pieces: list[bytes] = attrs.field(factory=list)
    complete: bool = False

    def on_url(self, url: bytes) -> None:
        self.path = url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode(), value.decode()))

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.complete = True

    def header(self, name: str) -> str:
        """The one header of this name."""
        [value] = [value for key, value in self.headers if key.lower() == name.lower()]
        return value


Answer = Callable[[Received, trio.abc.Stream], Awaitable[None]]


def reply(body: object = None, status: str = "200 OK", *headers: str) -> Answer:
    """An answer with a JSON body (bytes as they are)."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "", ""]
    return raw("\r\n".join(head).encode() + content)


def raw(*pieces: bytes, close: bool = False) -> Answer:
    """An answer of these bytes, and then maybe the end of the connection."""

    async def send(_request: Received, stream: trio.abc.Stream) -> None:
        await trio.lowlevel.checkpoint()
        for piece in pieces:
            await stream.send_all(piece)
        if close:
            await stream.aclose()

    return send


async def silence(_request: Received, stream: trio.abc.Stream) -> None:
    """No answer; wait until the client is gone."""
    assert await stream.receive_some() == b""


@attrs.define(eq=False)
class Endpoint:
    """A server that records requests and gives the answers that a test wants.

    Attributes:
        answer: what the next requests get.
        requests: every request whose head began, oldest first.
        open: connections that are open now.
        most_open: the largest number that was.
        gone: how many connections ended.
    """

    answer: Answer = attrs.field(factory=reply)
    requests: list[Received] = attrs.field(factory=list)
    connections: int = 0
    open: int = 0
    most_open: int = 0
    port: int = 0
    _changed: trio.lowlevel.ParkingLot = attrs.field(
        factory=trio.lowlevel.ParkingLot, init=False
    )

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        with trio.fail_after(PATIENCE):
            await trio.lowlevel.checkpoint()
            while not condition():
                await self._changed.park()

    async def serve(self, stream: trio.abc.Stream) -> None:
        """One connection."""
        self.connections += 1
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        number = self.connections
        try:
            while await self._serve_request(number, stream):
                self._changed.unpark_all()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()
        finally:
            self.open -= 1
            self._changed.unpark_all()
            with trio.move_on_after(1, shield=True):
                await stream.aclose()

    async def _serve_request(self, number: int, stream: trio.abc.Stream) -> bool:
        request = Received(number)
        parser = httptools.HttpRequestParser(request)
        while not request.complete:
            piece = await stream.receive_some()
            if not piece:
                return False
            if not request.pieces:
                self.requests.append(request)
            request.pieces.append(bytes(piece))
            parser.feed_data(piece)
        request.method = parser.get_method().decode()
        self._changed.unpark_all()
        await self.answer(request, stream)
        return True


@asynccontextmanager
async def open_endpoint(
    host: str = "127.0.0.1", *, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Endpoint]:
    """Serve on an address."""
    endpoint = Endpoint()
    async with open_background_nursery("test over") as nursery:
        if tls is None:
            listeners = await nursery.start(
                partial(trio.serve_tcp, endpoint.serve, port, host=host)
            )
        else:
            listeners = await nursery.start(
                partial(
                    trio.serve_ssl_over_tcp,
                    endpoint.serve,
                    port,
                    tls,
                    host=host,
                    https_compatible=True,
                )
            )
        listener = listeners[0]
        below = getattr(listener, "transport_listener", listener)
        endpoint.port = below.socket.getsockname()[1]
        yield endpoint


@attrs.define(eq=False, kw_only=True)
class FunctionsRig:
    """An engine with the worker in it, a caller, and an owner of functions."""

    under_test: EngineUnderTest
    caller: Worker
    owner: RawPeer
    handle: HTTPFunctionsHandle
    serving: trio.CancelScope

    async def register(
        self, url: str, *, function_id: str = "a::hook", **invocation: Any
    ) -> None:
        """Register a function of the owner, and wait until the engine knows it."""
        self.owner.register(function_id, invocation={"url": url, **invocation})
        await self.owner.outcome(self.owner.call("engine::workers::list", {}))

    async def call(self, payload: object = None, function_id: str = "a::hook") -> Any:
        """Call the function."""
        with trio.fail_after(PATIENCE):
            return await self.caller.invoke(function_id, payload)

    async def failure(self, payload: object = None) -> tuple[str, str]:
        """Call the function, which must fail; code and message."""
        with trio.fail_after(PATIENCE), pytest.raises(InvocationError) as caught:
            await self.caller.invoke("a::hook", payload)
        return caught.value.code, caught.value.message


@asynccontextmanager
async def open_functions_rig(
    config: HTTPFunctionsConfig | None = None, **options: Any
) -> AsyncIterator[FunctionsRig]:
    """Open it; the options are those of `serve_http_functions`."""
    async with (
        open_test_engine() as under_test,
        under_test.open_worker("iii-http-functions") as worker,
        under_test.open_worker("caller") as caller,
        under_test.open_raw_peer("owner") as owner,
        open_background_nursery("test over") as nursery,
    ):
        serve = partial(
            serve_http_functions,
            worker,
            config or HTTPFunctionsConfig(security=LOCAL),
            **options,
        )
        handle = await nursery.start(serve)
        yield FunctionsRig(
            under_test=under_test,
            caller=caller,
            owner=owner,
            handle=handle,
            serving=nursery.cancel_scope,
        )
