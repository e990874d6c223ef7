"""The configuration of the pub/sub worker, and what `publish` takes. Pure."""

from typing import Any

import attrs

JSON = Any


@attrs.frozen(kw_only=True)
class PubSubAdapterConfig:
    """What carries messages between engines; ``local``: they stay in this one.

    Attributes:
        name: ``local``.
        config: nothing; ``local`` has no settings.
    """

    name: str = "local"
    config: dict[str, Any] | None = None

    def __attrs_post_init__(self) -> None:
        if self.name == "redis":
            raise ValueError("adapter 'redis' is not available in this version")
        if self.name != "local":
            raise ValueError(f"unknown adapter {self.name!r}; known: 'local'")
        for key in self.config or ():
            raise ValueError(f"adapter 'local' has no setting {key!r}")


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
