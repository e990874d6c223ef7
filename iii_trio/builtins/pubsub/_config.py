"""The configuration of the pub/sub worker, and what `publish` takes. Pure."""

from typing import Any, Final

import attrs

from iii_trio.protocol import check_engine_url

JSON = Any

DEFAULT_BRIDGE_URL: Final = "ws://localhost:49134"


@attrs.frozen(kw_only=True)
class PubSubAdapterConfig:
    """What carries messages between engines; ``local``: they stay in this one.

    Attributes:
        name: ``local``, or ``bridge``: another engine carries them.
        config: of ``bridge``: ``bridge_url``, where that engine is.
    """

    name: str = "local"
    config: dict[str, Any] | None = None

    def __attrs_post_init__(self) -> None:
        if self.name == "redis":
            raise ValueError(
                "adapter 'redis' is not available in this version of iii-trio; "
                "available: 'local', 'bridge'"
            )
        if self.name not in ("local", "bridge"):
            known = "known: 'local', 'bridge'"
            raise ValueError(f"unknown adapter {self.name!r}; {known}")
        for key in self.config or ():
            if (self.name, key) != ("bridge", "bridge_url"):
                raise ValueError(f"adapter {self.name!r} has no setting {key!r}")
        if self.bridge_url is not None:
            check_engine_url(self.bridge_url)

    @property
    def bridge_url(self) -> str | None:
        """Where the engine is that carries the messages, ``None``: this one does."""
        if self.name != "bridge":
            return None
        return str((self.config or {}).get("bridge_url", DEFAULT_BRIDGE_URL))


@attrs.frozen(kw_only=True)
class PubSubConfig:
    """Settings of the pub/sub worker.

    Attributes:
        adapter: see `PubSubAdapterConfig`.
    """

    adapter: PubSubAdapterConfig | None = None


@attrs.frozen
class PublishInput:
    """Input of ``publish``; ``data`` may be null, but not left out."""

    topic: str
    data: JSON
