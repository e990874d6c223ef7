"""The configuration of the state worker. Pure; values are checked when it is made.

Where state rests is not in it: whoever serves the worker hands it a store.
"""

from typing import Any, Final

import attrs

SAVE_INTERVAL_MS: Final = range(100, 3_600_001)


def _positive(
    _config: object, field: "attrs.Attribute[Any]", value: int | None
) -> None:
    if value is not None and value < 1:
        raise ValueError(f"{field.name} must be at least 1, not {value}")


def _interval(_config: object, field: "attrs.Attribute[Any]", value: int) -> None:
    if value not in SAVE_INTERVAL_MS:
        raise ValueError(
            f"{field.name} must be {SAVE_INTERVAL_MS.start} to "
            f"{SAVE_INTERVAL_MS.stop - 1}, not {value}"
        )


@attrs.frozen(kw_only=True)
class StateConfig:
    """Settings of the state worker.

    Attributes:
        triggers_enabled: whether writes fire triggers.
        max_value_bytes: the largest value that ``state::set`` takes, as compact JSON,
            in bytes; ``None``: no limit.
        save_interval_ms: accepted for the config files of the reference engine, without
            effect: every write is durable before it is answered.
    """

    triggers_enabled: bool = True
    max_value_bytes: int | None = attrs.field(default=None, validator=_positive)
    save_interval_ms: int = attrs.field(default=5000, validator=_interval)
