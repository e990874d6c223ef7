"""The configuration of the cron worker, and what its functions and triggers take. Pure."""

from typing import Any, Final

import attrs

_WITHOUT_EFFECT: Final = (
    "lock_ttl_ms",
    "lock_index",
    "store_method",
    "file_path",
    "save_interval_ms",
)
"""Settings of the reference's ``kv`` adapter: its locks; one process needs none."""


@attrs.frozen(kw_only=True)
class CronAdapterConfig:
    """Where engines agree who fires; ``local`` (or ``kv``): nowhere, each fires.

    Attributes:
        name: ``local`` or ``kv``.
        config: keys of the reference's ``kv``; accepted without effect.
    """

    name: str = "local"
    config: dict[str, Any] | None = None

    def __attrs_post_init__(self) -> None:
        if self.name == "redis":
            raise ValueError(
                "adapter 'redis' is not available in this version of iii-trio; "
                "available: 'local', 'kv'"
            )
        if self.name not in {"local", "kv"}:
            raise ValueError(f"unknown adapter {self.name!r}; known: 'local', 'kv'")
        for key in self.config or ():
            if self.name == "local" or key not in _WITHOUT_EFFECT:
                raise ValueError(f"adapter {self.name!r} has no setting {key!r}")


@attrs.frozen(kw_only=True)
class CronConfig:
    """Settings of the cron worker.

    Attributes:
        adapter: see `CronAdapterConfig`.
    """

    adapter: CronAdapterConfig | None = None


@attrs.frozen
class NextInput:
    """Input of ``cron::next``. ``after`` is a time in RFC 3339; default: now."""

    expression: str
    timezone: str = "UTC"
    count: int = 3
    after: str | None = None


@attrs.frozen
class ListInput:
    """Input of ``cron::list``: any object."""
