"""Queues and topics of another engine: `serve_bridged_queue`.

All functions are asked over there, and messages are stored, retried and buried there.
A subscriber of a topic here is one over there, by a function that relays.
"""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
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
from iii_trio.builtins.queue._inputs import SubscriberConfig
from iii_trio.builtins.queue._schemas import (
    DESCRIPTIONS,
    REQUEST_FORMATS,
    TRIGGER_CONFIG_FORMAT,
)
from iii_trio.builtins.queue._topics import TRIGGER_TYPE
from iii_trio.errors import InvocationError
from iii_trio.protocol import CONDITION_KEY
from iii_trio.worker import Trigger, Worker

JSON = Any

logger = logging.getLogger("iii_trio.builtins.queue")


async def serve_bridged_queue(
    worker: Worker,
    config: QueueConfig,
    *,
    url: str,
    new_id: Callable[[], str],
    connect: Connect = connect_by_url,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve the queues of another engine here, until cancelled.

    Args:
        worker: what offers the functions and the trigger type.
        config: settings; its queues are those of the other engine, and ignored.
        url: of the other engine.
        new_id: makes UUID text.
        connect: what the worker of the other engine attaches to.
        task_status: told once everything is registered; the connection may come later.

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
            task_status.started()
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
@attrs.define(eq=False)
class Relays:
    """Functions over there that hand messages to the subscribers here.

    Their ids depend on topic and function alone: the other engine keeps messages by
    them, also while this one is away.
    """

    _worker: Worker
    _remote: RemoteEngine
    _triggers: dict[str, dict[str, Trigger]] = attrs.field(init=False, factory=dict)

    def bind(self, trigger: Trigger) -> Coroutine[Any, Any, None]:
        """Subscribe; answered once it is told over there.

        Raises:
            RegistrationError: its config does not fit.
        """
        config = structure_trigger_config(trigger.config, SubscriberConfig)
        relay = _relay_of(config.topic, trigger)
        self._triggers.setdefault(relay, {})[trigger.trigger_id] = trigger
        return self._join(relay, trigger)

    async def _join(self, relay: str, trigger: Trigger) -> None:
        if trigger.trigger_id not in self._triggers.get(relay, ()):
            await trio.lowlevel.checkpoint()  # it has gone meanwhile
            return

        async def hand_on(payload: JSON) -> JSON:
            return await self._deliver(relay, payload)

        self._remote.serve(relay, hand_on)
        # The condition is a function of this engine, and asked here.
        settings = {k: v for k, v in trigger.config.items() if k != CONDITION_KEY}
        await self._remote.bind(relay, TRIGGER_TYPE, relay, settings)

    def unbind(self, trigger: Trigger) -> None:
        """End a subscription. One whose worker was lost goes on collecting."""
        config = structure(trigger.config, SubscriberConfig)
        relay = _relay_of(config.topic, trigger)
        triggers = self._triggers.get(relay, {})
        triggers.pop(trigger.trigger_id, None)
        if triggers or relay not in self._triggers:
            return
        del self._triggers[relay]
        self._remote.withdraw(relay)
        if not trigger.lost:
            self._remote.unbind(relay)

    async def _deliver(self, relay: str, payload: JSON) -> JSON:
        """One delivery: failures are the other engine's to retry."""
        trigger = next(reversed(self._triggers[relay].values()))
        try:
            if await self._worker.check_condition(trigger, payload):
                return await self._worker.deliver(trigger, payload)
        except InvocationError as exc:
            raise passed_on(exc) from exc
        return None


def _relay_of(topic: str, trigger: Trigger) -> str:
    return f"iii-queue-bridge::{topic}::{trigger.function_id}@{trigger.namespace}"
