"""The settings of the configuration worker itself. Pure; checked when they are made.

Where values rest is not in it: whoever serves the worker hands it a store.
"""

from typing import Any

import attrs


def _not_negative(_config: object, field: "attrs.Attribute[Any]", value: int) -> None:
    if value < 0:
        raise ValueError(f"{field.name} must be at least 0, not {value}")


@attrs.frozen(kw_only=True)
class ConfigurationConfig:
    """Settings of the configuration worker.

    Attributes:
        ttl_seconds: how long an entry outlives the last trigger that named its id; 0:
            for ever.
    """

    ttl_seconds: int = attrs.field(default=0, validator=_not_negative)
