"""The configuration of the queue worker is checked when it is made."""

from typing import Any

import pytest

from iii_trio.builtins.queue import NamedQueue, QueueConfig
from iii_trio.builtins.queue._config import MOST
from iii_trio.builtins.queue._inputs import DeadMessagesInput


def test_defaults_are_those_of_the_reference() -> None:
    queue = NamedQueue()
    assert (queue.type, queue.message_group_field) == ("standard", None)
    assert (queue.max_retries, queue.concurrency) == (3, 10)
    assert (queue.backoff_ms, queue.timeout_ms) == (1000, 1_800_000)
    assert QueueConfig().queue_configs == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"type": "lifo"},
            "Queue 'x' has invalid type 'lifo'. Must be 'standard' or 'fifo'",
        ),
        (
            {"type": "fifo"},
            "Queue 'x' is of type 'fifo' but 'message_group_field' is not set",
        ),
        (
            {"concurrency": 0},
            "Queue 'x' has 'concurrency' 0; it must be at least 1",
        ),
        (
            {"max_retries": -1},
            "Queue 'x' has 'max_retries' -1; it must be at least 0",
        ),
        ({"timeout_ms": 0}, "Queue 'x' has 'timeout_ms' 0; it must be at least 1"),
        *(
            (
                {field: 2**63},
                f"Queue 'x' has too large a '{field}'; it must be at most {2**63 - 1}",
            )
            for field in ("concurrency", "max_retries", "backoff_ms", "timeout_ms")
        ),
        (
            {"max_priority": 256},
            "Queue 'x' has 'max_priority' 256; it must be 1 to 255",
        ),
    ],
)
def test_a_wrong_queue_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="Queue") as caught:
        QueueConfig(queue_configs={"x": NamedQueue(**fields)})
    assert str(caught.value) == message


def test_a_queue_needs_a_name() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        QueueConfig(queue_configs={"": NamedQueue()})


def test_right_queues_are_taken() -> None:
    queues = {
        "a": NamedQueue(type="fifo", message_group_field="g", max_priority=1),
        "b": NamedQueue(max_retries=0, backoff_ms=0, concurrency=1, timeout_ms=1),
    }
    assert QueueConfig(queue_configs=queues).queue_configs == queues


def test_the_numbers_of_inputs_have_bounds_that_stores_take() -> None:
    assert DeadMessagesInput(topic="t", limit=MOST).limit == MOST
    for limit, bound in ((-1, "at least 0"), (MOST + 1, f"at most {MOST}")):
        with pytest.raises(ValueError, match=f"limit must be {bound}"):
            DeadMessagesInput(topic="t", limit=limit)
