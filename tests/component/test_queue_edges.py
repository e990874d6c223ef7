"""Queues at the edges: link workers, another provider, cancellation, late failures."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock

from iii_trio._util import open_background_nursery
from iii_trio.adapters import (
    Change,
    KeyValueStore,
    NewMessage,
    QueueCounts,
    QueueStore,
)
from iii_trio.adapters.memory import open_memory
from iii_trio.adapters.sqlite import open_sqlite, run_inline
from iii_trio.builtins.queue import NamedQueue
from iii_trio.builtins.queue._consumers import Consumers
from iii_trio.builtins.queue._names import unread_topic
from iii_trio.builtins.queue._topics import Topics
from iii_trio.errors import (
    AdapterError,
    FunctionFailedError,
    InvocationError,
    RegistrationError,
)
from iii_trio.testing import Clock, cancel_at_every_step
from iii_trio.worker import Trigger, Worker
from tests.component.queue_rig import QueueRig, open_queue_rig

TYPE = "durable:subscriber"


# --- workers behind a link


async def test_a_link_worker_gets_the_data_as_it_was_sent() -> None:
    async with (
        open_queue_rig() as rig,
        rig.under_test.open_raw_peer("far", "far::run") as peer,
    ):
        await peer.accepted()
        await rig.settle()
        await rig.enqueue({"a": 1}, to="far::run")
        call = await peer.served("far::run")
        assert bytes(call.data) == b'{"a":1}'
        peer.answer(call)
        await rig.settle()
        assert await rig.store.counts(0) == {}


async def test_a_link_worker_that_goes_in_mid_delivery_fails_the_attempt(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig({"q": NamedQueue(max_retries=1)}) as rig:
        async with rig.under_test.open_raw_peer("far", "far::run") as peer:
            await peer.accepted()
            await rig.settle()
            await rig.enqueue(1, queue="q", to="far::run")
            await peer.served("far::run")
        await trio.sleep(1)
        [row] = await rig.dead("q")
        assert row["error"].startswith("invocation_stopped: ")


async def test_a_lost_link_keeps_its_subscription(autojump_clock: MockClock) -> None:
    async with open_queue_rig() as rig:
        for life in range(2):
            async with rig.under_test.open_raw_peer("far", "far::run") as peer:
                await peer.accepted()
                peer.send(
                    {
                        "type": "registertrigger",
                        "id": "t",
                        "trigger_type": TYPE,
                        "function_id": "far::run",
                        "config": {"topic": "news"},
                    }
                )
                await rig.settle()
                if life == 1:
                    call = await peer.served("far::run")
                    assert bytes(call.data) == b'"kept"'
                    peer.answer(call)
                    await rig.settle()
            if life == 0:
                await rig.settle()
                publish = {"topic": "news", "data": "kept"}
                await rig.client.invoke("iii::durable::publish", publish)
                assert (await rig.stats("news"))["depth"] == 1


async def test_a_standalone_queue_worker_takes_over_and_gives_back() -> None:
    async with open_queue_rig() as rig:
        got = rig.collect()
        async with rig.under_test.open_raw_peer("queue", "engine::queue::enqueue") as (
            standalone
        ):
            await standalone.accepted()
            await rig.settle()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rig.enqueue, "theirs")
                call = await standalone.served("engine::queue::enqueue")
                standalone.answer(call, {})
            await rig.settle()
            assert got == []
        await rig.settle()
        await rig.enqueue("ours")
        await rig.settle()
        assert got == ["ours"]


# --- cancellation


@attrs.define
class Scene:
    rig: QueueRig
    worker: Worker
    got: list[Any]
    receipts: list[str] = attrs.field(factory=list)


@asynccontextmanager
async def open_scene() -> AsyncIterator[Scene]:
    async with (
        open_queue_rig() as rig,
        rig.under_test.open_worker("sender") as worker,
    ):
        yield Scene(rig, worker, rig.collect())


def test_a_cancelled_enqueue_happened_completely_or_not_at_all() -> None:
    outcomes: set[tuple[int, int]] = set()

    async def scenario(scene: Scene) -> None:
        receipt = await scene.worker.enqueue("job::run", 1, queue="default")
        scene.receipts.append(receipt)

    def invariant(scene: Scene) -> None:
        assert len(scene.receipts) <= len(scene.got) <= 1
        assert scene.rig.under_test.engine.statistics().invocations == 0
        outcomes.add((len(scene.receipts), len(scene.got)))

    steps = cancel_at_every_step(scenario, invariant, setup=open_scene)
    assert steps > 1
    assert {(0, 0), (1, 1)} <= outcomes


# --- what fails late


class FailingRecords:
    """A key-value store that cannot write while ``broken``."""

    def __init__(self, store: KeyValueStore) -> None:
        self.items, self.delete, self.store = store.items, store.delete, store
        self.broken = True
        self.failing: trio.Event | None = None  # fail once, and set it then

    async def set(self, *args: Any) -> Change:
        fails, failing, self.failing = self.broken, self.failing, None
        if failing is not None:
            fails = True
            failing.set()
        for _ in range(5):  # a slow disk
            await trio.lowlevel.checkpoint()
        if fails:
            raise AdapterError("the disk is full")
        return await self.store.set(*args)


@asynccontextmanager
async def open_failing_records() -> AsyncIterator[tuple[QueueRig, FailingRecords]]:
    """Open an engine whose queue worker cannot store its subscriptions."""
    async with open_memory() as stores:
        records: Any = FailingRecords(stores.key_value("queue"))
        async with open_queue_rig(records=records) as rig:
            yield rig, records


async def test_a_subscription_that_cannot_be_stored_is_refused() -> None:
    async with open_failing_records() as (rig, _):
        rig.collect()
        with pytest.raises(RegistrationError, match="the disk is full"):
            await rig.client.bind(TYPE, "job::run", {"topic": "t"})
        await rig.call("iii::durable::publish", topic="t", data=1)
        await rig.settle()
        assert list(await rig.store.counts(0)) == [unread_topic("t")]
        error = await rig.failure("queue::define", {"queue": "q"})
        assert error.code == "define_failed"
        with pytest.raises(InvocationError, match="queue_not_defined"):
            await rig.enqueue(1, queue="q")


async def test_a_known_subscription_stays_known_when_the_storage_fails() -> None:
    async with open_failing_records() as (rig, records):
        got = rig.collect()
        records.broken = False
        await rig.client.bind(TYPE, "job::run", {"topic": "t"}, trigger_id="1")
        records.broken = True
        await rig.client.bind(TYPE, "job::run", {"topic": "t"}, trigger_id="2")
        changed = {"topic": "t", "queue_config": {"maxRetries": 9}}
        with pytest.raises(RegistrationError, match="the disk is full"):
            await rig.client.bind(TYPE, "job::run", changed, trigger_id="3")
        await rig.call("iii::durable::publish", topic="t", data=1)
        await rig.settle()
        assert got == [1]


class KeepingRecords:
    """A key-value store that cannot delete."""

    def __init__(self, store: KeyValueStore) -> None:
        self.items, self.set = store.items, store.set

    async def delete(self, *_args: Any) -> Change:
        await trio.lowlevel.checkpoint()
        raise AdapterError("the disk is full")


async def test_a_subscription_that_cannot_be_removed_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_memory() as stores:
        records: Any = KeepingRecords(stores.key_value("queue"))
        async with open_queue_rig(records=records) as rig:
            rig.collect()
            await rig.client.bind(TYPE, "job::run", {"topic": "t"}, trigger_id="1")
            rig.client.unbind("1")
            await rig.settle()
            assert "is known again after a restart: the disk is full" in caplog.text
            await rig.call("iii::durable::publish", topic="t", data=1)
            assert list(await rig.store.counts(0)) == [unread_topic("t")]


async def test_a_backlog_found_at_the_start_goes_to_the_known_subscriber(
    autojump_clock: MockClock,
) -> None:
    """The process died between storing a subscription and handing over."""
    async with open_memory() as stores:
        async with open_queue_rig(stores=stores) as rig:
            rig.collect()
            await rig.client.bind(TYPE, "job::run", {"topic": "t"})
        stranded = NewMessage(
            queue=unread_topic("t"), function_id="", namespace="", payload=b"1"
        )
        await stores.queue().put([stranded])
        async with open_queue_rig(stores=stores) as rig:
            got = rig.collect()
            await rig.client.bind(TYPE, "job::run", {"topic": "t"})
            await trio.sleep(1)
            assert got == [1]


async def test_a_worker_that_is_lost_after_the_drain_costs_no_attempt(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig({"q": NamedQueue(max_retries=1)}) as rig:
        async with rig.under_test.open_worker("fragile") as fragile:

            async def hang(_data: Any) -> None:
                await trio.sleep_forever()

            fragile.register_function("job::run", hang)
            await rig.enqueue(1, queue="q")
            await rig.settle()
            await rig.handle.drain(5)
        await trio.sleep(1)
        [counts] = (await rig.store.counts(0)).values()
        assert counts == QueueCounts(waiting=1)


async def test_more_absent_messages_than_fit_wait_in_the_store(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iii_trio.builtins.queue._consumer.MAX_ABSENT", 5)
    async with open_queue_rig({"q": NamedQueue(concurrency=2)}) as rig:
        for number in range(20):
            await rig.enqueue(number, queue="q", to="absent::run")
        await trio.sleep(1)
        [counts] = (await rig.store.counts(0)).values()
        assert 5 <= counts.active <= 6
        got = rig.collect("absent::run")
        await trio.sleep(1)
        assert sorted(got) == list(range(20))


async def test_a_consumer_started_again_waits_for_the_last_one(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        running = 0
        done: list[Any] = []

        async def run(data: Any) -> None:
            nonlocal running
            running += 1
            assert running == 1
            await trio.sleep(5)
            running -= 1
            done.append(data)

        rig.client.register_function("job::run", run)
        config = {"topic": "t", "queue_config": {"type": "fifo"}}
        await rig.client.bind(TYPE, "job::run", config, trigger_id="1")
        for number in range(3):
            await rig.call("iii::durable::publish", topic="t", data=number)
        await rig.settle()
        for _ in range(3):
            rig.client.unbind("1")
            await rig.client.bind(TYPE, "job::run", config, trigger_id="1")
        await trio.sleep(60)
        assert done == [0, 1, 2]


@pytest.mark.parametrize("teller", ["function", "condition"])
async def test_what_tells_of_another_engines_end_has_failed_and_no_more(
    autojump_clock: MockClock, teller: str
) -> None:
    async with open_queue_rig() as rig:
        got = rig.collect()

        @rig.client.function("far::ask")
        async def ask(data: int) -> bool:
            await trio.lowlevel.checkpoint()
            if data == 1:
                raise FunctionFailedError("over there", code="engine_draining")
            return True

        if teller == "condition":
            config = {"topic": "t", "condition_function_id": "far::ask"}
            await rig.client.bind("durable:subscriber", "job::run", config)
        else:
            await rig.client.bind("durable:subscriber", "far::ask", {"topic": "t"})
        for data in (1, 2):
            await rig.call("iii::durable::publish", topic="t", data=data)
        await trio.sleep(10)
        stats = await rig.stats("t")
        assert (stats["delivered"], stats["failed"], stats["dlq_depth"]) == (1, 3, 1)
        assert "engine_draining: over there" in (await rig.dead("t"))[0]["error"]
        assert got == ([2] if teller == "condition" else [])


async def test_a_function_that_is_registered_anew_misses_no_message(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        rig.collect()
        await trio.sleep(1)
        rig.client.unregister_function("job::run")
        await rig.enqueue("kept")
        await rig.settle()
        got = rig.collect()
        await trio.sleep(1)
        assert got == ["kept"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_burst_of_enqueues_keeps_its_order_within_a_group(
    tmp_path: Path, autojump_clock: MockClock, kind: str
) -> None:
    fifo = NamedQueue(type="fifo", message_group_field="g")
    async with (
        open_memory()
        if kind == "memory"
        else open_sqlite(tmp_path / "engine.db", run=run_inline) as stores,
        open_queue_rig({"q": fifo}, stores=stores) as rig,
    ):
        got = rig.collect()
        for _ in range(8):  # Trio lets tasks go on in any order
            for number in range(20):
                data = {"g": "a", "n": number}
                message = {"queue": "q", "function_id": "job::run", "data": data}
                rig.client.fire("engine::queue::enqueue", message)
            await rig.settle()
        assert [data["n"] for data in got] == [*range(20)] * 8


@attrs.define
class FailingMoves:
    """A store of messages that cannot move any, for a while."""

    store: QueueStore
    broken: bool = True

    async def move(self, *args: Any, **options: Any) -> int:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise AdapterError("the disk is full")
        return await self.store.move(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


async def test_a_subscription_that_is_refused_gets_its_backlog_when_it_comes_again() -> (
    None
):
    async with open_memory() as stores:
        store: Any = FailingMoves(stores.queue())
        async with open_queue_rig(stores=stores, store=store) as rig:
            got = rig.collect()
            await rig.call("iii::durable::publish", topic="t", data=1)
            with pytest.raises(RegistrationError, match="the disk is full"):
                await rig.client.bind(TYPE, "job::run", {"topic": "t"})
            await rig.settle()
            assert await rig.records.items("subscriptions") == []
            await rig.call("iii::durable::publish", topic="t", data=2)
            store.broken = False
            await rig.client.bind(TYPE, "job::run", {"topic": "t"})
            await rig.settle()
            assert sorted(got) == [1, 2]


async def test_settings_of_a_refused_trigger_do_not_hold() -> None:
    async with open_failing_records() as (rig, records):
        rig.collect(failing=lambda _data: True)
        records.broken = False
        once = {"topic": "t", "queue_config": {"maxRetries": 0}}
        await rig.client.bind(TYPE, "job::run", once)
        records.broken = True
        with pytest.raises(RegistrationError, match="the disk is full"):
            await rig.client.bind(TYPE, "job::run", {"topic": "t"})
        await rig.call("iii::durable::publish", topic="t", data=1)
        await rig.settle()
        assert (await rig.stats("t"))["dlq_depth"] == 1


async def test_definitions_at_once_are_stored_as_they_hold(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "engine.db", run=run_inline) as stores:
        for number in range(1, 11):  # Trio lets tasks go on in any order
            queue = f"q{number}"
            async with open_queue_rig(stores=stores) as rig:
                async with trio.open_nursery() as nursery:
                    for concurrency in (1, 2):
                        config = {"concurrency": concurrency}
                        define = partial(
                            rig.call, "queue::define", queue=queue, config=config
                        )
                        nursery.start_soon(define)
                before = await rig.stats(queue)
            async with open_queue_rig(stores=stores) as rig:
                assert await rig.stats(queue) == before


async def test_a_refused_trigger_takes_no_settings_from_one_that_came_later() -> None:
    async with open_failing_records() as (rig, records):
        rig.collect(failing=lambda _data: True)
        records.broken = False
        await rig.client.bind(TYPE, "job::run", {"topic": "t"})

        async def bind(retries: int) -> None:
            config = {"topic": "t", "queue_config": {"maxRetries": retries}}
            await rig.client.bind(TYPE, "job::run", config)

        async def be_refused() -> None:
            with pytest.raises(RegistrationError, match="the disk is full"):
                await bind(7)

        records.failing = failing = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_refused)
            await failing.wait()
            nursery.start_soon(bind, 0)
        await rig.call("iii::durable::publish", topic="t", data=1)
        await rig.settle()
        assert (await rig.stats("t"))["dlq_depth"] == 1


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_settings_of_triggers_bound_at_once_are_stored_as_they_hold(
    order: tuple[int, int], fails: bool
) -> None:
    """Whoever goes on first, and if that one is refused."""
    async with (
        open_failing_records() as (rig, records),
        open_background_nursery("test over") as nursery,
    ):
        kept: Any = records
        records.broken = False
        records.failing = trio.Event() if fails else None
        topics = Topics(
            worker=rig.client,
            consumers=Consumers(nursery=nursery, store=rig.store, now=Clock()),
            store=rig.store,
            records=kept,
        )
        refused: list[int] = []

        async def finish(at: int, bind: Awaitable[None]) -> None:
            await trio.lowlevel.checkpoint()
            try:
                await bind
            except RegistrationError:
                refused.append(at)

        binds: list[Any] = [topics.bind(with_retries(number)) for number in (0, 1)]
        async with trio.open_nursery() as binding:
            for at in order:
                binding.start_soon(finish, at, binds[at])
                for _ in range(4):
                    await trio.lowlevel.checkpoint()  # it is being stored
        assert refused == (list(order[:1]) if fails else [])
        [one] = topics.all()
        assert one.settings.maxRetries == (0 if refused == [1] else 1)
        [(_, stored)] = await rig.records.items("subscriptions")
        assert msgspec.json.decode(stored, type=type(one.settings)) == one.settings
        assert one.stored == one.settings


def with_retries(number: int) -> Trigger:
    return Trigger(
        trigger_id=str(number),
        trigger_type=TYPE,
        function_id="job::run",
        config={"topic": "t", "queue_config": {"maxRetries": number}},
    )


async def test_settings_that_come_back_while_others_are_stored_are_stored_again(
    autojump_clock: MockClock,
) -> None:
    async with open_failing_records() as (rig, records):
        records.broken = False

        async def bind(retries: int) -> None:
            config = {"topic": "t", "queue_config": {"maxRetries": retries}}
            await rig.client.bind(TYPE, "job::run", config)

        await bind(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bind, 3)
            for _ in range(3):
                await trio.lowlevel.checkpoint()  # it is being stored
            nursery.start_soon(bind, 1)
        [(_, stored)] = await rig.records.items("subscriptions")
        assert msgspec.json.decode(stored)["maxRetries"] == 1
