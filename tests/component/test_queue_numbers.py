"""Numbers that callers choose, as large as they like: refused, or they work."""

from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from iii_trio.adapters.sqlite import open_sqlite, run_inline
from iii_trio.errors import RegistrationError
from tests.component.queue_rig import open_queue_rig

MOST = 2**63 - 1
TOO_LARGE = (pytest.param(2**63, id="2^63"), pytest.param(10**400, id="10^400"))


@pytest.mark.parametrize("number", TOO_LARGE)
@pytest.mark.parametrize("field", ["concurrency", "backoff_ms", "timeout_ms"])
async def test_a_definition_with_too_large_a_number_is_refused_and_harms_nobody(
    tmp_path: Path, autojump_clock: MockClock, field: str, number: int
) -> None:
    async with open_sqlite(tmp_path / "engine.db", run=run_inline) as stores:
        for _ in ("before a restart", "after it"):
            async with open_queue_rig(stores=stores) as rig:
                error = await rig.failure(
                    "queue::define", {"queue": "q", "config": {field: number}}
                )
                assert error.code == "invalid_queue_config"
                got = rig.collect()
                await rig.enqueue(1)
                await rig.settle()
                assert got == [1]


@pytest.mark.parametrize("number", TOO_LARGE)
@pytest.mark.parametrize("field", ["concurrency", "maxRetries", "backoffDelayMs"])
async def test_a_subscriber_with_too_large_a_number_is_refused_and_harms_nobody(
    tmp_path: Path, autojump_clock: MockClock, field: str, number: int
) -> None:
    async with (
        open_sqlite(tmp_path / "engine.db", run=run_inline) as stores,
        open_queue_rig(stores=stores) as rig,
    ):
        got = rig.collect()
        config = {"topic": "t", "queue_config": {field: number}}
        with pytest.raises(RegistrationError, match=f"{field} must be at most"):
            await rig.client.bind("durable:subscriber", "job::run", config)
        await rig.enqueue(1)
        await rig.settle()
        assert got == [1]


async def test_the_largest_numbers_work(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    fields = ("concurrency", "max_retries", "backoff_ms", "timeout_ms")
    async with (
        open_sqlite(tmp_path / "engine.db", run=run_inline) as stores,
        open_queue_rig(stores=stores) as rig,
    ):
        largest = dict.fromkeys(fields, MOST)
        await rig.call("queue::define", queue="q", config=largest)
        got = rig.collect(failing=lambda data: bool(data == "bad"))
        await rig.enqueue("bad", queue="q")
        await rig.enqueue("good", queue="q")
        await rig.settle()
        assert sorted(got) == ["bad", "good"]
        assert (await rig.stats("q"))["failed"] == 1


@pytest.mark.parametrize(
    "page", [{"limit": MOST}, {"offset": MOST, "limit": MOST}, {"offset": MOST}]
)
async def test_a_page_may_end_far_behind_the_last_dead_message(
    tmp_path: Path, autojump_clock: MockClock, page: dict[str, Any]
) -> None:
    async with (
        open_sqlite(tmp_path / "engine.db", run=run_inline) as stores,
        open_queue_rig(stores=stores) as rig,
    ):
        rig.collect(failing=lambda _data: True)
        await rig.call("queue::define", queue="q", config={"max_retries": 1})
        await rig.enqueue(1, queue="q")
        await rig.settle()
        rows = await rig.call("engine::queue::dlq_messages", topic="q", **page)
        assert [row["payload"] for row in rows] == [1][page.get("offset", 0) :]


async def test_a_delay_that_is_no_number_of_seconds_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with open_queue_rig() as rig:
        error = await rig.failure(
            "iii::durable::publish", {"topic": "t", "delay_ms": 10**400}
        )
        assert error.code == "deserialization_error"
        assert error.message.endswith(f"delay_ms must be at most {MOST}")
