"""The life of a request: middleware, body, condition, handler, response.

One cancel scope each, from the moment that it waits for something. The scope ends with
the response head's deadline, and when the client is gone; everything below it, the handler
included, is cancelled with it. The order of work is that of the reference.
"""

import logging
import math
from collections.abc import Callable
from enum import Enum
from typing import final

import attrs
import msgspec
import trio

from iii_trio.builtins.http._channels import ChannelCall
from iii_trio.builtins.http._cors import CORS
from iii_trio.builtins.http._exchange import Exchange
from iii_trio.builtins.http._payload import (
    PayloadFrame,
    encode_middleware_payload,
    may_be_json,
    parse_json_body,
)
from iii_trio.builtins.http._reply import (
    Reply,
    StreamHead,
    UnusableResultError,
    condition_reply,
    error_id_at,
    error_reply,
    json_reply,
    reply_from_middleware,
    reply_from_result,
)
from iii_trio.builtins.http._routes import Match
from iii_trio.builtins.http._trigger import HTTPTriggerConfig
from iii_trio.errors import InvocationError
from iii_trio.net import BodyTooLargeError, HTTPRequest
from iii_trio.protocol import STOPPED
from iii_trio.worker import Trigger, Worker

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Settings:
    """What a request needs to know of the configuration.

    Attributes:
        timeout: seconds until the response head must be there.
        body_limit: largest body that is held in memory, in bytes.
        middleware: function ids of the global middleware.
        cors: the CORS headers of responses.
    """

    timeout: float
    body_limit: int
    middleware: tuple[str, ...]
    cors: CORS


@attrs.frozen
class Binding:
    """Where a route leads to.

    Attributes:
        is_plain: there is nothing to be done but to call the handler.
    """

    trigger: Trigger
    config: HTTPTriggerConfig
    is_plain: bool = attrs.field(init=False)

    @is_plain.default
    def _find_out(self) -> bool:
        config = self.config
        return not (
            self.trigger.condition or config.middleware_function_ids or config.channels
        )


class Routed:
    """A request head with its route; made once for all requests that repeat the head.

    Attributes:
        request: the head.
        match: its route.
        version: of the route table.
        is_json: a body is read as JSON.
        payload: what the handler gets, around the body.
        traceparent: W3C trace context that came with it.
        baggage: W3C baggage that came with it.
    """

    __slots__ = (
        "baggage",
        "is_json",
        "match",
        "payload",
        "request",
        "traceparent",
        "version",
    )

    def __init__(
        self, request: HTTPRequest, match: Match[Binding], version: int
    ) -> None:
        self.request = request
        self.match = match
        self.version = version
        self.is_json = may_be_json(request.headers)
        self.payload = PayloadFrame(
            query=request.query,
            path_params=match.path_params,
            headers=request.headers,
            pattern=match.route.pattern.text,
            method=request.method,
        )
        self.traceparent = request.header("traceparent")
        self.baggage = request.header("baggage")


class Phase(Enum):
    """Where a request is; a deadline is answered accordingly."""

    MIDDLEWARE = "middleware"
    WORK = "work"
    ANSWERED = "answered"


class _BodyCutOffError(Exception):
    """The body ended too early, or was badly framed."""


@final
@attrs.define(eq=False)
class RequestRun:
    """One request under way.

    Args:
        exchange: of the front door.
        routed: its head and route.
        worker: calls are made through it.
        settings: the configuration as it was when the request came.
        now: seconds since the epoch, for error ids.
        on_done: called once, when the request holds its place no longer.
    """

    exchange: Exchange
    routed: Routed
    worker: Worker
    settings: Settings
    now: Callable[[], float]
    on_done: Callable[[], None]
    scope: trio.CancelScope | None = None
    phase: Phase = Phase.MIDDLEWARE
    is_gone: bool = False

    @property
    def timeout(self) -> float:
        """Seconds until the response head must be there."""
        return self.settings.timeout

    @property
    def name(self) -> str:
        """Of the task that runs it."""
        request = self.routed.request
        return f"http {request.method} {request.path}"

    @property
    def binding(self) -> Binding:
        """Where its route leads to."""
        return self.routed.match.route.target

    async def run(self, scope: trio.CancelScope) -> None:
        """Serve the request to its end.

        Args:
            scope: what the task runs this in; see `keep`.
        """
        try:
            if self.is_gone:
                await trio.lowlevel.checkpoint()
                return
            payload = self._direct_payload()
            if payload is not None:
                await self._run_directly(payload, scope)
            elif (reply := await self._reply()) is not None:
                self.answer(reply)
        finally:
            self.on_done()

    def keep(self, scope: trio.CancelScope) -> None:
        """The request waits, and the scope that it runs in is its own."""
        self.scope = scope

    def cancelled(self) -> None:
        """Answer when the scope was cancelled: the client, the time or the engine."""
        if self.is_gone:
            return
        if self.scope is not None and trio.current_time() >= self.scope.deadline:
            self.too_late()
        elif self.phase is Phase.WORK:
            self.answer(self.failed(500, STOPPED.code, STOPPED.message))

    def drop(self, reason: str) -> None:
        """Be over before it was begun."""
        self.gone(reason)
        self.on_done()

    def _direct_payload(self) -> bytes | None:
        """Give the payload when a handler in this process is all that is to be called.

        ``None``: there is more to do, or the body is not here yet.
        """
        routed = self.routed
        binding = routed.match.route.target
        trigger = binding.trigger
        if self.settings.middleware or not binding.is_plain:
            return None
        if not self.worker.is_local(trigger.function_id, trigger.namespace):
            return None
        body = b""
        if routed.is_json and self.exchange.has_body:
            taken = self.exchange.take_body_nowait(self.settings.body_limit)
            if taken is None:
                return None
            body = taken
        return routed.payload.around(parse_json_body(body))

    async def _run_directly(self, payload: bytes, scope: trio.CancelScope) -> None:
        """Call the handler, in this task and its scope."""
        self.phase = Phase.WORK
        try:
            result = await self.deliver(payload, scope=scope)
        except InvocationError as exc:
            if not self.is_gone:
                self.answer(self.failed(500, exc.code, exc.message))
            await trio.lowlevel.checkpoint()
        else:
            self.answer(self.result(result) or json_reply(b"{}"))

    def gone(self, reason: str) -> None:
        """Stop everything: the client is gone. Called by the pump."""
        self.is_gone = True
        if self.scope is not None:
            self.scope.cancel(reason=reason)

    def answer(self, reply: Reply) -> None:
        """Send a complete response."""
        self.phase = Phase.ANSWERED
        headers = self.settings.cors.apply(reply.headers, self.routed.request)
        self.exchange.respond(reply.status, headers, reply.body)

    def commit(self, head: StreamHead) -> None:
        """Send the head of a streamed response; from here on no deadline rules."""
        self.phase = Phase.ANSWERED
        assert self.scope is not None, "it has waited for its channel"
        self.scope.deadline = math.inf
        headers = self.settings.cors.apply(head.headers, self.routed.request)
        self.exchange.start_response(head.status, headers)

    def finish(self) -> None:
        """End a streamed response; its handler may go on for one more timeout."""
        self.exchange.finish()
        assert self.scope is not None, "see `commit`"
        self.scope.deadline = trio.current_time() + self.settings.timeout

    def failed(self, status: int, code: str, message: str) -> Reply:
        """Make the envelope of a failure, with an id that is also in the log."""
        error_id = error_id_at(self.now())
        logger.warning(
            "%s %s: %d %s: %s (error_id %s)",
            self.routed.request.method,
            self.routed.match.route.pattern.text,
            status,
            code,
            message,
            error_id,
        )
        return error_reply(status, code, message, error_id)

    def result(self, result: bytes) -> Reply | None:
        """Make the response of a handler's result, ``None`` if that was null."""
        try:
            return reply_from_result(result)
        except UnusableResultError as exc:
            return self.failed(500, "INTERNAL_ERROR", str(exc))

    def too_late(self) -> None:
        """Answer that there is no response in time."""
        if self.phase is Phase.MIDDLEWARE:
            self.answer(error_reply(504, "MIDDLEWARE_TIMEOUT", "Middleware timeout"))
        elif self.phase is Phase.WORK:
            message = f"no response within {self.settings.timeout * 1000:.0f} ms"
            self.answer(self.failed(504, "TIMEOUT", message))

    async def _reply(self) -> Reply | None:
        """Do the work; ``None`` when there is nothing left to send."""
        try:
            return await self._work()
        except InvocationError as exc:
            reply = self.failed(500, exc.code, exc.message)
        except BodyTooLargeError:
            limit = self.settings.body_limit
            message = f"the request body is larger than {limit} bytes"
            reply = error_reply(413, "PAYLOAD_TOO_LARGE", message)
        except _BodyCutOffError:
            # net has answered 400, if there was anybody to answer, and closes.
            reply = None
        await trio.lowlevel.checkpoint()
        return reply

    async def _work(self) -> Reply | None:
        binding = self.binding
        if self.settings.middleware:
            reply = await self._middleware(self.settings.middleware)
            if reply is not None:
                return reply
        self.phase = Phase.WORK
        body: bytes | None = b""
        if self.exchange.has_body:
            body = None
            if self.routed.is_json:
                body = self.exchange.take_body_nowait(self.settings.body_limit)
                if body is None:
                    body = await self._read_body()
        payload = self.routed.payload.around(parse_json_body(body or b""))
        if binding.trigger.condition is not None:
            text = msgspec.Raw(payload)
            if not await self.worker.check_condition(binding.trigger, text):
                return condition_reply()
        if binding.config.middleware_function_ids:
            reply = await self._middleware(binding.config.middleware_function_ids)
            if reply is not None:
                return reply
            self.phase = Phase.WORK
        return await self._call(payload, body)

    async def _middleware(self, function_ids: tuple[str, ...]) -> Reply | None:
        """Run middleware until one of them responds."""
        await trio.lowlevel.checkpoint()
        self.phase = Phase.MIDDLEWARE
        request = self.routed.request
        payload = encode_middleware_payload(
            query=request.query,
            path_params=self.routed.match.path_params,
            headers=request.headers,
            method=request.method,
        )
        namespace = self.binding.trigger.namespace
        for function_id in function_ids:
            result = await self.worker.invoke_json(
                function_id, payload, namespace=namespace, kind="delivery"
            )
            try:
                reply = reply_from_middleware(function_id, result)
            except UnusableResultError as exc:
                return self.failed(500, "INTERNAL_ERROR", f"{function_id}: {exc}")
            if reply is not None:
                return reply
        return None

    async def _read_body(self) -> bytes:
        try:
            return await self.exchange.read_body(self.settings.body_limit)
        except trio.BrokenResourceError as exc:
            raise _BodyCutOffError from exc

    async def _call(self, payload: bytes, body: bytes | None) -> Reply | None:
        """Call the handler, with channels if it is behind a link or wants them."""
        binding = self.binding
        trigger = binding.trigger
        is_local = self.worker.is_local(trigger.function_id, trigger.namespace)
        if binding.config.channels or not is_local:
            call = ChannelCall(self, payload, body, is_local=is_local)
            return await call.run()
        result = await self.deliver(payload)
        return self.result(result) or json_reply(b"{}")

    async def deliver(
        self, payload: bytes, scope: trio.CancelScope | None = None
    ) -> bytes:
        """Call the handler, in ``scope`` if there is one.

        Raises:
            InvocationError: it failed, or does not exist.
        """
        routed = self.routed
        return await self.worker.deliver_json(
            routed.match.route.target.trigger,
            payload,
            traceparent=routed.traceparent,
            baggage=routed.baggage,
            scope=scope,
        )
