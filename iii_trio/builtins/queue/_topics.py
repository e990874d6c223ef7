"""The trigger type ``durable:subscriber``: who gets a copy of what is published.

A subscription is a topic, a function and its namespace. It stays known when its worker is
lost and after a restart, and its queue goes on filling, until its trigger is ended.
"""

import logging
from collections.abc import Coroutine
from typing import Any, Final, final

import attrs
import msgspec
import trio
from msgspec import structs

from iii_trio.adapters import KeyValueStore, Message, NewMessage, QueueStore
from iii_trio.builtins._payloads import structure_trigger_config
from iii_trio.builtins.queue._consumer import FailedConditionError, NotNowError
from iii_trio.builtins.queue._consumers import Consumers
from iii_trio.builtins.queue._delivery import Policy, delivered_baggage
from iii_trio.builtins.queue._inputs import SubscriberConfig, SubscriberQueueConfig
from iii_trio.builtins.queue._names import StoredQueue, subscription, unread_topic
from iii_trio.errors import AdapterError, InvocationError, RegistrationError
from iii_trio.worker import Trigger, Worker

logger = logging.getLogger("iii_trio.builtins.queue")

TRIGGER_TYPE: Final = "durable:subscriber"

SUBSCRIPTIONS: Final = "subscriptions"
"""The space of the known subscriptions: their settings by stored queue."""

SERIAL: Final = ""
"""The group that all messages of a fifo subscriber are in."""

_settings: Final = msgspec.json.Decoder(SubscriberQueueConfig)


@final
@attrs.define(eq=False, kw_only=True)
class Subscription:
    """One subscriber of a topic, and the `Target` of its queue.

    Attributes:
        queue: its stored queue.
        topic: what it gets.
        function_id: who gets it.
        namespace: where that is.
        settings: of the trigger that was bound last.
        triggers: those bound now, by id; the last one is delivered to.
        stored: the settings that a restart would find, ``None`` if it is not known.
        storing: held while they change. What is stored last is to hold: whoever stores
            two at once is told in any order.
    """

    queue: str
    topic: str
    function_id: str
    namespace: str
    settings: SubscriberQueueConfig
    triggers: dict[str, Trigger] = attrs.field(factory=dict)
    stored: SubscriberQueueConfig | None = None
    storing: trio.Lock = attrs.field(factory=trio.Lock)
    _worker: Worker

    @property
    def group(self) -> str | None:
        """The group of new messages."""
        return SERIAL if self.settings.type == "fifo" else None

    @property
    def policy(self) -> Policy:
        """That of the settings."""
        return Policy.of_subscriber(self.settings)

    @property
    def ready(self) -> bool:
        """Whether its worker is there."""
        return bool(self.triggers) and self._worker.exists(
            self.function_id, self.namespace
        )

    def exists(self, _message: Message) -> bool:
        """Ask the registry."""
        return self._worker.exists(self.function_id, self.namespace)

    async def attempt(self, message: Message) -> None:
        """Ask the condition, call the function."""
        if not self.triggers:
            raise NotNowError
        trigger = next(reversed(self.triggers.values()))
        if await self._is_wanted(trigger, message):
            await self._worker.deliver_json(
                trigger,
                message.payload,
                traceparent=message.traceparent,
                baggage=delivered_baggage(message.baggage, self.function_id),
                deadline=self.policy.timeout,
            )

    async def _is_wanted(self, trigger: Trigger, message: Message) -> bool:
        timeout = self.policy.timeout
        try:
            with trio.move_on_after(timeout):
                return await self._worker.check_condition(
                    trigger, msgspec.Raw(message.payload)
                )
        except InvocationError as exc:
            raise FailedConditionError(
                f"Condition function error: {exc}",
                code=exc.code,
                invocation_id=exc.invocation_id,
            ) from exc
        msg = f"Condition function error: TIMEOUT: no answer within {timeout:g} s"
        raise FailedConditionError(msg, code="TIMEOUT")


@final
@attrs.define(eq=False, kw_only=True)
class Topics:
    """The known subscriptions and their consumers."""

    _worker: Worker
    _consumers: Consumers
    _store: QueueStore
    _records: KeyValueStore
    _known: dict[str, Subscription] = attrs.field(factory=dict)
    _of_trigger: dict[str, Subscription] = attrs.field(factory=dict)

    def of_topic(self, topic: str) -> list[Subscription]:
        """The subscriptions of a topic, the oldest first."""
        return [one for one in self._known.values() if one.topic == topic]

    def all(self) -> list[Subscription]:
        """Every known subscription."""
        return list(self._known.values())

    async def load(self) -> None:
        """Read the known subscriptions; their messages wait for their workers."""
        for queue, value in await self._records.items(SUBSCRIPTIONS):
            stored = StoredQueue.parse(queue)
            assert stored.subscriber is not None
            function_id, namespace = stored.subscriber
            settings = _settings.decode(value)
            self._enter(
                Subscription(
                    queue=queue,
                    topic=stored.name,
                    function_id=function_id,
                    namespace=namespace,
                    settings=settings,
                    stored=settings,
                    worker=self._worker,
                )
            )
        for one in self.all():
            await self._hand_over(one)

    async def publish(self, topic: str, message: NewMessage) -> None:
        """Store a copy for every subscription; without any, keep it for the first."""
        subscriptions = self.of_topic(topic)
        if subscriptions:
            await self._store.put([_copy(message, one) for one in subscriptions])
            for one in subscriptions:
                self._consumers.wake(one.queue, message.due)
            return
        await self._store.put([structs.replace(message, queue=unread_topic(topic))])
        for one in self.of_topic(topic)[:1]:
            # It came while the message was being stored.
            await self._hand_over(one)

    # The trigger type

    def bind(self, trigger: Trigger) -> Coroutine[Any, Any, None] | None:
        """Subscribe: from now on it gets what is published; answered once stored.

        Raises:
            RegistrationError: its config does not fit.
        """
        config = structure_trigger_config(trigger.config, SubscriberConfig)
        settings = config.queue_config or SubscriberQueueConfig()
        queue = subscription(config.topic, trigger.function_id, trigger.namespace)
        known = self._known.get(queue)
        if known is None:
            known = Subscription(
                queue=queue,
                topic=config.topic,
                function_id=trigger.function_id,
                namespace=trigger.namespace,
                settings=settings,
                worker=self._worker,
            )
        known.settings = settings
        known.triggers[trigger.trigger_id] = trigger
        self._of_trigger[trigger.trigger_id] = known
        self._enter(known)
        if known.stored == settings and not known.storing.locked():
            return None
        return self._remember(known, trigger, settings)

    def unbind(self, trigger: Trigger) -> None:
        """End a trigger; if that is what its worker wanted, the subscription too."""
        one = self._release(trigger)
        if one is not None and not one.triggers and not trigger.lost:
            self._end(one)

    def _release(self, trigger: Trigger) -> Subscription | None:
        one = self._of_trigger.pop(trigger.trigger_id, None)
        if one is not None:
            del one.triggers[trigger.trigger_id]
        return one

    def _enter(self, one: Subscription) -> None:
        self._known[one.queue] = one
        self._consumers.start(one.queue, one)

    def _end(self, one: Subscription) -> None:
        self._known.pop(one.queue, None)
        self._consumers.finish(one.queue)
        name = f"forget subscription {one.queue}"
        self._worker.start_soon(self._forget, one, name=name)

    async def _remember(
        self, one: Subscription, trigger: Trigger, settings: SubscriberQueueConfig
    ) -> None:
        async with one.storing:
            if next(reversed(one.triggers), None) == trigger.trigger_id:
                one.settings = settings  # also if one that came later was refused
            try:
                if one.stored != one.settings:
                    await self._store_settings(one)
            except AdapterError as exc:
                self._release(trigger)
                if one.stored is None and not one.triggers:
                    self._end(one)
                elif one.stored is not None and one.settings is settings:
                    one.settings = one.stored
                msg = f"Could not store the subscription: {exc}"
                raise RegistrationError(msg) from exc

    async def _store_settings(self, one: Subscription) -> None:
        settings = one.settings
        value = msgspec.json.encode(settings)
        await self._records.set(SUBSCRIPTIONS, one.queue, value)
        await self._hand_over(one)
        one.stored = settings

    async def _forget(self, one: Subscription) -> None:
        await trio.lowlevel.checkpoint()
        if one.queue in self._known:
            return
        try:
            await self._records.delete(SUBSCRIPTIONS, one.queue)
        except AdapterError as exc:
            logger.warning(
                "subscription of %s to %r is known again after a restart: %s",
                one.function_id,
                one.topic,
                exc,
            )

    async def _hand_over(self, one: Subscription) -> None:
        """Give what nobody was there for to a subscriber."""
        await self._store.move(
            unread_topic(one.topic), dead=False, to=one.queue, group=one.group
        )
        self._consumers.wake(one.queue)


def _copy(message: NewMessage, one: Subscription) -> NewMessage:
    return structs.replace(message, queue=one.queue, group=one.group)
