"""Actions: what a call asks for besides being called. Pure; who performs them is routed."""

from typing import Final

import msgspec

from iii_trio.protocol import JSONBytes


class Action(msgspec.Struct, frozen=True):
    """The ``action`` of a call; other fields belong to whoever defined its type."""

    type: str
    queue: str | None = None
    delay_ms: float | None = None


_decoder: Final = msgspec.json.Decoder(Action)


def parse_action(action: JSONBytes) -> Action:
    """Read an action.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _decoder.decode(action)


def served_action(metadata: object) -> str | None:
    """The type of action that a function performs, by its metadata."""
    if not isinstance(metadata, dict):
        return None
    action = metadata.get("trigger_action")
    return action if isinstance(action, str) else None
