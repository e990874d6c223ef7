"""Actions: what a call asks for besides being called. Pure; who performs them is routed."""

import functools
from typing import Final

import msgspec

from iii_trio.protocol import DEFAULT_NAMESPACE, JSONBytes


class Action(msgspec.Struct, frozen=True):
    """The ``action`` of a call; other fields belong to whoever defined its type."""

    type: str
    queue: str | None = None
    delay_ms: float | None = None


class EnqueueCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a queue provider gets for the action ``enqueue``."""

    queue: str | None
    function_id: str
    data: msgspec.Raw
    messageReceiptId: str  # noqa: N815 - the wire's name
    traceparent: str | None
    baggage: str | None
    namespace: str = DEFAULT_NAMESPACE
    delay_ms: float | None = None


_decoder: Final = msgspec.json.Decoder(Action)


def parse_action(action: JSONBytes) -> Action:
    """Read an action.

    Raises:
        msgspec.DecodeError: it is none.
    """
    try:
        return _parse(action) if type(action) is bytes else _decoder.decode(action)
    except RecursionError as exc:
        raise msgspec.DecodeError(str(exc)) from exc


@functools.lru_cache(maxsize=256)
def _parse(action: bytes) -> Action:
    """Callers of this process send the same few actions again and again."""
    return _decoder.decode(action)


def served_action(metadata: object) -> str | None:
    """The type of action that a function performs, by its metadata."""
    if not isinstance(metadata, dict):
        return None
    action = metadata.get("trigger_action")
    return action if isinstance(action, str) else None
