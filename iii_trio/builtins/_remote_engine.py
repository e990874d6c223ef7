"""Another engine, as a bundled worker uses it: calls, functions and triggers over there.

An ordinary worker that is attached by URL, for as long as `open_remote_engine` is open.
The block begins at once, connected or not: calls wait for the connection as long as
they may take.
"""

import logging
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, Final, final

import attrs
import msgspec
import trio

from iii_trio._util import (
    NoPublicConstructor,
    open_background_nursery,
    url_without_secrets,
)
from iii_trio.builtins._crossings import Crossings, LoopError
from iii_trio.builtins._finish import finish
from iii_trio.errors import (
    AdapterError,
    FunctionFailedError,
    InvocationError,
    InvocationRefusedError,
    InvocationStoppedError,
    InvocationTimeoutError,
    RegistrationError,
)
from iii_trio.worker import (
    Attachment,
    RemoteAttachment,
    WebSocketDialler,
    Worker,
    current_invocation,
    open_worker,
    passing_baggage,
)

logger = logging.getLogger("iii_trio.builtins.bridge")

Connect = Callable[[str], Attachment]
"""Gives what a worker attaches to for a URL; dials nothing yet."""

TIMEOUT: Final = 30.0
"""Seconds that a call may take, with waiting for the connection."""

ACCEPTANCE_PATIENCE: Final = 2.0
"""Seconds that an engine has to show that it took our name; silence takes it."""

RETRY_PAUSE: Final = 1.0
"""Seconds before another name is tried."""


def connect_by_url(url: str) -> Attachment:
    """The ordinary `Connect`; ``III_TOKEN`` is sent as a bearer token.

    ``III_WORKER_NAME`` and ``III_NAMESPACE`` name workers that somebody spawned; the
    connections of an engine are none.
    """
    token = os.environ.get("III_TOKEN", "").strip() or None
    dialler = WebSocketDialler(url, token=token)
    return RemoteAttachment(dialler, rng=random.SystemRandom())


@attrs.frozen
class _Binding:
    trigger_type: str
    function_id: str
    config: Any


@final
@attrs.define(eq=False, kw_only=True)
class RemoteEngine(metaclass=NoPublicConstructor):
    """Another engine; all in its namespace ``default``.

    Attributes:
        url: where it is, as it may be shown.
    """

    url: str
    _crossings: Crossings
    _worker: Worker | None = None
    _changed: trio.Event = attrs.field(factory=trio.Event)
    _functions: dict[str, Callable[..., Any]] = attrs.field(factory=dict)
    _bindings: dict[str, _Binding] = attrs.field(factory=dict)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._worker is not None and self._worker.worker_id != ""

    @property
    def worker_id(self) -> str:
        """Our id over there; ``""`` while not connected."""
        return "" if self._worker is None else self._worker.worker_id

    @property
    def under_way(self) -> int:
        """Calls that have crossed, either way, and have no answer yet."""
        return len(self._crossings)

    # Calls

    async def invoke_json(
        self,
        function_id: str,
        payload: bytes,
        *,
        seconds: float = TIMEOUT,
        writes: bool = False,
    ) -> bytes:
        """Call a function over there.

        Inside a handler its deadline counts too, and its cancellation cancels the call over
        there, if that engine can.

        Args:
            function_id: over there.
            payload: JSON text.
            seconds: how long it may take, with waiting for the connection.
            writes: not cancelled any more once there is a connection; see `finish`.

        Returns:
            JSON text, ``b""`` for no result.

        Raises:
            InvocationError: as it came from there; `InvocationTimeoutError` when there
                was no answer in time, `InvocationStoppedError` when the connection was
                lost meanwhile, `InvocationRefusedError` for a loop.
        """
        with self._crossing(), trio.move_on_after(seconds) as scope:
            while True:
                worker = await self._connected()
                try:
                    while writes and not self.is_connected:  # a question does no harm
                        with suppress(InvocationError):
                            await worker.invoke("engine::workers::info", {"id": ""})
                    call = partial(
                        worker.invoke_json,
                        function_id,
                        payload,
                        namespace="default",
                        deadline=scope.deadline - trio.current_time(),
                    )
                    return await (finish(call, function_id) if writes else call())
                except InvocationTimeoutError:
                    if trio.current_time() < scope.deadline:
                        raise
                except RegistrationError:
                    # Refused before anything was sent; the next has another name.
                    self._forget(worker)
                except trio.ClosedResourceError:
                    raise InvocationStoppedError(
                        f"the connection to {self.url} was lost",
                        function_id=function_id,
                    ) from None
        state = "" if self.is_connected else ": not connected"
        raise InvocationTimeoutError(
            f"no answer from {self.url} within {seconds * 1000:g} ms{state}",
            function_id=function_id,
        )

    async def request(
        self, function_id: str, payload: object, *, writes: bool = False
    ) -> bytes:
        """`invoke_json` for whoever keeps data over there.

        Args:
            function_id: over there.
            payload: any JSON value.
            writes: see `invoke_json`.

        Returns:
            JSON text, ``b""`` for no result.

        Raises:
            AdapterError: it failed, with where and why.
        """
        text = msgspec.json.encode(payload)
        try:
            return await self.invoke_json(function_id, text, writes=writes)
        except InvocationError as exc:
            raise AdapterError(f"{self.url}: {exc}") from exc

    async def fire_json(self, function_id: str, payload: bytes) -> None:
        """Call a function over there without an answer, from inside a handler.

        Raises:
            InvocationRefusedError: too many such calls wait for the connection already,
                there was none yet in `TIMEOUT`, or it is a loop.
        """
        with self._crossing(), trio.move_on_after(TIMEOUT):
            worker = await self._connected()
            worker.fire(function_id, msgspec.Raw(payload), namespace="default")
            return
        msg = f"not connected to {self.url}"
        raise InvocationRefusedError(msg, function_id=function_id)

    def fire(self, function_id: str, payload: object) -> None:
        """Call a function over there without an answer, from anywhere; sync.

        Args:
            function_id: over there.
            payload: any JSON value.

        Raises:
            InvocationRefusedError: there is no connection, or it is behind.
        """
        if self._worker is None or not self.is_connected:
            msg = f"not connected to {self.url}"
            raise InvocationRefusedError(msg, function_id=function_id)
        self._worker.fire(function_id, payload, namespace="default")

    @contextmanager
    def _crossing(self) -> Iterator[None]:
        baggage, inside = None, False
        with suppress(LookupError):  # nobody's call: it begins here
            baggage, inside = current_invocation().baggage, True
        try:
            with self._crossings.crossing(baggage) as taken:
                with passing_baggage(taken) if inside else nullcontext():
                    yield
        except LoopError as exc:
            raise InvocationRefusedError(str(exc)) from exc

    # What is offered over there

    def offer(self, function_id: str, local: Worker, local_function: str) -> None:
        """Offer a function of this engine over there, on every connection.

        Args:
            function_id: over there.
            local: makes the calls here.
            local_function: what is called.
        """
        call = partial(local.invoke_json, local_function, namespace="default")

        async def run(payload: msgspec.Raw) -> msgspec.Raw:
            try:
                with self._crossing():  # the bridge is no caller that a payload names
                    return msgspec.Raw(await call(bytes(payload), kind="delivery"))
            except InvocationError as exc:
                raise passed_on(exc) from exc

        self.serve(function_id, run)

    def serve(self, function_id: str, handler: Callable[..., Any]) -> None:
        """Offer a function over there that a handler here runs, on every connection."""
        self._functions[function_id] = handler
        if self._worker is not None:
            _register(self._worker, function_id, handler)

    def withdraw(self, function_id: str) -> None:
        """Offer a function over there no longer. Unknown ids are ignored."""
        self._functions.pop(function_id, None)
        if self._worker is not None:
            self._worker.unregister_function(function_id)

    async def bind(
        self, binding_id: str, kind: str, function_id: str, config: object
    ) -> None:
        """Bind a trigger over there, on every connection.

        Args:
            binding_id: for `unbind`; unique among engines.
            kind: the trigger type.
            function_id: one that is offered over there.
            config: of the trigger.
        """
        self._bindings[binding_id] = binding = _Binding(kind, function_id, config)
        if self._worker is None:
            await trio.lowlevel.checkpoint()
        else:
            await _bind(self._worker, binding_id, binding)

    def unbind(self, binding_id: str) -> None:
        """End a binding."""
        if (
            self._bindings.pop(binding_id, None) is not None
            and self._worker is not None
        ):
            self._worker.unbind(binding_id)

    # The connection

    async def _connected(self) -> Worker:
        await trio.lowlevel.checkpoint()
        while self._worker is None:
            await self._changed.wait()
        return self._worker

    def _forget(self, worker: Worker) -> None:
        if self._worker is worker:
            self._worker = None

    async def _stay(self, attachment: Attachment, names: Iterator[str]) -> None:
        """Be attached; under the next name when one is taken."""
        await trio.lowlevel.checkpoint()
        for name in names:
            try:
                await self._attach(attachment, name)
            except RegistrationError as exc:
                logger.warning(
                    "%s refuses the worker name %r, trying another: %s",
                    self.url,
                    name,
                    exc,
                )
            await trio.sleep(RETRY_PAUSE)

    async def _attach(self, attachment: Attachment, name: str) -> None:
        async with open_worker(attachment, name=name) as worker:
            # A refused name is told after the greeting: any answer says it was not.
            with trio.move_on_after(ACCEPTANCE_PATIENCE), suppress(InvocationError):
                await worker.invoke("engine::workers::info", {"id": worker.worker_id})
            logger.info("connected to %s as %s", self.url, name)
            self._worker = worker
            self._changed.set()
            self._changed = trio.Event()
            for function_id, handler in self._functions.items():
                _register(worker, function_id, handler)
            try:
                for binding_id, binding in list(self._bindings.items()):
                    if self._bindings.get(binding_id) is binding:  # still wanted
                        await _bind(worker, binding_id, binding)
                await trio.sleep_forever()
            finally:
                self._forget(worker)


def _register(worker: Worker, function_id: str, handler: Callable[..., Any]) -> None:
    """Offer a function; relays of ours do not show in listings."""
    internal = function_id.startswith("iii-")
    worker.register_function(
        function_id, handler, metadata={"internal": True} if internal else None
    )


async def _bind(worker: Worker, binding_id: str, binding: _Binding) -> None:
    await worker.bind(
        binding.trigger_type,
        binding.function_id,
        binding.config,
        namespace="default",
        trigger_id=binding_id,
    )


def passed_on(exc: InvocationError) -> FunctionFailedError:
    """An error of a call as the own error of the handler that made it."""
    return FunctionFailedError(
        exc.message, code=exc.code, stacktrace=exc.stacktrace, details=exc.details
    )


@asynccontextmanager
async def open_remote_engine(
    url: str,
    *,
    name: str,
    new_id: Callable[[], str],
    connect: Connect = connect_by_url,
) -> AsyncIterator[RemoteEngine]:
    """Be a worker of another engine for the length of the block, connected or not.

    Args:
        url: of the other engine.
        name: the worker's name over there; when it is taken, with a suffix.
        new_id: makes UUID text.
        connect: what the worker attaches to.

    Raises:
        ValueError: the URL is none.
    """

    def names() -> Iterator[str]:
        yield name
        while True:
            yield f"{name}:{new_id()[:8]}"

    remote = RemoteEngine._create(
        url=url_without_secrets(url),
        crossings=Crossings(new_id().replace("-", "")[:12]),
    )
    async with open_background_nursery("the bridge is closed") as nursery:
        nursery.start_soon(
            remote._stay,  # noqa: SLF001 - our own
            connect(url),
            names(),
            name=f"bridge to {remote.url}",
        )
        yield remote
