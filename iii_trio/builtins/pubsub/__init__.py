"""The `publish` function and the `subscribe` trigger type."""

from iii_trio.builtins.pubsub._config import PubSubAdapterConfig, PubSubConfig
from iii_trio.builtins.pubsub._worker import (
    PubSubHandle,
    PubSubStatistics,
    serve_pubsub,
)

__all__ = [
    "PubSubAdapterConfig",
    "PubSubConfig",
    "PubSubHandle",
    "PubSubStatistics",
    "serve_pubsub",
]
