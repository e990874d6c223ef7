"""Frames of workers that are of no use, but that somebody waits for."""

from iii_trio.engine._invocation import InvocationTable
from iii_trio.engine._link_port import LinkPort
from iii_trio.protocol import (
    ErrorBody,
    Remains,
    encode_error,
    encode_result,
    function_field,
)


def end_call(
    port: LinkPort, invocations: InvocationTable, remains: Remains, error: ErrorBody
) -> None:
    """End the call that a frame of ``port`` was about.

    Args:
        port: who sent it; an answer counts from the executor only.
        invocations: what is in flight.
        remains: of the frame.
        error: for whoever made the call.
    """
    if not port.handlers:
        return  # it sends telemetry, and can neither call nor answer
    if remains.is_answer:
        invocations.answered(port, remains.invocation_id, error)
        return
    function = function_field(remains.function_id)
    port.link.send_nowait(
        encode_result(remains.invocation_id, function, b"", encode_error(error))
    )
