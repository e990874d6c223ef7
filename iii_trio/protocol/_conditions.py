"""Conditions of triggers: where a config names one, and what its result means. Pure.

Source: the protocol, section 5.8, and the documented rule that a condition must be truthy.
"""

from typing import Any, Final

import msgspec

CONDITION_KEY: Final = "condition_function_id"
"""Where a trigger's config names its condition."""


def condition_of(config: Any) -> str | None:  # noqa: ANN401 - any JSON
    """The function that a trigger's config names as its condition, ``None`` for none."""
    condition = config.get(CONDITION_KEY) if isinstance(config, dict) else None
    return condition if isinstance(condition, str) and condition else None


def is_truthy(result: bytes | msgspec.Raw) -> bool:
    """Tell whether a condition's result lets the event pass.

    JSON ``false``, ``null``, no result, ``0`` and ``""`` stop it; anything else, also
    ``{}`` and ``[]``, lets it pass.

    Args:
        result: JSON text, ``b""`` for no result.
    """
    if not result:
        return False
    try:
        value = msgspec.json.decode(result)
    except (msgspec.MsgspecError, RecursionError):
        return (
            True  # a number out of range, or nested deep: in any case not one of those
        )
    return isinstance(value, dict | list) or bool(value)
