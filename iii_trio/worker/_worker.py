"""Worker: what one offers and calls, the same in process and by URL."""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar, final

import attrs
import msgspec
from msgspec import structs

from iii_trio._util import NoPublicConstructor
from iii_trio.errors import RegistrationError
from iii_trio.protocol import ChannelRef, namespace_for_call
from iii_trio.transport import (
    ChannelMaker,
    FunctionSpec,
    InvokedFunction,
    TriggerSpec,
)
from iii_trio.worker._channels import (
    Channel,
    ChannelReader,
    ChannelWriter,
    channel_ref,
)
from iii_trio.worker._context import current_call
from iii_trio.worker._json import JSON, encode, plain
from iii_trio.worker._provide import TriggerProvider
from iii_trio.worker._serve import Handler, prepare
from iii_trio.worker._triggers import with_condition

HandlerT = TypeVar("HandlerT", bound=Handler)

_channel_refs: Final = msgspec.json.Decoder(dict[str, ChannelRef])


@final
@attrs.define(eq=False, kw_only=True)
class Worker(TriggerProvider, metaclass=NoPublicConstructor):
    """A worker that is attached to an engine, for the length of its `open_worker`.

    After that, or after the end of its engine, it raises ``trio.ClosedResourceError``.

    Attributes:
        name: as given, ``None`` for a nameless one.
        namespace: where its functions are, and where its calls go by default.
    """

    name: str | None
    _new_id: Callable[[], str]

    @property
    def worker_id(self) -> str:
        """The engine's id for this worker; ``""`` while it is not connected."""
        return self._port.worker_id

    @property
    def rejections(self) -> Mapping[str, RegistrationError]:
        """What the engine refused after the fact, by function id or trigger id.

        Only an engine behind a URL answers late; in process the refused call raises.
        """
        return self._handlers.rejections

    # Functions

    def function(
        self,
        function_id: str,
        *,
        description: str | None = None,
        metadata: JSON = None,
        request_format: JSON = None,
        response_format: JSON = None,
    ) -> Callable[[HandlerT], HandlerT]:
        """Decorator form of `register_function`; gives the handler back unchanged."""

        def register(handler: HandlerT) -> HandlerT:
            self.register_function(
                function_id,
                handler,
                description=description,
                metadata=metadata,
                request_format=request_format,
                response_format=response_format,
            )
            return handler

        return register

    def register_function(
        self,
        function_id: str,
        handler: Handler,
        *,
        description: str | None = None,
        metadata: JSON = None,
        request_format: JSON = None,
        response_format: JSON = None,
        brief: bool = False,
    ) -> None:
        """Offer a function. An own one of the same id is replaced.

        Args:
            function_id: ``ns::name``.
            handler: takes the payload alone, or nothing. Annotated with attrs classes
                it gets and gives instances of them, annotated with ``msgspec.Raw`` the
                JSON text, not parsed, otherwise plain JSON. ``async def`` runs in a
                cancel scope of its own, plain ``def`` in a thread. Returning ``None``
                is "no result", `NULL` is a present null.
            description: for listings.
            metadata: JSON value; ``{"internal": true}`` hides it from listings.
            request_format: JSON Schema; default: that of the annotation.
            response_format: JSON Schema; default: that of the annotation.
            brief: the handler waits for something on every path, and only for a moment,
                such as a commit; it calls nothing that is brief itself. Calls in
                process then cost a third less: they have no checkpoint and no cancel
                scope of their own, and their nesting is not counted. Cancelling the caller's
                task still reaches the handler; that this worker is closed does not.

        Raises:
            RegistrationError: another live worker offers it (in process; an engine
                behind a URL answers late, see `rejections`).
            TypeError: the handler's signature does not fit.
        """
        served = prepare(handler, self._handlers.run_sync)
        spec = FunctionSpec(
            function_id=function_id,
            description=description,
            request_format=plain(request_format) or served.request_schema,
            response_format=plain(response_format) or served.response_schema,
            metadata=plain(metadata),
            brief=brief,
        )
        functions = self._handlers.functions
        previous = functions.get(function_id)
        functions[function_id] = served
        self._handlers.rejections.pop(function_id, None)
        try:
            self._port.register_function(spec)
        except BaseException:
            if previous is None:
                del functions[function_id]
            else:
                functions[function_id] = previous
            raise

    def register_http_function(
        self,
        function_id: str,
        url: str,
        *,
        method: str = "POST",
        timeout_ms: float | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Mapping[str, str] | None = None,
        description: str | None = None,
        metadata: JSON = None,
    ) -> None:
        """Offer a function whose implementation is an HTTP endpoint.

        The engine makes the requests, if the worker ``iii-http-functions`` runs in it.

        Args:
            function_id: ``ns::name``.
            url: of the endpoint.
            method: ``GET``, ``POST``, ``PUT``, ``PATCH`` or ``DELETE``.
            timeout_ms: milliseconds for a request; default: 30 s.
            headers: sent with every request.
            auth: ``{"type": "bearer", "token_key": NAME}``, ``{"type": "api_key",
                "header": H, "value_key": NAME}`` or ``{"type": "hmac", "secret_key":
                NAME}``, where ``NAME`` is an environment variable of the engine.
            description: for listings.
            metadata: JSON value; ``{"internal": true}`` hides it from listings.

        Raises:
            RegistrationError: another live worker offers it, or nobody performs it, or
                it may not be requested (in process; an engine behind a URL only logs
                it).
        """
        invocation = {
            "url": url,
            "method": method,
            "timeout_ms": timeout_ms,
            "headers": dict(headers or {}),
            "auth": None if auth is None else dict(auth),
        }
        spec = FunctionSpec(
            function_id=function_id,
            description=description,
            metadata=plain(metadata),
            invocation={k: v for k, v in invocation.items() if v is not None},
        )
        self._port.register_function(spec)
        self._handlers.functions.pop(function_id, None)
        self._handlers.rejections.pop(function_id, None)
        self._handlers.http_functions.add(function_id)

    def unregister_function(self, function_id: str) -> None:
        """Stop offering a function; running calls finish. Unknown ids are ignored."""
        known = self._handlers.functions.pop(function_id, None) is not None
        if known or function_id in self._handlers.http_functions:
            self._handlers.http_functions.discard(function_id)
            self._port.unregister_function(function_id)

    def register_invoker(self, admit: Callable[[InvokedFunction], Handler]) -> None:
        """Perform the functions that other workers register with an ``invocation``.

        Such a function says how it is called instead of having a handler. It belongs to
        the worker that registered it and goes with it. One worker of an engine, in its
        process, performs them all.

        Args:
            admit: called for each such function when it is registered, again when it
                is registered again. It gives the handler, or raises
                `RegistrationError` to refuse: the function is not registered then,
                which is logged. Its text must not hold secrets.

        Raises:
            RegistrationError: another worker does it already, or the engine is behind
                a URL.
        """
        self._handlers.admit_invoked = admit
        self._port.register_invoker(self._handlers)

    def unregister_invoker(self) -> None:
        """Stop performing them; calls under way end with ``invocation_stopped``.

        The functions stay registered, and calls to them are refused, until somebody
        performs them again.
        """
        self._port.unregister_invoker()

    # Triggers

    async def bind(
        self,
        trigger_type: str,
        function_id: str,
        config: JSON = None,
        *,
        metadata: JSON = None,
        condition: str | None = None,
        namespace: str | None = None,
        trigger_namespace: str | None = None,
        trigger_id: str | None = None,
    ) -> str:
        """Bind events of a type to a function; ends with this worker.

        A type that nobody provides yet is fine: the binding waits for its provider.

        Args:
            trigger_type: such as ``http``.
            function_id: called for every event.
            config: JSON value for the provider; attrs instances are fine.
            metadata: JSON value for the handler, with every event.
            condition: function that gets each event first; a falsy result skips it.
            namespace: where the function is; default: this worker's own.
            trigger_namespace: where the provider must be; default: this worker's own,
                else ``default``.
            trigger_id: default: a new one; an existing one is replaced.

        Returns:
            The id of the trigger.

        Raises:
            RegistrationError: the provider refused (in process; an engine behind a URL
                answers late, see `rejections`).
            TypeError: ``condition`` is no function id, or there is one and ``config``
                is no object.
        """
        spec = TriggerSpec(
            trigger_id=self._new_id() if trigger_id is None else trigger_id,
            trigger_type=trigger_type,
            function_id=function_id,
            config=with_condition(plain(config), condition),
            metadata=plain(metadata),
            namespace=namespace_for_call(function_id, namespace, self.namespace),
            trigger_namespace=trigger_namespace,
        )
        self._handlers.rejections.pop(spec.trigger_id, None)
        await self._port.register_trigger(spec)
        return spec.trigger_id

    def unbind(self, trigger_id: str) -> None:
        """End a binding. Unknown ids are ignored."""
        self._handlers.rejections.pop(trigger_id, None)
        self._port.unregister_trigger(trigger_id)

    # Channels and tasks

    async def create_channel(self, buffer_size: int = 64) -> Channel:
        """Make a byte channel between two workers, or between two tasks.

        Args:
            buffer_size: frames that may wait for the reader, 1 to 1024.
        """
        result = await self.invoke_json(
            "engine::channels::create", encode({"buffer_size": buffer_size})
        )
        refs = _channel_refs.decode(result)
        return Channel(
            reader=self.open_reader(refs["reader"]),
            writer=self.open_writer(refs["writer"]),
            reader_ref=refs["reader"],
            writer_ref=refs["writer"],
        )

    @property
    def channel_maker(self) -> ChannelMaker | None:
        """Makes channels without waiting; ``None`` when the engine is behind a URL."""
        return self._port.channel_maker

    def open_reader(self, ref: ChannelRef | Mapping[str, JSON]) -> ChannelReader:
        """Hold the reading end that ``ref`` names; it is opened when first used.

        Args:
            ref: a `ChannelRef`, or the JSON object of one as it stands in a payload.

        Raises:
            ValueError: it is no ref, or one of a writing end.
        """
        return ChannelReader(channel_ref(ref), self._port.open_channel_end)

    def open_writer(self, ref: ChannelRef | Mapping[str, JSON]) -> ChannelWriter:
        """Hold the writing end that ``ref`` names; see `open_reader`."""
        return ChannelWriter(channel_ref(ref), self._port.open_channel_end)

    def start_soon(
        self, async_fn: Callable[..., Awaitable[None]], *args: object, name: str
    ) -> None:
        """Start a task that lives at most as long as this worker.

        Started inside a handler it keeps the trace, but not the handler's deadline.
        An exception that leaves the task ends the worker.
        """
        call = current_call.get()
        if call is None or call.deadline == math.inf:
            self._handlers.start_soon(async_fn, *args, name=name)
            return
        token = current_call.set(structs.replace(call, deadline=math.inf))
        try:
            self._handlers.start_soon(async_fn, *args, name=name)
        finally:
            current_call.reset(token)
