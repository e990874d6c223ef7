"""Named queues: delivery, retries, order, absence, delays, and ends in the middle."""

from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from iii_trio.adapters import QueueCounts
from iii_trio.builtins.queue import NamedQueue, QueueConfig
from iii_trio.errors import FunctionFailedError
from iii_trio.testing import Clock
from iii_trio.worker import current_invocation
from tests.component.queue_rig import QueueRig, open_queue_rig

FIFO = NamedQueue(type="fifo", message_group_field="g")


def names_of(got: list[Any], group: str) -> list[str]:
    return [data["n"] for data in got if data["g"] == group]


@pytest.mark.parametrize(
    "data", [None, 0, 1.5, "x", "", True, [], {}, {"a": [1, {"b": None}]}, 2**70]
)
async def test_data_arrives_as_it_was_sent(data: Any) -> None:
    async with open_queue_rig() as rig:
        got = rig.collect()
        await rig.enqueue(data)
        await rig.settle()
        assert got == [data]
        assert await rig.store.counts(0) == {}


async def test_a_delivery_is_no_call_of_the_enqueuer() -> None:
    async with open_queue_rig() as rig:
        seen: list[Any] = []

        async def run(data: Any) -> None:
            await trio.lowlevel.checkpoint()
            seen.append((data, current_invocation().caller_worker_id))

        rig.client.register_function("job::run", run)
        await rig.enqueue({"a": 1})
        await rig.settle()
        assert seen == [({"a": 1}, None)]


async def test_the_trace_of_the_enqueuer_is_restored() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with open_queue_rig() as rig:
        seen: list[Any] = []

        async def run(_data: Any) -> None:
            await trio.lowlevel.checkpoint()
            call = current_invocation()
            seen.append((call.traceparent, call.baggage))

        rig.client.register_function("job::run", run)
        await rig.call(
            "engine::queue::enqueue",
            queue="default",
            function_id="job::run",
            data=1,
            messageReceiptId="r",
            traceparent=trace,
            baggage="iii.tag.kind=http,iii.function.id=a::b,user=ada",
        )
        await rig.settle()
        assert seen == [(trace, "iii.function.id=job::run,user=ada")]


async def test_the_namespace_of_the_target_is_kept() -> None:
    async with (
        open_queue_rig() as rig,
        rig.under_test.open_worker("other", namespace="blue") as other,
    ):
        got: list[Any] = []

        async def run(data: Any) -> None:
            await trio.lowlevel.checkpoint()
            got.append(data)

        other.register_function("job::run", run)
        wrong = rig.collect()
        await rig.client.enqueue("job::run", 1, queue="default", namespace="blue")
        await rig.settle()
        assert (got, wrong) == ([1], [])


async def test_a_failing_message_is_tried_with_growing_waits_then_dead(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        times: list[float] = []

        async def run(_data: Any) -> None:
            await trio.lowlevel.checkpoint()
            times.append(trio.current_time())
            raise FunctionFailedError("no ink", code="printer")

        rig.client.register_function("job::run", run)
        start = trio.current_time()
        await rig.enqueue({"i": 0})
        await trio.sleep(60)
        assert [round(at - start, 2) for at in times] == [0, 1, 3]
        [row] = await rig.dead()
        assert row == {
            "id": row["id"],
            "payload": {"i": 0},
            "error": "printer: no ink",
            "failed_at": row["failed_at"],
            "retries": 3,
            "size_bytes": 7,
        }
        assert row["failed_at"] == int(rig.under_test.clock.epoch + 3)
        assert (await rig.stats())["failed"] == 3


@pytest.mark.parametrize(("max_retries", "attempts"), [(0, 1), (1, 1), (2, 2)])
async def test_max_retries_is_the_number_of_deliveries(
    autojump_clock: MockClock, max_retries: int, attempts: int
) -> None:
    queue = NamedQueue(max_retries=max_retries)
    async with open_queue_rig({"q": queue}) as rig:
        got = rig.collect(failing=lambda _data: True)
        await rig.enqueue(1, queue="q")
        await trio.sleep(60)
        assert got == [1] * attempts
        assert len(await rig.dead("q")) == 1


async def test_at_most_so_many_deliveries_run_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig({"q": NamedQueue(concurrency=3)}) as rig:
        running = most = 0

        async def run(_data: Any) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await trio.sleep(1)
            running -= 1

        rig.client.register_function("job::run", run)
        for number in range(10):
            await rig.enqueue(number, queue="q")
        await trio.sleep(3.5)
        assert (await rig.stats("q"))["depth"] == 1
        await trio.sleep(1)
        assert most == 3
        assert (await rig.stats("q"))["delivered"] == 10


async def test_a_group_is_served_in_order_and_others_do_not_wait(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig({"q": FIFO}) as rig:
        fail_once = {"a1"}

        def failing(data: Any) -> bool:
            if data["n"] in fail_once:
                fail_once.remove(data["n"])
                return True
            return False

        got = rig.collect(failing=failing)
        for name in ("a1", "b1", "a2", "b2", "a3"):
            await rig.enqueue({"g": name[0], "n": name}, queue="q")
        await rig.settle()
        assert names_of(got, "a") == ["a1"]
        assert names_of(got, "b") == ["b1", "b2"]
        await trio.sleep(2)
        assert names_of(got, "a") == ["a1", "a1", "a2", "a3"]
        assert names_of(got, "b") == ["b1", "b2"]


async def test_a_dead_head_lets_its_group_go_on(autojump_clock: MockClock) -> None:
    queue = attrs.evolve(FIFO, max_retries=2)
    async with open_queue_rig({"q": queue}) as rig:
        got = rig.collect(failing=lambda data: data["n"] == 1)
        await rig.enqueue({"g": 1, "n": 1}, queue="q")
        await rig.enqueue({"g": 1.0, "n": 2}, queue="q")
        await trio.sleep(10)
        assert [data["n"] for data in got] == [1, 1, 2]


async def test_higher_priorities_are_delivered_first(
    autojump_clock: MockClock,
) -> None:
    queue = NamedQueue(concurrency=1, priority_field="p", max_priority=9)
    async with open_queue_rig({"q": queue}) as rig:
        got: list[Any] = []

        async def run(data: Any) -> None:
            got.append(data["p"])
            await trio.sleep(1)

        rig.client.register_function("job::run", run)
        await rig.enqueue({"p": 0}, queue="q")
        await rig.settle()
        for priority in (1, 5, 200, 3):
            await rig.enqueue({"p": priority}, queue="q")
        await trio.sleep(10)
        assert got == [0, 200, 5, 3, 1]


async def test_a_delayed_message_waits_and_is_not_counted_as_depth(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        got = rig.collect()
        await rig.client.enqueue("job::run", "late", queue="default", delay=86400)
        await rig.enqueue("now")
        await rig.settle()
        assert got == ["now"]
        assert (await rig.stats())["depth"] == 0
        await trio.sleep(86399)
        assert got == ["now"]
        await trio.sleep(2)
        assert got == ["now", "late"]


async def test_an_absent_function_is_waited_for_without_an_attempt(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig({"q": NamedQueue(max_retries=1)}) as rig:
        await rig.enqueue(1, queue="q")
        await trio.sleep(3600)
        assert await rig.dead("q") == []
        assert (await rig.stats("q"))["depth"] == 1
        got = rig.collect()
        await trio.sleep(1)
        assert got == [1]


async def test_absent_functions_do_not_hold_up_others(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig({"q": NamedQueue(concurrency=2)}) as rig:
        got = rig.collect()
        for number in range(20):
            await rig.enqueue(number, queue="q", to="absent::run")
        await rig.enqueue("here", queue="q")
        await trio.sleep(1)
        assert got == ["here"]
        late = rig.collect("absent::run")
        await trio.sleep(1)
        assert sorted(late) == list(range(20))


async def test_a_delivery_past_its_time_is_cancelled_and_has_failed(
    autojump_clock: MockClock,
) -> None:
    queue = NamedQueue(timeout_ms=500, max_retries=2)
    async with open_queue_rig({"q": queue}) as rig:
        cancelled = 0

        async def hang(_data: Any) -> None:
            nonlocal cancelled
            try:
                await trio.sleep_forever()
            finally:
                cancelled += 1

        rig.client.register_function("job::run", hang)
        await rig.enqueue(1, queue="q")
        await trio.sleep(10)
        assert cancelled == 2
        [row] = await rig.dead("q")
        assert row["error"].startswith("TIMEOUT: ")


async def test_a_delivery_that_takes_long_is_not_made_again_meanwhile(
    autojump_clock: MockClock,
) -> None:
    queue = NamedQueue(timeout_ms=8 * 3600 * 1000, backoff_ms=1)
    async with open_queue_rig({"q": queue}) as rig:
        begun: list[float] = []

        async def work(_data: Any) -> None:
            begun.append(trio.current_time())
            await trio.sleep(7 * 3600)

        rig.client.register_function("job::run", work)
        await rig.enqueue(1, queue="q")
        await trio.sleep(6 * 3600)
        assert (len(begun), (await rig.stats("q"))["depth"]) == (1, 1)
        await trio.sleep(6 * 3600)
        assert (len(begun), (await rig.stats("q"))["depth"]) == (1, 0)


async def test_a_worker_lost_in_mid_delivery_is_a_failed_attempt(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        async with rig.under_test.open_worker("fragile") as fragile:
            begun = trio.Event()

            async def hang(_data: Any) -> None:
                begun.set()
                await trio.sleep_forever()

            fragile.register_function("job::run", hang)
            await rig.enqueue(1)
            await begun.wait()
        got = rig.collect()
        await trio.sleep(5)
        assert got == [1]
        assert (await rig.stats())["failed"] == 1


async def test_a_removed_queue_gives_back_what_it_was_delivering(
    autojump_clock: MockClock,
) -> None:
    queue = NamedQueue(max_retries=1)
    async with open_queue_rig({"q": queue}) as rig:
        cancelled = trio.Event()

        async def hang(_data: Any) -> None:
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()

        rig.client.register_function("job::run", hang)
        await rig.enqueue(1, queue="q")
        await rig.settle()
        rig.handle.reconfigure(QueueConfig())
        await cancelled.wait()
        assert (await rig.stats("q"))["depth"] == 1
        rig.client.unregister_function("job::run")
        got = rig.collect()
        rig.handle.reconfigure(QueueConfig(queue_configs={"q": queue}))
        await trio.sleep(1)
        assert got == [1]
        assert (await rig.stats("q"))["failed"] == 0


async def test_changed_settings_hold_for_what_is_waiting(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig({"q": NamedQueue(max_retries=1000)}) as rig:
        got = rig.collect(failing=lambda _data: True)
        await rig.enqueue(1, queue="q")
        await rig.settle()
        changed = NamedQueue(max_retries=2)
        rig.handle.reconfigure(QueueConfig(queue_configs={"q": changed}))
        await trio.sleep(60)
        assert got == [1, 1]


async def test_draining_finishes_deliveries_and_begins_none(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig({"q": NamedQueue(concurrency=1)}) as rig:
        done: list[Any] = []

        async def run(data: Any) -> None:
            await trio.sleep(2)
            done.append(data)

        rig.client.register_function("job::run", run)
        for number in range(3):
            await rig.enqueue(number, queue="q")
        await rig.settle()
        await rig.handle.drain(10)
        assert done == [0]
        assert (await rig.store.counts(0)).popitem()[1] == QueueCounts(waiting=2)


async def test_an_engine_that_drains_costs_no_attempt(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig({"q": NamedQueue(max_retries=1)}) as rig:
        rig.collect()
        await rig.client.enqueue("job::run", 1, queue="q", delay=5)
        with trio.move_on_after(1):
            await rig.under_test.engine.drain(1)
        await trio.sleep(10)
        counts = await rig.store.counts(rig.under_test.clock())
        assert counts.popitem()[1] == QueueCounts(waiting=1)


async def test_a_stopped_worker_keeps_messages_for_the_next(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig({"q": NamedQueue(max_retries=1)}) as rig:

        async def hang(_data: Any) -> None:
            await trio.sleep_forever()

        rig.client.register_function("job::run", hang)
        await rig.enqueue("kept", queue="q")
        await rig.settle()
        rig.serving.cancel(reason="test")
        await trio.sleep(1)
        async with open_queue_rig(
            {"q": NamedQueue(max_retries=1)}, store=rig.store, records=rig.records
        ) as after:
            got = after.collect()
            await trio.sleep(1)
            assert got == ["kept"]


async def test_a_day_of_retries_takes_no_time(autojump_clock: MockClock) -> None:
    queue = NamedQueue(max_retries=12, backoff_ms=20_000)
    async with open_queue_rig({"q": queue}) as rig:
        clock: Clock = rig.under_test.clock
        got = rig.collect(failing=lambda _data: True)
        for number in range(50):
            await rig.enqueue(number, queue="q")
        begun = clock()
        await trio.sleep(20 * (2**11 - 2))
        assert (await rig.stats("q"))["dlq_depth"] == 0
        await trio.sleep(60)
        assert (await rig.stats("q"))["dlq_depth"] == 50
        assert len(got) == 12 * 50
        assert clock() - begun > 11 * 3600


async def test_nothing_is_left_when_all_is_delivered() -> None:
    async with open_queue_rig() as rig:
        rig.collect()
        for number in range(100):
            await rig.enqueue(number)
        await rig.settle()
        assert rig.under_test.engine.statistics().invocations == 0
        assert await rig.store.counts(0) == {}


async def test_an_idle_queue_does_nothing(autojump_clock: MockClock) -> None:
    async def steps_of_a_month(rig: QueueRig) -> int:
        class Counter(trio.abc.Instrument):
            steps = 0

            def before_task_step(self, _task: trio.lowlevel.Task) -> None:
                self.steps += 1

        counter = Counter()
        trio.lowlevel.add_instrument(counter)
        await trio.sleep(30 * 86400)
        trio.lowlevel.remove_instrument(counter)
        return counter.steps

    async with open_queue_rig({"q": FIFO}) as rig:
        await rig.settle()
        assert await steps_of_a_month(rig) < 10
