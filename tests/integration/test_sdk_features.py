"""What SDK 0.25 asks for and does not get fails cleanly, and nothing else does."""

import pathlib
import sys
from typing import Any

import trio

from iii_trio.protocol import FunctionUnregistered, InvocationOpened
from tests.live import PATIENCE, ZOO, open_live_engine


async def test_an_sdk_is_told_that_there_is_no_observe(tmp_path: pathlib.Path) -> None:
    reports: list[Any] = []
    reported = trio.Event()
    async with open_live_engine(tmp_path) as live:

        @live.caller.function("test::report")
        async def report_to(payload: Any) -> None:
            await trio.lowlevel.checkpoint()
            reports.append(payload)
            reported.set()

        await live.start([sys.executable, ZOO / "observer.py"])
        with trio.fail_after(PATIENCE):
            await reported.wait()
        [report] = reports
        assert report["ready"] == "UNSUPPORTED"
        assert (report["state"], report["disposed"]) == ("error", "disposed")
        # Its hooks are inactive, and it says so; the function is a plain one.
        assert (report["amount"], report["observed"]) == (5, False)
        assert any("'py::charge' declares observe" in one for one in report["warnings"])
        # Its call went through the engine: nothing is dispatched locally.
        assert len(live.events.of(InvocationOpened, function_id="py::charge")) == 1
        # Unlike in the reference, a type can be given up.
        assert (report["types"], report["fewer"]) == (["bell"], [])
        # It stayed connected through all of it, and sent nothing that is not known.
        assert live.engine.statistics().bad_frames == 0
        assert not live.events.of(FunctionUnregistered, function_id="py::charge")
