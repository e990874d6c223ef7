"""Observing an engine's calls, and which workers may offer ids of the engine."""

from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from iii_trio.engine import Engine, open_engine
from iii_trio.engine._tallies import STRIDES
from iii_trio.errors import FunctionFailedError, InvocationError, RegistrationError
from iii_trio.protocol import (
    Event,
    InvocationOpened,
    InvocationSettled,
    ObservedCall,
    WorkerAttached,
    WorkerDetached,
)
from iii_trio.testing import open_test_engine
from iii_trio.worker import Worker, current_invocation, open_worker
from tests.component.access_rig import open_access_rig, result_of
from tests.property.test_relay import Answer, Call, Leave, World

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SPAN = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"


@attrs.define(eq=False)
class Observer:
    """Notes calls; puts a span around those of ``spans``."""

    spans: tuple[str, ...] = ()
    began: list[tuple[str, str, bool]] = attrs.field(factory=list)
    ended: list[tuple[str, str | None]] = attrs.field(factory=list)
    seen: list[str | None] = attrs.field(factory=list)

    def call_began(self, call: ObservedCall) -> None:
        self.began.append((call.function_id, call.kind, call.is_inside))
        self.seen.append(call.traceparent)
        assert call.note is None
        call.note = self
        if call.function_id in self.spans:
            call.enter_span(SPAN)

    def call_ended(self, call: ObservedCall, code: str | None) -> None:
        assert call.note is self
        self.ended.append((call.function_id, code))


def serve_two(worker: Worker) -> list[str | None]:
    traces: list[str | None] = []

    @worker.function("a::fine")
    async def fine() -> int:
        await trio.lowlevel.checkpoint()
        traces.append(current_invocation().traceparent)
        return 1

    @worker.function("a::bad")
    async def bad() -> None:
        await trio.lowlevel.checkpoint()
        raise FunctionFailedError("no", code="bad")

    return traces


async def test_an_observer_sees_each_call_with_its_kind_and_its_outcome() -> None:
    observer = Observer()
    async with open_test_engine() as t, t.open_worker("w") as worker:
        serve_two(worker)
        end = t.engine.observe(observer)
        await worker.invoke("a::fine")
        await worker.invoke("a::fine", kind="delivery")
        with pytest.raises(InvocationError):
            await worker.invoke("a::bad")
        with pytest.raises(InvocationError):
            await worker.enqueue("a::fine", queue="q")
        end()
        end()
        await worker.invoke("a::fine")
    assert observer.began == [
        ("a::fine", "call", True),
        ("a::fine", "delivery", True),
        ("a::bad", "call", True),
    ]
    assert observer.ended == [("a::fine", None), ("a::fine", None), ("a::bad", "bad")]


async def test_an_enqueue_is_observed_as_one() -> None:
    observer = Observer()
    async with open_test_engine() as t, t.open_worker("iii-queue") as worker:

        @worker.function("engine::queue::enqueue")
        async def enqueue(_job: Any) -> None:
            await trio.lowlevel.checkpoint()

        t.engine.observe(observer)
        await worker.enqueue("a::fine", queue="q")
    assert observer.began == [("engine::queue::enqueue", "enqueue", True)]


async def test_what_a_middleware_is_asked_is_observed_as_the_call(
    autojump_clock: MockClock,
) -> None:
    observer = Observer()
    async with open_access_rig() as rig:
        rig.options["middleware_function_id"] = "mw::all"
        rig.rules["expose_functions"] = ['match("open::*")']
        await rig.serve("mw::all", 1)
        peer = await rig.enter("w")
        rig.t.engine.observe(observer)
        assert result_of(await rig.call(peer, "open::f")) == 1
    assert observer.began == [("mw::all", "call", True)]


async def test_a_handler_inside_sees_the_span_and_its_caller_gets_its_own_back() -> (
    None
):
    async with (
        open_test_engine() as t,
        t.open_worker("w") as worker,
        t.open_raw_peer("p") as peer,
    ):
        traces = serve_two(worker)
        t.engine.observe(Observer(spans=("a::fine",)))
        result = await peer.outcome(peer.call("a::fine", {}, traceparent=PARENT))
        assert result.traceparent == PARENT
    assert traces == [SPAN]


async def test_a_worker_on_a_link_gets_the_span_of_a_firing() -> None:
    observer = Observer(spans=("p::run",))
    async with (
        open_test_engine() as t,
        t.open_worker("w") as worker,
        t.open_raw_peer("p", "p::run") as peer,
        trio.open_nursery() as nursery,
    ):
        t.engine.observe(observer)

        async def fire() -> None:
            await worker.invoke("p::run", kind="delivery")

        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(fire)
        call = await peer.served("p::run")
        assert call.traceparent == SPAN
        assert call.baggage == "iii.function.id=p::run"
        peer.answer(call)
    assert observer.began[-1] == ("p::run", "delivery", False)


async def test_a_listener_that_wants_no_calls_gets_the_other_events() -> None:
    all_events: list[Event] = []
    others: list[Event] = []
    async with open_engine() as engine:
        end_all = engine.subscribe(all_events.append)
        end_others = engine.subscribe(others.append, calls=False)
        await open_worker_and_call(engine)
        end_all()
        end_others()
        assert engine.invocations.watch is None
        await open_worker_and_call(engine)
    assert sum(isinstance(e, InvocationOpened) for e in all_events) == 1
    assert sum(isinstance(e, WorkerAttached) for e in others) == 1
    assert not any(isinstance(e, InvocationOpened) for e in others)


async def test_a_listener_that_raises_harms_neither_the_call_nor_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(event: Event) -> None:
        raise ValueError(f"cannot take {type(event).__name__}")

    told: list[Event] = []
    async with open_engine() as engine:
        engine.subscribe(fail)
        engine.subscribe(told.append)
        await open_worker_and_call(engine)
        assert engine.statistics().invocations == 0
    assert {type(event) for event in told} >= {
        InvocationOpened,
        InvocationSettled,
        WorkerAttached,
        WorkerDetached,
    }
    assert "ValueError: cannot take InvocationSettled" in caplog.text


async def open_worker_and_call(engine: Engine) -> None:
    async with open_worker(engine) as worker:
        serve_two(worker)
        await worker.invoke("a::fine")


@pytest.mark.parametrize(
    ("name", "function_id", "allowed"),
    [
        ("iii-observability", "engine::log::info", True),
        ("iii-queue", "engine::queue::own", True),
        ("other", "engine::queue::enqueue", True),
        ("other", "engine::log::info", False),
        (None, "engine::traces::list", False),
        ("iii-observability", "engine::queue::own", False),
        ("iii-observability", "engine::nonsense", False),
    ],
)
async def test_ids_of_the_engine_are_for_the_workers_that_its_table_names(
    name: str | None, function_id: str, allowed: bool
) -> None:
    async with open_test_engine() as t, t.open_worker(name) as worker:

        async def handler() -> None:
            await trio.lowlevel.checkpoint()

        if allowed:
            worker.register_function(function_id, handler)
            await worker.invoke(function_id)
        else:
            with pytest.raises(RegistrationError) as caught:
                worker.register_function(function_id, handler)
            assert caught.value.code == "FUNCTION_NAMESPACE_CONFLICT"
            assert function_id in str(caught.value)


async def test_the_table_of_engine_ids_can_be_replaced() -> None:
    table = {"engine::mine::": "my-worker"}
    async with open_test_engine(engine_ids=table) as t, t.open_worker("my-worker") as w:

        @w.function("engine::mine::a")
        async def mine() -> int:
            await trio.lowlevel.checkpoint()
            return 5

        assert await w.invoke("engine::mine::a") == 5


async def test_of_plain_calls_between_links_few_are_told_and_all_are_counted() -> None:
    told: list[str | None] = []

    class Observer:
        def call_began(self, call: ObservedCall) -> None:
            call.note = "mine"

        def call_ended(self, call: ObservedCall, code: str | None) -> None:
            assert call.note == "mine"
            told.append(code)

    async with open_engine() as engine:
        world = World(engine, relays=True)
        await trio.lowlevel.checkpoint()
        end = engine.observe(Observer())
        before = engine.tallies().get("f", (0, 0))
        for number in range(68):
            world.take(Call(0, "f", '{"a":1}', {}, "uuid"))
            answer = (
                '"result":{}' if number % 4 else '"error":{"code":"c","message":""}'
            )
            world.take(Answer(0, answer))
        assert engine.statistics().invocations == 0
        ended, failed = engine.tallies()["f"]
        assert ended - before[0] + len(told) == 68
        assert 1 <= len(told) <= 68 / STRIDES[0]
        assert failed - before[1] + told.count("c") == 17  # every fourth
        end()
        told.clear()
        world.take(Call(0, "f", "{}", {"namespace": "nowhere"}, "uuid"))
        world.take(Leave(-1))
        assert not told
