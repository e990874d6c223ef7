"""Queues and topics of another engine: `serve_bridged_queue`.

All functions are asked over there, and messages are stored, retried and buried there.
A subscriber of a topic here is one over there, by a function that relays.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any, NoReturn, final

import attrs
import msgspec
import trio

from iii_trio.builtins._payloads import structure, structure_trigger_config
from iii_trio.builtins._remote_engine import (
    Connect,
    RemoteEngine,
    connect_by_url,
    open_remote_engine,
    passed_on,
)
from iii_trio.builtins.queue._config import QueueConfig
from iii_trio.builtins.queue._consumer import LOOK_AGAIN, is_end
from iii_trio.builtins.queue._inputs import SubscriberConfig
from iii_trio.builtins.queue._news import hearing_of_functions
from iii_trio.builtins.queue._schemas import (
    DESCRIPTIONS,
    REQUEST_FORMATS,
    TRIGGER_CONFIG_FORMAT,
)
from iii_trio.builtins.queue._topics import TRIGGER_TYPE
from iii_trio.errors import FunctionFailedError, FunctionNotFoundError, InvocationError
from iii_trio.protocol import CONDITION_KEY
from iii_trio.worker import Trigger, Worker

JSON = Any

logger = logging.getLogger("iii_trio.builtins.queue")


@final
@attrs.define(eq=False, kw_only=True)
class BridgedQueueHandle:
    """What a running bridged queue worker offers to whoever serves it."""

    _relays: "Relays"

    async def drain(self, grace: float) -> None:
        """Let messages wait over there, and those in delivery here end.

        Args:
            grace: seconds that they have.
        """
        with trio.move_on_after(grace):
            await self._relays.retire()


async def serve_bridged_queue(
    worker: Worker,
    config: QueueConfig,
    *,
    url: str,
    new_id: Callable[[], str],
    connect: Connect = connect_by_url,
    task_status: trio.TaskStatus[BridgedQueueHandle] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the queues of another engine here, until cancelled.

    Args:
        worker: what offers the functions and the trigger type.
        config: settings; its queues are those of the other engine, and ignored.
        url: of the other engine.
        new_id: makes UUID text.
        connect: what the worker of the other engine attaches to.
        task_status: gets a `BridgedQueueHandle` once everything is registered; the
            connection may come later.

    Raises:
        RegistrationError: another worker offers one of the functions.

    Cancellation: the functions and the trigger type are withdrawn; subscriptions stay
    over there, and their messages collect.
    """
    async with open_remote_engine(
        url, name="iii-queue-bridge", new_id=new_id, connect=connect
    ) as remote:
        if config.queue_configs:
            logger.warning(
                "queue_configs is ignored: the queues are those of %s, see queue::define",
                remote.url,
            )
        relays = Relays(worker, remote)
        with ExitStack() as registered:
            worker.register_trigger_type(
                TRIGGER_TYPE,
                bind=relays.bind,
                unbind=relays.unbind,
                description=f"Messages of a topic of {remote.url}.",
                config_format=TRIGGER_CONFIG_FORMAT,
            )
            registered.callback(worker.unregister_trigger_type, TRIGGER_TYPE)
            for function_id, description in DESCRIPTIONS.items():
                worker.register_function(
                    function_id,
                    _forward(remote, function_id),
                    description=description,
                    request_format=REQUEST_FORMATS[function_id],
                )
                registered.callback(worker.unregister_function, function_id)
            async with hearing_of_functions(worker, relays.functions_changed):
                task_status.started(BridgedQueueHandle(relays=relays))
                await trio.sleep_forever()
    raise AssertionError  # pragma: no cover - sleep_forever does not return


def _forward(
    remote: RemoteEngine, function_id: str
) -> Callable[[msgspec.Raw], Awaitable[msgspec.Raw]]:
    async def run(payload: msgspec.Raw) -> msgspec.Raw:
        try:
            return msgspec.Raw(await remote.invoke_json(function_id, bytes(payload)))
        except InvocationError as exc:
            raise passed_on(exc) from exc

    return run


@final
@attrs.define(eq=False, kw_only=True)
class Relay:
    """A function over there that stands for one here, for one topic.

    Attributes:
        relay_id: its id; depends on topic and function alone, since the other engine
            keeps messages by it, also while this one is away.
        function_id: who gets the messages.
        namespace: where that is.
        triggers: those bound now, by id; the last one is delivered to.
        offered: whether it is offered over there.
    """

    relay_id: str
    function_id: str
    namespace: str
    triggers: dict[str, Trigger] = attrs.field(factory=dict)
    offered: bool = False

    @classmethod
    def of(cls, trigger: Trigger, config: SubscriberConfig) -> "Relay":
        """The relay that a trigger needs."""
        target = f"{trigger.function_id}@{trigger.namespace}"
        return cls(
            relay_id=f"iii-queue-bridge::{config.topic}::{target}",
            function_id=trigger.function_id,
            namespace=trigger.namespace,
        )


@final
@attrs.define(eq=False)
class Relays:
    """Functions over there that hand messages to the subscribers here.

    Each is offered only while its function is here: the other engine keeps messages for
    a function that it does not find, and counts no delivery.
    """

    _worker: Worker
    _remote: RemoteEngine
    _relays: dict[str, Relay] = attrs.field(init=False, factory=dict)
    _retiring: bool = attrs.field(init=False, default=False)
    _under_way: int = attrs.field(init=False, default=0)
    _all_ended: trio.lowlevel.ParkingLot = attrs.field(
        init=False, factory=trio.lowlevel.ParkingLot
    )

    def bind(self, trigger: Trigger) -> Coroutine[Any, Any, None]:
        """Subscribe; answered once it is told over there.

        Raises:
            RegistrationError: its config does not fit.
        """
        config = structure_trigger_config(trigger.config, SubscriberConfig)
        relay = Relay.of(trigger, config)
        relay = self._relays.setdefault(relay.relay_id, relay)
        relay.triggers[trigger.trigger_id] = trigger
        return self._join(relay, trigger)

    async def _join(self, relay: Relay, trigger: Trigger) -> None:
        if trigger.trigger_id not in relay.triggers:
            await trio.lowlevel.checkpoint()  # it has gone meanwhile
            return
        self._look_for(relay)
        if not relay.offered:
            self._look_again_for(relay)
        # The condition is a function of this engine, and asked here.
        settings = {k: v for k, v in trigger.config.items() if k != CONDITION_KEY}
        await self._remote.bind(relay.relay_id, TRIGGER_TYPE, relay.relay_id, settings)

    def unbind(self, trigger: Trigger) -> None:
        """End a subscription. One whose worker was lost goes on collecting."""
        config = structure(trigger.config, SubscriberConfig)
        relay = self._relays.get(Relay.of(trigger, config).relay_id)
        if relay is None:
            return
        relay.triggers.pop(trigger.trigger_id, None)
        if relay.triggers:
            return
        del self._relays[relay.relay_id]
        self._look_for(relay)
        if not trigger.lost:
            self._remote.unbind(relay.relay_id)

    def functions_changed(self) -> None:
        """Functions came or went."""
        for relay in self._relays.values():
            self._look_for(relay)

    async def retire(self) -> None:
        """Offer nothing any more, and wait until no message is in delivery."""
        self._withdraw_all()
        await trio.lowlevel.checkpoint()
        while self._under_way:
            await self._all_ended.park()

    def _withdraw_all(self) -> None:
        self._retiring = True
        for relay in self._relays.values():
            self._look_for(relay)

    def _look_for(self, relay: Relay) -> None:
        """Offer a relay, or no longer, by whether there is whom to deliver to."""
        needed = bool(relay.triggers) and not self._retiring
        offered = needed and self._worker.exists(relay.function_id, relay.namespace)
        if offered == relay.offered:
            return
        relay.offered = offered
        if offered:
            self._remote.serve(relay.relay_id, partial(self._deliver, relay))
            return
        self._remote.withdraw(relay.relay_id)
        if needed:
            self._look_again_for(relay)

    def _look_again_for(self, relay: Relay) -> None:
        async def look_again() -> None:
            await trio.sleep(LOOK_AGAIN)
            self._look_for(relay)

        name = f"absence of {relay.function_id}"
        self._worker.start_soon(look_again, name=name)

    async def _deliver(self, relay: Relay, payload: JSON) -> JSON:
        """One delivery: failures are the other engine's to retry."""
        # There is one: the relay is offered no longer than that.
        trigger = next(reversed(relay.triggers.values()))
        self._under_way += 1
        try:
            if await self._worker.check_condition(trigger, payload):
                return await self._worker.deliver(trigger, payload)
        except InvocationError as exc:
            raise self._failure(relay, exc) from exc
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._all_ended.unpark_all()
        return None

    def _failure(self, relay: Relay, exc: InvocationError) -> FunctionFailedError:
        """What the other engine is told.

        That it is not found, if the message is to wait: over there it is not found either
        by the time that this is heard, and no delivery is counted.
        """
        if is_end(exc, is_ending=self._retiring):
            self._withdraw_all()
            code = FunctionNotFoundError.default_code
            return FunctionFailedError(f"this engine is draining: {exc}", code=code)
        if isinstance(exc, FunctionNotFoundError):
            self._look_for(relay)
        return passed_on(exc)
