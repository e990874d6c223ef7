"""Numbers that callers choose, as large as they like: refused, or they work."""

import math
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from iii_trio.adapters import Message, QueueStore
from iii_trio.adapters.memory._queue import MemoryQueue
from iii_trio.adapters.sqlite import open_sqlite, run_inline
from iii_trio.builtins.queue import NamedQueue
from iii_trio.errors import RegistrationError
from tests.component.queue_rig import open_queue_rig

MOST = 2**63 - 1
TOO_LARGE = (pytest.param(2**63, id="2^63"), pytest.param(10**400, id="10^400"))


@pytest.mark.parametrize("number", TOO_LARGE)
@pytest.mark.parametrize("field", ["concurrency", "backoff_ms", "timeout_ms"])
async def test_a_definition_with_too_large_a_number_is_refused_and_harms_nobody(
    tmp_path: Path, autojump_clock: MockClock, field: str, number: int
) -> None:
    async with open_sqlite(tmp_path / "engine.db", run=run_inline) as stores:
        for _ in ("before a restart", "after it"):
            async with open_queue_rig(stores=stores) as rig:
                error = await rig.failure(
                    "queue::define", {"queue": "q", "config": {field: number}}
                )
                assert error.code == "invalid_queue_config"
                got = rig.collect()
                await rig.enqueue(1)
                await rig.settle()
                assert got == [1]


@pytest.mark.parametrize("number", TOO_LARGE)
@pytest.mark.parametrize("field", ["concurrency", "maxRetries", "backoffDelayMs"])
async def test_a_subscriber_with_too_large_a_number_is_refused_and_harms_nobody(
    tmp_path: Path, autojump_clock: MockClock, field: str, number: int
) -> None:
    async with (
        open_sqlite(tmp_path / "engine.db", run=run_inline) as stores,
        open_queue_rig(stores=stores) as rig,
    ):
        got = rig.collect()
        config = {"topic": "t", "queue_config": {field: number}}
        with pytest.raises(RegistrationError, match=f"{field} must be at most"):
            await rig.client.bind("durable:subscriber", "job::run", config)
        await rig.enqueue(1)
        await rig.settle()
        assert got == [1]


async def test_the_largest_numbers_work(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    fields = ("concurrency", "max_retries", "backoff_ms", "timeout_ms")
    async with (
        open_sqlite(tmp_path / "engine.db", run=run_inline) as stores,
        open_queue_rig(stores=stores) as rig,
    ):
        largest = dict.fromkeys(fields, MOST)
        await rig.call("queue::define", queue="q", config=largest)
        got = rig.collect(failing=lambda data: bool(data == "bad"))
        await rig.enqueue("bad", queue="q")
        await rig.enqueue("good", queue="q")
        await rig.settle()
        assert sorted(got) == ["bad", "good"]
        assert (await rig.stats("q"))["failed"] == 1


@pytest.mark.parametrize("asked_by", ["queue", "subscriber"])
async def test_a_backlog_is_not_taken_into_memory_whole(
    autojump_clock: MockClock, asked_by: str
) -> None:
    async with open_queue_rig({"q": NamedQueue(concurrency=MOST)}) as rig:
        began = 0

        async def hang(_data: Any) -> None:
            nonlocal began
            began += 1
            await trio.sleep_forever()

        topic = {"topic": "q", "queue_config": {"concurrency": MOST}}
        if asked_by == "subscriber":
            await rig.client.bind("durable:subscriber", "job::run", topic)
        for number in range(1010):
            if asked_by == "subscriber":
                await rig.call("iii::durable::publish", topic="q", data=number)
            else:
                await rig.enqueue(number, queue="q")
        rig.client.register_function("job::run", hang)
        await trio.sleep(1)
        assert began == 1000


@pytest.mark.parametrize(
    "page", [{"limit": MOST}, {"offset": MOST, "limit": MOST}, {"offset": MOST}]
)
async def test_a_page_may_end_far_behind_the_last_dead_message(
    tmp_path: Path, autojump_clock: MockClock, page: dict[str, Any]
) -> None:
    async with (
        open_sqlite(tmp_path / "engine.db", run=run_inline) as stores,
        open_queue_rig(stores=stores) as rig,
    ):
        rig.collect(failing=lambda _data: True)
        await rig.call("queue::define", queue="q", config={"max_retries": 1})
        await rig.enqueue(1, queue="q")
        await rig.settle()
        rows = await rig.call("engine::queue::dlq_messages", topic="q", **page)
        assert [row["payload"] for row in rows] == [1][page.get("offset", 0) :]


@pytest.mark.parametrize("delay", [1e300, 2.0**63, 2**63, 10**400])
@pytest.mark.parametrize(
    "call",
    [
        ("iii::durable::publish", {"topic": "default"}),
        ("iii::durable::publish", {"queue": "default"}),
        ("engine::queue::enqueue", {"queue": "default", "function_id": "job::run"}),
    ],
)
async def test_too_long_a_delay_is_refused(
    autojump_clock: MockClock, call: tuple[str, dict[str, Any]], delay: float
) -> None:
    function_id, payload = call
    async with open_queue_rig() as rig:
        error = await rig.failure(function_id, {**payload, "delay_ms": delay})
        assert error.code == "deserialization_error"
        assert error.message.endswith(f"delay_ms must be at most {MOST}")
        longest = math.nextafter(MOST, 0)
        await rig.client.invoke(function_id, {**payload, "delay_ms": longest})


@attrs.define
class CountingStore:
    """Counts the dead messages that it reads."""

    store: QueueStore
    read: int = 0

    async def dead(self, queue: str, offset: int, limit: int) -> list[Message]:
        found = await self.store.dead(queue, offset, limit)
        self.read += len(found)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


async def test_a_page_of_dead_messages_reads_no_more_than_itself(
    autojump_clock: MockClock,
) -> None:
    store: Any = CountingStore(MemoryQueue())
    async with open_queue_rig({"q": NamedQueue(max_retries=1)}, store=store) as rig:
        rig.collect(failing=lambda _data: True)
        for number in range(20):
            await rig.enqueue(number, queue="q")
            await trio.sleep(1)
        rows = await rig.call("engine::queue::dlq_messages", topic="q", offset=15)
        assert [row["payload"] for row in rows] == [4, 3, 2, 1, 0]
        assert store.read == 5


async def test_a_page_is_of_all_subscriptions_of_a_topic(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        config = {"topic": "t", "queue_config": {"maxRetries": 0}}
        for function_id in ("a::run", "b::run"):
            rig.collect(function_id, failing=lambda _data: True)
            await rig.client.bind("durable:subscriber", function_id, config)
        for number in range(4):
            await rig.call("iii::durable::publish", topic="t", data=number)
            await trio.sleep(1)
        pages = [
            await rig.call(
                "engine::queue::dlq_messages", topic="t", offset=offset, limit=3
            )
            for offset in (0, 3, 6)
        ]
        payloads = [[row["payload"] for row in page] for page in pages]
        assert payloads == [[3, 3, 2], [2, 1, 1], [0, 0]]


async def test_an_id_with_too_many_digits_is_nobodys(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig({"q": NamedQueue(max_retries=1)}) as rig:
        rig.collect(failing=lambda _data: True)
        await rig.enqueue(1, queue="q")
        await rig.settle()
        answer = await rig.call(
            "iii::queue::discard_message", queue="q", message_id="1" * 5000
        )
        assert answer["redriven"] == 0
