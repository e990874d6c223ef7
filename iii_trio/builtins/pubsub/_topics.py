"""Who subscribes to which topic. Pure.

Topics are compared as they are written: no wildcards, no hierarchy. A subscription
leaves alone; its topic stays for the others.
"""

from typing import Generic, TypeVar, final

import attrs

T = TypeVar("T")


def topic_of(config: object) -> str | None:
    """The topic of a trigger's config; ``None`` if it names none, and never fires."""
    topic = config.get("topic") if isinstance(config, dict) else None
    return topic if isinstance(topic, str) and topic else None


@final
@attrs.define(eq=False)
class Topics(Generic[T]):
    """Subscriptions by topic and by id, in the order in which they came."""

    _topic_of: dict[str, str] = attrs.field(init=False, factory=dict)
    _by_topic: dict[str, dict[str, T]] = attrs.field(init=False, factory=dict)

    def __len__(self) -> int:
        return len(self._topic_of)

    def add(self, topic: str, subscription_id: str, subscription: T) -> None:
        """Subscribe; a known id leaves the topic that it had."""
        self.remove(subscription_id)
        self._topic_of[subscription_id] = topic
        self._by_topic.setdefault(topic, {})[subscription_id] = subscription

    def remove(self, subscription_id: str) -> T | None:
        """End one subscription; gives it, ``None`` if there was none."""
        topic = self._topic_of.pop(subscription_id, None)
        if topic is None:
            return None
        subscriptions = self._by_topic[topic]
        removed = subscriptions.pop(subscription_id)
        if not subscriptions:
            del self._by_topic[topic]
        return removed

    def subscriptions(self, topic: str) -> tuple[T, ...]:
        """Those of a topic, oldest first."""
        return tuple(self._by_topic.get(topic, {}).values())
