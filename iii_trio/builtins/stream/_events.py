"""The one shape of events: frames for subscribers, payloads for triggers. Pure."""

from typing import Any

from iii_trio.builtins.stream._inputs import Place, Wish

JSON = Any


def envelope(place: Place, timestamp: float, event: JSON) -> dict[str, JSON]:
    """Wrap an event.

    Args:
        place: what it is about.
        timestamp: wall time in seconds since 1970; milliseconds on the wire.
        event: one of those below.
    """
    return {
        "type": "stream",
        "timestamp": int(timestamp * 1000),
        "streamName": place.stream_name,
        "groupId": place.group_id,
        "id": place.item_id,
        "event": event,
    }


def written(data: JSON, *, existed: bool) -> JSON:
    """An item was created or updated."""
    return {"type": "update" if existed else "create", "data": data}


def deleted(data: JSON) -> JSON:
    """An item that existed was deleted."""
    return {"type": "delete", "data": data}


def sent(kind: str, data: JSON) -> JSON:
    """Somebody sent an event that is not stored."""
    return {"type": "event", "event": {"type": kind, "data": data}}


def sync(data: JSON) -> JSON:
    """The snapshot at the begin of a subscription."""
    return {"type": "sync", "data": data}


def unauthorized() -> JSON:
    """A join was refused."""
    return {"type": "unauthorized"}


def visit(wish: Wish, context: JSON) -> dict[str, JSON]:
    """What handlers of joins and leaves get: snake_case, unlike the frames."""
    return {
        "subscription_id": wish.subscription_id,
        "stream_name": wish.stream_name,
        "group_id": wish.group_id,
        "id": wish.id,
        "context": context,
    }
