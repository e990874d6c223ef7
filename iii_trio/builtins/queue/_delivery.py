"""What becomes of a message: its group and priority, retries, back-off, death. Pure.

The rules (queue sheet, sections 2 to 4):

- a message is delivered at most ``deliveries`` times, then it is dead;
- attempt n+1 comes ``backoff * 2^(n-1)`` seconds after attempt n failed;
- a group is named by a non-empty string or a number in the data.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import attrs
import msgspec

from iii_trio.adapters import Dead, Done, Retry, Settlement
from iii_trio.builtins.queue._config import TIMEOUT_MS, NamedQueue
from iii_trio.builtins.queue._inputs import SubscriberQueueConfig

JSON = Any

MOST_AT_ONCE: Final = 1000
"""Deliveries of a queue at a time, whatever is asked for: each is a message in memory."""

LONGEST_BACKOFF: Final = 10 * 365 * 86400.0
"""Ten years in seconds. Doubling has no other limit, and must not overflow."""

ENQUEUER_ONLY: Final = frozenset(
    {"iii.tag.kind", "iii.tag.display_name", "iii.tag.hidden"}
)
"""Baggage that describes whoever enqueued, not the delivery."""

FUNCTION_ENTRY: Final = "iii.function.id"

HIGHEST_PRIORITY: Final = 255


class GroupError(ValueError):
    """The data does not name its group."""


@attrs.frozen(kw_only=True)
class Policy:
    """How the messages of a queue are delivered. Times are seconds.

    Attributes:
        concurrency: deliveries at a time, at most `MOST_AT_ONCE`.
        deliveries: how often a message is tried in total.
        backoff: wait before the second delivery.
        timeout: how long a delivery may take.
    """

    concurrency: int
    deliveries: int
    backoff: float
    timeout: float

    @classmethod
    def of_queue(cls, queue: NamedQueue) -> "Policy":
        """The policy of a named queue, whose ``max_retries`` counts deliveries."""
        return cls(
            concurrency=min(queue.concurrency, MOST_AT_ONCE),
            deliveries=max(queue.max_retries, 1),
            backoff=queue.backoff_ms / 1000,
            timeout=queue.timeout_ms / 1000,
        )

    @classmethod
    def of_subscriber(cls, config: SubscriberQueueConfig) -> "Policy":
        """The policy of a subscriber, whose ``maxRetries`` come after the first."""
        concurrency = 1 if config.type == "fifo" else config.concurrency
        return cls(
            concurrency=min(concurrency, MOST_AT_ONCE),
            deliveries=config.maxRetries + 1,
            backoff=config.backoffDelayMs / 1000,
            timeout=TIMEOUT_MS / 1000,
        )

    def wait_after(self, attempts: int) -> float:
        """Seconds to wait after so many failed deliveries."""
        doublings = min(attempts - 1, 64)
        return min(self.backoff * 2.0**doublings, LONGEST_BACKOFF)

    def settle(self, attempts: int, failure: str | None, now: float) -> Settlement:
        """Decide what becomes of a message after a delivery.

        Args:
            attempts: failed deliveries before this one.
            failure: why this one failed; ``None``: it did not.
            now: wall time, in seconds since 1970.
        """
        if failure is None:
            return Done()
        made = attempts + 1
        if made >= self.deliveries:
            return Dead(failure, now)
        return Retry(now + self.wait_after(made))


def group_of(name: str, queue: NamedQueue, data: JSON) -> str | None:
    """The group that a message for a named queue belongs to; ``None`` in standard ones.

    Raises:
        GroupError: the data has no usable value for it.
    """
    field = queue.message_group_field
    if queue.type != "fifo" or field is None:
        return None
    if not isinstance(data, Mapping) or field not in data:
        raise GroupError(
            f"FIFO queue '{name}' requires field '{field}' in data, but it was not "
            "found"
        )
    value = data[field]
    if value is None:
        raise GroupError(f"FIFO queue '{name}': field '{field}' must not be null")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON has one number type
    if value == "" or isinstance(value, bool | list | dict):
        raise GroupError(
            f"FIFO queue '{name}': field '{field}' must be a non-empty string or a "
            "number"
        )
    return msgspec.json.encode(value).decode()


def priority_of(queue: NamedQueue, data: JSON) -> int:
    """The priority of a message; 0 if it says none, or nothing usable."""
    if queue.priority_field is None or not isinstance(data, Mapping):
        return 0
    value = data.get(queue.priority_field)
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return max(0, min(value, queue.max_priority or HIGHEST_PRIORITY))


def delivered_baggage(baggage: str | None, function_id: str) -> str | None:
    """The baggage of a delivery: without what describes the enqueuer alone.

    Args:
        baggage: W3C baggage of the enqueuer.
        function_id: takes the place of the enqueuer's own in ``iii.function.id``.
    """
    if not baggage:
        return None
    kept: list[str] = []
    for entry in baggage.split(","):
        key = entry.partition("=")[0].strip()
        if key == FUNCTION_ENTRY:
            kept.append(f"{FUNCTION_ENTRY}={quote(function_id, safe=':/')}")
        elif key not in ENQUEUER_ONLY:
            kept.append(entry.strip())
    return ",".join(kept) or None
