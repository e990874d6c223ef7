"""What discovery shows of the queue functions. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from iii_trio.builtins.queue._inputs import (
    DeadMessagesInput,
    DefineInput,
    EnqueueInput,
    MessageInput,
    NoInput,
    PublishInput,
    QueueInput,
    SubscriberConfig,
    TopicInput,
)

DESCRIPTIONS: Final[Mapping[str, str]] = {
    "engine::queue::enqueue": "Stores a call in a named queue.",
    "iii::durable::publish": "Stores a message for every subscriber of a topic.",
    "iii::queue::redrive": "Puts the dead messages of a queue back to waiting.",
    "iii::queue::redrive_message": "Puts one dead message back to waiting.",
    "iii::queue::discard_message": "Removes one dead message.",
    "engine::queue::list_topics": "Lists topics and named queues.",
    "engine::queue::topic_stats": "Counts the messages of a topic or named queue.",
    "engine::queue::dlq_topics": "Lists topics and named queues with dead messages.",
    "engine::queue::dlq_messages": "Lists dead messages, the latest first.",
    "queue::define": "Adds or changes a named queue; it stays after a restart.",
}

REQUEST_FORMATS: Final[Mapping[str, Any]] = {
    "engine::queue::enqueue": msgspec.json.schema(EnqueueInput),
    "iii::durable::publish": msgspec.json.schema(PublishInput),
    "iii::queue::redrive": msgspec.json.schema(QueueInput),
    "iii::queue::redrive_message": msgspec.json.schema(MessageInput),
    "iii::queue::discard_message": msgspec.json.schema(MessageInput),
    "engine::queue::list_topics": msgspec.json.schema(NoInput),
    "engine::queue::topic_stats": msgspec.json.schema(TopicInput),
    "engine::queue::dlq_topics": msgspec.json.schema(NoInput),
    "engine::queue::dlq_messages": msgspec.json.schema(DeadMessagesInput),
    "queue::define": msgspec.json.schema(DefineInput),
}
"""JSON Schemas of the inputs."""

TRIGGER_CONFIG_FORMAT: Final[Mapping[str, Any]] = msgspec.json.schema(SubscriberConfig)
