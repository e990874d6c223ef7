"""``durable:subscriber``: copies for every function, known across disconnects."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from iii_trio.adapters.memory import open_memory
from iii_trio.errors import FunctionFailedError, RegistrationError
from iii_trio.protocol import TriggerChanged
from iii_trio.worker import Worker, current_invocation, passing_baggage
from tests.component.queue_rig import QueueRig, open_queue_rig

TYPE = "durable:subscriber"


async def publish(rig: QueueRig, data: Any, topic: str = "t") -> None:
    assert await rig.call("iii::durable::publish", topic=topic, data=data) is None


def collect(worker: Worker, function_id: str) -> list[Any]:
    got: list[Any] = []

    async def run(data: Any) -> None:
        await trio.lowlevel.checkpoint()
        got.append(data)

    worker.register_function(function_id, run)
    return got


async def test_every_function_gets_a_copy_of_the_bare_data() -> None:
    async with open_queue_rig() as rig:
        a, b = rig.collect("a::run"), rig.collect("b::run")
        other = rig.collect("c::run")
        await rig.client.bind(TYPE, "a::run", {"topic": "t"})
        await rig.client.bind(TYPE, "b::run", {"queue": "t"})
        await rig.client.bind(TYPE, "c::run", {"topic": "t2"})
        await publish(rig, {"x": 1})
        await rig.settle()
        await rig.call("iii::durable::publish", queue="t", data=None)
        await rig.settle()
        assert a == b == [{"x": 1}, None]
        assert other == []


async def test_two_triggers_of_one_function_share_its_messages() -> None:
    async with open_queue_rig() as rig:
        got = rig.collect()
        await rig.client.bind(TYPE, "job::run", {"topic": "t"})
        await rig.client.bind(TYPE, "job::run", {"topic": "t"})
        await publish(rig, 1)
        await rig.settle()
        assert got == [1]


async def test_the_metadata_of_the_trigger_is_passed_on() -> None:
    async with open_queue_rig() as rig:
        seen: list[Any] = []

        async def run(_data: Any) -> None:
            await trio.lowlevel.checkpoint()
            seen.append(current_invocation().metadata)

        rig.client.register_function("job::run", run)
        await rig.client.bind(TYPE, "job::run", {"topic": "t"}, metadata={"m": 1})
        await publish(rig, 1)
        await rig.settle()
        assert seen == [{"m": 1}]


@pytest.mark.parametrize(("retries", "attempts"), [(None, 3), (0, 1), (1, 2)])
async def test_max_retries_of_a_subscriber_come_after_the_first_delivery(
    autojump_clock: MockClock, retries: int | None, attempts: int
) -> None:
    async with open_queue_rig() as rig:
        got = rig.collect(failing=lambda _data: True)
        config: dict[str, Any] = {"topic": "t"}
        if retries is not None:
            config["queue_config"] = {"maxRetries": retries}
        await rig.client.bind(TYPE, "job::run", config)
        await publish(rig, 1)
        await trio.sleep(60)
        assert got == [1] * attempts
        [row] = await rig.dead("t")
        assert (row["error"], row["retries"]) == ("refused: not this one", attempts)
        assert await rig.call("engine::queue::dlq_topics") == [
            {"topic": "t", "broker_type": "builtin", "message_count": 1}
        ]


async def test_dead_messages_of_one_subscription_can_be_redriven_alone(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        for name in ("a::run", "b::run"):
            rig.collect(name, failing=lambda _data: True)
            config = {"topic": "t", "queue_config": {"maxRetries": 0}}
            await rig.client.bind(TYPE, name, config)
        await publish(rig, 1)
        await trio.sleep(1)
        assert len(await rig.dead("t")) == 2
        assert len(await rig.dead("t::a::run@default")) == 1
        a, b = rig.collect("a::run"), rig.collect("b::run")
        answer = await rig.call("iii::queue::redrive", queue="t::a::run@default")
        assert answer["redriven"] == 1
        await trio.sleep(1)
        assert (a, b) == ([1], [])


async def test_a_fifo_subscriber_is_served_strictly_in_order(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        failures = iter([True, True, False, True])
        got = rig.collect(failing=lambda _data: next(failures, False))
        config = {
            "topic": "t",
            "queue_config": {"type": "fifo", "backoffDelayMs": 100},
        }
        await rig.client.bind(TYPE, "job::run", config)
        for number in range(4):
            await publish(rig, number)
        await trio.sleep(10)
        assert got == [0, 0, 0, 1, 1, 2, 3]


# --- conditions


@pytest.mark.parametrize("answer", [False, None, 0, ""])
async def test_a_falsy_condition_acknowledges_without_running(answer: Any) -> None:
    async with open_queue_rig() as rig:
        got = rig.collect()
        asked: list[Any] = []

        async def condition(data: Any) -> Any:
            await trio.lowlevel.checkpoint()
            asked.append(data)
            return answer

        rig.client.register_function("ask::me", condition)
        await rig.client.bind(TYPE, "job::run", {"topic": "t"}, condition="ask::me")
        await publish(rig, {"x": 1})
        await rig.settle()
        assert (got, asked) == ([], [{"x": 1}])
        assert await rig.store.counts(0) == {}


async def test_a_truthy_condition_runs() -> None:
    async with open_queue_rig() as rig:
        got = rig.collect()

        async def condition(_data: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return {}

        rig.client.register_function("ask::me", condition)
        await rig.client.bind(TYPE, "job::run", {"topic": "t"}, condition="ask::me")
        await publish(rig, 1)
        await rig.settle()
        assert got == [1]


async def test_a_failing_condition_is_a_failed_delivery(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        got, asked = rig.collect(), 0

        async def condition(_data: Any) -> Any:
            nonlocal asked
            await trio.lowlevel.checkpoint()
            asked += 1
            raise FunctionFailedError("no", code="broken")

        rig.client.register_function("ask::me", condition)
        await rig.client.bind(TYPE, "job::run", {"topic": "t"}, condition="ask::me")
        await publish(rig, 1)
        await trio.sleep(60)
        assert (got, asked) == ([], 3)
        [row] = await rig.dead("t")
        assert row["error"] == "Condition function error: broken: no"


async def test_a_silent_condition_fails_in_time(autojump_clock: MockClock) -> None:
    async with open_queue_rig() as rig:
        rig.collect()

        async def condition(_data: Any) -> None:
            await trio.sleep_forever()

        rig.client.register_function("ask::me", condition)
        config = {"topic": "t", "queue_config": {"maxRetries": 0}}
        await rig.client.bind(TYPE, "job::run", config, condition="ask::me")
        await publish(rig, 1)
        await trio.sleep(1801)
        [row] = await rig.dead("t")
        assert row["error"].startswith("Condition function error: TIMEOUT: ")


# --- subscriptions that stay


async def test_a_lost_subscriber_gets_later_what_was_published_meanwhile(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        async with rig.under_test.open_worker("mailer") as mailer:
            collect(mailer, "mail::send")
            await mailer.bind(TYPE, "mail::send", {"topic": "t"})
        for number in range(3):
            await publish(rig, number)
        await trio.sleep(60)
        assert (await rig.stats("t"))["depth"] == 3
        assert (await rig.stats("t"))["consumer_count"] == 0
        async with rig.under_test.open_worker("mailer") as mailer:
            got = collect(mailer, "mail::send")
            await mailer.bind(TYPE, "mail::send", {"topic": "t"})
            await trio.sleep(1)
            assert sorted(got) == [0, 1, 2]


async def test_a_trigger_lost_with_its_worker_leaves_the_subscription() -> None:
    """The function belongs to another worker, which stays."""
    async with open_queue_rig() as rig:
        got = rig.collect()
        async with rig.under_test.open_worker("binder") as binder:
            await binder.bind(TYPE, "job::run", {"topic": "t"}, namespace="default")
        await publish(rig, 1)
        await rig.settle()
        assert got == [], "nobody says how to deliver it"
        await rig.client.bind(TYPE, "job::run", {"topic": "t"})
        await rig.settle()
        assert got == [1]


async def test_a_function_that_comes_after_its_trigger_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        await rig.client.bind(TYPE, "job::run", {"topic": "t"})
        await publish(rig, 1)
        await trio.sleep(60)
        got = rig.collect()
        await trio.sleep(1)
        assert got == [1]


async def test_subscriptions_are_known_after_a_restart(
    autojump_clock: MockClock,
) -> None:
    async with open_memory() as stores:
        async with open_queue_rig(stores=stores) as rig:
            rig.collect()
            await rig.client.bind(TYPE, "job::run", {"topic": "t"})
        async with open_queue_rig(stores=stores) as rig:
            await publish(rig, 1)
            got = rig.collect()
            late = rig.collect("late::run")
            await rig.client.bind(TYPE, "late::run", {"topic": "t"})
            await trio.sleep(1)
            assert (got, late) == ([], [])
            await rig.client.bind(TYPE, "job::run", {"topic": "t"})
            await trio.sleep(1)
            assert (got, late) == ([1], [])


async def test_an_ended_subscription_gets_nothing_more_but_keeps_what_it_has(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        await rig.client.bind(TYPE, "job::run", {"topic": "t"}, trigger_id="1")
        await publish(rig, "kept")
        rig.client.unbind("1")
        await publish(rig, "for the first")
        await trio.sleep(1)
        late = rig.collect("late::run")
        await rig.client.bind(TYPE, "late::run", {"topic": "t"})
        await trio.sleep(1)
        assert late == ["for the first"]
        got = rig.collect()
        await rig.client.bind(TYPE, "job::run", {"topic": "t"})
        await trio.sleep(1)
        assert got == ["kept"]


async def test_ending_a_subscription_lets_its_delivery_finish(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        done: list[Any] = []

        async def run(data: Any) -> None:
            await trio.sleep(5)
            done.append(data)

        rig.client.register_function("job::run", run)
        await rig.client.bind(TYPE, "job::run", {"topic": "t"}, trigger_id="1")
        await publish(rig, 1)
        await rig.settle()
        rig.client.unbind("1")
        await trio.sleep(10)
        assert done == [1]
        assert await rig.store.counts(0) == {}


async def test_what_nobody_subscribed_to_goes_to_the_first_subscriber() -> None:
    async with open_queue_rig() as rig:
        for number in range(3):
            await publish(rig, number)
        first, second = rig.collect("a::run"), rig.collect("b::run")
        config = {"topic": "t", "queue_config": {"type": "fifo"}}
        await rig.client.bind(TYPE, "a::run", config)
        await rig.client.bind(TYPE, "b::run", config)
        await publish(rig, 3)
        await rig.settle()
        assert (first, second) == ([0, 1, 2, 3], [3])


async def test_a_trigger_that_comes_again_may_change_its_topic() -> None:
    async with open_queue_rig() as rig:
        got = rig.collect()
        await rig.client.bind(TYPE, "job::run", {"topic": "t"}, trigger_id="1")
        await rig.client.bind(TYPE, "job::run", {"topic": "u"}, trigger_id="1")
        await publish(rig, "old", "t")
        await publish(rig, "new", "u")
        await rig.settle()
        assert got == ["new"]


# --- refusals


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "missing field `topic`"),
        ({"topic": ""}, "topic must not be empty"),
        ({"topic": 5}, "topic: invalid type: integer `5`, expected a string"),
        (
            {"topic": "t", "queue_config": {"maxRetries": "x"}},
            'queue_config.maxRetries: invalid type: string "x", expected an integer',
        ),
        (
            {"topic": "t", "queue_config": {"concurrency": 0}},
            "queue_config: concurrency must be at least 1, not 0",
        ),
        (
            {"topic": "t", "queue_config": {"concurrency": 2**63}},
            f"queue_config: concurrency must be at most {2**63 - 1}",
        ),
    ],
)
async def test_a_malformed_config_is_refused_with_its_path(
    config: Any, reason: str
) -> None:
    async with open_queue_rig() as rig:
        with pytest.raises(RegistrationError) as caught:
            await rig.client.bind(TYPE, "job::run", config)
        assert caught.value.code == "trigger_registration_failed"
        assert caught.value.message == f"Failed to parse trigger config: {reason}"


async def test_a_firing_is_noted_on_the_trigger() -> None:
    async with open_queue_rig() as rig:
        rig.collect()
        await rig.client.bind(TYPE, "job::run", {"topic": "t"}, trigger_id="1")
        await publish(rig, 1)
        await rig.settle()
        events = rig.under_test.events
        assert len(events.of(TriggerChanged, trigger_id="1", state="invoked")) == 1


async def test_a_message_kept_for_the_first_subscriber_has_lost_its_senders_baggage() -> (
    None
):
    async with open_queue_rig() as rig:
        seen: list[str | None] = []

        @rig.client.function("job::run")
        async def run(_data: Any) -> None:
            await trio.lowlevel.checkpoint()
            seen.append(current_invocation().baggage)

        @rig.client.function("client::publish")
        async def send(data: Any) -> None:
            sender = "iii.tag.kind=client,iii.function.id=client%3A%3Apublish,k=v"
            with passing_baggage(sender):
                await publish(rig, data, "t")

        await rig.client.invoke("client::publish", "before")
        await rig.client.bind(TYPE, "job::run", {"topic": "t"})
        await rig.client.invoke("client::publish", "after")
        await rig.settle()
        assert seen == ["iii.function.id=job::run,k=v"] * 2


async def test_draining_waits_for_the_deliveries_of_an_ended_subscription(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        done: list[Any] = []

        @rig.client.function("job::run")
        async def run(data: Any) -> None:
            await trio.sleep(5)
            done.append(data)

        await rig.client.bind(TYPE, "job::run", {"topic": "t"}, trigger_id="1")
        await publish(rig, 1)
        await rig.settle()
        rig.client.unbind("1")
        await rig.handle.drain(30)
        assert done == [1]
        assert await rig.store.counts(0) == {}


async def test_a_trigger_that_comes_again_does_not_wait_for_a_long_delivery(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        begun: list[Any] = []
        done: list[Any] = []

        @rig.client.function("job::run")
        async def run(data: Any) -> None:
            begun.append(data)
            await trio.sleep(600)
            done.append(data)

        await rig.client.bind(TYPE, "job::run", {"topic": "t"}, trigger_id="1")
        await publish(rig, 1)
        await rig.settle()
        changed = {"topic": "t", "queue_config": {"concurrency": 2}}
        await rig.client.bind(TYPE, "job::run", changed, trigger_id="1")
        for data in (2, 3):
            await publish(rig, data)
        await trio.sleep(1)
        assert begun == [1, 2]
        await trio.sleep(1300)
        assert sorted(done) == [1, 2, 3]
        assert await rig.store.counts(0) == {}


async def test_ending_one_of_many_subscriptions_is_as_much_work_as_of_few() -> None:
    work: list[int] = []
    for subscriptions in (10, 200):
        async with open_queue_rig() as rig:
            bind = partial(rig.client.bind, TYPE, "job::run")
            ids = [await bind({"topic": f"t{n}"}) for n in range(subscriptions)]
            for trigger_id in ids[: subscriptions // 2]:
                rig.client.unbind(trigger_id)
            with counting_calls() as calls:
                rig.client.unbind(ids[-1])
            work.append(calls.total())
            await rig.settle()
    few, many = work
    assert 0 < many < few + 50


@contextmanager
def counting_calls() -> Iterator[Counter[str]]:
    """Count what Python calls in the block, by kind of call."""
    calls = Counter[str]()

    def count(_frame: object, event: str, _argument: object) -> None:
        calls[event] += 1

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)
