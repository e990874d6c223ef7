"""The one table between exceptions and wire codes, both ways, and the standard texts.

Codes are API: clients match on them. Source: the iii worker protocol, error codes.
"""

from collections.abc import Iterable
from typing import Final

from iii_trio.errors import (
    FunctionFailedError,
    FunctionNotFoundError,
    InvocationError,
    InvocationRefusedError,
    InvocationStoppedError,
    InvocationTimeoutError,
)
from iii_trio.protocol._messages import ErrorBody

ERROR_CLASSES: Final[dict[str, type[InvocationError]]] = {
    "function_not_found": FunctionNotFoundError,
    "TIMEOUT": InvocationTimeoutError,
    "invocation_stopped": InvocationStoppedError,
    "invocation_refused": InvocationRefusedError,
    "engine_draining": InvocationRefusedError,
    "channel_send_failed": InvocationRefusedError,
    "payload_too_large": InvocationRefusedError,
}
"""Wire code to exception class; any other code is a `FunctionFailedError`."""

STOPPED: Final = ErrorBody(code="invocation_stopped", message="Invocation stopped")


def exception_from(
    body: ErrorBody, *, function_id: str, invocation_id: str | None = None
) -> InvocationError:
    """Make the exception that stands for a wire error."""
    error_class = ERROR_CLASSES.get(body.code, FunctionFailedError)
    return error_class(
        body.message,
        code=body.code,
        function_id=function_id,
        invocation_id=invocation_id,
        stacktrace=body.stacktrace,
        details=body.extra,
    )


def body_from(exc: InvocationError) -> ErrorBody:
    """Make the wire error that stands for an exception."""
    return ErrorBody(
        code=sayable(exc.code),
        message=sayable(exc.message),
        stacktrace=None if exc.stacktrace is None else sayable(exc.stacktrace),
        extra=dict(exc.details),
    )


def sayable(text: object) -> str:
    """A text that can be written as UTF-8, of whatever a handler gave as one.

    Python's may hold surrogates, such as those of file names that are not UTF-8; they
    become escapes that one can read.
    """
    return str(text).encode("utf-8", "backslashreplace").decode()


def not_found(function_id: str, namespace: str, elsewhere: Iterable[str]) -> ErrorBody:
    """No live worker offers the function; say where it does exist."""
    message = f"Function {function_id} not found in namespace {namespace}."
    names = ", ".join(sorted(elsewhere))
    if names:
        message += f" It is registered in namespace(s): {names}."
    return ErrorBody(code="function_not_found", message=message)


def blank_namespace(field: str = "namespace") -> ErrorBody:
    """A namespace was named and left blank."""
    return ErrorBody(
        code="INVALID_NAMESPACE",
        message=(
            f"`{field}` is empty: it was named and left blank. "
            "Give it a name, or omit it to use `default`."
        ),
    )


def timed_out(milliseconds: float) -> ErrorBody:
    """The explicit deadline of a call passed."""
    return ErrorBody(
        code="TIMEOUT", message=f"invocation timed out after {milliseconds:.0f}ms"
    )


def bad_input(function_id: str, reason: str) -> ErrorBody:
    """A builtin function got a payload that it cannot take."""
    return ErrorBody(
        code="deserialization_error",
        message=f"Failed to deserialize input for {function_id}: {reason}",
    )


def payload_too_large(size: int, limit: int, receiver: str) -> ErrorBody:
    """A message that its receiver cannot take was not sent.

    Args:
        size: of the message, bytes.
        limit: what the receiver takes, bytes.
        receiver: who that is, for people.
    """
    return ErrorBody(
        code="payload_too_large",
        message=(
            f"the message would be {size} bytes, and {receiver} takes at most {limit}. "
            "Send large data through a channel (`engine::channels::create`)."
        ),
    )


def refused(message: str) -> ErrorBody:
    """The call was not started because somebody is overloaded."""
    return ErrorBody(code="invocation_refused", message=message)
