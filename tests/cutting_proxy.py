"""A TCP proxy that cuts the connections of workers at a chosen byte.

It forwards bytes both ways between clients and one server. A link is a connection whose
first request asks for ``/``: those of telemetry and of channels pass unharmed.
"""

import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, final

import attrs
import trio

Direction = Literal["to_engine", "to_client"]
How = Literal["fin", "reset", "half"]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


@attrs.frozen(kw_only=True)
class Cut:
    """Where to cut a link.

    Attributes:
        direction: whose bytes are counted.
        after: how many of them still pass.
        how: ``fin`` closes both sides, ``reset`` too, but with a TCP reset; ``half``
            resets the client's side and leaves the engine's open, and silent.
    """

    direction: Direction
    after: int
    how: How = "reset"


@final
@attrs.define(eq=False)
class _Link:
    """One worker link that passes through."""

    client: trio.SocketStream
    engine: trio.SocketStream
    scope: trio.CancelScope
    cut: Cut | None = None
    left: int = 0
    severed: bool = False

    def arm(self, cut: Cut) -> None:
        """Cut after some bytes from now."""
        self.cut, self.left = cut, cut.after

    def allow(self, direction: Direction, size: int) -> int:
        """How many of so many bytes may still pass."""
        if self.cut is None or self.cut.direction != direction:
            return size
        allowed = min(size, self.left)
        self.left -= allowed
        return allowed

    def sever(self) -> bool:
        """Cut now; whether the engine's side is to stay open."""
        assert self.cut is not None
        self.severed = True
        how = self.cut.how
        if how != "fin":
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if how == "reset":
            self.engine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.scope.cancel(reason="the link is cut")
        return how == "half"


@final
@attrs.define(eq=False)
class CuttingProxy:
    """Made by `open_cutting_proxy`.

    Attributes:
        port: where clients connect, on 127.0.0.1.
        cuts: how many links were cut so far: both sides know, or could.
    """

    port: int
    target: int
    cuts: int = 0
    _link: _Link | None = None
    _next: Cut | None = None
    _changed: trio.Event = attrs.Factory(trio.Event)
    _half_open: list[trio.SocketStream] = attrs.Factory(list)

    def arm(self, cut: Cut) -> None:
        """Cut the link that is up, counting from now, or the next one if none is."""
        if self._link is None:
            self._next = cut
        else:
            self._link.arm(cut)

    def arm_next(self, cut: Cut) -> None:
        """Cut the next link, counting from its first byte."""
        self._next = cut

    def cut_now(self, cut: Cut = Cut(direction="to_engine", after=0)) -> None:
        """Cut the link that is up, without waiting for a byte."""
        assert self._link is not None
        self._link.arm(cut)
        self._sever(self._link)

    async def wait_cuts(self, count: int) -> None:
        """Wait until so many links were cut."""
        await trio.lowlevel.checkpoint()
        while self.cuts < count:
            await self._changed.wait()

    async def serve(self, client: trio.SocketStream) -> None:
        """Forward one connection."""
        await trio.lowlevel.checkpoint()
        with contextlib.suppress(OSError, trio.BrokenResourceError):
            async with client:
                head = bytes(await client.receive_some())
                if head:
                    engine = await trio.open_tcp_stream("127.0.0.1", self.target)
                    try:
                        await self._forward(client, engine, head)
                    finally:
                        if engine not in self._half_open:
                            engine.socket.close()

    async def _forward(
        self, client: trio.SocketStream, engine: trio.SocketStream, head: bytes
    ) -> None:
        async with trio.open_nursery() as nursery:
            link = _Link(client, engine, nursery.cancel_scope)
            if head.startswith((b"GET / ", b"GET /?")):
                self._link = link
                if self._next is not None:
                    link.arm(self._next)
                    self._next = None
            nursery.start_soon(self._copy, link, client, engine, "to_engine", head)
            nursery.start_soon(self._copy, link, engine, client, "to_client", b"")
        if self._link is link:
            self._link = None
        if link.severed:
            client.socket.close()
            if link.cut is None or link.cut.how != "half":
                engine.socket.close()
            self.cuts += 1
            self._changed.set()
            self._changed = trio.Event()

    async def _copy(
        self,
        link: _Link,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        direction: Direction,
        data: bytes,
    ) -> None:
        await trio.lowlevel.checkpoint()
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                allowed = link.allow(direction, len(data))
                if allowed:
                    await sink.send_all(data[:allowed])
                if allowed < len(data):
                    self._sever(link)
                    return
                data = bytes(await source.receive_some(65536))
                if not data:
                    break
        link.scope.cancel(reason="one side is over")

    def _sever(self, link: _Link) -> None:
        if link.sever():
            self._half_open.append(link.engine)

    async def close_half_open(self) -> None:
        """Close what was left open."""
        await trio.lowlevel.checkpoint()
        while self._half_open:
            await trio.aclose_forcefully(self._half_open.pop())


@asynccontextmanager
async def open_cutting_proxy(target: int) -> AsyncIterator[CuttingProxy]:
    """Listen on a free port and forward to ``target`` for the length of a block."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy = CuttingProxy(port=listener.socket.getsockname()[1], target=target)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, proxy.serve, [listener])
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel(reason="the proxy is not needed any more")
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                await proxy.close_half_open()
