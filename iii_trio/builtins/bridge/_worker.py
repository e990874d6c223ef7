"""`serve_bridge`: this engine as a worker of another one."""

import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Final, NoReturn, final

import attrs
import msgspec
import trio

from iii_trio.builtins._remote_engine import (
    Connect,
    RemoteEngine,
    connect_by_url,
    open_remote_engine,
)
from iii_trio.builtins.bridge._config import (
    DEFAULT_TIMEOUT_MS,
    BridgeConfig,
    ForwardConfig,
    InvokeInput,
)
from iii_trio.errors import FunctionFailedError, InvocationError
from iii_trio.worker import Worker

logger = logging.getLogger("iii_trio.builtins.bridge")

DEFAULT_URL: Final = "ws://0.0.0.0:49134"
"""The reference engine's; usually the engine itself, which the log says."""

WORKER_NAME: Final = "iii-bridge-client"
INVOKE: Final = "bridge.invoke"
INVOKE_ASYNC: Final = "bridge.invoke_async"
ERROR: Final = "bridge_error"

_input: Final = msgspec.json.Decoder(InvokeInput)

Handler = Callable[[msgspec.Raw], Awaitable[msgspec.Raw | None]]


@attrs.frozen(kw_only=True)
class BridgeStatistics:
    """The state of a bridge.

    Attributes:
        connected: there is a connection right now.
        under_way: calls that crossed, either way, and have no answer yet.
    """

    connected: bool
    under_way: int


@final
@attrs.define(eq=False)
class BridgeHandle:
    """What a running bridge offers to whoever serves it."""

    _remote: RemoteEngine

    @property
    def worker_id(self) -> str:
        """Its id in the other engine; ``""`` while not connected."""
        return self._remote.worker_id

    def statistics(self) -> BridgeStatistics:
        """The state, as of now."""
        return BridgeStatistics(
            connected=self._remote.is_connected, under_way=self._remote.under_way
        )


async def serve_bridge(
    worker: Worker,
    config: BridgeConfig,
    *,
    environ: Mapping[str, str] = os.environ,
    new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    connect: Connect = connect_by_url,
    task_status: trio.TaskStatus[BridgeHandle] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Lend and borrow functions between two engines, until cancelled.

    Args:
        worker: what offers the functions of the other engine here.
        config: settings.
        environ: for ``III_URL``.
        new_id: makes UUID text.
        connect: what the worker of the other engine attaches to.
        task_status: gets a `BridgeHandle` once the functions here are registered; the
            connection may come later.

    Raises:
        RegistrationError: another worker offers one of the functions here.

    Cancellation: calls under way are cancelled on both sides, and the functions are
    withdrawn on both.
    """
    url = config.url or environ.get("III_URL") or DEFAULT_URL
    async with open_remote_engine(
        url, name=WORKER_NAME, new_id=new_id, connect=connect
    ) as remote:
        if config.url is None:
            logger.warning(
                "the bridge has no `url` and connects to %s: is that another engine?",
                remote.url,
            )
        for exposed in config.expose:
            remote_function = exposed.remote_function or exposed.local_function
            remote.offer(remote_function, worker, exposed.local_function)
        with ExitStack() as registered:
            _register(worker, remote, config, registered)
            task_status.started(BridgeHandle(remote))
            await trio.sleep_forever()
    raise AssertionError  # pragma: no cover - sleep_forever does not return


def _register(
    worker: Worker, remote: RemoteEngine, config: BridgeConfig, registered: ExitStack
) -> None:
    """Register what is offered here; the stack takes it back."""
    handlers: list[tuple[str, Handler, str]] = [
        (INVOKE, _invoke(remote), f"Calls a function of {remote.url}."),
        (
            INVOKE_ASYNC,
            _invoke_async(remote),
            f"Calls a function of {remote.url} without an answer.",
        ),
    ]
    handlers += [
        (
            forward.local_function,
            _forward(remote, forward),
            f"Forward to remote function {forward.remote_function}",
        )
        for forward in config.forward
    ]
    for function_id, handler, description in handlers:
        worker.register_function(function_id, handler, description=description)
        registered.callback(worker.unregister_function, function_id)


def _forward(remote: RemoteEngine, forward: ForwardConfig) -> Handler:
    async def run(payload: msgspec.Raw) -> msgspec.Raw:
        return await _call(
            remote, forward.remote_function, bytes(payload), forward.timeout_ms
        )

    return run


def _invoke(remote: RemoteEngine) -> Handler:
    async def run(payload: msgspec.Raw) -> msgspec.Raw:
        given = _parse(payload)
        timeout_ms = (
            DEFAULT_TIMEOUT_MS if given.timeout_ms is None else given.timeout_ms
        )
        return await _call(remote, given.function_id, bytes(given.data), timeout_ms)

    return run


def _invoke_async(remote: RemoteEngine) -> Handler:
    async def run(payload: msgspec.Raw) -> None:
        given = _parse(payload)
        try:
            await remote.fire_json(given.function_id, bytes(given.data))
        except InvocationError as exc:
            raise _bridge_error(exc) from exc

    return run


async def _call(
    remote: RemoteEngine, function_id: str, payload: bytes, timeout_ms: float
) -> msgspec.Raw:
    try:
        result = await remote.invoke_json(
            function_id, payload, seconds=timeout_ms / 1000
        )
    except InvocationError as exc:
        raise _bridge_error(exc) from exc
    return msgspec.Raw(result)


def _bridge_error(exc: InvocationError) -> FunctionFailedError:
    """Any failure over there, its code folded into the text."""
    text = exc.message if exc.code == ERROR else str(exc)
    return FunctionFailedError(text, code=ERROR, stacktrace=exc.stacktrace)


def _parse(payload: msgspec.Raw) -> InvokeInput:
    try:
        return _input.decode(payload)
    except (msgspec.DecodeError, RecursionError) as exc:
        msg = f"Failed to parse invoke input: {exc}"
        raise FunctionFailedError(msg, code="deserialization_error") from exc
