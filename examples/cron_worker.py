"""Cron inside a Trio program: a trigger every second, and when others would fire.

Run it: ``python examples/cron_worker.py``. It takes about two seconds.
"""

import functools
from typing import Any

import trio

import iii_trio
from iii_trio.builtins.cron import CronConfig, serve_cron


async def main() -> None:
    """Serve cron, ask when expressions fire, wait for two ticks."""
    async with (
        iii_trio.open_engine() as engine,
        iii_trio.open_worker(engine, name="iii-cron") as cron_worker,
        iii_trio.open_worker(engine, name="reports") as reports,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(functools.partial(serve_cron, cron_worker, CronConfig()))
        ticks: list[dict[str, Any]] = []
        enough = trio.Event()

        @reports.function("report::make")
        async def make(tick: dict[str, Any]) -> None:
            await trio.lowlevel.checkpoint()
            ticks.append(tick)
            if len(ticks) == 2:
                enough.set()

        # The night in which clocks in Berlin go from 02:00 to 03:00.
        asked = {
            "expression": "30 2 * * *",
            "timezone": "Europe/Berlin",
            "after": "2026-03-28T12:00:00+01:00",
            "count": 2,
        }
        for time in await reports.invoke("cron::next", asked):
            print(f"{asked['expression']} fires at {time}")

        await reports.bind("cron", "report::make", {"expression": "* * * * * *"})
        await enough.wait()
        first, second = (tick["scheduled_time"] for tick in ticks)
        print(f"two ticks: {first < second}")
        print(f"none early: {all(t['actual_time'] >= first for t in ticks)}")
        nursery.cancel_scope.cancel(reason="the example is over")


if __name__ == "__main__":
    trio.run(main)
