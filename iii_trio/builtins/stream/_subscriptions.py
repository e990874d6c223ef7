"""Who is subscribed to what, and the frames that wait for a snapshot. Pure.

A subscription is known before its snapshot is read, so that no event is missed; what
comes meanwhile waits, and follows the snapshot.
"""

from typing import Final, Protocol, final

import attrs

from iii_trio.builtins.stream._inputs import Place

WAITING_BYTES: Final = 1024 * 1024
"""What may wait for one snapshot; more comes only if the snapshot is stuck."""


class Subscriber(Protocol):
    """Who gets the frames of subscriptions. Neither method calls back."""

    def send(self, frame: bytes) -> None:
        """Send one frame."""

    def overflow(self) -> None:
        """Too much waits for a snapshot."""


@final
@attrs.define(eq=False)
class Subscription:
    """One subscription of a subscriber."""

    subscription_id: str
    place: Place
    _subscriber: Subscriber
    _waiting: list[bytes] | None = attrs.field(init=False, factory=list)
    _waiting_bytes: int = attrs.field(init=False, default=0)

    def wants(self, item_id: str | None) -> bool:
        """Whether it gets events of its group about that item."""
        return self.place.item_id in (None, item_id)

    def deliver(self, frame: bytes) -> None:
        """Send a frame now, or after the snapshot."""
        if self._waiting is None:
            self._subscriber.send(frame)
            return
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)
        if self._waiting_bytes > WAITING_BYTES:
            self._waiting.clear()
            self._waiting_bytes = 0
            self._subscriber.overflow()

    def go_live(self, snapshot: bytes | None) -> None:
        """Send the snapshot, if there is one, and what waited for it."""
        waiting, self._waiting = self._waiting or [], None
        if snapshot is not None:
            self._subscriber.send(snapshot)
        for frame in waiting:
            self._subscriber.send(frame)


@final
class Subscriptions:
    """All subscriptions, by stream and group, in the order in which they were made."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], dict[Subscription, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def add(self, subscription: Subscription) -> None:
        """Let it have the events to come."""
        place = subscription.place
        group = self._groups.setdefault((place.stream_name, place.group_id), {})
        group[subscription] = None

    def remove(self, subscription: Subscription) -> None:
        """End it. One that is not there is ignored."""
        place = subscription.place
        key = (place.stream_name, place.group_id)
        group = self._groups.get(key, {})
        group.pop(subscription, None)
        if not group:
            self._groups.pop(key, None)

    def matching(self, place: Place) -> list[Subscription]:
        """Those that get an event at that place."""
        group = self._groups.get((place.stream_name, place.group_id), {})
        return [one for one in group if one.wants(place.item_id)]
