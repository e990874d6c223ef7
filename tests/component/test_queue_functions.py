"""Every function of the queue worker, and every error of the sheet."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from iii_trio.adapters import NewMessage, QueueStore, Taken
from iii_trio.adapters.memory import open_memory
from iii_trio.builtins.queue import NamedQueue
from iii_trio.errors import AdapterError, InvocationError
from tests.component.queue_rig import QueueRig, open_queue_rig

FIFO = NamedQueue(type="fifo", message_group_field="g")


async def kill_messages(rig: QueueRig, *payloads: Any, queue: str = "default") -> None:
    """Let messages die at their first delivery each, a second apart."""
    await rig.call("queue::define", queue=queue, config={"max_retries": 1})
    rig.collect("bad::run", failing=lambda _data: True)
    for payload in payloads:
        await rig.enqueue(payload, queue=queue, to="bad::run")
        await trio.sleep(1)


# --- enqueue


async def test_the_receipt_is_the_engines_and_comes_after_the_commit() -> None:
    async with open_queue_rig() as rig:
        receipt = await rig.enqueue(1)
        assert len(receipt) == 36
        [counts] = (await rig.store.counts(0)).values()
        assert counts.waiting + counts.active == 1


@pytest.mark.parametrize(
    ("queue", "data", "message"),
    [
        (
            "nope",
            {},
            (
                "queue_not_defined: queue 'nope' is not defined; call queue::define "
                "before enqueueing"
            ),
        ),
        (
            "fifo",
            {},
            (
                "invalid_message_group: FIFO queue 'fifo' requires field 'g' in data, but "
                "it was not found"
            ),
        ),
        (
            "fifo",
            {"g": None},
            "invalid_message_group: FIFO queue 'fifo': field 'g' must not be null",
        ),
        (
            "fifo",
            {"g": []},
            (
                "invalid_message_group: FIFO queue 'fifo': field 'g' must be a non-empty "
                "string or a number"
            ),
        ),
    ],
)
async def test_a_refused_enqueue_says_why(queue: str, data: Any, message: str) -> None:
    async with open_queue_rig({"fifo": FIFO}) as rig:
        with pytest.raises(InvocationError) as caught:
            await rig.enqueue(data, queue=queue)
        assert (caught.value.code, caught.value.message) == ("enqueue_error", message)
        assert await rig.store.counts(0) == {}


async def test_enqueue_may_be_called_directly() -> None:
    async with open_queue_rig() as rig:
        got = rig.collect()
        answer = await rig.call(
            "engine::queue::enqueue",
            queue="default",
            function_id="job::run",
            data={"a": 1},
            messageReceiptId="r-1",
        )
        await rig.settle()
        assert (answer, got) == ({"messageReceiptId": "r-1"}, [{"a": 1}])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"function_id": "f"}, "missing field `queue`"),
        ({"queue": "q"}, "missing field `function_id`"),
        (
            {"queue": None, "function_id": "f"},
            "queue: invalid type: null, expected a string",
        ),
        (
            {"queue": "q", "function_id": "f", "delay_ms": -1},
            "delay_ms must be at least 0, not -1",
        ),
    ],
)
async def test_a_malformed_enqueue_is_a_deserialization_error(
    payload: Any, reason: str
) -> None:
    async with open_queue_rig() as rig:
        error = await rig.failure("engine::queue::enqueue", payload)
        assert error.code == "deserialization_error"
        assert error.message.endswith(reason)


async def test_the_action_needs_a_queue() -> None:
    async with open_queue_rig() as rig:
        with pytest.raises(InvocationError, match="deserialization_error") as caught:
            await rig.client.enqueue("f", 1, queue=None)  # type: ignore[arg-type]
        assert caught.value.code == "enqueue_error"


# --- empty and missing names


@pytest.mark.parametrize(
    ("function_id", "payload", "code", "message"),
    [
        ("iii::durable::publish", {"topic": ""}, "topic_not_set", "Topic is not set"),
        ("iii::durable::publish", {"queue": ""}, "topic_not_set", "Topic is not set"),
        ("iii::queue::redrive", {"queue": ""}, "queue_not_set", None),
        (
            "iii::queue::redrive_message",
            {"topic": "", "message_id": "1"},
            "queue_not_set",
            "Queue name is required",
        ),
        (
            "iii::queue::redrive_message",
            {"queue": "q", "message_id": ""},
            "message_id_not_set",
            "Message ID is required",
        ),
        (
            "iii::queue::discard_message",
            {"queue": "", "message_id": "1"},
            "queue_not_set",
            "Queue name is required",
        ),
        (
            "iii::queue::discard_message",
            {"queue": "q", "message_id": ""},
            "message_id_not_set",
            "Message ID is required",
        ),
        (
            "engine::queue::topic_stats",
            {"queue": ""},
            "topic_required",
            "topic is required",
        ),
        (
            "engine::queue::dlq_messages",
            {"topic": ""},
            "topic_required",
            "topic is required",
        ),
        ("queue::define", {"queue": ""}, "queue_not_set", "Queue name is required"),
    ],
)
async def test_an_empty_name_has_a_code_of_its_own(
    function_id: str, payload: Any, code: str, message: str | None
) -> None:
    async with open_queue_rig() as rig:
        error = await rig.failure(function_id, payload)
        assert error.code == code
        assert message in (None, error.message)


@pytest.mark.parametrize(
    ("function_id", "payload"),
    [
        ("iii::durable::publish", {"data": 1}),
        ("iii::durable::publish", {"topic": None}),
        ("iii::durable::publish", {"topic": "a", "queue": "b"}),
        ("iii::queue::redrive", {}),
        ("iii::queue::redrive_message", {"queue": "q"}),
        ("iii::queue::discard_message", {"message_id": "1"}),
        ("engine::queue::topic_stats", {"topic": None}),
        ("engine::queue::dlq_messages", {"topic": "t", "offset": -1}),
        ("engine::queue::dlq_messages", {"topic": "t", "limit": "5"}),
        ("engine::queue::dlq_messages", {"topic": "t", "limit": 10**30}),
        ("engine::queue::list_topics", None),
        ("engine::queue::dlq_topics", []),
        ("queue::define", {"config": {}}),
        ("queue::define", {"queue": "q", "config": {"concurrency": "many"}}),
    ],
)
async def test_a_missing_or_misplaced_field_is_a_deserialization_error(
    function_id: str, payload: Any
) -> None:
    async with open_queue_rig() as rig:
        error = await rig.failure(function_id, payload)
        assert error.code == "deserialization_error"
        assert error.message.startswith(
            f"Failed to deserialize input for {function_id}: "
        )


# --- dead letters


async def test_dead_messages_are_listed_latest_first(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        await kill_messages(rig, *range(5))
        rows = await rig.dead()
        assert [row["payload"] for row in rows] == [4, 3, 2, 1, 0]
        page = await rig.call(
            "engine::queue::dlq_messages", queue="default", offset=1, limit=2
        )
        assert [row["payload"] for row in page] == [3, 2]
        nothing = await rig.call(
            "engine::queue::dlq_messages", topic="default", limit=0
        )
        assert nothing == []
        assert await rig.dead("unknown") == []


async def test_dlq_topics_lists_those_with_dead_messages(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        assert await rig.call("engine::queue::dlq_topics") == []
        await kill_messages(rig, 1, 2)
        assert await rig.call("engine::queue::dlq_topics") == [
            {"topic": "default", "broker_type": "function_queue", "message_count": 2}
        ]


async def test_redrive_delivers_dead_messages_again(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        await kill_messages(rig, "a", "b")
        got = rig.collect("bad::run")
        answer = await rig.call("iii::queue::redrive", queue="default")
        assert answer == {"queue": "default", "redriven": 2}
        await rig.settle()
        assert sorted(got) == ["a", "b"]
        assert await rig.dead() == []
        answer = await rig.call("iii::queue::redrive", topic="default")
        assert answer == {"queue": "default", "redriven": 0}


async def test_a_redriven_message_has_all_its_attempts_again(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        await kill_messages(rig, "a")
        await rig.call("queue::define", queue="default", config={"max_retries": 2})
        got = rig.collect("bad::run", failing=lambda _data: True)
        await rig.call("iii::queue::redrive", queue="default")
        await trio.sleep(10)
        assert got == ["a", "a"]
        [row] = await rig.dead()
        assert row["retries"] == 2


async def test_one_message_is_redriven_or_discarded(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        await kill_messages(rig, "a", "b", "c")
        [c, b, _a] = [row["id"] for row in await rig.dead()]
        got = rig.collect("bad::run")
        answer = await rig.call(
            "iii::queue::redrive_message", queue="default", message_id=b
        )
        assert answer == {"queue": "default", "message_id": b, "redriven": 1}
        answer = await rig.call(
            "iii::queue::discard_message", topic="default", message_id=c
        )
        assert answer == {"queue": "default", "message_id": c, "redriven": 1}
        await rig.settle()
        assert got == ["b"]
        assert [row["payload"] for row in await rig.dead()] == ["a"]
        for name in ("redrive_message", "discard_message"):
            for message_id in (b, c, "unknown", "-1"):
                answer = await rig.call(
                    f"iii::queue::{name}", queue="default", message_id=message_id
                )
                assert answer["redriven"] == 0


# --- listings


async def test_topics_and_named_queues_are_listed_by_their_own_names() -> None:
    async with open_queue_rig({"mail": FIFO}) as rig:
        rig.collect("a::b")
        await rig.client.bind("durable:subscriber", "a::b", {"topic": "orders"})
        await rig.call("iii::durable::publish", topic="unread", data=1)
        assert await rig.call("engine::queue::list_topics") == [
            {
                "name": "default",
                "broker_type": "function_queue",
                "subscriber_count": 10,
            },
            {"name": "mail", "broker_type": "function_queue", "subscriber_count": 10},
            {"name": "orders", "broker_type": "builtin", "subscriber_count": 1},
            {"name": "unread", "broker_type": "builtin", "subscriber_count": 0},
        ]


async def test_stats_count_what_waits_runs_and_died(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        await kill_messages(rig, 1)
        await rig.enqueue(2, to="absent::run")
        assert await rig.stats() == {
            "depth": 1,
            "consumer_count": 10,
            "dlq_depth": 1,
            "config": None,
            "delivered": 0,
            "failed": 1,
        }
        assert await rig.stats("unknown") == {
            "depth": 0,
            "consumer_count": 0,
            "dlq_depth": 0,
            "config": None,
            "delivered": 0,
            "failed": 0,
        }


# --- definitions


async def test_define_adds_and_changes_queues() -> None:
    async with open_queue_rig() as rig:
        given = {"queue": "q", "config": {"concurrency": 2, "unknown": 1}}
        assert await rig.client.invoke("queue::define", given) == {
            "queue": "q",
            "changed": True,
        }
        assert (await rig.client.invoke("queue::define", given))["changed"] is False
        got = rig.collect()
        await rig.enqueue(1, queue="q")
        await rig.settle()
        assert got == [1]
        default = await rig.call("queue::define", queue="default")
        assert default == {"queue": "default", "changed": False}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "lifo"}, "Queue 'q' has invalid type 'lifo'."),
        ({"type": "fifo"}, "Queue 'q' is of type 'fifo' but 'message_group_field'"),
        ({"concurrency": 0}, "Queue 'q' has 'concurrency' 0;"),
    ],
)
async def test_a_wrong_definition_is_refused(config: Any, message: str) -> None:
    async with open_queue_rig() as rig:
        error = await rig.failure("queue::define", {"queue": "q", "config": config})
        assert error.code == "invalid_queue_config"
        assert error.message.startswith(message)
        with pytest.raises(InvocationError, match="queue_not_defined"):
            await rig.enqueue(1, queue="q")


async def test_a_definition_survives_a_restart() -> None:
    async with open_memory() as stores:
        async with open_queue_rig(stores=stores) as rig:
            await rig.call("queue::define", queue="q", config={"concurrency": 1})
        async with open_queue_rig({"q": FIFO}, stores=stores) as rig:
            got = rig.collect()
            await rig.enqueue("no group", queue="q")
            await rig.settle()
            assert got == ["no group"]


# --- storage that fails


class FailingStore:
    """A queue store whose methods fail while ``broken``."""

    def __init__(self, store: QueueStore) -> None:
        self._store = store
        self.broken = False
        self.failures = 0

    async def put(self, messages: Sequence[NewMessage]) -> None:
        await self._check()
        await self._store.put(messages)

    async def take(self, queue: str, limit: int, now: float) -> Taken:
        await self._check()
        return await self._store.take(queue, limit, now)

    async def settle(self, *args: Any) -> None:
        await self._check()
        await self._store.settle(*args)

    async def move(self, *args: Any, **options: Any) -> int:
        await self._check()
        return await self._store.move(*args, **options)

    async def dead(self, *args: Any) -> Any:
        await self._check()
        return await self._store.dead(*args)

    async def counts(self, now: float) -> Any:
        await self._check()
        return await self._store.counts(now)

    async def _check(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken:
            self.failures += 1
            raise AdapterError("the disk is full")


@pytest.mark.parametrize(
    ("function_id", "payload", "code"),
    [
        (
            "engine::queue::enqueue",
            {"queue": "default", "function_id": "f"},
            "enqueue_failed",
        ),
        ("iii::durable::publish", {"topic": "t"}, "publish_failed"),
        ("iii::queue::redrive", {"queue": "q"}, "redrive_failed"),
        (
            "iii::queue::redrive_message",
            {"queue": "q", "message_id": "1"},
            "redrive_message_failed",
        ),
        (
            "iii::queue::discard_message",
            {"queue": "q", "message_id": "1"},
            "discard_message_failed",
        ),
        ("engine::queue::list_topics", {}, "list_topics_failed"),
        ("engine::queue::topic_stats", {"topic": "t"}, "topic_stats_failed"),
        ("engine::queue::dlq_topics", {}, "dlq_topics_failed"),
        ("engine::queue::dlq_messages", {"topic": "t"}, "dlq_messages_failed"),
    ],
)
async def test_a_failing_store_is_answered(
    function_id: str, payload: Any, code: str
) -> None:
    async with open_memory() as stores:
        store = FailingStore(stores.queue())
        async with open_queue_rig(store=store) as rig:
            await rig.settle()
            store.broken = True
            error = await rig.failure(function_id, payload)
            assert (error.code, error.message) == (code, "the disk is full")


async def test_deliveries_go_on_once_the_store_works_again(
    autojump_clock: MockClock,
) -> None:
    async with open_memory() as stores:
        store = FailingStore(stores.queue())
        async with open_queue_rig(store=store) as rig:
            got: list[Any] = []

            async def run(data: Any) -> None:
                await trio.lowlevel.checkpoint()
                got.append(data)
                store.broken = True

            rig.client.register_function("job::run", run)
            await rig.enqueue(1)
            await trio.sleep(100)
            assert store.failures > 3
            store.broken = False
            await trio.sleep(100)
            assert got == [1]
            assert await rig.store.counts(0) == {}
