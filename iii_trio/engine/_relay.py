"""The relay: a plain call from one link worker to another, and its plain answer.

Nearly every frame of a busy engine is one of these two. For them the relay does what the
router, the table of invocations and the ports do, in one function each way: each layer
between costs as much as decoding the frame (measured: they were 40 % of a round trip).
It changes the same tables in the same steps, so either side may settle what the other
has opened. Whatever is not plain goes to the router, which can do everything: actions,
metadata, deadlines, trace context, callees in this process, refusals, errors, results
that are missing or large.
"""

from typing import Final, final

from iii_trio.engine._invocation import Invocation, InvocationTable
from iii_trio.engine._link_port import LinkPort
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._registry import Registry
from iii_trio.engine._router import Router
from iii_trio.protocol import (
    ABSENT,
    BAD_FRAME,
    DEFAULT_NAMESPACE,
    InvocationResult,
    InvokeFunction,
    decode_unchecked,
    encode_invoke,
    encode_result,
    is_uuid,
)

_PLAIN_BYTES: Final = 256 * 1024
"""Longer frames go to the router, which looks at what the receiver can take."""

_TOLD_OF: Final = 17
"""Observers are told of one call in so many, and all others are counted: to time every
one would cost a third of what it costs to relay it. A prime, so that of calls that come
in a pattern, such as two in turn, not always the same is told."""

_NULL_BYTES: Final = 4
"""A result of this length may be a null, which is left out."""


@final
class Relay:
    """Reads the frames of link workers.

    Args:
        registry: who offers what.
        invocations: what is in flight.
        router: takes what is not plain.
    """

    def __init__(
        self, registry: Registry[AnyPort], invocations: InvocationTable, router: Router
    ) -> None:
        self._find = registry.find
        self._find_call = invocations.find
        self._invocations = invocations
        self._quotas = invocations.quotas
        self._router = router

    def on_frame(self, port: LinkPort, text: bytes) -> bool:
        """Read one text message of a worker and do what it says.

        Returns:
            Whether it is a request, of which one worker gets only so many served in a
            row: everything but plain results, which end work. Rubbish is one too.
        """
        if not port.record.is_live:
            return False
        try:
            frame = decode_unchecked(text)
        except BAD_FRAME:
            self._router.on_rubbish(port, text)
            return True
        if type(frame) is InvocationResult:
            if len(text) <= _PLAIN_BYTES and self._result(port, frame):
                return False
        elif type(frame) is InvokeFunction:
            wanted = frame.invocation_id
            if wanted is not None and not is_uuid(wanted):
                self._router.on_rubbish(port, text)
                return True
            if len(text) <= _PLAIN_BYTES and self._call(port, frame):
                return True
        self._router.on_frame(port, frame)
        return True

    def _call(self, port: LinkPort, frame: InvokeFunction) -> bool:
        """Relay a call, if it is plain."""
        wanted, namespace = frame.invocation_id, frame.namespace
        if (
            wanted is None
            or frame.action is not ABSENT
            or frame.metadata is not ABSENT
            or frame.traceparent is not None
            or frame.baggage is not None
            or frame.deadline_ms is not None
        ):
            return False
        if namespace is None:
            namespace = DEFAULT_NAMESPACE
        function = self._find(namespace, frame.function_id)
        if function is None:
            return False
        callee = function.callee
        if (
            type(callee) is not LinkPort
            or callee.link.outbox_bytes > self._quotas.outbox_soft
            or len(port.made) >= self._quotas.pending_calls
            or self._router.draining
        ):
            return False
        payload = frame.data or b"null"
        invocation = Invocation(payload, namespace, port, port, wanted)
        number = self._invocations.enter(invocation, function)
        watch = self._invocations.watch
        if watch is not None and (watch.wants_all or not number % _TOLD_OF):
            self._invocations.tell(invocation, watch)
        if port.cancels:
            port.made_by_ref[wanted] = invocation
        callee.link.send_nowait(
            encode_invoke(
                invocation.id, function.invoke_field, payload, port.caller_field
            )
        )
        return True

    def _result(self, port: LinkPort, frame: InvocationResult) -> bool:
        """Relay a result, if it is plain."""
        result = frame.result
        if frame.error is not ABSENT or len(result) <= _NULL_BYTES:
            return False
        invocation = self._find_call(frame.invocation_id)
        if invocation is None or invocation.callee is not port:
            return False
        caller = invocation.caller
        if (
            type(caller) is not LinkPort
            or invocation.transform is not None
            or invocation.traceparent is not None
            or invocation.baggage is not None
        ):
            return False
        self._invocations.leave(invocation, result)
        if caller.made_by_ref:
            caller.made_by_ref.pop(invocation.caller_ref, None)
        caller.link.send_nowait(
            encode_result(
                invocation.caller_ref,
                invocation.asked or invocation.function.field,
                result,
            )
        )
        return True
