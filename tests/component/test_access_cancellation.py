"""What is asked about a restricted worker ends with its connection, or its call."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from iii_trio.access import ConnectRequest
from iii_trio.net import OP_CLOSE, OP_TEXT, encode_frame
from iii_trio.protocol import CANCEL_FEATURE
from iii_trio.transport import MemoryConnection
from tests.component.access_rig import AUTH, AccessRig, error_of, open_access_rig
from tests.component.worker_kinds import Hanging

pytestmark = pytest.mark.cancellation

SLOW = "slow::hook"

HOOKS = ("function", "trigger", "trigger_type")


@attrs.define(eq=False)
class SlowRig:
    """An access rig with a function that never answers.

    Attributes:
        rig: the engine with its peers.
        hanging: that function.
    """

    rig: AccessRig
    hanging: Hanging = attrs.field(factory=Hanging)

    async def asked(self) -> bool:
        """Whether it is being asked, and nobody else."""
        await self.rig.settle()
        (only,) = self.rig.t.engine.invocations.pending()
        return only.function_id == SLOW

    def connect_telemetry(self) -> MemoryConnection:
        """Open a telemetry socket on the guarded listener."""
        connection = self.rig.t.network.connect()
        self.rig.t.engine.gate.admit_telemetry(
            connection.server, self.rig.access, ConnectRequest()
        )
        return connection

    async def over(self) -> str | None:
        """The only reason so far; nothing may be left."""
        await self.rig.settle()
        statistics = self.rig.t.engine.statistics()
        assert statistics.invocations == 0
        assert statistics.late_answers == 0
        (reason,) = self.hanging.reasons
        return reason


@asynccontextmanager
async def open_slow_rig() -> AsyncIterator[SlowRig]:
    """Open an engine whose operator serves `SLOW`."""
    async with open_access_rig() as rig:
        slow = SlowRig(rig)
        rig.operator.register_function(SLOW, slow.hanging)
        yield slow


async def test_an_auth_function_is_cancelled_with_the_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_slow_rig() as slow:
        slow.rig.rules = {"auth_function_id": SLOW}
        before = slow.rig.t.engine.statistics()
        peer = slow.rig.connect()
        peer.announce("early")
        assert await slow.asked()
        peer.cut()
        assert await slow.over() == "its connection is gone: the peer vanished"
        after = slow.rig.t.engine.statistics()
        assert (after.workers, after.timers) == (before.workers, before.timers)


async def test_an_orderly_end_is_seen_at_once_if_nothing_waits(
    autojump_clock: MockClock,
) -> None:
    async with open_slow_rig() as slow:
        slow.rig.rules = {"auth_function_id": SLOW}
        peer = slow.rig.connect()
        assert await slow.asked()
        peer.close()
        assert await slow.over() == "its connection is gone: closed by the peer"


async def test_what_was_sent_before_an_orderly_end_counts(
    autojump_clock: MockClock,
) -> None:
    async with open_slow_rig() as slow:
        rig, go = slow.rig, trio.Event()

        async def let_in(_request: object) -> dict[str, object]:
            await go.wait()
            return {"allowed_functions": ["open::f"]}

        rig.operator.register_function("slow::auth", let_in)
        rig.rules = {"auth_function_id": "slow::auth"}
        got = await rig.serve("open::f")
        peer = rig.connect()
        peer.fire("open::f", 1)
        peer.fire("open::f", 2)
        peer.close()
        await rig.settle()
        assert rig.t.engine.statistics().invocations == 1
        go.set()
        await rig.settle()
        assert got == [1, 2]
        assert rig.t.engine.statistics().workers == 1
        assert rig.t.engine.statistics().invocations == 0


async def test_a_network_that_closes_waits_for_no_message(
    autojump_clock: MockClock,
) -> None:
    async with open_slow_rig() as slow:
        slow.rig.rules = {"auth_function_id": SLOW}
        peer = slow.rig.connect()
        ping = encode_frame(OP_TEXT, b'{"type":"ping"}', mask=b"mask")
        goodbye = encode_frame(OP_CLOSE, b"", mask=b"mask")
        peer.connection.client.send_bytes_nowait(ping + goodbye)
        assert await slow.asked()
        slow.rig.t.network.end()
        assert await slow.over() == "its connection is gone: closed by the peer"


async def test_an_auth_function_of_telemetry_is_cancelled_with_the_connection(
    autojump_clock: MockClock,
) -> None:
    async with open_slow_rig() as slow:
        slow.rig.rules = {"auth_function_id": SLOW}
        connection = slow.connect_telemetry()
        assert await slow.asked()
        connection.cut()
        assert await slow.over() == "its connection is gone: cut"


async def test_a_telemetry_socket_is_told_nothing_of_calls(
    autojump_clock: MockClock,
) -> None:
    async with open_slow_rig() as slow:
        connection = slow.connect_telemetry()
        for data in (b"1", b"NaN"):  # which cannot be read
            connection.client.send_nowait(
                b'{"type":"invokefunction","function_id":"f","invocation_id":'
                b'"11111111-1111-4111-8111-111111111111","data":%b}' % data
            )
        await slow.rig.settle()
        assert connection.arrived_bytes("to_client") == 0
        assert connection.server.outbox_bytes == 0


@pytest.mark.parametrize("kind", HOOKS)
async def test_a_hook_is_cancelled_with_the_connection(
    kind: str, autojump_clock: MockClock
) -> None:
    async with open_slow_rig() as slow:
        rig = slow.rig
        rig.rules = {
            "auth_function_id": AUTH,
            "expose_functions": ['match("*")'],
            f"on_{kind}_registration_function_id": SLOW,
        }
        peer = await rig.enter(
            "w", allow_function_registration=True, allow_trigger_type_registration=True
        )
        before = rig.t.engine.statistics().functions
        if kind == "function":
            peer.register("w::f")
        elif kind == "trigger_type":
            peer.send({"type": "registertriggertype", "id": "t", "description": ""})
        else:
            peer.send(
                {
                    "type": "registertrigger",
                    "id": "t",
                    "trigger_type": "engine::workers-available",
                    "function_id": "open::f",
                    "config": {},
                }
            )
        peer.register("w::later")
        assert await slow.asked()
        peer.cut()
        assert await slow.over() == "its connection is gone: the peer vanished"
        statistics = rig.t.engine.statistics()
        assert (statistics.triggers, statistics.functions) == (0, before)
        assert rig.denied == []


@pytest.mark.parametrize("how", ["cancelled", "cut", "deadline passed"])
async def test_a_hook_is_cancelled_with_the_call_that_registers(
    how: str, autojump_clock: MockClock
) -> None:
    async with open_slow_rig() as slow:
        rig = slow.rig
        rig.rules = {
            "auth_function_id": AUTH,
            "expose_functions": ['match("*")'],
            "on_trigger_registration_function_id": SLOW,
        }
        peer = await rig.enter()
        peer.announce("w", features=[CANCEL_FEATURE])
        asked = {"trigger_type": "engine::workers-available", "function_id": "open::f"}
        call = peer.call("engine::register_trigger", asked, deadline_ms=1000)
        await rig.settle()
        assert rig.t.engine.statistics().invocations == 2
        if how == "cancelled":
            peer.send(
                {"type": "cancelinvocation", "invocation_id": call, "reason": how}
            )
        elif how == "cut":
            peer.cut()
        else:
            await trio.sleep(2)
        reason = await slow.over()
        expected = "its caller is gone: the peer vanished" if how == "cut" else how
        assert reason == expected
        await trio.sleep(0.2)  # events for listeners have been fired
        assert rig.t.engine.statistics().triggers == 0
        assert rig.t.engine.statistics().timers == 0


@pytest.mark.parametrize("answer", [b"1e400", b'{"config":1e400}'])
async def test_an_answer_without_a_value_ends_the_call_that_registers(
    answer: bytes, autojump_clock: MockClock
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("h", "hook::raw") as hook:
        rig.rules = {
            "auth_function_id": AUTH,
            "expose_functions": ['match("*")'],
            "on_trigger_registration_function_id": "hook::raw",
        }
        peer = await rig.enter("w")
        asked = {"trigger_type": "engine::workers-available", "function_id": "open::f"}
        call = peer.call("engine::register_trigger", asked)
        question = await hook.served("hook::raw")
        hook.connection.client.send_nowait(
            b'{"type":"invocationresult","invocation_id":"%b","function_id":"hook::raw",'
            b'"result":%b}' % (str(question.invocation_id).encode(), answer)
        )
        assert error_of(await peer.outcome(call))[0] == "FORBIDDEN"
        assert rig.t.engine.statistics().invocations == 0
        assert rig.t.engine.statistics().triggers == 0


async def test_middleware_is_cancelled_with_its_caller(
    autojump_clock: MockClock,
) -> None:
    async with open_slow_rig() as slow:
        rig = slow.rig
        rig.rules["expose_functions"] = ['match("open::*")']
        rig.options["middleware_function_id"] = SLOW
        peer = await rig.enter()
        peer.announce("w", features=[CANCEL_FEATURE])
        peer.call("open::f", {})
        assert await slow.asked()
        peer.cut()
        assert await slow.over() == "its caller is gone: the peer vanished"
