"""``iii-trio trigger``: one call to a running engine, as an ordinary worker.

It pays for nothing but the worker library; help with tables is loaded when asked for.
"""

import importlib
import json
import logging
import math
import os
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import attrs
import trio
from cyclopts import Parameter

from iii_trio.app._payload import PayloadError, build_payload, pretty
from iii_trio.app._terminal import printable
from iii_trio.errors import IIIError, InvocationError
from iii_trio.protocol import DEFAULT_NAMESPACE
from iii_trio.worker import Worker, open_worker

JSON = Any
T = TypeVar("T")

INTERRUPTED: Final = 130
HELP_TIMEOUT: Final = 3.0
"""Seconds to wait for an engine that is only asked for help."""

_MISSING: Final = (
    "iii-trio trigger: missing FUNCTION_PATH. Try: iii-trio trigger math::add a=2 b=3"
)
_TIMED_OUT: Final = (
    "Timed out waiting for the engine (no response within the timeout). "
    "Is the engine running at the given address and port?"
)


async def trigger(
    function_path: str | None = None,
    /,
    *kv: str,
    json_text: Annotated[
        str | None, Parameter(name="--json", allow_leading_hyphen=True)
    ] = None,
    address: str = "localhost",
    port: int = 49134,
    timeout_ms: int = 30_000,
    namespace: Annotated[str | None, Parameter(name=["--namespace", "-n"])] = None,
    tls: Annotated[bool, Parameter(negative=())] = False,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    show_help: Annotated[bool, Parameter(name=["--help", "-h"], negative=())] = False,
) -> int | Literal["help"]:
    """Call a function on a running engine and print its result as JSON.

    Parameters
    ----------
    function_path
        The function, such as math::add.
    kv
        Fields of the payload, such as a=2: a JSON value, else a string.
    json_text
        The whole payload as JSON; fields given as key=value override an object.
    address
        Where the engine is.
    port
        Its port for workers.
    timeout_ms
        Milliseconds to wait for the result.
    namespace
        Where the function is, if not in the engine's default namespace.
    tls
        Speak TLS to the engine. The three options below imply it.
    ca
        File of the authorities that the engine's certificate may come from.
        Default: those of the system.
    cert
        File of a certificate to show to the engine, with its key.
    key
        File of its key, if that is another one.
    show_help
        With a function: what it takes, as its worker described it.
    """
    await trio.lowlevel.checkpoint()
    _be_a_guest()
    if function_path is None:
        return "help" if show_help else fail(_MISSING, prefix="")
    try:
        engine = _EngineAt.given(address, port, tls=tls, ca=ca, cert=cert, key=key)
        payload = {} if show_help else build_payload(kv, json_text)
    except (PayloadError, OSError) as exc:
        return fail(str(exc))
    if show_help:
        return await _show_live_help(engine, function_path, namespace)
    return await _call(engine, function_path, payload, namespace, timeout_ms / 1000)


@attrs.frozen
class _EngineAt:
    """Where the engine is, and how to know that it is the one."""

    url: str
    tls: ssl.SSLContext | None = None

    @classmethod
    def given(
        cls,
        address: str,
        port: int,
        *,
        tls: bool,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
    ) -> "_EngineAt":
        """Read the files, if there are any.

        Raises:
            OSError: one of them cannot be used; the message names the option.
        """
        place = f"{f'[{address}]' if ':' in address else address}:{port}"
        if not (tls or ca or cert or key):
            return cls(f"ws://{place}")
        context = _load("--ca", lambda: ssl.create_default_context(cafile=ca))
        if cert is not None:
            _load("--cert", lambda: context.load_cert_chain(cert, key, password=""))
        elif key is not None:
            raise OSError("--key needs --cert")
        return cls(f"wss://{place}", context)


def _load(option: str, load: Callable[[], T]) -> T:
    try:
        return load()
    except OSError as exc:  # ssl.SSLError is one
        msg = f"{option}: the file cannot be used: {exc.strerror or exc}"
        raise OSError(msg) from exc


def _be_a_guest() -> None:
    """Take no name from the environment, and log nothing.

    ``III_WORKER_NAME`` belongs to the worker from whose shell this may be called.
    """
    os.environ.pop("III_WORKER_NAME", None)
    logging.getLogger().addHandler(_last_loss)


class _LastLoss(logging.Handler):
    """Keeps why there was no connection, which a worker only logs: it tries again."""

    reason: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        _, lost, reason = record.getMessage().partition(" disconnected: ")
        if lost and record.name.startswith("iii_trio.worker"):
            self.reason = reason


_last_loss: Final = _LastLoss()


@attrs.define(eq=False)
class _Interrupt:
    """What Ctrl-C cancels: the innermost of ``scopes``.

    So the call is cancelled on the engine, and the goodbye still goes out.
    """

    scopes: list[trio.CancelScope] = attrs.field(factory=list)
    seen: bool = False

    async def watch(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
            task_status.started()
            async for _ in received:
                self.seen = True
                if self.scopes:
                    self.scopes.pop().cancel(reason="interrupted")


async def _ask(
    engine: _EngineAt,
    seconds: float,
    interrupt: _Interrupt,
    ask: Callable[[Worker], Awaitable[T]],
) -> T:
    """Connect, ask, disconnect.

    Raises:
        trio.TooSlowError: not done within ``seconds``, or interrupted.
    """
    deadline = trio.current_time() + seconds
    with trio.CancelScope(deadline=deadline) as connecting:
        interrupt.scopes.append(connecting)
        async with open_worker(
            engine.url, namespace=DEFAULT_NAMESPACE, tls=engine.tls
        ) as worker:
            connecting.deadline = math.inf
            _last_loss.reason = None  # what is slow now is the function
            with trio.CancelScope(deadline=deadline) as waiting:
                interrupt.scopes.append(waiting)
                return await ask(worker)
    raise trio.TooSlowError


async def _call(
    engine: _EngineAt,
    function_id: str,
    payload: JSON,
    namespace: str | None,
    seconds: float,
) -> int:
    text = json.dumps(payload).encode()

    async def call(worker: Worker) -> bytes:
        return await worker.invoke_json(function_id, text, namespace=namespace)

    interrupt = _Interrupt()
    async with trio.open_nursery() as nursery:
        await nursery.start(interrupt.watch)
        code = await _report(_ask(engine, seconds, interrupt, call), interrupt)
        nursery.cancel_scope.cancel(reason="the call is over")
    return INTERRUPTED if interrupt.seen else code


async def _report(answer: Awaitable[bytes], interrupt: _Interrupt) -> int:
    """Print a result or what went wrong; the exit code.

    Whoever interrupts knows why there is no result.
    """
    await trio.lowlevel.checkpoint()
    try:
        result = await answer
    except trio.TooSlowError:
        return INTERRUPTED if interrupt.seen else fail(_timed_out())
    except InvocationError as exc:
        error = {
            "code": exc.code,
            "message": exc.message,
            "stacktrace": exc.stacktrace,
        }
        return fail(pretty(error))
    except (IIIError, OSError, ValueError, trio.BrokenResourceError) as exc:
        return fail(_with_causes(exc))
    return _print(result) if result not in {b"", b"null"} else 0


def _timed_out() -> str:
    if _last_loss.reason is None:
        return _TIMED_OUT
    return f"{_TIMED_OUT}\n  last failure: {printable(_last_loss.reason)}"


def _print(result: bytes) -> int:
    try:
        sys.stdout.write(_shown(result) + "\n")
        sys.stdout.flush()
    except OSError as exc:
        # What is left in its buffer would fail once more when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return fail(f"the call is done, but its result cannot be written: {exc}")
    return 0


def _shown(result: bytes) -> str:
    """A result for people; as it came, if Python has no value for it."""
    try:
        return pretty(json.loads(result), sys.stdout.encoding or "utf-8")
    except (ValueError, RecursionError):
        return result.decode()


def _with_causes(exc: BaseException) -> str:
    lines = [str(exc) or type(exc).__name__]
    while exc.__cause__ is not None:
        exc = exc.__cause__
        lines.append(f"  caused by: {exc}")
    return "\n".join(lines)


async def _show_live_help(
    engine: _EngineAt, function_id: str, namespace: str | None
) -> int | Literal["help"]:
    """Print what the engine knows about a function; static help if it cannot tell."""
    await trio.lowlevel.checkpoint()
    question = {"function_id": function_id}
    if namespace is not None:
        question["namespace"] = namespace

    async def describe(worker: Worker) -> JSON:
        return await worker.invoke("engine::functions::info", question)

    try:
        described = await _ask(engine, HELP_TIMEOUT, _Interrupt(), describe)
    except InvocationError as exc:
        if exc.code == "NOT_FOUND":
            return fail(
                f"function {function_id!r} not found in engine registry.\n"
                "List them: iii-trio trigger engine::functions::list",
                prefix="error: ",
            )
        return _without_engine(f"the engine does not describe functions ({exc})")
    except trio.TooSlowError:
        return _without_engine(f"no engine answers at {engine.url}")
    except (IIIError, OSError, ValueError, trio.BrokenResourceError) as exc:
        return _without_engine(f"no engine at {engine.url}: {exc}")
    importlib.import_module("iii_trio.app._live_help").show(function_id, described)
    return 0


def _without_engine(reason: str) -> Literal["help"]:
    sys.stderr.write(f"warning: {reason}; this is the general help\n")
    return "help"


def fail(text: str, *, prefix: str = "Error: ") -> int:
    """Tell a person what went wrong; the exit code for it."""
    sys.stderr.write(f"{prefix}{text}\n")
    return 1
