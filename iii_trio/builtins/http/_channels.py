"""A handler with channels: its request body streamed to it, its response from it.

Two answers race: what the handler returns, and what it writes. The first binary frame, or
the end of the writer, commits a streamed response; a returned value or an error before
that is the response; null leaves it to the writer. Frames that are already there are
preferred. Both channels end with the request, whatever ended it.

Few handlers stream. So where the engine is in this process and the body is here, both
channels are only promised, and nobody waits at them until a writer attaches.
"""

import math
from typing import Final, Protocol, final

import attrs
import trio

from iii_trio.builtins.http._exchange import Exchange
from iii_trio.builtins.http._payload import with_channels
from iii_trio.builtins.http._reply import (
    BODILESS,
    Reply,
    StreamHead,
    json_reply,
)
from iii_trio.errors import (
    InvocationError,
    InvocationStoppedError,
    InvocationTimeoutError,
)
from iii_trio.protocol import ChannelRef
from iii_trio.worker import (
    Channel,
    ChannelMaker,
    ChannelPromise,
    ChannelReader,
    Worker,
)

ATTACH_GRACE: Final = 1.0
"""Seconds that a handler behind a link, after it returned null, may take to open its
writer: Node's helper sends without waiting."""

SETTLE_STEPS: Final = 4
"""Checkpoints until the relay has taken a frame that was there before it began."""

TAKE_WITHIN: Final = 5.0
"""Seconds for making two channels; in process it is a matter of microseconds."""


class Owner(Protocol):
    """What the request does for its call."""

    @property
    def exchange(self) -> Exchange:
        """Of the front door."""

    @property
    def worker(self) -> Worker:
        """Makes the channels."""

    async def deliver(
        self, payload: bytes, scope: trio.CancelScope | None = None
    ) -> bytes:
        """Call the handler."""

    @property
    def timeout(self) -> float:
        """Seconds until the response head must be there."""

    def result(self, result: bytes) -> Reply | None:
        """Make the response of its result."""

    def failed(self, status: int, code: str, message: str) -> Reply:
        """Make the response of a failure."""

    def commit(self, head: StreamHead) -> None:
        """Send the head of a streamed response."""

    def finish(self) -> None:
        """End the streamed response."""


@final
@attrs.define(eq=False)
class ChannelCall:
    """One call of a handler that gets ``request_body`` and ``response``.

    Args:
        owner: the request.
        payload: without channels.
        body: the body if it was read, ``None`` to stream it.
        is_local: the handler is in this process: null without a writer is an answer.
    """

    _owner: Owner
    _payload: bytes
    _body: bytes | None
    _is_local: bool = attrs.field(kw_only=True)
    _nursery: trio.Nursery = attrs.field(init=False)
    _attached: trio.Event = attrs.field(factory=trio.Event, init=False)
    _reply: Reply | None = attrs.field(default=None, init=False)
    _is_committed: bool = attrs.field(default=False, init=False)
    _is_lost: bool = attrs.field(default=False, init=False)
    _silence: float = attrs.field(default=math.inf, init=False)
    _receiving: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _open_parts: int = attrs.field(default=2, init=False)

    async def run(self) -> Reply | None:
        """Call the handler and serve its channels.

        Returns:
            The response to send, ``None`` if one was streamed.
        """
        maker = self._owner.worker.channel_maker
        if maker is not None and self._body is not None:
            await self._run_prepared(maker, self._body)
        else:
            await self._run_taken(*await self._take_channels())
        return self._reply

    async def _run_prepared(self, maker: ChannelMaker, body: bytes) -> None:
        promise = maker.promise(body, lambda: self.attach(promise.to_read))
        payload = with_channels(
            self._payload,
            request_body=promise.with_content,
            response=promise.to_write,
        )
        await self.serve(promise, payload)

    async def serve(
        self,
        promise: ChannelPromise,
        payload: bytes,
        response: ChannelRef | None = None,
    ) -> Reply | None:
        """Call the handler and serve channels that are promised, to the end of both.

        Args:
            promise: of the channels.
            payload: with them in it.
            response: the response's, if somebody has it to write.

        Returns:
            The response to send, ``None`` if one was streamed.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                if response is not None:
                    self.attach(response)
                try:
                    await self._call(payload)
                finally:
                    if not self._attached.is_set():  # nor shall it be any more
                        promise.abort_writing("the request is over")
        finally:
            promise.abort("the request is over")
        return self._reply

    def attach(self, ref: ChannelRef) -> None:
        """The handler streams its response after all."""
        self._attached.set()
        reader = self._owner.worker.open_reader(ref)
        self._nursery.start_soon(self._relay, reader, name="http response")

    async def _run_taken(self, request_body: Channel, response: Channel) -> None:
        payload = with_channels(
            self._payload,
            request_body=request_body.reader_ref,
            response=response.writer_ref,
        )
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._feed, request_body, name="http body")
                self._nursery.start_soon(
                    self._relay, response.reader, name="http response"
                )
                await self._call(payload)
        finally:
            request_body.writer.abort("the request is over")
            response.reader.abort("the request is over")

    async def _take_channels(self) -> tuple[Channel, Channel]:
        """Make both channels and take our end of each.

        Shielded, for a channel that nobody has taken cannot be dropped.
        """
        worker = self._owner.worker
        with trio.move_on_after(TAKE_WITHIN, shield=True):
            try:
                request_body = await worker.create_channel()
                await request_body.writer.open()
                try:
                    response = await worker.create_channel()
                    await response.reader.open()
                except BaseException:
                    request_body.writer.abort("there is no channel for the response")
                    raise
            except trio.BrokenResourceError as exc:
                msg = f"the connection to the engine was lost: {exc}"
                raise InvocationStoppedError(msg) from exc
            return request_body, response
        msg = f"the engine made no channel within {TAKE_WITHIN:.0f} s"
        raise InvocationTimeoutError(msg)

    def _settle(self, reply: Reply | None) -> None:
        """End everything with this response, or with the one that was streamed."""
        self._reply = reply
        self._nursery.cancel_scope.cancel(reason="the response is there")

    def _part_done(self) -> None:
        """Note that the handler, or the stream of its response, is at its end."""
        self._open_parts -= 1
        if not self._open_parts:
            self._settle(None)

    async def _call(self, payload: bytes) -> None:
        """Call the handler; its outcome counts until a response is committed."""
        try:
            result = await self._owner.deliver(payload)
        except InvocationError as exc:
            self._failed(exc)
            await trio.lowlevel.checkpoint()
            return
        reply = None if self._is_committed else self._owner.result(result)
        if reply is None:
            await self._returned_null()
            return
        # Let the relay take what the writer sent before the handler returned.
        for _ in range(SETTLE_STEPS if self._attached.is_set() else 0):
            await trio.lowlevel.checkpoint()
        if self._is_committed:
            self._part_done()
        else:
            self._settle(reply)

    def _failed(self, exc: InvocationError) -> None:
        if not self._is_committed:
            self._settle(self._owner.failed(500, exc.code, exc.message))
        elif isinstance(exc, InvocationStoppedError) and self._open_parts == 2:
            self._break_off("the worker that streams the response is gone")
        else:
            # Something else may still write, or nobody will ever close the writer.
            self._silence = self._owner.timeout
            self._receiving.deadline = trio.current_time() + self._silence
            self._part_done()

    async def _returned_null(self) -> None:
        with trio.move_on_after(0 if self._is_local else ATTACH_GRACE):
            await self._attached.wait()
        if self._is_lost:
            self._lost()
        elif self._attached.is_set():
            self._part_done()
        else:
            self._settle(json_reply(b"{}"))

    def _break_off(self, reason: str) -> None:
        self._owner.exchange.abort(reason)
        self._settle(None)

    def _lost(self) -> None:
        message = "the handler's response writer was lost before it sent anything"
        self._settle(self._owner.failed(500, "invocation_stopped", message))

    async def _feed(self, channel: Channel) -> None:
        """Give the handler the body: in one frame if it was read, else as it comes."""
        writer = channel.writer
        exchange = self._owner.exchange
        try:
            if self._body:
                await writer.send(self._body)
            elif self._body is None:
                while piece := await exchange.receive_some():
                    await writer.send(piece)
            await writer.aclose()
        except trio.BrokenResourceError:
            # Truncated by the client, or nobody reads: either way nobody may take what
            # was sent for the whole body.
            writer.abort("the request body was cut off")
            await trio.lowlevel.checkpoint()

    async def _relay(self, reader: ChannelReader) -> None:
        """Send what the handler writes."""
        try:
            await reader.wait_peer()
            self._attached.set()
            await self._copy(reader)
        except trio.BrokenResourceError as exc:
            self._broke_off(str(exc))
            await trio.lowlevel.checkpoint()

    def _broke_off(self, reason: str) -> None:
        """Act on the loss of the writer, or of the client while we write to it."""
        if self._is_committed:
            self._break_off(f"the response stream broke off: {reason}")
            return
        self._is_lost = True
        self._attached.set()
        if self._open_parts == 1:
            self._lost()

    async def _copy(self, reader: ChannelReader) -> None:
        exchange = self._owner.exchange
        head = StreamHead()
        while (frame := await self._receive(reader)) is not None:
            if isinstance(frame, str):
                if not self._is_committed:
                    head.apply(frame)
                continue
            self._commit(head)
            if head.status not in BODILESS:
                exchange.write_nowait(frame)
                await exchange.wait_writable()
        self._commit(head)
        self._owner.finish()
        self._part_done()

    async def _receive(self, reader: ChannelReader) -> str | bytes | None:
        """The next frame; its time is bounded once the handler has failed."""
        deadline = trio.current_time() + self._silence
        with trio.CancelScope(deadline=deadline) as self._receiving:
            return await reader.receive()
        msg = "the handler failed, and nobody ends what it began to stream"
        raise trio.BrokenResourceError(msg)

    def _commit(self, head: StreamHead) -> None:
        if not self._is_committed:
            self._is_committed = True
            self._owner.commit(head)
