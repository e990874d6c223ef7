"""The queue functions: what callers may do with queues, topics and dead messages."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, final

import attrs
import msgspec

from iii_trio.adapters import Message, NewMessage, QueueCounts, QueueStore
from iii_trio.builtins._failures import FailingAs
from iii_trio.builtins._payloads import InputReader, structure_input
from iii_trio.builtins.queue._config import MOST, check_queue
from iii_trio.builtins.queue._consumers import Consumers
from iii_trio.builtins.queue._delivery import (
    GroupError,
    delivered_baggage,
    group_of,
    priority_of,
)
from iii_trio.builtins.queue._inputs import (
    DeadMessagesInput,
    DefineInput,
    EnqueueInput,
    MessageInput,
    NoInput,
    PublishInput,
    QueueInput,
    TopicInput,
)
from iii_trio.builtins.queue._named import NamedQueues
from iii_trio.builtins.queue._names import StoredQueue, named_queue
from iii_trio.builtins.queue._topics import Topics
from iii_trio.errors import AdapterError, FunctionFailedError
from iii_trio.worker import current_invocation

JSON = Any

ENQUEUE: Final = InputReader("engine::queue::enqueue", EnqueueInput)
PUBLISH: Final = InputReader("iii::durable::publish", PublishInput)
ENQUEUE_FAILS: Final = FailingAs("enqueue_failed")


@final
@attrs.define(eq=False, kw_only=True)
class QueueFunctions:
    """The handlers. What is answered is as durable as the store is."""

    _store: QueueStore
    _consumers: Consumers
    _named: NamedQueues
    _topics: Topics
    _now: Callable[[], float]

    def by_id(self) -> Mapping[str, Callable[..., Any]]:
        """Handlers by function id."""
        return {
            "engine::queue::enqueue": self.enqueue,
            "iii::durable::publish": self.publish,
            "iii::queue::redrive": self.redrive,
            "iii::queue::redrive_message": self.redrive_message,
            "iii::queue::discard_message": self.discard_message,
            "engine::queue::list_topics": self.list_topics,
            "engine::queue::topic_stats": self.topic_stats,
            "engine::queue::dlq_topics": self.dlq_topics,
            "engine::queue::dlq_messages": self.dlq_messages,
            "queue::define": self.define,
        }

    async def enqueue(self, payload: msgspec.Raw) -> JSON:
        given = ENQUEUE.read(payload)
        queue = self._named.get(given.queue)
        if queue is None:
            raise FunctionFailedError(
                f"queue '{given.queue}' is not defined; call queue::define before "
                "enqueueing",
                code="queue_not_defined",
            )
        try:
            group = group_of(given.queue, queue, given.data)
        except GroupError as exc:
            raise FunctionFailedError(str(exc), code="invalid_message_group") from exc
        stored = named_queue(given.queue)
        call = current_invocation()
        baggage = given.baggage or call.baggage
        message = NewMessage(
            queue=stored,
            function_id=given.function_id,
            namespace=given.namespace,
            payload=msgspec.json.encode(given.data),
            group=group,
            priority=priority_of(queue, given.data),
            due=self._due(given.delay_ms),
            traceparent=given.traceparent or call.traceparent,
            baggage=delivered_baggage(baggage, given.function_id),
        )
        try:
            await self._store.put([message])
        except AdapterError as exc:
            raise ENQUEUE_FAILS.failure(exc) from exc
        self._consumers.wake(stored, message.due)
        return {"messageReceiptId": given.messageReceiptId}

    async def publish(self, payload: msgspec.Raw) -> None:
        given = PUBLISH.read(payload)
        _require(given.topic, "topic_not_set", "Topic is not set")
        call = current_invocation()
        message = NewMessage(
            queue="",
            function_id="",
            namespace="",
            payload=msgspec.json.encode(given.data),
            due=self._due(given.delay_ms),
            traceparent=call.traceparent,
            baggage=call.baggage,
        )
        with FailingAs("publish_failed"):
            await self._topics.publish(given.topic, message)

    async def redrive(self, payload: JSON) -> JSON:
        given = structure_input("iii::queue::redrive", payload, QueueInput)
        _require(given.queue, "queue_not_set", "Queue name is required")
        with FailingAs("redrive_failed"):
            moved = await self._move_dead(given.queue, None, revive=True)
        return {"queue": given.queue, "redriven": moved}

    async def redrive_message(self, payload: JSON) -> JSON:
        return await self._move_one("redrive_message", payload, revive=True)

    async def discard_message(self, payload: JSON) -> JSON:
        return await self._move_one("discard_message", payload, revive=False)

    async def _move_one(self, name: str, payload: JSON, *, revive: bool) -> JSON:
        given = structure_input(f"iii::queue::{name}", payload, MessageInput)
        _require(given.queue, "queue_not_set", "Queue name is required")
        _require(given.message_id, "message_id_not_set", "Message ID is required")
        with FailingAs(f"{name}_failed"):
            moved = await self._move_dead(given.queue, given.message_id, revive=revive)
        return {
            "queue": given.queue,
            "message_id": given.message_id,
            "redriven": moved,
        }

    async def list_topics(self, payload: JSON) -> JSON:
        structure_input("engine::queue::list_topics", payload, NoInput)
        with FailingAs("list_topics_failed"):
            counts = await self._store.counts(self._now())
        stored = self._known() | {StoredQueue.parse(queue): None for queue in counts}
        rows = dict.fromkeys((one.kind, one.name) for one in stored)
        return [
            {
                "name": name,
                "broker_type": _broker_type(kind),
                "subscriber_count": self._subscribers(kind, name),
            }
            for kind, name in rows
        ]

    async def topic_stats(self, payload: JSON) -> JSON:
        given = structure_input("engine::queue::topic_stats", payload, TopicInput)
        _require(given.topic, "topic_required", "topic is required")
        with FailingAs("topic_stats_failed"):
            counts = await self._store.counts(self._now())
        meant = self._meant_by(given.topic, counts)
        kinds = dict.fromkeys((one.kind, one.name) for one in meant)
        held = [counts.get(one.stored, QueueCounts()) for one in meant]
        consumers = [self._consumers.get(one.stored) for one in meant]
        return {
            "depth": sum(one.waiting + one.active for one in held),
            "consumer_count": sum(self._subscribers(*kind) for kind in kinds),
            "dlq_depth": sum(one.dead for one in held),
            "config": None,
            "delivered": sum(one.delivered for one in consumers if one is not None),
            "failed": sum(one.failed for one in consumers if one is not None),
        }

    async def dlq_topics(self, payload: JSON) -> JSON:
        structure_input("engine::queue::dlq_topics", payload, NoInput)
        with FailingAs("dlq_topics_failed"):
            counts = await self._store.counts(self._now())
        dead: dict[tuple[str, str], int] = {}
        for queue, held in counts.items():
            stored = StoredQueue.parse(queue)
            row = stored.kind, stored.name
            dead[row] = dead.get(row, 0) + held.dead
        return [
            {"topic": name, "broker_type": _broker_type(kind), "message_count": count}
            for (kind, name), count in dead.items()
            if count
        ]

    async def dlq_messages(self, payload: JSON) -> JSON:
        given = structure_input(
            "engine::queue::dlq_messages", payload, DeadMessagesInput
        )
        _require(given.topic, "topic_required", "topic is required")
        end = min(given.offset + given.limit, MOST)
        found: list[Message] = []
        with FailingAs("dlq_messages_failed"):
            counts = await self._store.counts(self._now())
            meant = self._meant_by(given.topic, counts)
            # Of several queues each may have the whole page, or all that is before it.
            skipped = given.offset if len(meant) == 1 else 0
            for one in meant:
                found += await self._store.dead(one.stored, skipped, end - skipped)
        found.sort(key=lambda message: message.failed_at, reverse=True)
        page = found[given.offset - skipped : end - skipped]
        return [_dead_row(message) for message in page]

    async def define(self, payload: JSON) -> JSON:
        given = structure_input("queue::define", payload, DefineInput)
        _require(given.queue, "queue_not_set", "Queue name is required")
        try:
            check_queue(given.queue, given.config)
        except ValueError as exc:
            raise FunctionFailedError(str(exc), code="invalid_queue_config") from exc
        with FailingAs("define_failed"):
            changed = await self._named.define(given.queue, given.config)
        return {"queue": given.queue, "changed": changed}

    def _due(self, delay_ms: float) -> float:
        return self._now() + delay_ms / 1000 if delay_ms else 0.0

    async def _move_dead(
        self, name: str, message_id: str | None, *, revive: bool
    ) -> int:
        moved = 0
        for one in self._meant_by(name, await self._store.counts(self._now())):
            moved += await self._store.move(
                one.stored,
                dead=True,
                to=one.stored if revive else None,
                message_id=message_id,
            )
            self._consumers.wake(one.stored)
        return moved

    def _known(self) -> dict[StoredQueue, None]:
        """Named queues and subscriptions, whether they hold messages or not."""
        stored = [named_queue(name) for name in self._named.all()]
        stored += [one.queue for one in self._topics.all()]
        return dict.fromkeys(map(StoredQueue.parse, stored))

    def _meant_by(self, name: str, counts: Iterable[str]) -> list[StoredQueue]:
        """The stored queues that a user means: a queue, a topic, or one subscription."""
        stored = self._known() | dict.fromkeys(map(StoredQueue.parse, counts))
        return [one for one in stored if one.is_meant_by(name)]

    def _subscribers(self, kind: str, name: str) -> int:
        if kind == "queue":
            queue = self._named.get(name)
            return 0 if queue is None else queue.concurrency
        return sum(bool(one.triggers) for one in self._topics.of_topic(name))


def _require(value: str, code: str, message: str) -> None:
    if not value:
        raise FunctionFailedError(message, code=code)


def _broker_type(kind: str) -> str:
    return "function_queue" if kind == "queue" else "builtin"


def _dead_row(message: Message) -> dict[str, JSON]:
    return {
        "id": message.message_id,
        "payload": msgspec.Raw(message.payload),
        "error": message.error,
        "failed_at": int(message.failed_at),
        "retries": message.attempts,
        "size_bytes": len(message.payload),
    }
