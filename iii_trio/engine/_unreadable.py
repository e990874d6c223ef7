"""Frames of workers that are of no use, but that somebody waits for."""

from iii_trio.engine._bindings import Bindings
from iii_trio.engine._invocation import InvocationTable
from iii_trio.engine._link_port import LinkPort
from iii_trio.protocol import (
    ErrorBody,
    Remains,
    encode_error,
    encode_result,
    function_field,
)


def end_unreadable(
    port: LinkPort,
    invocations: InvocationTable,
    bindings: Bindings,
    remains: Remains,
    error: ErrorBody,
) -> None:
    """End the call or the binding that a frame of ``port`` was about.

    Args:
        port: who sent it; an answer counts from the executor only, a refusal from the
            provider.
        invocations: what is in flight.
        bindings: for providers' answers.
        remains: of the frame.
        error: for whoever made the call, or bound.
    """
    if not port.handlers:
        return  # it sends telemetry, and can neither call nor answer
    match remains.kind:
        case "answer":
            invocations.answered(port, remains.id, error)
        case "refusal":
            bindings.answered(remains.id, port, error)
        case "cancellation":
            port.cancel(remains.id)
        case "call":
            function = function_field(remains.function_id)
            port.link.send_nowait(
                encode_result(remains.id, function, b"", encode_error(error))
            )
