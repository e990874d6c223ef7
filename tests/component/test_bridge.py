"""The bridge: functions lent and borrowed between two engines, and what can go wrong."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.builtins.bridge import BridgeConfig, BridgeHandle
from iii_trio.errors import (
    FunctionFailedError,
    InvocationStoppedError,
    InvocationTimeoutError,
    RegistrationError,
)
from iii_trio.testing import cancel_at_every_step
from iii_trio.worker import NULL, current_invocation
from tests.component.bridge_rig import (
    BridgeRig,
    bridge_config,
    open_bridge_rig,
    wait_until,
)
from tests.component.scripted_engine import ScriptedEngine


async def test_a_forwarded_function_is_called_over_there(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:
        got = rig.there.offer("math::add", {"sum": 5})
        await rig.bridge(rig.here, bridge_config(forward={"far::add": "math::add"}))
        for payload in ({"a": 2}, None, [1], "x", 0):
            assert await rig.here.worker.invoke("far::add", payload) == {"sum": 5}
        rows = await rig.here.worker.invoke("engine::functions::list", {})
    assert got == [{"a": 2}, None, [1], "x", 0]
    [row] = [row for row in rows["functions"] if row["function_id"] == "far::add"]
    assert row["description"] == "Forward to remote function math::add"


async def test_payload_and_result_pass_as_they_are(autojump_clock: MockClock) -> None:
    text = b'{"a": 1e400,  "a":[]}'
    async with open_bridge_rig() as rig:

        @rig.there.worker.function("echo")
        async def echo(payload: msgspec.Raw) -> msgspec.Raw:
            await trio.lowlevel.checkpoint()
            return payload

        await rig.bridge(rig.here, bridge_config(forward={"echo": "echo"}))
        assert await rig.here.worker.invoke_json("echo", text) == text


async def test_an_exposed_function_is_called_from_over_there(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:
        got = rig.here.offer("mail::send", "sent")
        rig.here.offer("mail::same", 1)
        config = bridge_config(expose={"mail::send": "far::send", "mail::same": None})
        handle = await rig.bridge(rig.here, config)
        assert await rig.there.worker.invoke("far::send", {"to": "ada"}) == "sent"
        assert await rig.there.worker.invoke("mail::same") == 1
        rows = await rig.there.worker.invoke("engine::workers::list", {})
        names = {row["name"]: row["id"] for row in rows["workers"]}
        assert names["iii-bridge-client"] == handle.worker_id
    assert got == [{"to": "ada"}]


async def test_an_exposed_function_of_a_link_worker_gets_the_payload_as_it_is(
    autojump_clock: MockClock,
) -> None:
    async with (
        open_bridge_rig() as rig,
        rig.here.under_test.open_raw_peer("sdk", "mail::send") as peer,
    ):
        await rig.bridge(rig.here, bridge_config(expose={"mail::send": None}))
        rig.there.worker.fire("mail::send", {"to": "ada"})
        call = await peer.served("mail::send")
        assert bytes(call.data) == b'{"to":"ada"}'


async def test_an_exposed_null_stays_null_and_no_result_none(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:
        rig.here.offer("a::null", NULL)
        rig.here.offer("a::nothing", None)
        await rig.bridge(
            rig.here, bridge_config(expose={"a::null": None, "a::nothing": None})
        )
        # Results of link workers never hold a null: the engine leaves it out.
        assert await rig.there.worker.invoke_json("a::null", b"1") == b""
        assert await rig.there.worker.invoke_json("a::nothing", b"1") == b""


async def test_an_error_of_an_exposed_function_keeps_code_text_and_stacktrace(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:

        @rig.here.worker.function("a::fail")
        async def fail() -> None:
            await trio.lowlevel.checkpoint()
            raise FunctionFailedError("no luck", code="bad_day", stacktrace="at line 1")

        @rig.here.worker.function("a::crash")
        async def crash() -> None:
            await trio.lowlevel.checkpoint()
            raise RuntimeError("crashed")

        exposed = {"a::fail": None, "a::crash": None, "a::missing": None}
        await rig.bridge(rig.here, bridge_config(expose=exposed))
        failure = await rig.there.failure("a::fail")
        assert (failure.code, failure.message) == ("bad_day", "no luck")
        assert failure.stacktrace == "at line 1"
        failure = await rig.there.failure("a::crash")
        assert (failure.code, failure.message) == ("invocation_failed", "crashed")
        assert failure.stacktrace is not None
        assert "RuntimeError" in failure.stacktrace
        assert (await rig.there.failure("a::missing")).code == "function_not_found"


async def test_any_function_over_there_can_be_invoked(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:
        got = rig.there.offer("math::add", 5)
        await rig.bridge(rig.here)
        invoke = {"function_id": "math::add", "data": {"a": 1}, "timeout_ms": 500}
        assert await rig.here.worker.invoke("bridge.invoke", invoke) == 5
        bare = {"function_id": "math::add"}
        assert await rig.here.worker.invoke("bridge.invoke", bare) == 5
        assert await rig.here.worker.invoke("bridge.invoke_async", invoke) is None
        await wait_all_tasks_blocked()
    assert got == [{"a": 1}, None, {"a": 1}]


@pytest.mark.parametrize("function_id", ["bridge.invoke", "bridge.invoke_async"])
@pytest.mark.parametrize(
    "payload", [None, [], {}, {"function_id": 5}, {"function_id": "a", "timeout_ms": 0}]
)
async def test_bad_input_of_invoke_is_refused(
    autojump_clock: MockClock, function_id: str, payload: object
) -> None:
    async with open_bridge_rig() as rig:
        await rig.bridge(rig.here)
        failure = await rig.here.failure(function_id, payload)
    assert failure.code == "deserialization_error"
    assert failure.message.startswith("Failed to parse invoke input: ")


async def test_an_error_over_there_is_a_bridge_error_with_its_code_in_the_text(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:
        await rig.bridge(rig.here, bridge_config(forward={"far": "no::such"}))
        failure = await rig.here.failure("far")
    assert failure.code == "bridge_error"
    assert failure.message.startswith("function_not_found: Function no::such")


async def test_a_call_ends_at_the_timeout_of_its_forward(
    autojump_clock: MockClock,
) -> None:
    ended: list[float] = []
    async with open_bridge_rig() as rig:

        @rig.there.worker.function("slow")
        async def slow() -> None:
            try:
                await trio.sleep(1000)
            finally:
                ended.append(trio.current_time())

        config = bridge_config(forward={"far": "slow"}, timeout_ms=2000)
        await rig.bridge(rig.here, config)
        began = trio.current_time()
        failure = await rig.here.failure("far")
        assert trio.current_time() - began == pytest.approx(2)
        await wait_all_tasks_blocked()
    assert failure.code == "bridge_error"
    assert "TIMEOUT: no answer from ws://other.example:49134 within 2000" in str(
        failure
    )
    assert "s3cret" not in str(failure)
    assert ended == [pytest.approx(began + 2)]


async def test_the_callers_deadline_shrinks_across_the_bridge(
    autojump_clock: MockClock,
) -> None:
    lefts: list[float] = []
    async with open_bridge_rig() as rig:

        @rig.there.worker.function("slow")
        async def slow() -> None:
            lefts.append(current_invocation().deadline - trio.current_time())
            await trio.sleep(1000)

        await rig.bridge(rig.here, bridge_config(forward={"far": "slow"}))
        with pytest.raises(InvocationTimeoutError):
            await rig.here.worker.invoke("far", deadline=3)
        await wait_all_tasks_blocked()
        assert rig.there.under_test.engine.statistics().invocations == 0
    assert lefts == [pytest.approx(3, abs=0.1)]


@pytest.mark.parametrize("direction", ["forward", "expose"])
async def test_cancellation_crosses_the_bridge(
    autojump_clock: MockClock, direction: str
) -> None:
    async with open_bridge_rig() as rig:
        if direction == "forward":
            caller, callee = rig.here, rig.there
            config = bridge_config(forward={"far": "slow"})
        else:
            caller, callee = rig.there, rig.here
            config = bridge_config(expose={"slow": "far"})
        running, ended = trio.Event(), trio.Event()

        @callee.worker.function("slow")
        async def slow() -> None:
            running.set()
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        handle = await rig.bridge(rig.here, config)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.worker.invoke, "far")
            await running.wait()
            assert handle.statistics().under_way == 1
            nursery.cancel_scope.cancel(reason="no longer wanted")
        await ended.wait()
        await wait_all_tasks_blocked()
        assert handle.statistics().under_way == 0
        for side in (rig.here, rig.there):
            assert side.under_test.engine.statistics().invocations == 0


def test_a_cancelled_forward_leaves_nothing_whatever_the_step() -> None:
    handles: list[BridgeHandle] = []

    @asynccontextmanager
    async def setup() -> AsyncIterator[BridgeRig]:
        async with open_bridge_rig() as rig:
            rig.there.offer("near", 1)
            config = bridge_config(forward={"far": "near"})
            handles.append(await rig.bridge(rig.here, config))
            yield rig

    async def scenario(rig: BridgeRig) -> None:
        await rig.here.worker.invoke("far", {"a": 1})

    def invariant(rig: BridgeRig) -> None:
        assert handles[-1].statistics().under_way == 0
        for side in (rig.here, rig.there):
            assert side.under_test.engine.statistics().invocations == 0

    assert cancel_at_every_step(scenario, invariant, setup=setup) >= 5


async def test_calls_wait_for_the_first_connection(autojump_clock: MockClock) -> None:
    async with open_bridge_rig() as rig:
        rig.there.offer("math::add", 5)
        rig.here.wire.up = False
        config = bridge_config(forward={"far": "math::add"}, expose={"mine": None})
        handle = await rig.bridge(rig.here, config)
        assert not handle.statistics().connected
        assert handle.worker_id == ""
        results: list[object] = []

        async def call() -> None:
            results.append(await rig.here.worker.invoke("far"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.sleep(5)
            assert results == []
            rig.here.wire.up = True
        assert results == [5]
        assert handle.statistics().connected
        assert rig.there.worker.exists("mine")


async def test_without_a_connection_calls_end_at_their_timeout_and_say_why(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:
        rig.here.wire.up = False
        await rig.bridge(rig.here, bridge_config(forward={"far": "x"}, timeout_ms=5000))
        failure = await rig.here.failure("far")
        voided = await rig.here.failure("bridge.invoke_async", {"function_id": "x"})
    assert failure.code == voided.code == "bridge_error"
    assert "ws://other.example:49134 within 5000 ms: not connected" in failure.message
    assert "not connected to ws://other.example:49134" in voided.message


async def test_a_lost_connection_ends_calls_and_comes_back_with_everything(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_bridge_rig() as rig:
        running = trio.Event()

        @rig.there.worker.function("slow")
        async def slow() -> None:
            running.set()
            await trio.sleep_forever()

        rig.there.offer("math::add", 5)
        got = rig.here.offer("mine", "mine")
        config = bridge_config(
            forward={"far::slow": "slow", "far::add": "math::add"},
            expose={"mine": None},
        )
        handle = await rig.bridge(rig.here, config)
        for lost in range(3):
            failures: list[object] = []

            async def call(kept: list[object] = failures) -> None:
                kept.append(await rig.here.failure("far::slow"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await running.wait()
                rig.here.wire.cut()
            assert "invocation_stopped" in str(failures[0])
            assert await rig.here.worker.invoke("far::add") == 5
            await wait_until(lambda: rig.there.worker.exists("mine"))
            assert await rig.there.worker.invoke("mine", lost) == "mine"
            running = trio.Event()
        assert handle.statistics().connected
        assert len(rig.here.wire.connections) == 4
        assert rig.there.under_test.engine.statistics().invocations == 0
    assert got == [0, 1, 2]
    assert "s3cret" not in caplog.text


async def test_callers_over_there_are_told_when_the_bridge_is_lost(
    autojump_clock: MockClock,
) -> None:
    ended = trio.Event()
    async with open_bridge_rig() as rig:
        running = trio.Event()

        @rig.here.worker.function("slow")
        async def slow() -> None:
            running.set()
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        await rig.bridge(rig.here, bridge_config(expose={"slow": None}))

        async def call() -> None:
            with pytest.raises(InvocationStoppedError):
                await rig.there.worker.invoke("slow")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await running.wait()
            rig.here.wire.cut(stay_down=True)
        # Nobody waits for the handler any more.
        await ended.wait()


async def test_a_taken_name_is_not_the_end_of_a_bridge(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_bridge_rig() as rig,
        rig.there.under_test.open_worker("iii-bridge-client"),
    ):
        rig.there.offer("math::add", 5)
        handle = await rig.bridge(rig.here, bridge_config(forward={"far": "math::add"}))
        assert await rig.here.worker.invoke("far") == 5
        rows = await rig.there.worker.invoke("engine::workers::list", {})
        [name] = [w["name"] for w in rows["workers"] if w["id"] == handle.worker_id]
        assert name.startswith("iii-bridge-client:")
    assert "refuses the worker name 'iii-bridge-client', trying another" in caplog.text


async def test_calls_wait_while_a_name_is_found_that_is_free(
    autojump_clock: MockClock,
) -> None:
    results: list[object] = []
    async with (
        open_bridge_rig() as rig,
        rig.there.under_test.open_worker("iii-bridge-client"),
    ):
        rig.there.offer("math::add", 5)
        rig.here.wire.up = False
        await rig.bridge(rig.here, bridge_config(forward={"far": "math::add"}))

        async def call() -> None:
            results.append(await rig.here.worker.invoke("far"))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(call)
            await wait_all_tasks_blocked()
            rig.here.wire.up = True
    assert results == [5] * 10


async def test_a_function_that_is_taken_over_there_is_told_in_the_log(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_bridge_rig() as rig:
        rig.there.offer("both", "theirs")
        rig.here.offer("both", "mine")
        await rig.bridge(rig.here, bridge_config(expose={"both": None}))
        assert await rig.there.worker.invoke("both") == "theirs"
    assert "refused both" in caplog.text


async def test_a_function_that_is_taken_here_ends_the_start(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:
        rig.here.offer("both", "mine")
        with pytest.raises(RegistrationError, match="both"):
            await rig.bridge(rig.here, bridge_config(forward={"both": "x"}))
        assert not rig.here.worker.exists("bridge.invoke")


async def test_the_end_of_a_bridge_withdraws_its_functions_on_both_sides(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:
        rig.here.offer("mine", 1)
        config = bridge_config(forward={"far": "x"}, expose={"mine": "lent"})
        await rig.bridge(rig.here, config)
        assert rig.here.worker.exists("far")
        assert rig.there.worker.exists("lent")
        rig.stop_bridges()
        await wait_all_tasks_blocked()
        assert not rig.here.worker.exists("far")
        assert not rig.there.worker.exists("lent")


@pytest.mark.parametrize("how", ["forward", "expose"])
async def test_functions_forwarded_to_each_other_end_as_a_loop_at_once(
    autojump_clock: MockClock, how: str
) -> None:
    async with open_bridge_rig() as rig:
        one, other = {"f": "f"}, {"f": "f"}
        if how == "forward":
            await rig.bridge(rig.here, bridge_config(forward=one))
            await rig.bridge(rig.there, bridge_config(forward=other))
        else:
            await rig.bridge(rig.here, bridge_config(expose=dict.fromkeys(one)))
            await rig.bridge(rig.there, bridge_config(expose=dict.fromkeys(other)))
        began = trio.current_time()
        failure = await rig.here.failure("f")
        assert trio.current_time() - began < 1
        assert "form a loop" in failure.message
        assert len(failure.message) < 300
        for side in (rig.here, rig.there):
            assert side.under_test.engine.statistics().invocations == 0


async def test_a_bridge_to_its_own_engine_is_a_loop_only_for_what_it_forwards(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_bridge_rig() as rig:
        rig.here.wire.target = rig.here.under_test
        rig.here.offer("math::add", 5)
        config = bridge_config(forward={"self": "self", "fine": "math::add"})
        await rig.bridge(rig.here, config)
        assert await rig.here.worker.invoke("fine") == 5
        assert "form a loop" in (await rig.here.failure("self")).message


async def test_a_recursion_across_engines_and_calls_side_by_side_are_no_loop(
    autojump_clock: MockClock,
) -> None:
    async with open_bridge_rig() as rig:

        @rig.here.worker.function("down")
        async def down(n: int) -> int:
            if n == 0:
                await trio.lowlevel.checkpoint()
                return 0
            deeper: int = await rig.here.worker.invoke("far::down", n - 1)
            return 1 + deeper

        @rig.here.worker.function("fan")
        async def fan() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(rig.here.worker.invoke, "far::one")

        @rig.there.worker.function("down")
        async def down_there(n: int) -> int:
            deeper: int = await rig.there.worker.invoke("far::down", n)
            return 1 + deeper

        rig.there.offer("one", 1)
        await rig.bridge(
            rig.here, bridge_config(forward={"far::down": "down", "far::one": "one"})
        )
        await rig.bridge(rig.there, bridge_config(forward={"far::down": "down"}))
        assert await rig.here.worker.invoke("down", 12) == 24
        await rig.here.worker.invoke("fan")


async def test_a_bridge_without_a_url_says_where_it_goes(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with open_bridge_rig() as rig:
        environ = {"III_URL": "ws://elsewhere.example:1/"}
        await rig.bridge(rig.here, BridgeConfig(), environ=environ)
    assert (
        "connects to ws://elsewhere.example:1: is that another engine?" in caplog.text
    )


async def test_an_engine_that_knows_no_cancellation_is_told_of_none(
    autojump_clock: MockClock,
) -> None:
    """Any engine that speaks the protocol will do, however little it can."""
    other = ScriptedEngine()
    other.features = None
    async with open_bridge_rig() as rig:
        handle = await rig.bridge(
            rig.here,
            bridge_config(forward={"far": "near"}, timeout_ms=5000),
            connect=lambda _url: other.attachment(),
        )
        assert "TIMEOUT" in (await rig.here.failure("far", 1)).message
        call = await other.link.heard("invokefunction", function_id="near")
        assert "deadline_ms" not in call
        assert "cancelinvocation" not in other.link.kinds()
        # Its late answer harms nobody.
        other.link.say(
            "invocationresult", invocation_id=call["invocation_id"], result=5
        )
        other.link.say_text("nonsense")
        assert handle.statistics().under_way == 0
