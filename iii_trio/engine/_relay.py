"""The relay: a plain call from one link worker to another, and its plain answer.

Nearly every frame of a busy engine is one of these two. For them the relay does what the
router, the table of invocations and the ports do, in one function each way: each layer
between costs as much as decoding the frame (measured: they were 40 % of a round trip).
It changes the same tables in the same steps, so either side may settle what the other
has opened. Whatever is not plain goes to the router, which can do everything: actions,
metadata, deadlines, trace context, callees in this process, refusals, errors, results
that are missing or large, and the first call of each function by a restricted worker.
"""

from typing import Final, final

from iii_trio.engine._invocation import Invocation, InvocationTable
from iii_trio.engine._link_port import LinkPort
from iii_trio.engine._ports import AnyPort
from iii_trio.engine._registry import Registry
from iii_trio.engine._router import Router
from iii_trio.engine._tallies import Pace
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
        self._find_default = registry.find_default
        self._find_call = invocations.find
        self._entries = invocations.entries
        self._prefix = invocations.prefix
        self._invocations = invocations
        self._quotas = invocations.quotas
        self._router = router
        self._pace = Pace()

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
            if self._result(port, frame):
                return False
        elif type(frame) is InvokeFunction:
            wanted = frame.invocation_id
            if wanted is not None:
                if not is_uuid(wanted):
                    self._router.on_rubbish(port, text)
                    return True
                if self._call(port, frame, wanted):
                    return True
        self._router.on_frame(port, frame)
        return True

    def _call(self, port: LinkPort, frame: InvokeFunction, wanted: str) -> bool:
        """Relay a call, if it is plain."""
        namespace = frame.namespace
        if namespace is None:
            namespace = DEFAULT_NAMESPACE
            function = self._find_default(frame.function_id)
        else:
            function = self._find(namespace, frame.function_id)
        if function is None:
            return False
        payload, callee = frame.data, function.callee
        if (
            type(callee) is not LinkPort
            or (port.passes is not None and function.serial not in port.passes)
            or frame.action is not ABSENT
            or frame.metadata is not ABSENT
            or frame.traceparent is not None
            or frame.baggage is not None
            or frame.deadline_ms is not None
            or not 0 < len(payload) <= _PLAIN_BYTES
            or callee.outbox.outbox_bytes > self._quotas.outbox_soft
            or len(port.made) >= self._quotas.pending_calls
            or self._router.draining
        ):
            return False
        invocations = self._invocations
        invocations.last_number = number = invocations.last_number + 1
        own_id = f"{self._prefix}{number}"
        # Without the payload, which need not be kept until the answer comes.
        invocation = Invocation(
            b"", namespace, port, port, wanted, own_id, function, callee
        )
        self._entries[own_id] = invocation
        callee.executing[invocation] = None
        port.made[invocation] = None
        watch = invocations.watch
        if watch is not None and (number >= self._pace.due or watch.wants_all):
            self._pace.told(number, invocations.now())
            invocations.tell(invocation, watch)
        if port.cancels:
            port.made_by_ref[wanted] = invocation
        callee.link.send_nowait(
            encode_invoke(own_id, function.invoke_field, payload, port.caller_field)
        )
        return True

    def _result(self, port: LinkPort, frame: InvocationResult) -> bool:
        """Relay a result, if it is plain."""
        invocation = self._find_call(frame.invocation_id)
        if invocation is None:
            return False
        caller, result = invocation.caller, frame.result
        if (
            type(caller) is not LinkPort
            or invocation.callee is not port
            or frame.error is not ABSENT
            or not _NULL_BYTES < len(result) <= _PLAIN_BYTES
            or invocation.transform is not None
            or invocation.traceparent is not None
            or invocation.baggage is not None
        ):
            return False
        function = invocation.function
        if invocation.watch is None and invocation.timer is None:
            invocation.outcome = result
            del self._entries[invocation.id]
            if not self._entries:
                self._invocations.note_idle()
            del port.executing[invocation]
            del caller.made[invocation]
            (function.tally or self._invocations.tally(function)).ended += 1
        else:
            self._invocations.leave(invocation, result)
        if caller.made_by_ref:
            caller.made_by_ref.pop(invocation.caller_ref, None)
        caller.link.send_nowait(
            encode_result(
                invocation.caller_ref, invocation.asked or function.field, result
            )
        )
        return True
