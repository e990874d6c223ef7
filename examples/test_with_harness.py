"""Testing workers without a port: virtual time, events, and a peer that vanishes.

Run it: ``python -m pytest examples/test_with_harness.py``, with pytest-trio installed and
``trio_mode = true`` in its settings. ``autojump_clock`` makes sleeps end at once.
"""

import pytest
import trio
from trio.testing import MockClock

from iii_trio import InvocationError, Worker
from iii_trio.protocol import WorkerDetached
from iii_trio.testing import open_test_engine

HOUR = 60 * 60


def offer_greeting(worker: Worker) -> None:
    """Register what is under test; a real program would do so too."""

    @worker.function("greet::slowly")
    async def greet_slowly(payload: dict[str, str]) -> str:
        await trio.sleep(HOUR)
        return f"Hello, {payload['name']}!"


async def test_an_hour_passes_at_once(autojump_clock: MockClock) -> None:
    async with open_test_engine() as harness, harness.open_worker("greeter") as worker:
        offer_greeting(worker)
        assert await worker.invoke("greet::slowly", {"name": "Ada"}) == "Hello, Ada!"


async def test_a_deadline_settles_the_call(autojump_clock: MockClock) -> None:
    async with open_test_engine() as harness, harness.open_worker("greeter") as worker:
        offer_greeting(worker)
        with pytest.raises(InvocationError, match="TIMEOUT"):
            await worker.invoke("greet::slowly", {"name": "Ada"}, deadline=1)
        assert harness.engine.statistics().invocations == 0


async def test_a_peer_that_vanishes_fails_its_callers(
    autojump_clock: MockClock,
) -> None:
    async with open_test_engine() as harness, harness.open_worker("caller") as worker:

        async def call() -> None:
            with pytest.raises(InvocationError, match="invocation_stopped"):
                await worker.invoke("far::away")

        async with (
            harness.open_raw_peer("far", "far::away") as peer,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(call)
            await peer.served("far::away")
            peer.cut()
        await harness.events.wait_for(WorkerDetached)
