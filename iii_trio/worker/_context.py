"""What a handler can know about the invocation that runs it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import msgspec
import trio
from msgspec import structs

from iii_trio.transport import IncomingCall
from iii_trio.worker._json import JSON, decode

current_call: Final[ContextVar[IncomingCall | None]] = ContextVar(
    "iii_trio_current_call", default=None
)
"""Set and reset around every handler. Inline handlers run in their caller's task."""


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """The invocation that the current handler runs for.

    Attributes:
        invocation_id: its id on this worker's attachment.
        function_id: the function as it was called.
        caller_worker_id: who called; ``None`` for triggers and other deliveries.
        metadata: JSON value that came beside the payload, or ``None``.
        deadline: absolute time of ``trio.current_time``; ``math.inf`` if none.
        traceparent: W3C trace context, passed on to nested calls.
        baggage: W3C baggage, passed on to nested calls.
    """

    invocation_id: str
    function_id: str
    caller_worker_id: str | None
    metadata: JSON
    deadline: float
    traceparent: str | None
    baggage: str | None


def current_invocation() -> Invocation:
    """The invocation that the current handler runs for.

    It follows Trio's context: also tasks that the handler started, and the thread of a
    plain ``def`` handler, see it.

    Raises:
        LookupError: not called from inside a handler.
    """
    call = current_call.get()
    if call is None:
        msg = "current_invocation() works only inside a handler"
        raise LookupError(msg)
    return Invocation(
        invocation_id=call.invocation_id,
        function_id=call.function_id,
        caller_worker_id=call.caller_worker_id,
        metadata=decode(call.metadata) if call.metadata else None,
        deadline=call.deadline,
        traceparent=call.traceparent,
        baggage=call.baggage,
    )


@contextmanager
def passing_baggage(baggage: str) -> Iterator[None]:
    """Give the calls that a handler makes in the block another baggage than its own.

    Args:
        baggage: W3C baggage, replacing that of the invocation.

    Raises:
        LookupError: not called from inside a handler.
    """
    call = current_call.get()
    if call is None:
        msg = "passing_baggage() works only inside a handler"
        raise LookupError(msg)
    with _as_if(structs.replace(call, baggage=baggage)):
        yield


@contextmanager
def beyond_deadline() -> Iterator[None]:
    """Do not bind the calls that a handler makes in the block to its deadline.

    For what was begun and has to be finished, in a shield with a bound of its own.
    Outside of a handler it changes nothing.
    """
    call = current_call.get()
    if call is None:
        yield
        return
    with _as_if(structs.replace(call, deadline=math.inf)):
        yield


@contextmanager
def _as_if(inside: IncomingCall) -> Iterator[None]:
    token = current_call.set(inside)
    try:
        yield
    finally:
        inside.is_over = True
        current_call.reset(token)


def check_deadline(seconds: float) -> None:
    """Refuse a deadline that is no number: it would never come, and never be over.

    Raises:
        ValueError: it is NaN.
    """
    if math.isnan(seconds):
        msg = "the deadline of a call is NaN: give seconds from now, or None for none"
        raise ValueError(msg)


def time_left(call: IncomingCall, wanted: float | None) -> float | None:
    """The timeout of a call nested in ``call``: a deadline only shrinks along a chain.

    It binds nobody once it has passed: what still runs then cleans up in a shield of its
    own. Nor once the handler is over, in tasks that it left behind.

    Args:
        call: the invocation that makes the nested call.
        wanted: seconds that the nested call asks for, ``None`` if it does not care.
    """
    if call.deadline == math.inf or call.is_over:
        return wanted
    left = call.deadline - trio.current_time()
    if left <= 0:
        return wanted
    return left if wanted is None else min(left, wanted)
