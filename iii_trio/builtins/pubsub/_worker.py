"""`publish`, `subscribe`, and `serve_pubsub`.

Broadcast, at most once. Each message is a call of the pub/sub worker per subscription:
what becomes of its publisher does not matter. The calls of one subscription begin in the
order of publishing, then run side by side; there are at most `MAX_UNDER_WAY` of them, and
messages above that are dropped for that subscription alone.
"""

import logging
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any, Final, NoReturn, final

import attrs
import msgspec
import trio

from iii_trio.builtins._deliveries import log_failure, start_delivery
from iii_trio.builtins._failures import FailingAs
from iii_trio.builtins._payloads import structure_input
from iii_trio.builtins._remote_engine import (
    Connect,
    connect_by_url,
    open_remote_engine,
)
from iii_trio.builtins.pubsub._config import PublishInput, PubSubConfig
from iii_trio.builtins.pubsub._remote import RemoteTopics
from iii_trio.builtins.pubsub._topics import Topics, topic_of
from iii_trio.errors import FunctionFailedError, InvocationError
from iii_trio.worker import Trigger, Worker

JSON = Any

logger = logging.getLogger("iii_trio.builtins.pubsub")

PUBLISH: Final = "publish"
TRIGGER_TYPE: Final = "subscribe"

MAX_UNDER_WAY: Final = 1000
"""Deliveries of one subscription at a time: some MB, besides the messages."""

TRIGGER_CONFIG_FORMAT: Final = {
    "title": "SubscribeTriggerConfig",
    "type": "object",
    "properties": {
        "topic": {"type": "string"},
        "condition_function_id": {"type": "string"},
    },
    "required": ["topic"],
}


@attrs.frozen(kw_only=True)
class PubSubStatistics:
    """Counts of a pub/sub worker.

    Attributes:
        subscriptions: triggers that may fire.
        under_way: deliveries that were begun and have not ended.
        dropped: deliveries that were not begun, because too many were under way.
    """

    subscriptions: int
    under_way: int
    dropped: int


@final
@attrs.define(eq=False)
class PubSubHandle:
    """What a running pub/sub worker offers to whoever serves it."""

    _pubsub: "_PubSub"

    async def drain(self, grace: float) -> None:
        """Wait until every delivery has ended, at most ``grace`` seconds."""
        with trio.move_on_after(grace):
            await self._pubsub.wait_all_delivered()

    def statistics(self) -> PubSubStatistics:
        """Counts, as of now."""
        return self._pubsub.statistics()


async def serve_pubsub(
    worker: Worker,
    config: PubSubConfig,
    *,
    new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    connect: Connect = connect_by_url,
    task_status: trio.TaskStatus[PubSubHandle] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Offer the function ``publish`` and the trigger type ``subscribe``, until cancelled.

    Args:
        worker: what offers them.
        config: settings.
        new_id: makes UUID text.
        connect: what the worker of an engine that carries messages attaches to.
        task_status: gets a `PubSubHandle` once everything is registered.

    Raises:
        RegistrationError: another worker offers ``publish``.

    Cancellation: the function and the trigger type are withdrawn.
    """
    pubsub = _PubSub(worker=worker)
    url = None if config.adapter is None else config.adapter.bridge_url
    async with AsyncExitStack() as opened:
        if url is not None:
            remote = await opened.enter_async_context(
                open_remote_engine(
                    url, name="iii-pubsub-bridge", new_id=new_id, connect=connect
                )
            )
            pubsub.elsewhere = RemoteTopics(remote, new_id, pubsub.deliver)
        with _registered(worker, pubsub):
            task_status.started(PubSubHandle(pubsub))
            await trio.sleep_forever()
    raise AssertionError  # pragma: no cover - sleep_forever does not return


@contextmanager
def _registered(worker: Worker, pubsub: "_PubSub") -> Iterator[None]:
    worker.register_trigger_type(
        TRIGGER_TYPE,
        bind=pubsub.bind,
        unbind=pubsub.unbind,
        description="Messages published to a topic.",
        config_format=TRIGGER_CONFIG_FORMAT,
        call_format={},
    )
    try:
        worker.register_function(
            PUBLISH,
            pubsub.publish,
            description="Sends data to all subscribers of a topic.",
            request_format=msgspec.json.schema(PublishInput),
        )
        try:
            yield
        finally:
            worker.unregister_function(PUBLISH)
    finally:
        worker.unregister_trigger_type(TRIGGER_TYPE)


@attrs.define(eq=False)
class _Subscription:
    """A trigger; with a condition also the delivery that the next one follows."""

    trigger: Trigger
    last_begun: trio.Event
    under_way: int = 0
    dropped: int = 0
    ended: bool = False


@attrs.define(eq=False, kw_only=True)
class _PubSub:
    _worker: Worker
    elsewhere: RemoteTopics | None = None
    _topics: Topics[_Subscription] = attrs.field(init=False, factory=Topics)
    _under_way: int = attrs.field(init=False, default=0)
    _dropped: int = attrs.field(init=False, default=0)
    _all_delivered: trio.lowlevel.ParkingLot = attrs.field(
        init=False, factory=trio.lowlevel.ParkingLot
    )

    def bind(self, trigger: Trigger) -> Coroutine[Any, Any, None] | None:
        """Subscribe a trigger; one without a topic is taken, and never fires."""
        topic = topic_of(trigger.config)
        if topic is None:
            logger.warning(
                "subscribe trigger %s names no topic and never fires",
                trigger.trigger_id,
            )
            return None
        begun = trio.Event()
        begun.set()
        # The reference hands no metadata of the trigger to subscribers.
        subscription = _Subscription(attrs.evolve(trigger, metadata=None), begun)
        self._topics.add(topic, trigger.trigger_id, subscription)
        return None if self.elsewhere is None else self._join(self.elsewhere, topic)

    async def _join(self, elsewhere: RemoteTopics, topic: str) -> None:
        if self._topics.subscriptions(topic):
            await elsewhere.join(topic)
        else:  # it has gone meanwhile
            await trio.lowlevel.checkpoint()

    def unbind(self, trigger: Trigger) -> None:
        """End one subscription; deliveries that have not begun are not made."""
        subscription = self._topics.remove(trigger.trigger_id)
        if subscription is None:
            return
        subscription.ended = True
        topic = topic_of(trigger.config)
        assert topic is not None, "it was subscribed"
        if self.elsewhere is not None and not self._topics.subscriptions(topic):
            self.elsewhere.leave(topic)

    async def publish(self, payload: JSON) -> None:
        """The function ``publish``: start the deliveries, wait for none."""
        # Calls begin in the order in which they came; after a checkpoint they would
        # go on in any order.
        given = structure_input(PUBLISH, payload, PublishInput)
        if not given.topic:
            raise FunctionFailedError("Topic is not set", code="topic_not_set")
        if self.elsewhere is not None:
            with FailingAs("publish_failed", "Failed to publish"):
                await self.elsewhere.publish(given)
            return
        self.deliver(given.topic, given.data)
        await trio.lowlevel.checkpoint()

    def deliver(self, topic: str, data: JSON) -> None:
        """Start the deliveries of one message."""
        subscriptions = self._topics.subscriptions(topic)
        payload = msgspec.json.encode(data) if subscriptions else b""
        for subscription in subscriptions:
            self._start(subscription, data, payload)

    async def wait_all_delivered(self) -> None:
        """Wait until no delivery is under way."""
        await trio.lowlevel.checkpoint()
        while self._under_way:
            await self._all_delivered.park()

    def statistics(self) -> PubSubStatistics:
        return PubSubStatistics(
            subscriptions=len(self._topics),
            under_way=self._under_way,
            dropped=self._dropped,
        )

    def _start(self, subscription: _Subscription, data: JSON, payload: bytes) -> None:
        trigger = subscription.trigger
        if subscription.under_way >= MAX_UNDER_WAY:
            if not subscription.dropped:
                logger.warning(
                    "subscribe trigger %s: %d deliveries to %s are under way, "
                    "further messages are dropped",
                    trigger.trigger_id,
                    subscription.under_way,
                    trigger.function_id,
                )
            subscription.dropped += 1
            self._dropped += 1
            return
        subscription.under_way += 1
        self._under_way += 1
        done = partial(self._done, subscription)
        if start_delivery(self._worker, trigger, payload, done):
            return
        after, subscription.last_begun = subscription.last_begun, trio.Event()
        self._worker.start_soon(
            self._deliver,
            subscription,
            data,
            after,
            subscription.last_begun,
            name=f"delivery to {trigger.function_id}",
        )

    async def _deliver(
        self,
        subscription: _Subscription,
        data: JSON,
        after: trio.Event,
        begun: trio.Event,
    ) -> None:
        """Deliver after a condition was asked, or to an engine behind a URL."""
        failure: InvocationError | None = None
        try:
            await after.wait()
            await self._deliver_now(subscription, data, begun)
        except InvocationError as exc:
            failure = exc
            await trio.lowlevel.checkpoint()
        finally:
            begun.set()
            self._done(subscription, failure)

    async def _deliver_now(
        self, subscription: _Subscription, data: JSON, begun: trio.Event
    ) -> None:
        """Deliver, and let the next one begin as soon as this one was handed out."""
        await trio.lowlevel.checkpoint()
        trigger = subscription.trigger
        if subscription.ended:
            return
        wanted = await self._worker.check_condition(trigger, data, while_bound=True)
        # Whoever waits for it goes on in a later step of the loop.
        begun.set()
        if wanted:
            await self._worker.deliver(trigger, data)

    def _done(
        self, subscription: _Subscription, failure: InvocationError | None
    ) -> None:
        if failure is not None:
            log_failure(logger, subscription.trigger, failure)
        self._ended(subscription)

    def _ended(self, subscription: _Subscription) -> None:
        subscription.under_way -= 1
        self._under_way -= 1
        if not subscription.under_way and subscription.dropped:
            logger.warning(
                "subscribe trigger %s: %d messages were dropped",
                subscription.trigger.trigger_id,
                subscription.dropped,
            )
            subscription.dropped = 0
        if not self._under_way:
            self._all_delivered.unpark_all()
