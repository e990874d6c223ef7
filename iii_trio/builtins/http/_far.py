"""A request for a handler behind a link, with nothing to do but to call it.

It has no task and no cancel scope: the call is started where the request comes, and the
response is sent where the result comes. Its two channels are only promised. Once a writer
attaches, or the handler gives null and may yet write, the request gets a runner after
all, and `ChannelCall` goes on.
"""

from typing import Final, final

import trio

from iii_trio.builtins.http._channels import SETTLE_STEPS, ChannelCall
from iii_trio.builtins.http._deadlines import Deadlines
from iii_trio.builtins.http._exchange import Exchange
from iii_trio.builtins.http._payload import parse_json_body, with_channels
from iii_trio.builtins.http._reply import Reply, StreamHead
from iii_trio.builtins.http._request import Phase, RequestRun
from iii_trio.builtins.http._runners import Runners
from iii_trio.protocol import ErrorBody, exception_from
from iii_trio.worker import ChannelPromise, Outcome, StartedCall, Worker

_OVER: Final = "the request is over"


def body_for_far(run: RequestRun) -> bytes | None:
    """The body of a request that a `FarCall` can serve, ``None`` of others."""
    binding, worker = run.binding, run.worker
    trigger = binding.trigger
    if (
        run.settings.middleware
        or not binding.is_plain
        or worker.channel_maker is None
        or worker.is_local(trigger.function_id, trigger.namespace)
    ):
        return None
    if not run.exchange.has_body:
        return b""
    if not run.routed.is_json:
        return None
    return run.exchange.take_body_nowait(run.settings.body_limit)


@final
class FarCall:
    """One call; for `Runners` it is a request, for `ChannelCall` its owner.

    Args:
        request: what is served.
        deadlines: it is among them while it has no runner.
        runners: one is asked for when it needs one.
    """

    __slots__ = (
        "_call",
        "_channels",
        "_deadlines",
        "_due",
        "_has_writer",
        "_outcome",
        "_promise",
        "_request",
        "_runners",
        "_told",
    )

    _promise: ChannelPromise

    def __init__(
        self,
        request: RequestRun,
        deadlines: "Deadlines[FarCall]",
        runners: Runners,
    ) -> None:
        self._request = request
        self._deadlines = deadlines
        self._runners = runners
        self._due = deadlines.add(self)
        self._call: StartedCall | None = None
        self._outcome: Outcome | None = None
        self._has_writer = False
        self._told: trio.Event | None = None  # once it has asked for a runner
        self._channels: ChannelCall | None = None

    def start(self, body: bytes) -> None:
        """Call the handler; perhaps the answer is there at once."""
        request = self._request
        request.phase = Phase.WORK
        maker = request.worker.channel_maker
        assert maker is not None, "see `body_for_far`"
        promise = self._promise = maker.promise(body, self._on_writer)
        routed = request.routed
        payload = with_channels(
            routed.payload.around(parse_json_body(body)),
            request_body=promise.with_content,
            response=promise.to_write,
        )
        self._call = request.worker.start_delivery(
            request.binding.trigger,
            payload,
            self._on_outcome,
            traceparent=routed.traceparent,
            baggage=routed.baggage,
        )

    def gone(self, reason: str) -> None:
        """Stop everything: the client is gone. Called by the pump."""
        if self._request.is_gone:
            return  # the worker ends, and now the door loses the client, too
        self._request.gone(reason)
        if self._told is None:
            self._end(reason)

    def late(self) -> None:
        """There is no response in time."""
        self._request.too_late()
        self._end("no response in time")

    def _end(self, reason: str = _OVER) -> None:
        """Leave nothing behind."""
        self._deadlines.discard(self)
        if self._call is not None:
            self._call.cancel(reason)
        self._promise.abort(_OVER)
        self._request.on_done()

    def _on_outcome(self, outcome: Outcome) -> None:
        self._outcome = outcome
        if self._told is not None:
            self._told.set()
            return
        request = self._request
        if isinstance(outcome, ErrorBody):
            reply: Reply | None = request.failed(500, outcome.code, outcome.message)
        else:
            reply = request.result(outcome)
        if reply is None:
            self._ask_for_runner()
        else:
            request.answer(reply)
            self._end()

    def _on_writer(self) -> None:
        """The handler writes its response."""
        self._has_writer = True
        if self._channels is not None:
            self._channels.attach(self._promise.to_read)
        elif self._told is None:
            self._ask_for_runner()

    def _ask_for_runner(self) -> None:
        self._deadlines.discard(self)
        self._told = trio.Event()
        if self._outcome is not None:
            self._told.set()
        self._runners.submit(self)

    # For its runner

    @property
    def timeout(self) -> float:
        """Seconds that a runner may take: what is left; after that as configured."""
        if self._channels is not None:
            return self._request.timeout
        return max(self._due - trio.current_time(), 0.0)

    @property
    def name(self) -> str:
        """Of the task that runs it."""
        return self._request.name

    async def run(self, scope: trio.CancelScope) -> None:
        """Serve the request, and its channels, to its end."""
        del scope  # see `keep`
        try:
            await trio.lowlevel.checkpoint()
            self._channels = ChannelCall(self, b"", b"", is_local=False)
            response = self._promise.to_read if self._has_writer else None
            reply = await self._channels.serve(self._promise, b"", response)
            if reply is not None:
                self._request.answer(reply)
        finally:
            self._end()

    def drop(self, reason: str) -> None:
        """Be over without a runner."""
        self._request.gone(reason)
        self._end(reason)

    def keep(self, scope: trio.CancelScope) -> None:
        """The request waits, and the scope that it runs in is its own."""
        self._request.keep(scope)
        if self._request.is_gone:
            scope.cancel(reason="the client is gone")

    def cancelled(self) -> None:
        """Answer when the scope was cancelled: the client, or the time."""
        self._request.cancelled()

    # For its channels

    @property
    def exchange(self) -> Exchange:
        """Of the front door."""
        return self._request.exchange

    @property
    def worker(self) -> Worker:
        """Reads the channel."""
        return self._request.worker

    async def deliver(
        self, payload: bytes, scope: trio.CancelScope | None = None
    ) -> bytes:
        """Wait for what the handler gives: it was called.

        Raises:
            InvocationError: it failed, or does not exist.
        """
        del payload, scope
        assert self._told is not None, "there is a runner"
        # What the writer sent before the outcome goes first, as if we had been there.
        for _ in range(SETTLE_STEPS):
            await trio.lowlevel.checkpoint()
        await self._told.wait()
        outcome = self._outcome
        if isinstance(outcome, ErrorBody):
            function_id = self._request.binding.trigger.function_id
            raise exception_from(outcome, function_id=function_id)
        assert outcome is not None, "it was told"
        return outcome

    def result(self, result: bytes) -> Reply | None:
        """Make the response of its result."""
        return self._request.result(result)

    def failed(self, status: int, code: str, message: str) -> Reply:
        """Make the response of a failure."""
        return self._request.failed(status, code, message)

    def commit(self, head: StreamHead) -> None:
        """Send the head of a streamed response."""
        self._request.commit(head)

    def finish(self) -> None:
        """End the streamed response."""
        self._request.finish()
