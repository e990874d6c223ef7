"""Named queues and durable topics: messages that are delivered until they succeed."""

from iii_trio.builtins.queue._config import NamedQueue, QueueConfig
from iii_trio.builtins.queue._remote import BridgedQueueHandle, serve_bridged_queue
from iii_trio.builtins.queue._worker import QueueHandle, serve_queue

__all__ = [
    "BridgedQueueHandle",
    "NamedQueue",
    "QueueConfig",
    "QueueHandle",
    "serve_bridged_queue",
    "serve_queue",
]
