"""What the queue functions take and what a subscriber is configured with. Pure."""

import math
from typing import Annotated, Any

import attrs
import msgspec

from iii_trio.builtins._payloads import ALIAS
from iii_trio.builtins.queue._config import MOST, NamedQueue

JSON = Any

NAMED_BY_TOPIC = {ALIAS: "topic"}
NAMED_BY_QUEUE = {ALIAS: "queue"}


def _at_least(least: int) -> Any:  # noqa: ANN401 - a validator
    def check(
        _input: object, field: "attrs.Attribute[Any]", value: float | None
    ) -> None:
        if value is not None and value < least:
            raise ValueError(f"{field.name} must be at least {least}, not {value}")
        if value is not None and value > MOST:
            raise ValueError(f"{field.name} must be at most {MOST}")

    return check


Delay = Annotated[float, msgspec.Meta(ge=0, le=math.nextafter(MOST, 0))]
"""Milliseconds; the decoder of an `InputReader` knows nothing of attrs validators.

As a float `MOST` is larger than it is.
"""


@attrs.frozen
class EnqueueInput:
    """Input of ``engine::queue::enqueue``; the engine makes it of an Enqueue action."""

    queue: str
    function_id: str
    data: JSON = None
    messageReceiptId: str | None = None  # noqa: N815 - the wire's name
    traceparent: str | None = None
    baggage: str | None = None
    namespace: str = "default"
    delay_ms: Delay = attrs.field(default=0, validator=_at_least(0))


@attrs.frozen
class PublishInput:
    """Input of ``iii::durable::publish``. ``queue`` is a second name of ``topic``."""

    topic: str = attrs.field(metadata=NAMED_BY_QUEUE)
    data: JSON = None
    delay_ms: Delay = attrs.field(default=0, validator=_at_least(0))


@attrs.frozen
class QueueInput:
    """Input of ``iii::queue::redrive``. ``topic`` is a second name of ``queue``."""

    queue: str = attrs.field(metadata=NAMED_BY_TOPIC)


@attrs.frozen
class MessageInput:
    """Input of ``iii::queue::redrive_message`` and ``discard_message``."""

    queue: str = attrs.field(metadata=NAMED_BY_TOPIC)
    message_id: str


@attrs.frozen
class TopicInput:
    """Input of ``engine::queue::topic_stats``. ``queue`` is a second name."""

    topic: str = attrs.field(metadata=NAMED_BY_QUEUE)


@attrs.frozen
class DeadMessagesInput:
    """Input of ``engine::queue::dlq_messages``."""

    topic: str = attrs.field(metadata=NAMED_BY_QUEUE)
    offset: int = attrs.field(default=0, validator=_at_least(0))
    limit: int = attrs.field(default=50, validator=_at_least(0))


@attrs.frozen
class NoInput:
    """Input of the listings: any object."""


@attrs.frozen
class DefineInput:
    """Input of ``queue::define``."""

    queue: str
    config: NamedQueue = attrs.field(factory=NamedQueue)


@attrs.frozen
class SubscriberQueueConfig:
    """``queue_config`` of a subscriber, in the camelCase of the wire.

    Attributes:
        type: ``fifo`` delivers one message after another; anything else concurrently.
        maxRetries: retries AFTER the first delivery.
        concurrency: deliveries at a time; more than 1000 is taken as that.
        backoffDelayMs: milliseconds before the second delivery; doubled for each
            further.
        backoffType: accepted without effect, as are the three below.
    """

    type: str = "standard"
    maxRetries: int = attrs.field(default=2, validator=_at_least(0))  # noqa: N815
    concurrency: int = attrs.field(default=10, validator=_at_least(1))
    backoffDelayMs: int = attrs.field(  # noqa: N815
        default=1000, validator=_at_least(0)
    )
    backoffType: str | None = None  # noqa: N815
    visibilityTimeout: int | None = None  # noqa: N815
    delaySeconds: int | None = None  # noqa: N815
    maxPriority: int | None = None  # noqa: N815


def _not_empty(_config: object, field: "attrs.Attribute[Any]", value: str) -> None:
    if not value:
        raise ValueError(f"{field.name} must not be empty")


@attrs.frozen
class SubscriberConfig:
    """Config of a ``durable:subscriber`` trigger. ``queue`` is a second name.

    The condition is run by the queue worker; it is here for its type to be checked.
    """

    topic: str = attrs.field(metadata=NAMED_BY_QUEUE, validator=_not_empty)
    queue_config: SubscriberQueueConfig | None = None
    condition_function_id: str | None = None
