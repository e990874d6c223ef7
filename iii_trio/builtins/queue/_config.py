"""The configuration of the queue worker. Pure; values are checked when it is made.

Keys and defaults are those of the reference. Where messages rest is not in it: whoever
serves the worker hands it a store.
"""

from collections.abc import Mapping
from typing import Final

import attrs

DEFAULT_QUEUE: Final = "default"
"""The name of the queue that always exists."""

TIMEOUT_MS: Final = 1_800_000
"""How long a delivery may take: half an hour, in milliseconds."""

MOST: Final = 2**63 - 1
"""The largest number that stores take, and that times can be made of."""

_LEAST: Final = {
    "concurrency": 1,
    "max_retries": 0,
    "backoff_ms": 0,
    "poll_interval_ms": 1,
    "timeout_ms": 1,
}


@attrs.frozen(kw_only=True)
class NamedQueue:
    """Settings of one named queue; `check_queue` says what is wrong with them.

    Attributes:
        type: ``standard`` or ``fifo``.
        message_group_field: the top-level key of the data that names the group; a fifo
            queue needs it.
        max_retries: deliveries in total until a message is dead; 0 is taken as 1.
        concurrency: deliveries at a time; more than 1000 is taken as that.
        backoff_ms: milliseconds before the second delivery; doubled for each further.
        timeout_ms: milliseconds after which a delivery is cancelled and has failed.
        priority_field: the top-level key of the data that holds the priority, a whole
            number; higher ones are delivered first.
        max_priority: higher priorities are taken as this one, 1 to 255; default: 255.
        poll_interval_ms: accepted without effect: nothing is polled.
        redeliver_on_engine_restart: accepted without effect: what was in delivery when
            the engine stopped is always delivered again.
    """

    type: str = "standard"
    message_group_field: str | None = None
    max_retries: int = 3
    concurrency: int = 10
    backoff_ms: int = 1000
    timeout_ms: int = TIMEOUT_MS
    priority_field: str | None = None
    max_priority: int | None = None
    poll_interval_ms: int = 100
    redeliver_on_engine_restart: bool = False


def check_queue(name: str, queue: NamedQueue) -> None:
    """Check the settings of a queue.

    Raises:
        ValueError: something is wrong with them.
    """
    if not name:
        raise ValueError("a queue needs a name")
    if queue.type not in ("standard", "fifo"):
        raise ValueError(
            f"Queue '{name}' has invalid type '{queue.type}'. Must be 'standard' or "
            "'fifo'"
        )
    if queue.type == "fifo" and not queue.message_group_field:
        raise ValueError(
            f"Queue '{name}' is of type 'fifo' but 'message_group_field' is not set"
        )
    for field, least in _LEAST.items():
        value = getattr(queue, field)
        if value < least:
            raise ValueError(
                f"Queue '{name}' has '{field}' {value}; it must be at least {least}"
            )
        if value > MOST:
            raise ValueError(
                f"Queue '{name}' has too large a '{field}'; it must be at most {MOST}"
            )
    if queue.max_priority is not None and not 1 <= queue.max_priority <= 255:
        raise ValueError(
            f"Queue '{name}' has 'max_priority' {queue.max_priority}; it must be 1 to "
            "255"
        )


@attrs.frozen(kw_only=True)
class QueueConfig:
    """Settings of the queue worker.

    Attributes:
        queue_configs: named queues; ``default`` exists without being named.
    """

    queue_configs: Mapping[str, NamedQueue] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        for name, queue in self.queue_configs.items():
            check_queue(name, queue)
