"""Values that a worker registers and others get to see: none that would fail them."""

import json

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.protocol import decode_error
from iii_trio.testing import RawPeer, open_test_engine

READABLE = range(850, 990)
"""Depths that a decoder of JSON reads, the last of them just so."""


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def register_all(peer: RawPeer, depth: int) -> None:
    """Register something of every kind, with a value that nests so deep."""
    bind = '"registertrigger","function_id":"x","trigger_type"'
    for text in (
        f'"registerfunction","id":"f{depth}","metadata"',
        f'"registerfunction","id":"g{depth}","request_format"',
        f'"registertriggertype","id":"k{depth}","call_request_format"',
        f'{bind}:"none","id":"c{depth}","config"',
        f'{bind}:"engine::workers-available","id":"m{depth}","metadata"',
    ):
        peer.send(f'{{"type":{text}:{nested(depth)}}}')


@pytest.mark.parametrize(
    ("listing", "asked"),
    [
        ("engine::functions::list", {}),
        ("engine::functions::info", {"function_id": "g1"}),
        ("engine::triggers::info", {"id": "k1"}),
        ("engine::registered-triggers::list", {}),
        ("engine::registered-triggers::info", {"id": "m1"}),
        ("engine::workers::info", {"name": "odd"}),
    ],
)
async def test_what_nests_deep_fails_nobody_who_asks(
    listing: str, asked: dict[str, str], autojump_clock: MockClock
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("odd", pid=1) as odd,
        t.open_raw_peer("good") as good,
    ):
        for depth in (1, *READABLE):
            register_all(odd, depth)
        await odd.flush()
        outcome = await good.outcome(good.call(listing, asked))
        assert not outcome.error
        assert json.loads(bytes(outcome.result))
        assert t.engine.statistics().invocations == 0
        # Others come and go, which is told to the triggers that are left.
        async with t.open_raw_peer("late") as late:
            await wait_all_tasks_blocked()
            assert late.closed is None


async def test_values_may_nest_as_deep_as_the_reference_reads(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("odd") as odd:
        register_all(odd, 128)
        await odd.flush()
        kept = t.engine.statistics()
        assert (kept.functions, kept.trigger_types, kept.triggers) == (2, 1, 2)
        register_all(odd, 129)
        await odd.flush()
        assert t.engine.statistics() == kept
        assert odd.closed is None


async def test_texts_of_a_host_that_are_no_utf_8_fail_nobody_who_asks(
    autojump_clock: MockClock,
) -> None:
    bad = "caf\udce9"
    async with (
        open_test_engine() as t,
        t.open_worker(bad, description=bad) as odd,
        t.open_raw_peer("good") as good,
    ):
        odd.register_function("odd::f", lambda data: data, description=bad)
        odd.register_trigger_type("kind", bind=lambda _trigger: None, description=bad)
        for kind in ("functions", "workers", "triggers"):
            call = good.call(f"engine::{kind}::list")
            text = bytes((await good.outcome(call)).result).decode()
            assert "caf" in text
        assert t.engine.statistics().invocations == 0


async def test_a_durable_trigger_that_nests_too_deep_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as t, t.open_raw_peer("odd") as odd:
        kept, refused = [
            await odd.outcome(
                odd.call(
                    "engine::register_trigger",
                    {
                        "trigger_type": "none",
                        "function_id": "x",
                        "config": json.loads(nested(depth)),
                    },
                )
            )
            for depth in (127, 128)
        ]
        assert kept.result
        error = decode_error(refused.error)
        assert error.code == "deserialization_error"
        assert error.message.endswith("it nests deeper than 128")
        assert t.engine.statistics().triggers == 1
