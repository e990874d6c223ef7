"""Secrets that workers and operators have: who tries to read them, reads nothing."""

import logging

import pytest
from trio.testing import MockClock

from iii_trio.protocol import AccessDenied
from iii_trio.testing import RawPeer
from tests.component.access_rig import (
    AccessRig,
    error_of,
    open_access_rig,
    result_of,
)

SECRET = "hush-5e7"


async def all_that_shows(rig: AccessRig, watcher: RawPeer) -> str:
    """Every listing and detail that a free worker can get, every event, all logs."""
    everything = {"include_internal": True}
    told = [repr(rig.t.events.events), repr(list(rig.t.engine.supervisor.ports))]
    for function_id, data in (
        ("engine::functions::list", everything),
        ("engine::triggers::list", everything),
        ("engine::registered-triggers::list", everything),
        ("engine::workers::list", {}),
        ("engine::workers::info", {"name": "w"}),
        ("engine::functions::info", {"function_id": "http::f"}),
    ):
        told.append(repr(await rig.call(watcher, function_id, data)))
    return "".join(told)


async def test_how_a_function_is_performed_by_http_shows_nowhere(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    invocation = {
        "url": f"https://{SECRET}.example/",
        "headers": {"x-key": SECRET},
        "auth": {"type": "api_key", "header": "x", "value_key": SECRET},
    }
    async with open_access_rig() as rig:
        watcher = rig.t.connect_raw_peer()
        for rights in ({}, {"allow_http_function_registration": True}):
            peer = await rig.enter("w", **rights)
            peer.register("http::f", invocation=invocation)
            await rig.settle()
            assert SECRET not in await all_that_shows(rig, watcher) + caplog.text
            peer.close()
            await rig.settle()


async def test_the_key_of_a_channel_is_told_to_its_maker_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_access_rig() as rig:
        peer = await rig.enter("w")
        made = result_of(await rig.call(peer, "engine::channels::create"))
        key, channel_id = made["writer"]["access_key"], made["writer"]["channel_id"]
        watcher = rig.t.connect_raw_peer()
        assert key not in await all_that_shows(rig, watcher) + caplog.text
        channels = rig.t.engine.channels
        for wrong in ("", key[:-1], key + "0", key.upper(), "é"):
            assert channels.find(channel_id, wrong) is None
        assert channels.find(channel_id, key) is not None


async def test_the_context_of_a_session_is_for_hooks_and_middleware_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_access_rig() as rig:
        peer = await rig.enter("w", context={"key": SECRET})
        peer.register("http::f")
        await rig.call(peer, "shut::f")
        watcher = rig.t.connect_raw_peer()
        told = await all_that_shows(rig, watcher) + caplog.text + repr(peer.received)
        assert SECRET not in told


async def test_what_is_refused_again_and_again_does_not_fill_the_log(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_access_rig() as rig:
        peer = await rig.enter("w", allow_function_registration=False)
        for number in range(100):
            peer.register(f"f::{number}")
            peer.fire("shut::f")
        await rig.settle()
        assert rig.t.engine.statistics().denied == 200
        assert len(rig.denied) == 200
        assert 10 <= caplog.text.count("may not register") <= 20
        assert "may not call" not in caplog.text


async def test_an_id_of_a_megabyte_is_cut_for_events_and_the_log(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_access_rig() as rig:
        peer = await rig.enter("w", allow_function_registration=False)
        peer.register("x" * 2**20)
        outcome = await rig.call(peer, "y" * 2**16)
        assert error_of(outcome)[0] == "FORBIDDEN"
        assert all(len(subject) <= 200 for _, subject in rig.denied)
        events = rig.t.events.of(AccessDenied)
        assert all(len(event.reason) <= 400 for event in events)
        assert len(caplog.text) < 5000


async def test_middleware_is_no_way_around_the_limit_of_pending_calls(
    autojump_clock: MockClock,
) -> None:
    async with open_access_rig() as rig, rig.t.open_raw_peer("mw", "mw::all"):
        rig.options["middleware_function_id"] = "mw::all"
        rig.rules["expose_functions"] = ['match("open::*")']
        peer = await rig.enter("w")
        rig.t.engine.invocations.quotas.pending_calls = 3
        for _ in range(3):
            peer.call("open::f", {})
        code, _ = error_of(await rig.call(peer, "open::f"))
        assert code == "invocation_refused"
