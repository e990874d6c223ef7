"""Providing trigger types: registering them, and firing their triggers."""

import logging
from collections.abc import Callable
from typing import TypeVar, final

import attrs
import trio
from msgspec import structs

from iii_trio.errors import InvocationError
from iii_trio.protocol import is_truthy, namespace_for_call
from iii_trio.transport import Outcome, Request, StartedCall, TriggerTypeSpec
from iii_trio.worker._calls import Caller
from iii_trio.worker._context import check_deadline
from iii_trio.worker._handlers import WorkerHandlers
from iii_trio.worker._json import (
    JSON,
    encode,
    encode_optional,
    plain,
    schema_of,
    structurer,
)
from iii_trio.worker._triggers import (
    NOT_DELIVERED,
    BindCallback,
    Provider,
    Trigger,
    UnbindCallback,
)

logger = logging.getLogger(__name__)

UnbindT = TypeVar("UnbindT", bound=UnbindCallback)


@attrs.define(eq=False, kw_only=True)
class TriggerProvider(Caller):
    """The half of a worker that offers kinds of events."""

    _handlers: WorkerHandlers

    def trigger_type(
        self,
        trigger_type: str,
        *,
        config: type | None = None,
        description: str = "",
        call_format: JSON = None,
        return_format: JSON = None,
    ) -> Callable[[BindCallback], "TriggerTypeHandle"]:
        """Decorator form of `register_trigger_type`, for the bind callback.

        What it leaves has a decorator ``unbind`` for the other callback.
        """

        def register(bind: BindCallback) -> TriggerTypeHandle:
            provider = self.register_trigger_type(
                trigger_type,
                bind=bind,
                config=config,
                description=description,
                call_format=call_format,
                return_format=return_format,
            )
            return TriggerTypeHandle(provider)

        return register

    def register_trigger_type(
        self,
        trigger_type: str,
        *,
        bind: BindCallback,
        unbind: UnbindCallback | None = None,
        config: type | None = None,
        description: str = "",
        config_format: JSON = None,
        call_format: JSON = None,
        return_format: JSON = None,
        details: Callable[[str], JSON] | None = None,
    ) -> Provider:
        """Provide a kind of event. An own type of the same id is replaced.

        Args:
            trigger_type: its id.
            bind: called for each trigger of the type; it may be async. Raising
                `RegistrationError` refuses the trigger. A trigger that comes again
                under the same id is unbound first.
            unbind: called when a trigger is gone, also when the connection to the
                engine is lost: it binds again after the reconnect. Not at the end of a
                worker in process.
            config: attrs class for `Trigger.config`; a config that does not fit is
                refused with the path.
            description: for listings.
            config_format: JSON Schema of the config; default: that of ``config``.
            call_format: JSON Schema of the payload that functions get.
            return_format: JSON Schema of what functions should return.
            details: called with the id of a trigger when somebody asks for all of it
                (``engine::registered-triggers::info``); gives a JSON value, ``None``
                for nothing. Sync, quick, raises nothing. An engine behind a URL does
                not ask.

        Raises:
            RegistrationError: the engine refused.
        """
        provider = Provider(trigger_type, bind, unbind, structurer(config))
        spec = TriggerTypeSpec(
            trigger_type=trigger_type,
            description=description,
            config_format=plain(config_format) or schema_of(config),
            call_format=plain(call_format),
            return_format=plain(return_format),
            details=details,
        )
        previous = self._handlers.providers.add(provider)
        try:
            self._port.register_trigger_type(spec)
        except BaseException:
            if previous is None:
                self._handlers.providers.remove(trigger_type)
            else:
                self._handlers.providers.add(previous)
            raise
        return provider

    def unregister_trigger_type(self, trigger_type: str) -> None:
        """Stop providing a type; its triggers are unbound. Unknown ids are ignored."""
        self._port.unregister_trigger_type(trigger_type)
        self._handlers.providers.remove(trigger_type)

    async def check_condition(
        self,
        trigger: Trigger,
        payload: JSON,
        *,
        traceparent: str | None = None,
        while_bound: bool = False,
    ) -> bool:
        """Ask a trigger's condition about an event; ``True`` if it has none.

        JSON ``false``, ``null``, no result, ``0`` and ``""`` mean no.

        Args:
            trigger: whose condition is asked.
            payload: the event.
            traceparent: W3C trace context of the event; default: that of the handler
                that asks, if one does.
            while_bound: the event is for nobody but the trigger: if that is unbound or
                replaced meanwhile, the condition is cancelled, and the answer is no.

        Raises:
            InvocationError: the condition failed, or does not exist.
        """
        if trigger.condition is None:
            await trio.lowlevel.checkpoint()
            return True
        request = self._request(
            trigger.condition,
            encode(payload),
            trigger.namespace,
            None,
            None,
            "delivery",
        )
        if traceparent is not None:
            request = structs.replace(request, traceparent=traceparent, baggage=None)
        if not while_bound:
            return is_truthy(await self._port.invoke(request))
        answer = b""
        with self._handlers.providers.while_bound(trigger) as scope:
            answer = await self._port.invoke(request)
        return not scope.cancel_called and is_truthy(answer)

    async def deliver(self, trigger: Trigger, payload: JSON) -> JSON:
        """Call a trigger's function, in its namespace, with its metadata.

        It counts as a firing whatever comes of it. The condition is not asked.

        Raises:
            InvocationError: the function failed, or does not exist.
        """
        self._port.note_fired(trigger.trigger_id)
        return await self.invoke(
            trigger.function_id,
            payload,
            namespace=trigger.namespace,
            metadata=trigger.metadata,
            kind="delivery",
        )

    async def deliver_json(
        self,
        trigger: Trigger,
        payload: bytes,
        *,
        traceparent: str | None = None,
        baggage: str | None = None,
        deadline: float | None = None,
        scope: trio.CancelScope | None = None,
    ) -> bytes:
        """`deliver` with JSON text in and out, nothing parsed.

        Args:
            trigger: whose function is called.
            payload: JSON text; it is not checked.
            traceparent: W3C trace context that the event came with.
            baggage: W3C baggage that the event came with.
            deadline: seconds from now, after which the call is cancelled everywhere.
            scope: the cancel scope around this call, if nothing else is in it. In
                process the handler then runs in that one and without a checkpoint before,
                which is cheaper. If the handler's worker ends, it is cancelled.

        Returns:
            JSON text, ``b""`` for no result.

        Raises:
            InvocationError: the function failed, or does not exist.
            ValueError: ``deadline`` is NaN.
        """
        request = _delivery(trigger, payload, traceparent, baggage, deadline, scope)
        self._port.note_fired(trigger.trigger_id)
        return await self._port.invoke(request)

    def start_delivery(
        self,
        trigger: Trigger,
        payload: bytes,
        on_outcome: Callable[[Outcome], None],
        *,
        traceparent: str | None = None,
        baggage: str | None = None,
    ) -> StartedCall | None:
        """`deliver_json` without waiting: the outcome will be told.

        Args:
            trigger: whose function is called.
            payload: JSON text; it is not checked.
            on_outcome: called once, unless the call is cancelled: sync, brief, here
                or from wherever the outcome comes.
            traceparent: W3C trace context that the event came with.
            baggage: W3C baggage that the event came with.

        Returns:
            The call, to be cancelled; ``None`` if nothing was done, because the engine
            is behind a URL.
        """
        call = self._port.start(
            _delivery(trigger, payload, traceparent, baggage), on_outcome
        )
        if call is not None:
            self._port.note_fired(trigger.trigger_id)
        return call

    async def emit(self, trigger: Trigger, payload: JSON) -> JSON:
        """`check_condition`, then `deliver`.

        Returns:
            What the function returned; `NOT_DELIVERED` if the condition said no or
            failed (which is logged), or the trigger ended while it was asked.

        Raises:
            InvocationError: the function failed, or does not exist.
        """
        if trigger.condition is None:
            return await self.deliver(trigger, payload)  # now: it may end at any step
        try:
            wanted = await self.check_condition(trigger, payload, while_bound=True)
        except InvocationError as exc:
            logger.warning(
                "condition %s of trigger %s failed, event skipped: %s",
                trigger.condition,
                trigger.trigger_id,
                exc,
            )
            wanted = False
        if wanted:
            return await self.deliver(trigger, payload)
        await trio.lowlevel.checkpoint()
        return NOT_DELIVERED

    def is_local(self, function_id: str, namespace: str | None = None) -> bool:
        """Tell whether a worker of this process serves the function right now.

        By URL the answer is always no.
        """
        return self._port.is_local(
            function_id, namespace_for_call(function_id, namespace, self.namespace)
        )

    def exists(self, function_id: str, namespace: str | None = None) -> bool:
        """Tell whether a live worker serves the function right now.

        By URL the answer is always yes: only the engine knows.
        """
        return self._port.exists(
            function_id, namespace_for_call(function_id, namespace, self.namespace)
        )


@final
@attrs.frozen(eq=False)
class TriggerTypeHandle:
    """What the decorator `Worker.trigger_type` leaves."""

    _provider: Provider

    def unbind(self, callback: UnbindT) -> UnbindT:
        """Decorator: call this when a trigger of the type is gone."""
        self._provider.unbind = callback
        return callback


def _delivery(
    trigger: Trigger,
    payload: bytes,
    traceparent: str | None,
    baggage: str | None,
    deadline: float | None = None,
    scope: trio.CancelScope | None = None,
) -> Request:
    if deadline is not None:
        check_deadline(deadline)
    return Request(
        function_id=trigger.function_id,
        payload=payload,
        namespace=trigger.namespace,
        metadata=encode_optional(trigger.metadata),
        kind="delivery",
        timeout=deadline,
        traceparent=traceparent,
        baggage=baggage,
        scope=scope,
    )
