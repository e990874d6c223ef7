"""Calls that a worker makes: from values to a `Request`, and from bytes to values."""

import functools
from typing import Final

import attrs
import msgspec

from iii_trio.protocol import EnqueueReceipt, namespace_for_call
from iii_trio.transport import AttachedPort, CallKind, Request
from iii_trio.worker._context import check_deadline, current_call, time_left
from iii_trio.worker._json import JSON, decode_result, encode

_receipt: Final = msgspec.json.Decoder(EnqueueReceipt)


@functools.lru_cache(maxsize=256)
def _enqueue_action(queue: str, delay: float | None) -> bytes:
    fields: dict[str, JSON] = {"type": "enqueue", "queue": queue}
    if delay is not None:
        fields["delay_ms"] = delay * 1000
    return encode(fields)


@attrs.define(eq=False, kw_only=True)
class Caller:
    """The calling half of a worker."""

    namespace: str
    _port: AttachedPort

    async def invoke(
        self,
        function_id: str,
        data: JSON = None,
        *,
        namespace: str | None = None,
        metadata: JSON = None,
        deadline: float | None = None,
        kind: CallKind = "call",
    ) -> JSON:
        """Call a function and wait for its result.

        Args:
            function_id: ``ns::name``.
            data: any JSON value; attrs instances are written as objects.
            namespace: default: this worker's own; ``default`` for ``engine::*``.
            metadata: JSON value for the handler, beside the payload.
            deadline: seconds from now, after which the call is cancelled everywhere.
                Inside a handler it is at most what is left of the handler's own.
            kind: ``delivery`` hides who calls.

        Returns:
            The JSON value that the handler returned, ``None`` if nothing.

        Raises:
            FunctionNotFoundError: no live worker offers it in that namespace.
            FunctionFailedError: the handler failed; ``code`` and ``stacktrace`` tell. Or
                its result has no value here, such as ``1e400``.
            InvocationStoppedError: the callee, or the connection, was lost.
            InvocationTimeoutError: ``deadline`` passed.
            InvocationRefusedError: overload, drain, or a payload too large for a link.
            ValueError: ``deadline`` is NaN.

        Cancellation cancels the handler wherever it can, and a late result is dropped.
        By URL a call waits for the connection first.
        """
        result = await self._port.invoke(
            self._request(
                function_id, encode(data), namespace, metadata, deadline, kind
            )
        )
        return decode_result(result, function_id)

    async def invoke_json(
        self,
        function_id: str,
        payload: bytes,
        *,
        namespace: str | None = None,
        metadata: JSON = None,
        deadline: float | None = None,
        kind: CallKind = "call",
    ) -> bytes:
        """`invoke` with JSON text in and out, nothing parsed.

        Args:
            function_id: ``ns::name``.
            payload: JSON text; it is not checked.
            namespace: see `invoke`.
            metadata: see `invoke`; a JSON value, not text.
            deadline: see `invoke`.
            kind: see `invoke`.

        Returns:
            JSON text, ``b""`` for no result.
        """
        return await self._port.invoke(
            self._request(function_id, payload, namespace, metadata, deadline, kind)
        )

    def fire(
        self,
        function_id: str,
        data: JSON = None,
        *,
        namespace: str | None = None,
        metadata: JSON = None,
    ) -> None:
        """Call a function without waiting: at most once, no answer, never blocks.

        In process it is routed before this returns; by URL it is queued.

        Raises:
            InvocationRefusedError: not connected, and the queue of 1000 is full.
            trio.ClosedResourceError: the worker was closed.
        """
        self._port.fire(
            self._request(
                function_id, encode(data), namespace, metadata, None, "call", void=True
            )
        )

    async def enqueue(
        self,
        function_id: str,
        data: JSON = None,
        *,
        queue: str,
        namespace: str | None = None,
        delay: float | None = None,
    ) -> str:
        """Put a call into a queue; returns when the queue has it safely.

        Args:
            function_id: ``ns::name``.
            data: any JSON value; attrs instances are written as objects.
            queue: its name.
            namespace: see `invoke`.
            delay: seconds before which it is not delivered; only engines of this
                library know it.

        Returns:
            The id of the receipt.

        Raises:
            FunctionFailedError: code ``enqueue_error``: no queue worker, or it refused.
        """
        action = _enqueue_action(queue, delay)
        result = await self._port.invoke(
            self._request(
                function_id, encode(data), namespace, None, None, "call", action
            )
        )
        return _receipt.decode(result).messageReceiptId

    def _request(
        self,
        function_id: str,
        payload: bytes,
        namespace: str | None,
        metadata: JSON,
        timeout: float | None,
        kind: CallKind,
        action: bytes = b"",
        *,
        void: bool = False,
    ) -> Request:
        if timeout is not None:
            check_deadline(timeout)
        traceparent = baggage = None
        call = current_call.get()
        if call is not None:
            traceparent, baggage = call.traceparent, call.baggage
            if not void:  # that one outlives whoever fires it
                timeout = time_left(call, timeout)
        return Request(
            function_id=function_id,
            payload=payload,
            namespace=namespace_for_call(function_id, namespace, self.namespace),
            metadata=b"" if metadata is None else encode(metadata),
            action=action,
            timeout=timeout,
            kind=kind,
            traceparent=traceparent,
            baggage=baggage,
        )
