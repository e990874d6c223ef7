"""The cron worker in virtual time: when it fires, what it sends, what it drops."""

import gc
import logging
import math
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from iii_trio.errors import RegistrationError
from iii_trio.protocol import TriggerChanged
from iii_trio.testing import cancel_at_every_step
from tests.component.builtin_rig import BuiltinRig, open_cron_rig


async def test_a_tick_calls_the_function_with_the_documented_payload(
    autojump_clock: MockClock,
) -> None:
    async with open_cron_rig() as rig:
        got = await rig.record("cron", "job::run", {"expression": "0 * * * * *"})
        [listed] = await rig.client.invoke("cron::list", {})
        await trio.sleep(61)
    assert got == [
        {
            "trigger": "cron",
            "job_id": listed["job_id"],
            "scheduled_time": "2026-01-01T00:01:00+00:00",
            "actual_time": "2026-01-01T00:01:00.000000+00:00",
        }
    ]


async def test_a_day_of_ticks_is_complete_on_time_and_quick(
    autojump_clock: MockClock,
) -> None:
    began = time.process_time()
    async with open_cron_rig() as rig:
        got = await rig.record("cron", "job::run", {"expression": "* * * * *"})
        for _hour in range(24):
            await trio.sleep(3600)
        await trio.sleep(1)
    assert len(got) == 1440
    assert all(one["actual_time"][:19] == one["scheduled_time"][:19] for one in got)
    assert len({one["scheduled_time"] for one in got}) == 1440
    # Nothing is asserted of the speed but that nobody waited for the day to pass.
    assert time.process_time() - began < 3600


async def test_metadata_reaches_the_function_and_conditions_decide(
    autojump_clock: MockClock,
) -> None:
    asked: list[Any] = []
    async with open_cron_rig() as rig:

        @rig.client.function("even::minute")
        async def even(payload: Any) -> bool:
            await trio.lowlevel.checkpoint()
            asked.append(payload)
            return int(payload["scheduled_time"][14:16]) % 2 == 0

        got = await rig.record(
            "cron", "job::run", {"expression": "* * * * *"}, condition="even::minute"
        )
        await trio.sleep(4 * 60 + 1)
    assert len(asked) == 4
    assert [one["scheduled_time"][14:16] for one in got] == ["02", "04"]


def offer_slow_job(rig: BuiltinRig) -> list[float]:
    """Offer ``slow::job``, which takes 150 s; when it was called."""
    starts: list[float] = []

    @rig.client.function("slow::job")
    async def slow(_payload: Any) -> None:
        starts.append(trio.current_time())
        await trio.sleep(150)

    return starts


async def test_a_function_that_runs_long_drops_its_own_ticks_and_no_others(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_cron_rig() as rig:
        starts = offer_slow_job(rig)
        began = trio.current_time()
        await rig.client.bind("cron", "slow::job", {"expression": "0 * * * * *"})
        quick = await rig.record("cron", "job::run", {"expression": "0 * * * * *"})
        await trio.sleep(6 * 60 + 1)
        statistics = rig.handle.statistics()
        [listed, _] = await rig.client.invoke("cron::list", {})
    assert [start - began for start in starts] == [60, 240]
    assert len(quick) == 6
    assert (statistics.missed, statistics.fired) == (4, 8)
    assert (listed["missed_ticks"], listed["running"]) == (4, True)
    assert "still runs, tick dropped" in caplog.text
    assert "2 ticks dropped while slow::job ran" in caplog.text


async def test_a_failing_or_missing_function_does_not_stop_the_schedule(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[Any] = []
    async with open_cron_rig() as rig:

        @rig.client.function("bad::job")
        async def bad(payload: Any) -> None:
            await trio.lowlevel.checkpoint()
            calls.append(payload)
            raise ValueError("no")

        @rig.client.function("odd::job")
        async def odd() -> Any:
            await trio.lowlevel.checkpoint()
            return msgspec.Raw(b"1e400")

        for target in ("bad::job", "no::where", "odd::job"):
            await rig.client.bind("cron", target, {"expression": "* * * * *"})
        await trio.sleep(121)
        assert rig.handle.statistics().fired == 6
    assert len(calls) == 2
    assert "no::where failed" in caplog.text
    assert "the result of odd::job cannot be decoded" in caplog.text


async def test_an_unbound_trigger_fires_no_more_and_its_call_runs_on(
    autojump_clock: MockClock,
) -> None:
    ended: list[float] = []
    async with open_cron_rig() as rig:

        @rig.client.function("slow::job")
        async def slow(_payload: Any) -> None:
            await trio.sleep(90)
            ended.append(trio.current_time())

        trigger_id = await rig.client.bind(
            "cron", "slow::job", {"expression": "* * * * *"}
        )
        await trio.sleep(61)
        rig.client.unbind(trigger_id)
        await trio.sleep(600)
        assert len(ended) == 1
        assert rig.handle.statistics().jobs == 0


@pytest.mark.parametrize("steps", range(6))
async def test_a_trigger_that_is_unbound_as_it_is_due_is_called_before_or_never(
    autojump_clock: MockClock, steps: int
) -> None:
    async with open_cron_rig() as rig:
        every_second = {"expression": "* * * * * *"}
        got = await rig.record("cron", "job::run", {"expression": "@yearly"})
        for _ in range(10):  # Trio lets tasks go on in any order
            await rig.client.bind("cron", "job::run", every_second, trigger_id="one")
            await trio.sleep_until(math.floor(trio.current_time()) + 1)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            rig.client.unbind("one")
            await trio.sleep(0.5)
        # A call is noted on its trigger while that is bound.
        fired = {"trigger_id": "one", "state": "invoked"}
        assert len(got) == len(rig.under_test.events.of(TriggerChanged, **fired))


async def test_triggers_that_come_and_go_leave_the_others_on_time(
    autojump_clock: MockClock,
) -> None:
    async with open_cron_rig() as rig:
        got = await rig.record("cron", "job::run", {"expression": "* * * * *"})
        for number in range(500):
            passing = await rig.client.bind(
                "cron", "no::where", {"expression": f"{number % 60} * * * * *"}
            )
            rig.client.unbind(passing)
        await trio.sleep(121)
        assert rig.handle.statistics().fired == 2
    assert len(got) == 2


async def test_the_same_trigger_id_again_moves_the_schedule(
    autojump_clock: MockClock,
) -> None:
    async with open_cron_rig() as rig:
        got = await rig.record(
            "cron", "job::run", {"expression": "* * * * *"}, trigger_id="one"
        )
        await rig.client.bind(
            "cron", "job::run", {"expression": "0 * * * *"}, trigger_id="one"
        )
        await trio.sleep(3601)
    assert [one["scheduled_time"] for one in got] == ["2026-01-01T01:00:00+00:00"]


async def test_a_trigger_that_is_bound_anew_waits_for_its_call(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_cron_rig() as rig:
        starts = offer_slow_job(rig)
        began = trio.current_time()
        for _ in range(3):
            await rig.client.bind(
                "cron", "slow::job", {"expression": "* * * * *"}, trigger_id="one"
            )
            await trio.sleep(61)
        [listed] = await rig.client.invoke("cron::list", {})
        assert (listed["running"], listed["missed_ticks"]) == (True, 1)
        await trio.sleep(60)
        [listed] = await rig.client.invoke("cron::list", {})
        assert (listed["running"], listed["missed_ticks"]) == (True, 1)
        assert rig.handle.statistics().running == 1
    assert [start - began for start in starts] == [60, 240]
    assert caplog.text.count("1 ticks dropped while slow::job ran") == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "Cron expression is required"),
        ({}, "Cron expression is required"),
        ({"expression": ""}, "Cron expression is required"),
        ({"expression": 5}, "Cron expression is required"),
        ({"expression": "a b"}, "Invalid cron expression 'a b': expected 5, 6 or 7"),
        ({"expression": "0 0 25 * * *"}, "Invalid cron expression '0 0 25 * * *': "),
        ({"expression": "@daily", "timezone": "Mars/X"}, "Invalid timezone 'Mars/X'"),
        ({"expression": "@daily", "timezone": 2}, "Invalid timezone 2"),
    ],
)
async def test_what_says_no_schedule_is_refused(
    autojump_clock: MockClock, config: Any, message: str
) -> None:
    async with open_cron_rig() as rig:
        with pytest.raises(RegistrationError, match=message.replace("*", r"\*")):
            await rig.client.bind("cron", "job::run", config)
        assert rig.handle.statistics().jobs == 0


async def test_registration_logs_the_next_times_and_what_a_number_means(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "iii_trio.builtins.cron")
    async with open_cron_rig() as rig:
        await rig.client.bind("cron", "job::run", {"expression": "0 0 9 * * 1"})
        await rig.client.bind("cron", "job::run", {"expression": "0 0 0 30 2 *"})
    assert "day of week 1 means Sunday" in caplog.text
    assert "next at 2026-01-04T09:00:00+00:00" in caplog.text
    assert "(0 0 0 30 2 *) never fires" in caplog.text


async def test_cron_next_tells_the_times_of_an_expression(
    autojump_clock: MockClock,
) -> None:
    async with open_cron_rig() as rig:
        asked = {"expression": "30 2 * * *", "timezone": "Europe/Berlin"}
        assert await rig.client.invoke("cron::next", {**asked, "count": 2}) == [
            "2026-01-01T01:30:00+00:00",
            "2026-01-02T01:30:00+00:00",
        ]
        after = {"after": "2026-03-28T12:00:00+01:00", "count": 1}
        assert await rig.client.invoke("cron::next", {**asked, **after}) == [
            "2026-03-29T01:00:00+00:00"  # 03:00 there: 02:30 is skipped
        ]
        twenty = await rig.client.invoke("cron::next", {**asked, "count": 20})
        assert len(set(twenty)) == 20
        assert await rig.client.invoke("cron::next", {"expression": "0 0 30 2 *"}) == []


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({}, "deserialization_error"),
        ({"expression": "x"}, "invalid_expression"),
        ({"expression": "@daily", "timezone": "X"}, "invalid_expression"),
        ({"expression": "@daily", "count": 0}, "invalid_count"),
        ({"expression": "@daily", "after": "noon"}, "invalid_time"),
        ({"expression": "@daily", "after": "0001-01-01"}, "invalid_time"),
    ],
)
async def test_cron_next_refuses_what_it_cannot_answer(
    autojump_clock: MockClock, payload: Any, code: str
) -> None:
    async with open_cron_rig() as rig:
        assert (await rig.failure("cron::next", payload)).code == code


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("@hourly", [f"2026-01-01T{hour:02}:00:00+00:00" for hour in (1, 2, 3)]),
        ("0 0 30 2 *", []),
    ],
)
async def test_discovery_tells_when_a_trigger_fires_next(
    expression: str, times: list[str], autojump_clock: MockClock
) -> None:
    async with open_cron_rig() as rig:
        await rig.client.bind(
            "cron", "job::run", {"expression": expression}, trigger_id="one"
        )
        found = await rig.client.invoke(
            "engine::registered-triggers::info", {"id": "one"}
        )
    assert found["details"] == {
        "timezone": "UTC",
        "running": False,
        "missed_ticks": 0,
        "next_fire_times": times,
    }


async def test_the_triggers_are_listed_with_their_next_times(
    autojump_clock: MockClock,
) -> None:
    async with open_cron_rig() as rig:
        await rig.client.bind(
            "cron", "job::run", {"expression": "@hourly"}, trigger_id="one"
        )
        assert await rig.client.invoke("cron::list", {}) == [
            {
                "job_id": "one",
                "function_id": "job::run",
                "namespace": "default",
                "expression": "@hourly",
                "timezone": "UTC",
                "running": False,
                "missed_ticks": 0,
                "next_fire_times": [
                    f"2026-01-01T{hour:02}:00:00+00:00" for hour in (1, 2, 3)
                ],
            }
        ]


async def test_draining_fires_no_more_and_waits_for_what_runs(
    autojump_clock: MockClock,
) -> None:
    async with open_cron_rig() as rig:

        @rig.client.function("slow::job")
        async def slow(_payload: Any) -> None:
            await trio.sleep(90)

        await rig.client.bind("cron", "slow::job", {"expression": "* * * * *"})
        await trio.sleep(61)
        began = trio.current_time()
        await rig.handle.drain(600)
        assert trio.current_time() - began == pytest.approx(89)
        await trio.sleep(600)
        assert rig.handle.statistics().fired == 1


async def test_ten_thousand_triggers_stay_on_time_in_flat_memory(
    autojump_clock: MockClock,
) -> None:
    late: list[Any] = []
    async with open_cron_rig() as rig:

        @rig.client.function("many::job")
        async def job(payload: Any) -> None:
            await trio.lowlevel.checkpoint()
            if payload["scheduled_time"][:19] != payload["actual_time"][:19]:
                late.append(payload)

        for number in range(10_000):
            expression = f"{number % 60} */30 * * * *"
            await rig.client.bind("cron", "many::job", {"expression": expression})
        await trio.sleep(100)
        before_fired = rig.handle.statistics().fired
        tracemalloc.start()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        await trio.sleep(1800)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert rig.handle.statistics().fired == before_fired + 10_000
        assert rig.handle.statistics().missed == 0
    assert late == []
    # One more time per trigger would be beyond this: 10,000 datetimes take 500 KB.
    assert grown < 4_000_000


def test_a_call_cancelled_anywhere_leaves_the_schedule_alone() -> None:
    @asynccontextmanager
    async def setup() -> AsyncIterator[tuple[BuiltinRig, list[Any]]]:
        async with open_cron_rig() as rig:
            got = await rig.record("cron", "job::run", {"expression": "* * * * *"})
            yield rig, got
            already = len(got)
            await trio.sleep(121)
            assert len(got) == already + 2

    async def scenario(context: tuple[BuiltinRig, list[Any]]) -> None:
        rig, _ = context
        await rig.client.invoke("cron::next", {"expression": "@daily"})
        trigger_id = await rig.client.bind("cron", "o::ther", {"expression": "@daily"})
        rig.client.unbind(trigger_id)

    def invariant(context: tuple[BuiltinRig, list[Any]]) -> None:
        assert context[0].handle.statistics().running == 0

    assert cancel_at_every_step(scenario, invariant, setup=setup) > 2


class SteppedClock:
    """Wall time that a test moves by hand, on top of Trio's."""

    def __init__(self) -> None:
        self.offset = datetime(2026, 1, 1, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.offset + trio.current_time()


async def test_a_wall_clock_that_jumps_never_fires_early_or_twice(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SteppedClock()
    async with open_cron_rig(now=clock) as rig:
        got = await rig.record("cron", "job::run", {"expression": "*/10 * * * *"})
        await trio.sleep(5)
        clock.offset -= 3600  # an hour back: the time that was due comes an hour later
        await trio.sleep(3600 + 599)
        assert [one["scheduled_time"][11:19] for one in got] == ["00:10:00"]
        clock.offset += 3 * 3600  # three hours on: seen within a minute, one call
        await trio.sleep(60)
        assert [one["scheduled_time"][11:19] for one in got[1:]] == ["00:20:00"]
        assert "17 ticks dropped" in caplog.text
        await trio.sleep(600)
        assert [one["scheduled_time"][11:19] for one in got[2:]] == ["03:20:00"]
        for one in got:
            assert one["actual_time"] >= one["scheduled_time"]


async def test_a_clock_that_was_far_ahead_is_followed_when_it_is_put_right(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SteppedClock()
    right = clock.offset
    clock.offset += 10 * 365 * 86_400
    async with open_cron_rig(now=clock) as rig:
        got = await rig.record("cron", "job::run", {"expression": "*/10 * * * *"})
        await rig.client.bind("cron", "o::ther", {"expression": "@yearly"})
        await trio.sleep(5)
        clock.offset = right
        await trio.sleep(1200)
    assert [one["scheduled_time"] for one in got] == [
        "2026-01-01T00:10:00+00:00",
        "2026-01-01T00:20:00+00:00",
    ]
    assert caplog.text.count("the clock was set back by") == 1


async def test_each_trigger_counts_the_ticks_that_it_slept_through(
    autojump_clock: MockClock,
) -> None:
    clock = SteppedClock()
    async with open_cron_rig(now=clock) as rig:
        rig.client.register_function("job::run", lambda: None)
        for expression in ("* * * * *", "* * * * *", "*/7 * * * *", "@hourly"):
            await rig.client.bind("cron", "job::run", {"expression": expression})
        await trio.sleep(5)
        clock.offset += 3600
        await trio.sleep(60)
        listed = await rig.client.invoke("cron::list", {})
    assert rig.handle.statistics().fired == 4
    assert [job["missed_ticks"] for job in listed] == [60, 60, 8, 0]
