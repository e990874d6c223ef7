"""Running a handler: payload in, outcome out, and its exceptions turned into errors.

The border between the worker and the code of its user: what goes wrong there becomes an
answer or a log line, never a crash of the engine.
"""

import inspect
import logging
import math
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, Protocol, final

import attrs
import msgspec
import trio

from iii_trio._util import require_real_time
from iii_trio.errors import FunctionFailedError, RegistrationError
from iii_trio.protocol import ErrorBody, body_from, sayable
from iii_trio.transport import IncomingCall, Outcome
from iii_trio.worker._context import current_call
from iii_trio.worker._json import (
    NULL,
    InvalidPayloadError,
    decode,
    encode,
    schema_of,
    structurer,
)

logger = logging.getLogger(__name__)

_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)

Handler = Callable[..., Any]
"""``async def`` or plain ``def``, taking the payload or nothing."""

THREADS: Final = 40
"""Plain ``def`` handlers of one worker that run at a time; as Trio's own default."""


MEMBERS_TOLD: Final = 3
"""Members of an exception group that the message of an error tells; its trace has all."""


class RunSync(Protocol):
    """Runs a plain ``def`` handler for an async one."""

    async def __call__(self, handler: Handler, *args: Any) -> Any:  # noqa: ANN401
        """Give what ``handler(*args)`` gives."""


SYNC_RUNNER: Final[trio.lowlevel.RunVar[RunSync]] = trio.lowlevel.RunVar("sync_runner")
"""Set inside a Trio run, it replaces threads for the workers opened after that.

For tests under virtual time, where the clock would jump while a thread works.
"""


async def run_inline(handler: Handler, *args: Any) -> Any:  # noqa: ANN401
    """A `RunSync` without threads: the handler blocks the whole loop."""
    await trio.lowlevel.checkpoint()
    return handler(*args)


def thread_runner(threads: int) -> RunSync:
    """A `RunSync` that uses at most so many threads at a time.

    A thread cannot be cancelled: whoever cancels waits for the handler, unless that asks
    ``trio.from_thread.check_cancelled()``.
    """
    limiter = trio.CapacityLimiter(threads)

    async def run(handler: Handler, *args: Any) -> Any:  # noqa: ANN401
        require_real_time("a thread", "give the worker run_sync=run_inline")
        return await trio.to_thread.run_sync(handler, *args, limiter=limiter)

    return run


def default_runner() -> RunSync:
    """`SYNC_RUNNER` if it is set in this Trio run, else threads."""
    try:
        return SYNC_RUNNER.get()
    except LookupError:
        return thread_runner(THREADS)


@final
@attrs.frozen(eq=False)
class ServedFunction:
    """A handler, ready to run."""

    call: Callable[..., Awaitable[Any]]
    takes_payload: bool
    takes_text: bool
    structure: Callable[[Any], Any] | None
    request_schema: Any
    response_schema: Any


def prepare(handler: Handler, run_sync: RunSync) -> ServedFunction:
    """Read a handler's signature.

    Raises:
        TypeError: it cannot be called with the payload alone, or with nothing, or its
            annotations do not resolve.
    """
    try:
        signature = inspect.signature(handler, eval_str=True)
    except NameError as exc:
        msg = f"annotations of handler {handler!r} do not resolve: {exc}"
        raise TypeError(msg) from exc
    except ValueError as exc:
        msg = f"handler {handler!r} does not tell its parameters: wrap it in a function"
        raise TypeError(msg) from exc
    first = next(iter(signature.parameters.values()), None)
    takes_payload = first is not None and first.kind in _POSITIONAL
    annotation = first.annotation if first is not None and takes_payload else None
    try:
        signature.bind(*((None,) if takes_payload else ()))
    except TypeError as exc:
        what = "the payload alone" if takes_payload else "nothing"
        msg = f"handler {handler!r} cannot be called with {what}: {exc}"
        raise TypeError(msg) from exc
    return ServedFunction(
        call=handler if _is_async(handler) else partial(run_sync, handler),
        takes_payload=takes_payload,
        takes_text=annotation is msgspec.Raw,
        structure=structurer(annotation),
        request_schema=schema_of(annotation),
        response_schema=schema_of(signature.return_annotation),
    )


def _is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - an object with async call
    )


async def run_handler(served: ServedFunction | None, call: IncomingCall) -> Outcome:
    """Run a handler for one call, in the current task; `Handlers.run`.

    On the hot path of calls in process: no helper objects here.
    """
    if served is None:
        await trio.lowlevel.checkpoint()
        return ErrorBody(
            code="function_not_found",
            message=f"Function '{call.function_id}' not found",
        )
    argument = None
    if served.takes_text:
        argument = msgspec.Raw(call.payload)
    elif served.takes_payload:
        try:
            argument = decode(call.payload)
            if served.structure is not None:
                argument = served.structure(argument)
        except (InvalidPayloadError, msgspec.DecodeError, RecursionError) as exc:
            await trio.lowlevel.checkpoint()
            return ErrorBody(code="invalid_payload", message=str(exc))
    token = current_call.set(call)
    try:
        result = await (
            served.call(argument) if served.takes_payload else served.call()
        )
        return _encode_result(result)
    except Exception as exc:  # noqa: BLE001 - the border to the user's code
        if trio.current_effective_deadline() == -math.inf:
            _log_failed_cleanup(f"handler of {call.function_id!r}", exc)
        await trio.lowlevel.checkpoint()
        return failure_of(exc)
    except BaseExceptionGroup as group:
        raise cancellation_in(group, f"handler of {call.function_id!r}") from None
    finally:
        call.is_over = True
        current_call.reset(token)


def _encode_result(result: object) -> bytes:
    if result is None:
        return b""
    if type(result) is msgspec.Raw:
        return bytes(result)
    if result is NULL:
        return b"null"
    try:
        return encode(result)
    except (TypeError, ValueError, ArithmeticError, RecursionError) as exc:
        msg = f"the handler's result cannot be encoded as JSON: {exc}"
        raise TypeError(msg) from exc


def failure_of(exc: Exception) -> ErrorBody:
    """The answer for an exception that left a handler.

    Only a `FunctionFailedError` made by the handler sets its code. One that a nested
    call raised knows its function, and counts like any other exception.
    """
    if isinstance(exc, FunctionFailedError) and not exc.function_id:
        return body_from(exc)
    message = ""
    with suppress(Exception):  # its text comes from the user's code, too
        message = _text_of(exc)
    return ErrorBody(
        code="invocation_failed",
        message=message or type(exc).__name__,
        stacktrace=sayable("".join(traceback.format_exception(exc))),
    )


def _text_of(exc: Exception) -> str:
    """What it says, and of a group, such as that of a nursery, what is in it."""
    text = sayable(exc)
    if isinstance(exc, ExceptionGroup):
        told = exc.exceptions[:MEMBERS_TOLD]
        text += ": " + "; ".join(
            f"{type(one).__name__}: {_text_of(one)}" for one in told
        )
    return text


def cancellation_in(
    group: BaseExceptionGroup[BaseException], what: str
) -> BaseExceptionGroup[BaseException]:
    """Log the failures that came while user code was cancelled; give the rest to raise.

    Left together they would pass the scope that was cancelled, and crash the worker.

    Args:
        group: what left the code: a cancellation, perhaps beside failures.
        what: the code, for people.
    """
    failures, rest = group.split(Exception)
    if failures is not None:
        _log_failed_cleanup(what, failures)
    assert rest is not None  # else it were an ExceptionGroup
    return rest


def _log_failed_cleanup(what: str, exc: Exception) -> None:
    """Nobody waits for the outcome of what is cancelled: the log is all there is."""
    logger.error("%s failed while it was cancelled", what, exc_info=exc)


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn whatever a provider's callback raises into a refusal."""
    try:
        yield
    except RegistrationError:
        raise
    except Exception as exc:
        logger.exception("%s failed", what)
        msg = f"{what} failed: {exc}"
        raise RegistrationError(msg) from exc
    except BaseExceptionGroup as group:
        raise cancellation_in(group, what) from None


@contextmanager
def logging_failures(what: str) -> Iterator[None]:
    """Log whatever a callback raises that has nobody to tell."""
    try:
        yield
    except Exception:
        logger.exception("%s failed", what)
