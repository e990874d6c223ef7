"""Reloads that are cancelled, that move listeners, that meet a crash."""

from collections.abc import Mapping
from typing import Any

import attrs
import pytest
import trio

from iii_trio.app import open_app
from iii_trio.builtins import BuiltinSpec, Resources
from iii_trio.errors import FunctionNotFoundError
from iii_trio.worker import Worker, open_worker


@attrs.frozen(kw_only=True)
class GreeterConfig:
    greeting: str = "hi"


class Greeter:
    """A bundled worker that takes as long as a test likes to drain."""

    def __init__(self) -> None:
        self.draining = trio.Event()
        self.drained = trio.Event()

    async def drain(self, _grace: float) -> None:
        self.draining.set()
        await self.drained.wait()

    async def serve(
        self,
        worker: Worker,
        config: GreeterConfig,
        _resources: Resources,
        *,
        task_status: trio.TaskStatus[Any],
    ) -> None:
        async def greet(name: str) -> str:
            await trio.lowlevel.checkpoint()
            return f"{config.greeting} {name}"

        worker.register_function("greeter::greet", greet)
        task_status.started(self)
        await trio.sleep_forever()

    @property
    def spec(self) -> BuiltinSpec:
        return BuiltinSpec(
            name="greeter",
            description="Greets.",
            config_class=GreeterConfig,
            serve=self.serve,
        )


def config(*entries: Mapping[str, Any]) -> dict[str, Any]:
    listener = {"name": "iii-worker-manager", "config": {"port": 0}}
    return {"workers": [*entries, listener]}


WANTED = {
    "as before": config({"name": "greeter"}),
    "changed": config({"name": "greeter", "config": {"greeting": "new"}}),
    "removed": config(),
}


@pytest.mark.parametrize("then", ["as before", "changed", "removed"])
@pytest.mark.parametrize("cancelled", ["changed", "removed"])
async def test_a_reload_that_is_cancelled_leaves_no_entry_that_nobody_knows(
    cancelled: str, then: str
) -> None:
    greeter = Greeter()
    async with (
        open_app(WANTED["as before"], builtins=(greeter.spec,)) as app,
        open_worker(app.engine) as worker,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.reload, WANTED[cancelled])
            await greeter.draining.wait()
            nursery.cancel_scope.cancel()
        greeter.drained.set()
        report = await app.reload(WANTED[then])
        assert not report.failed
        if then == "removed":
            assert report.removed == ("greeter",)
            with pytest.raises(FunctionNotFoundError):
                await worker.invoke("greeter::greet", "x")
        else:
            # It drained, so it starts anew even if it is to be as before.
            assert report.changed == ("greeter",)
            greeting = {"as before": "hi x", "changed": "new x"}[then]
            assert await worker.invoke("greeter::greet", "x") == greeting
