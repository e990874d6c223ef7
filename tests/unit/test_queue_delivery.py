"""What becomes of a message: groups, priorities, retries, death, baggage."""

from typing import Any

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st

from iii_trio.adapters import Dead, Done, Retry
from iii_trio.builtins.queue import NamedQueue
from iii_trio.builtins.queue._config import MOST
from iii_trio.builtins.queue._delivery import (
    LONGEST_BACKOFF,
    GroupError,
    Policy,
    delivered_baggage,
    group_of,
    priority_of,
)
from iii_trio.builtins.queue._inputs import SubscriberQueueConfig
from iii_trio.builtins.queue._names import (
    StoredQueue,
    named_queue,
    subscription,
    unread_topic,
)

FIFO = NamedQueue(type="fifo", message_group_field="g")


def policy(**fields: Any) -> Policy:
    return attrs.evolve(Policy.of_queue(NamedQueue()), **fields)


# --- retries


def test_success_is_done() -> None:
    assert policy().settle(0, None, 5.0) == Done()
    assert policy().settle(99, None, 5.0) == Done()


def test_waits_double_from_attempt_to_attempt() -> None:
    waits = [policy(deliveries=9).settle(made, "x", 10.0) for made in range(4)]
    assert waits == [Retry(11.0), Retry(12.0), Retry(14.0), Retry(18.0)]


def test_the_last_failure_is_death_with_its_reason() -> None:
    assert policy().settle(1, "CODE: why", 5.0) == Retry(7.0)
    assert policy().settle(2, "CODE: why", 5.0) == Dead("CODE: why", 5.0)


@pytest.mark.parametrize(("max_retries", "deliveries"), [(0, 1), (1, 1), (3, 3)])
def test_max_retries_of_a_queue_counts_deliveries(
    max_retries: int, deliveries: int
) -> None:
    of_queue = Policy.of_queue(NamedQueue(max_retries=max_retries))
    assert of_queue.deliveries == deliveries


@pytest.mark.parametrize(("max_retries", "deliveries"), [(0, 1), (1, 2), (3, 4)])
def test_max_retries_of_a_subscriber_come_on_top(
    max_retries: int, deliveries: int
) -> None:
    config = SubscriberQueueConfig(maxRetries=max_retries)
    assert Policy.of_subscriber(config).deliveries == deliveries


def test_a_subscriber_without_settings_gets_three_deliveries() -> None:
    assert Policy.of_subscriber(SubscriberQueueConfig()) == Policy(
        concurrency=10, deliveries=3, backoff=1.0, timeout=1800.0
    )


def test_nobody_gets_more_than_a_thousand_messages_at_a_time() -> None:
    assert Policy.of_queue(NamedQueue(concurrency=MOST)).concurrency == 1000
    subscriber = SubscriberQueueConfig(concurrency=MOST)
    assert Policy.of_subscriber(subscriber).concurrency == 1000


def test_a_fifo_subscriber_gets_one_message_at_a_time() -> None:
    config = SubscriberQueueConfig(type="fifo", concurrency=7)
    assert Policy.of_subscriber(config).concurrency == 1


@hypothesis.given(
    st.floats(0, 1e9), st.integers(1, 10**9), st.integers(0, 10**9), st.floats(0, 1e10)
)
def test_waits_never_shrink_and_never_overflow(
    backoff: float, attempts: int, more: int, now: float
) -> None:
    waiting = policy(backoff=backoff, deliveries=2 * 10**9 + 2)
    first, later = waiting.wait_after(attempts), waiting.wait_after(attempts + more)
    assert 0 <= first <= later <= LONGEST_BACKOFF
    assert waiting.settle(attempts - 1, "x", now) == Retry(now + first)


@hypothesis.given(st.integers(0, 20))
def test_a_message_that_always_fails_is_delivered_as_often_as_allowed(
    max_retries: int,
) -> None:
    rule, made = Policy.of_queue(NamedQueue(max_retries=max_retries)), 0
    while isinstance(rule.settle(made, "x", 0.0), Retry):
        made += 1
    assert made + 1 == max(max_retries, 1)


# --- groups


@pytest.mark.parametrize(
    ("value", "group"),
    [("a", '"a"'), (1, "1"), (1.0, "1"), (1.5, "1.5"), ("1", '"1"'), (0, "0")],
)
def test_a_group_is_a_string_or_a_number(value: Any, group: str) -> None:
    assert group_of("q", FIFO, {"g": value}) == group


@pytest.mark.parametrize("data", [None, 5, "g", ["g"], {}, {"h": 1}])
def test_data_without_the_field_is_refused(data: Any) -> None:
    with pytest.raises(GroupError) as caught:
        group_of("q", FIFO, data)
    assert str(caught.value) == (
        "FIFO queue 'q' requires field 'g' in data, but it was not found"
    )


def test_a_null_group_is_refused() -> None:
    with pytest.raises(GroupError) as caught:
        group_of("q", FIFO, {"g": None})
    assert str(caught.value) == "FIFO queue 'q': field 'g' must not be null"


@pytest.mark.parametrize("value", ["", True, False, [], ["a"], {}])
def test_other_group_values_are_refused(value: Any) -> None:
    with pytest.raises(GroupError, match="non-empty string or a number"):
        group_of("q", FIFO, {"g": value})


def test_a_standard_queue_has_no_groups() -> None:
    assert group_of("q", NamedQueue(message_group_field="g"), {"g": "a"}) is None
    assert group_of("q", NamedQueue(type="fifo"), {"g": "a"}) is None


# --- priorities


@pytest.mark.parametrize(
    ("data", "priority"),
    [
        ({"p": 5}, 5),
        ({"p": 300}, 255),
        ({"p": -1}, 0),
        ({"p": True}, 0),
        ({"p": "5"}, 0),
        ({}, 0),
        (None, 0),
    ],
)
def test_a_priority_is_a_whole_number_in_the_data(data: Any, priority: int) -> None:
    assert priority_of(NamedQueue(priority_field="p"), data) == priority


def test_a_priority_is_at_most_the_highest() -> None:
    queue = NamedQueue(priority_field="p", max_priority=9)
    assert priority_of(queue, {"p": 10}) == 9


def test_without_a_field_there_are_no_priorities() -> None:
    assert priority_of(NamedQueue(max_priority=9), {"p": 5}) == 0


# --- baggage


@pytest.mark.parametrize(
    ("baggage", "delivered"),
    [
        (None, None),
        ("", None),
        ("a=1", "a=1"),
        ("a=1, b=2;p=3", "a=1,b=2;p=3"),
        ("iii.function.id=x::y,a=1", "iii.function.id=job::run%20it,a=1"),
        ("iii.tag.kind=http,a=1,iii.tag.hidden=1,iii.tag.display_name=z", "a=1"),
        ("iii.tag.kind=http", None),
    ],
)
def test_baggage_of_the_enqueuer_alone_is_removed(
    baggage: str | None, delivered: str | None
) -> None:
    assert delivered_baggage(baggage, "job::run it") == delivered


# --- names

names = st.text(max_size=6) | st.sampled_from(["a::b", "a@b", "queue", "\\"])


@hypothesis.given(names, names, names)
def test_stored_names_are_read_back(name: str, function_id: str, ns: str) -> None:
    assert StoredQueue.parse(named_queue(name)) == StoredQueue("queue", name)
    assert StoredQueue.parse(unread_topic(name)) == StoredQueue("topic", name)
    parsed = StoredQueue.parse(subscription(name, function_id, ns))
    assert parsed == StoredQueue("topic", name, (function_id, ns))
    assert parsed.stored == subscription(name, function_id, ns)


def test_a_subscription_is_meant_by_its_topic_and_by_its_full_name() -> None:
    one = StoredQueue("topic", "orders", ("mail::send", "default"))
    assert one.is_meant_by("orders")
    assert one.is_meant_by("orders::mail::send@default")
    assert not one.is_meant_by("orders::mail::send")
    assert StoredQueue("queue", "orders").is_meant_by("orders")
    assert not StoredQueue("queue", "orders").is_meant_by("order")
