"""Who comes in through a listener with rules, and who does not."""

import logging
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from iii_trio.access import Access, ConnectRequest
from iii_trio.errors import FunctionFailedError
from iii_trio.protocol import (
    Error,
    InvocationResult,
    RegistrationRejected,
    WorkerAttached,
    WorkerRegistered,
)
from iii_trio.testing import RawPeer, open_test_engine
from tests.component.access_rig import AUTH, error_of, open_access_rig, result_of

SECRET = "hush-3f1b"


async def refusal(peer: RawPeer) -> dict[str, Any]:
    """The error frame of a connection that is refused; it must be all that it gets."""
    frame = await peer.expect(Error)
    await peer.wait_closed()
    assert peer.received == [frame]
    body: dict[str, Any] = msgspec.json.decode(frame.error)
    assert body.pop("code") == "AUTH_ERROR"
    return body


async def test_the_auth_function_gets_the_facts_and_lets_in(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        peer = rig.connect(
            ConnectRequest.of(
                [("authorization", "Bearer x")], "token=a%20b&token=c", "192.0.2.7"
            )
        )
        greeting = await peer.accepted()
        assert peer.received == [greeting]
        assert greeting.reattach_token
        assert rig.asked == [
            {
                "headers": {"authorization": "Bearer x"},
                "query_params": {"token": ["a%20b", "c"]},
                "ip_address": "192.0.2.7",
            }
        ]
        assert rig.denied == []


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "auth function returned no result"),
        (False, "auth function returned no session: Expected `object`, got `bool`"),
        (
            {"allowed_functions": "all"},
            (
                "auth function returned no session: Expected `array`, got `str` - at"
                " `$.allowed_functions`"
            ),
        ),
        (FunctionFailedError("who are you?", code="NO"), "who are you?"),
        (ValueError("boom"), "boom"),
    ],
)
async def test_whoever_gets_no_session_stays_out(
    answer: object, message: str, autojump_clock: MockClock
) -> None:
    async with open_access_rig() as rig:
        rig.answer = answer
        peer = rig.connect()
        peer.register("a::b")
        peer.announce("intruder")
        assert await refusal(peer) == {"message": message}
        await trio.sleep(6)
        assert not rig.has("a::b")
        assert rig.t.engine.statistics().workers == 1
        assert [a for a, _ in rig.denied] == ["connect"]
        attached = [e for e in rig.t.events.events if isinstance(e, WorkerAttached)]
        assert len(attached) == 1


async def test_without_its_auth_function_a_listener_lets_nobody_in(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.rules["auth_function_id"] = "auth::gone"
        body = await refusal(rig.connect())
        assert body["message"].startswith("Function auth::gone not found")


async def test_an_auth_function_that_does_not_answer_refuses_after_the_time_limit(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:

        async def sleep(_request: object) -> None:
            await trio.sleep_forever()

        rig.operator.register_function("auth::slow", sleep)
        rig.rules["auth_function_id"] = "auth::slow"
        rig.options["timeout"] = 3.0
        began = trio.current_time()
        assert await refusal(rig.connect()) == {
            "message": "invocation timed out after 3000ms"
        }
        assert trio.current_time() - began == pytest.approx(3.0)
        assert rig.t.engine.statistics().invocations == 0


async def test_frames_wait_while_the_auth_function_is_asked(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        go = trio.Event()

        async def later(_request: object) -> dict[str, object]:
            await go.wait()
            return {"allowed_functions": ["free::f"]}

        rig.operator.register_function("auth::later", later)
        rig.rules["auth_function_id"] = "auth::later"
        got = await rig.serve("free::f", 7)
        peer = rig.connect()
        calls = [peer.call("free::f", {"n": n}) for n in range(3)]
        await rig.settle()
        assert (got, peer.received) == ([], [])
        assert rig.t.engine.statistics().workers == 1
        go.set()
        assert isinstance(await peer.receive(), WorkerRegistered)
        for call in calls:
            assert result_of(await peer.outcome(call)) == 7
        assert [p["n"] for p in got] == [0, 1, 2]


async def test_a_peer_that_leaves_while_the_auth_function_is_asked_leaves_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        go = trio.Event()

        async def later(_request: object) -> dict[str, object]:
            await go.wait()
            return {}

        rig.operator.register_function("auth::later", later)
        rig.rules["auth_function_id"] = "auth::later"
        peer = rig.connect()
        await rig.settle()
        peer.cut()
        await rig.settle()
        go.set()
        await rig.settle()
        statistics = rig.t.engine.statistics()
        assert (statistics.workers, statistics.invocations) == (1, 0)
        assert peer.received == []


async def test_a_draining_engine_lets_nobody_in(autojump_clock: MockClock) -> None:
    async with open_access_rig() as rig:
        await rig.t.engine.drain(1)
        body = await refusal(rig.connect())
        assert "shutting down" in body["message"]


async def test_an_engine_that_closes_refuses_who_still_waits(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_worker("operator") as operator:

        async def sleep(_request: object) -> None:
            await trio.sleep_forever()

        operator.register_function(AUTH, sleep)
        rig_access = Access(rules=(await _rules()), timeout=1000)
        peer = t.connect_raw_peer(access=rig_access)
        await trio.testing.wait_all_tasks_blocked()
    assert peer.closed is not None
    assert not [f for f in peer.received if isinstance(f, WorkerRegistered)]


async def _rules() -> Any:
    await trio.lowlevel.checkpoint()
    async with open_access_rig() as rig:
        return rig.access.rules


async def test_rules_without_auth_function_let_everybody_in_and_expose_what_they_say(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.rules = {"expose_functions": ['match("open::*")']}
        await rig.serve("open::f", 1)
        await rig.serve("shut::f", 1)
        peer = rig.connect()
        await peer.accepted()
        assert rig.asked == []
        assert result_of(await rig.call(peer, "open::f")) == 1
        assert error_of(await rig.call(peer, "shut::f"))[0] == "FORBIDDEN"


async def test_a_connection_without_rules_is_as_free_as_ever(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("free") as peer:
        await rig.serve("shut::f", 1)
        assert result_of(await rig.call(peer, "shut::f")) == 1
        assert rig.t.engine.statistics().denied == 0


async def test_a_session_may_only_declare_the_namespaces_of_its_grants(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.answer = {"namespaces": {"team": ["*"], "other": []}}
        peer = rig.connect()
        peer.register("a::b")
        call = peer.call("engine::workers::register", {"namespace": "finance"})
        assert error_of(await peer.outcome(call)) == (
            "FORBIDDEN",
            (
                "namespace 'finance' not allowed for this session "
                "(permitted: other, team)"
            ),
        )
        await peer.wait_closed()
        await trio.sleep(6)
        assert not any(rig.has("a::b", ns) for ns in ("default", "finance", "team"))


@pytest.mark.parametrize("announce", [True, False])
async def test_without_a_namespace_of_its_own_it_does_not_land_in_default(
    announce: bool, autojump_clock: MockClock
) -> None:
    async with open_access_rig() as rig:
        rig.answer = {"namespaces": {"team": ["*"]}}
        peer = rig.connect()
        peer.register("a::b")
        if announce:
            peer.announce("w")
        await peer.wait_closed()
        await trio.sleep(6)
        assert not rig.has("a::b")


async def test_a_session_in_its_namespace_registers_and_is_called(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.answer = {"namespaces": {"team": ["a::*"]}}
        peer = rig.connect()
        peer.register("a::b")
        peer.announce("w", namespace="team")
        await rig.settle()
        assert rig.has("a::b", "team")
        call = peer.call("a::b", {}, namespace="team")
        peer.answer(await peer.served("a::b"), 5)
        assert result_of(await peer.outcome(call)) == 5


async def test_a_caller_that_never_announces_itself_may_stay(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig:
        rig.answer = {"namespaces": {"team": []}, "allowed_functions": ["open::f"]}
        await rig.serve("open::f", 1)
        peer = rig.connect()
        await peer.accepted()
        await trio.sleep(6)
        assert result_of(await rig.call(peer, "open::f")) == 1
        peer.register("a::b")
        await trio.sleep(6)
        assert not rig.has("a::b")


async def test_a_name_conflict_is_told_to_a_session_too(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("w"):
        await rig.settle()
        peer = await rig.enter("w")
        await peer.expect(RegistrationRejected, worker_name="w")


async def test_a_reattach_token_of_somebody_else_opens_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("w", "a::b") as victim:
        greeting = await victim.accepted()
        rig.answer = {}
        peer = rig.connect()
        own = await peer.accepted()
        for token in (None, "", own.reattach_token, "00000000-0000"):
            peer.send(
                {
                    "type": "reattach",
                    "previous_worker_id": greeting.worker_id,
                    "reattach_token": token,
                }
            )
        await rig.settle()
        assert victim.closed is None
        assert rig.has("a::b")


async def test_the_secrets_of_a_handshake_show_nowhere(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_access_rig() as rig:
        request = ConnectRequest.of(
            [("authorization", f"Bearer {SECRET}"), ("cookie", SECRET)],
            f"token={SECRET}",
            "192.0.2.7",
        )
        for answer in ({"context": {"key": SECRET}}, None, ValueError("no")):
            rig.answer = answer
            peer = rig.connect(request)
            await peer.receive()
            peer.announce("w")
            await rig.settle()
        watcher = rig.t.connect_raw_peer()
        everything = {"include_internal": True}
        seen: list[InvocationResult] = [
            await rig.call(watcher, "engine::workers::list"),
            await rig.call(watcher, "engine::workers::info", {"name": "w"}),
            await rig.call(watcher, "engine::functions::list", everything),
            await rig.call(watcher, "engine::registered-triggers::list", everything),
        ]
        told = repr(rig.t.events.events) + caplog.text + repr(seen) + repr(request)
        told += repr(list(rig.t.engine.supervisor.ports))
        assert len(rig.asked) == 3
        assert SECRET in repr(rig.asked)
        assert SECRET not in told


async def test_a_reattach_token_shows_nowhere_but_in_its_greeting(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_access_rig() as rig:
        peer = await rig.enter("w", allowed_functions=["engine::workers::info"])
        token = peer.received[0].reattach_token  # type: ignore[union-attr]
        outcome = await rig.call(peer, "engine::workers::info", {"name": "w"})
        assert result_of(outcome)["worker"]["name"] == "w"
        assert token
        told = repr(rig.t.events.events) + caplog.text + repr(peer.received[1:])
        assert token not in told
