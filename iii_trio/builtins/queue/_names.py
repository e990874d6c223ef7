"""Under which names messages rest in the store, and what users see of them. Pure.

A stored queue is named by a JSON array, so that no topic or function id can be mistaken
for another: ``["queue", name]`` for a named queue, ``["topic", topic, function_id,
namespace]`` for a subscription, ``["topic", topic]`` for what was published to a topic
before anybody subscribed.
"""

import functools
from typing import Final, Literal

import attrs
import msgspec

_encode: Final = msgspec.json.encode
_decode: Final = msgspec.json.Decoder(list[str]).decode


@attrs.frozen
class StoredQueue:
    """What a stored queue is.

    Attributes:
        kind: a named queue, or a part of a topic.
        name: of the queue or topic, as users know it.
        subscriber: function id and namespace, of a subscription.
    """

    kind: Literal["queue", "topic"]
    name: str
    subscriber: tuple[str, str] | None = None

    @classmethod
    def parse(cls, stored: str) -> "StoredQueue":
        """Read the name of a stored queue."""
        kind, name, *subscriber = _decode(stored)
        assert kind in ("queue", "topic")
        if subscriber:
            function_id, namespace = subscriber
            return cls("topic", name, (function_id, namespace))
        return cls("queue" if kind == "queue" else "topic", name)

    @property
    def stored(self) -> str:
        """Its name in the store."""
        return _encode([self.kind, self.name, *(self.subscriber or ())]).decode()

    def is_meant_by(self, name: str) -> bool:
        """Tell whether a user who says ``name`` means it.

        One subscription alone is ``<topic>::<function_id>@<namespace>``.
        """
        if self.subscriber is None:
            return name == self.name
        function_id, namespace = self.subscriber
        return name in (self.name, f"{self.name}::{function_id}@{namespace}")


@functools.lru_cache(maxsize=1024)
def named_queue(name: str) -> str:
    """Where the messages of a named queue rest."""
    return StoredQueue("queue", name).stored


def unread_topic(topic: str) -> str:
    """Where the messages of a topic rest that nobody has ever subscribed to."""
    return StoredQueue("topic", topic).stored


def subscription(topic: str, function_id: str, namespace: str) -> str:
    """Where the messages of a subscription rest."""
    return StoredQueue("topic", topic, (function_id, namespace)).stored
