"""Providing trigger types, binding to them, conditions, firing: in process."""

from typing import Any

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.engine import open_engine
from iii_trio.errors import FunctionFailedError, RegistrationError
from iii_trio.testing import open_test_engine
from iii_trio.transport import MemoryConnection
from iii_trio.worker import (
    NOT_DELIVERED,
    Trigger,
    Worker,
    current_invocation,
    open_worker,
)
from tests.component.worker_kinds import KINDS, Hanging, opening


@attrs.frozen
class WebhookConfig:
    url: str
    retries: int = 3


class Provider:
    """Provides ``hook`` and remembers what happens."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.bound: dict[str, Trigger] = {}
        self.log: list[tuple[str, str]] = []

    def register(self, **options: Any) -> None:
        self.worker.register_trigger_type(
            "hook", bind=self.bind, unbind=self.unbind, **options
        )

    def bind(self, trigger: Trigger) -> None:
        self.log.append(("bind", trigger.trigger_id))
        self.bound[trigger.trigger_id] = trigger

    def unbind(self, trigger: Trigger) -> None:
        self.log.append(("unbind", trigger.trigger_id))
        del self.bound[trigger.trigger_id]


async def test_a_binding_reaches_the_provider_with_a_structured_config() -> None:
    async with open_engine() as engine, open_worker(engine, namespace="ns") as worker:
        provider = Provider(worker)
        provider.register(config=WebhookConfig)
        trigger_id = await worker.bind(
            "hook", "f", {"url": "http://x"}, metadata={"m": 1}, condition="c"
        )
        bound = attrs.evolve(provider.bound[trigger_id], owner_worker_id=None)
        assert bound == Trigger(
            trigger_id=trigger_id,
            trigger_type="hook",
            function_id="f",
            config=WebhookConfig("http://x"),
            metadata={"m": 1},
            namespace="ns",
            condition="c",
        )
        worker.unbind(trigger_id)
        worker.unbind(trigger_id)
        assert provider.log == [("bind", trigger_id), ("unbind", trigger_id)]


async def test_a_config_that_does_not_fit_is_refused_with_its_path() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        provider = Provider(worker)
        provider.register(config=WebhookConfig)
        with pytest.raises(RegistrationError, match=r"\$\.url: expected str"):
            await worker.bind("hook", "f", {"url": 1})
        with pytest.raises(RegistrationError, match=r"\$\.url: required"):
            await worker.bind("hook", "f")
        assert provider.log == []


async def test_without_a_class_the_config_is_plain_json() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        provider = Provider(worker)
        provider.register()
        config = {"list": [1]}
        trigger_id = await worker.bind("hook", "f", config)
        assert provider.bound[trigger_id].config == config
        assert provider.bound[trigger_id].config["list"] is not config["list"]


async def test_a_condition_is_the_id_of_a_function() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        with pytest.raises(TypeError, match="is the id of a function, not <function"):
            await worker.bind("hook", "f", condition=lambda: True)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="needs a config that is an object"):
            await worker.bind("hook", "f", 5, condition="c")


async def test_the_same_id_again_unbinds_the_old_trigger_first() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        provider = Provider(worker)
        provider.register()
        await worker.bind("hook", "f", trigger_id="t")
        await worker.bind("hook", "g", trigger_id="t")
        assert provider.bound["t"].function_id == "g"
    assert provider.log[:3] == [("bind", "t"), ("unbind", "t"), ("bind", "t")]


async def test_a_provider_refuses_by_raising() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        def bind(trigger: Trigger) -> None:
            if trigger.config is None:
                raise RegistrationError("needs a config", code="no_config")
            raise KeyError("bug")

        worker.register_trigger_type("hook", bind=bind)
        with pytest.raises(RegistrationError, match="needs a config"):
            await worker.bind("hook", "f")
        with pytest.raises(RegistrationError, match="bug"):
            await worker.bind("hook", "f", {})


async def test_binding_waits_for_an_async_provider() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        log = []

        async def bind(trigger: Trigger) -> None:
            await trio.lowlevel.checkpoint()
            if trigger.config == "bad":
                raise RegistrationError("bad", code="bad_config")
            log.append("bound")

        worker.register_trigger_type("hook", bind=bind)
        await worker.bind("hook", "f")
        log.append("returned")
        assert log == ["bound", "returned"]
        with pytest.raises(RegistrationError, match="bad"):
            await worker.bind("hook", "f", "bad")


async def test_unbinding_during_an_async_bind_comes_after_it() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        log = []
        go = trio.Event()

        async def bind(trigger: Trigger) -> None:
            await go.wait()
            log.append("bound")

        worker.register_trigger_type(
            "hook", bind=bind, unbind=lambda _: log.append("unbound")
        )
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                await worker.bind("hook", "f", trigger_id="t")

            await wait_all_tasks_blocked()
            worker.unbind("t")
            assert log == []
            go.set()
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert log == ["bound", "unbound"]


async def test_the_same_id_again_during_an_async_bind_begins_after_its_end() -> None:
    log: list[str] = []
    gates: list[trio.Event] = []

    async def bind(trigger: Trigger) -> None:
        gates.append(gate := trio.Event())
        log.append(f"bind {trigger.config}")
        await gate.wait()

    def unbind(trigger: Trigger) -> None:
        log.append(f"unbind {trigger.config}")

    async with (
        open_engine() as engine,
        open_worker(engine) as worker,
        trio.open_nursery() as nursery,
    ):
        worker.register_trigger_type("hook", bind=bind, unbind=unbind)

        async def ask(config: str) -> None:
            await worker.bind("hook", "f", config, trigger_id="t")

        for config in ("a", "b", "c"):
            nursery.start_soon(ask, config)
            await wait_all_tasks_blocked()
        assert log == ["bind a"]
        gates[0].set()
        await wait_all_tasks_blocked()
        # "b" was replaced before its turn came.
        assert log == ["bind a", "unbind a", "bind c"]
        gates[1].set()
        await wait_all_tasks_blocked()
        assert log == ["bind a", "unbind a", "bind c"]
        worker.unbind("t")
        assert log == ["bind a", "unbind a", "bind c", "unbind c"]


async def test_the_same_id_again_after_a_bind_was_given_up_begins_after_its_end(
    autojump_clock: MockClock,
) -> None:
    held: dict[str, Any] = {}

    async def bind(trigger: Trigger) -> None:
        await trio.sleep(trigger.config)
        held[trigger.trigger_id] = trigger.config

    def unbind(trigger: Trigger) -> None:
        del held[trigger.trigger_id]

    async with open_engine() as engine, open_worker(engine) as worker:
        worker.register_trigger_type("hook", bind=bind, unbind=unbind)
        with trio.move_on_after(1):
            await worker.bind("hook", "f", 5, trigger_id="t")
        await worker.bind("hook", "f", 0, trigger_id="t")
        assert trio.current_time() == 5
        assert held == {"t": 0}
        worker.unbind("t")
        assert held == {}


async def test_a_trigger_that_comes_again_by_a_new_connection_waits_for_its_bind(
    autojump_clock: MockClock,
) -> None:
    log: list[str] = []
    connections: list[MemoryConnection] = []

    async def bind(trigger: Trigger) -> None:
        log.append("bind")
        await trio.sleep(60)
        log.append("bound")

    async with (
        open_test_engine() as harness,
        harness.open_worker() as binder,
        harness.open_link_worker(on_connect=connections.append) as provider,
    ):
        provider.register_trigger_type(
            "hook", bind=bind, unbind=lambda trigger: log.append("unbind")
        )
        await binder.bind("hook", "f")
        await trio.sleep(1)
        assert log == ["bind"]
        connections[0].cut()
        await trio.sleep(600)
    assert log == ["bind", "bound", "unbind", "bind", "bound", "unbind"]


async def test_the_decorator_form_takes_both_callbacks() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        log = []

        @worker.trigger_type("hook", config=WebhookConfig, description="d")
        def hook(trigger: Trigger) -> None:
            log.append(("bind", trigger.config.url))

        @hook.unbind
        def _(trigger: Trigger) -> None:
            log.append(("unbind", trigger.config.url))

        worker.unbind(await worker.bind("hook", "f", WebhookConfig("u")))
        assert log == [("bind", "u"), ("unbind", "u")]


async def test_a_type_that_goes_unbinds_its_triggers() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        provider = Provider(worker)
        provider.register()
        await worker.bind("hook", "f", trigger_id="t")
        worker.unregister_trigger_type("hook")
        worker.unregister_trigger_type("hook")
        assert provider.log == [("bind", "t"), ("unbind", "t")]
        provider.register()
        assert provider.log[2:] == [("bind", "t")]


async def test_a_broken_unbind_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with open_engine() as engine, open_worker(engine) as worker:

        def unbind(_: Trigger) -> None:
            raise KeyError("bug in unbind")

        worker.register_trigger_type("hook", bind=lambda _: None, unbind=unbind)
        worker.unbind(await worker.bind("hook", "f"))
    assert "bug in unbind" in caplog.text


async def test_deliver_hides_the_caller_and_hands_on_the_metadata() -> None:
    seen = []
    async with (
        open_engine() as engine,
        open_worker(engine, namespace="there") as target,
        open_worker(engine) as worker,
    ):
        provider = Provider(worker)
        provider.register()

        @target.function("f")
        async def handler(payload: Any) -> Any:
            await trio.lowlevel.checkpoint()
            seen.append(current_invocation())
            return [payload]

        trigger_id = await target.bind(
            "hook", "f", metadata={"m": 1}, trigger_namespace="default"
        )
        trigger = provider.bound[trigger_id]
        assert await worker.deliver(trigger, {"e": 1}) == [{"e": 1}]
        assert seen[0].caller_worker_id is None
        assert seen[0].metadata == {"m": 1}


@pytest.mark.parametrize(
    ("verdict", "delivered"),
    [(True, True), ({}, True), (0, False), (None, False), ("", False), ("x", True)],
)
async def test_emit_asks_the_condition_first(verdict: Any, delivered: bool) -> None:
    asked = []
    async with open_engine() as engine, open_worker(engine) as worker:
        provider = Provider(worker)
        provider.register()

        @worker.function("c")
        async def condition(payload: Any) -> Any:
            await trio.lowlevel.checkpoint()
            asked.append((payload, current_invocation().metadata))
            return verdict

        worker.register_function("f", lambda _: "done")
        trigger_id = await worker.bind("hook", "f", condition="c", metadata=1)
        result = await worker.emit(provider.bound[trigger_id], 7)
        assert result == ("done" if delivered else NOT_DELIVERED)
        assert asked == [(7, None)]


async def test_a_failing_condition_skips_and_a_failing_function_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        provider = Provider(worker)
        provider.register()
        await worker.bind("hook", "f", condition="no::such", trigger_id="t")
        assert await worker.emit(provider.bound["t"], 1) is NOT_DELIVERED
        assert not NOT_DELIVERED
        assert "no::such" in caplog.text

        @worker.function("f")
        async def broken() -> None:
            await trio.lowlevel.checkpoint()
            raise ZeroDivisionError

        await worker.bind("hook", "f", trigger_id="u")
        with pytest.raises(FunctionFailedError):
            await worker.emit(provider.bound["u"], 1)


@pytest.mark.parametrize("result", [b"1e400", b"[" * 990 + b"]" * 990])
async def test_a_result_that_has_no_value_is_a_failure_of_the_function(
    result: bytes,
) -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        provider = Provider(worker)
        provider.register()

        @worker.function("f")
        async def odd() -> msgspec.Raw:
            await trio.lowlevel.checkpoint()
            return msgspec.Raw(result)

        await worker.bind("hook", "f", trigger_id="t")
        with pytest.raises(FunctionFailedError, match="cannot be decoded") as caught:
            await worker.emit(provider.bound["t"], 1)
        assert caught.value.function_id == "f"


@KINDS
@pytest.mark.parametrize("end", ["unbound", "replaced", "worker gone", "type gone"])
async def test_a_condition_is_cancelled_with_the_trigger_that_it_is_asked_for(
    end: str, kind: str
) -> None:
    hanging = Hanging()
    outcomes: list[Any] = []
    async with open_test_engine() as t, t.open_worker("judge") as judge:
        judge.register_function("is::hung", hanging)
        async with (
            opening(t, kind, "provider") as worker,
            t.open_raw_peer("binder") as binder,
        ):
            provider = Provider(worker)
            provider.register()
            await wait_all_tasks_blocked()
            bind = {"type": "registertrigger", "id": "t", "trigger_type": "hook"}
            config = {"condition_function_id": "is::hung"}
            binder.send({**bind, "function_id": "b::f", "config": config})
            await wait_all_tasks_blocked()

            async def emit() -> None:
                outcomes.append(await worker.emit(provider.bound["t"], 1))

            worker.start_soon(emit, name="emit")
            await wait_all_tasks_blocked()
            assert hanging.reasons == []
            if end == "unbound":
                binder.send({"type": "unregistertrigger", "id": "t"})
            elif end == "replaced":
                binder.send({**bind, "function_id": "b::g", "config": {}})
            elif end == "worker gone":
                binder.cut()
            else:
                worker.unregister_trigger_type("hook")
            await wait_all_tasks_blocked()
            assert outcomes == [NOT_DELIVERED]
            assert len(hanging.reasons) == 1
            assert t.engine.statistics().invocations == 0
            provided = worker._handlers.providers._bound.values()
            assert [bound.asked for bound in provided] == [set()] * (end == "replaced")


async def test_an_event_whose_condition_ends_the_trigger_is_skipped() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        provider = Provider(worker)
        provider.register()
        delivered: list[Any] = []

        def end_it(_event: Any) -> bool:
            worker.unbind("t")
            return True

        worker.register_function("is::fine", end_it)
        worker.register_function("f", delivered.append)
        await worker.bind("hook", "f", trigger_id="t", condition="is::fine")
        assert await worker.emit(provider.bound["t"], 1) is NOT_DELIVERED
    assert delivered == []


async def test_a_condition_is_asked_for_a_trigger_that_was_never_bound() -> None:
    async with open_engine() as engine, open_worker(engine) as worker:
        worker.register_function("is::fine", lambda _: True)
        worker.register_function("f", lambda event: event + 1)
        trigger = Trigger(
            trigger_id="t", trigger_type="x", function_id="f", condition="is::fine"
        )
        assert await worker.emit(trigger, 1) == 2
