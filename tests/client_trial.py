"""One client on its stage, and what a script does with it."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
import httpx2
import trio

from iii_trio.protocol import TriggerChanged
from iii_trio.worker import Trigger
from tests.client_stage import PATIENCE, Client, Stage
from tests.cutting_proxy import CuttingProxy

NAME: Final = "zoo"


@attrs.define(eq=False)
class Trial:
    """One client on its stage."""

    client: Client
    stage: Stage
    proxy: CuttingProxy
    worker_id: str = ""
    process: trio.Process | None = None
    bells: list[Trigger] = attrs.Factory(list)

    async def call(self, name: str, payload: Any = None) -> Any:
        """Call a function of the client."""
        payload = {} if payload is None else payload
        return await self.stage.script.invoke(f"{NAME}::{name}", payload)

    async def start(self) -> None:
        """Start the client behind the proxy."""
        self.process = await self.stage.start(self.client, NAME, self.proxy.port)
        self.worker_id = await self.stage.ready(NAME)

    async def bind(self, kind: str, trigger_type: str, config: Any) -> None:
        """Let the client bind a trigger, and wait until it is active."""
        request = {"kind": kind, "type": trigger_type, "config": config}
        await self.call("bind", request)
        await self.trigger_is(kind, "active")

    async def unbind(self, kind: str) -> None:
        """Let the client end a binding."""
        self.stage.events.clear()
        await self.call("unbind", {"kind": kind})
        await self.trigger_is(kind, "unregistered")

    async def trigger_is(self, kind: str, state: str) -> None:
        function_id = f"{NAME}::on_{kind}"
        events = self.stage.events
        await self.stage.until(
            lambda: events.of(TriggerChanged, function_id=function_id, state=state),
            f"a trigger of {function_id} {state}",
        )

    async def fires(self, kind: str, provoke: Callable[[], Awaitable[object]]) -> None:
        """Do something that fires a trigger, and wait until the client told of it."""
        fired, key = self.stage.fired, (NAME, kind)
        before = fired[key]
        await provoke()
        await self.stage.until(lambda: fired[key] > before, f"{kind} fired")

    async def get(self, path: str) -> httpx2.Response:
        """One HTTP request to the app."""
        url = f"http://127.0.0.1:{self.stage.port('iii-http')}{path}"
        async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            return await client.get(url)

    async def still_there(self) -> None:
        """Check that the client has not lost its connection."""
        assert (await self.call("echo", {"n": 1}))["payload"] == {"n": 1}
        assert self.stage.owner_of(f"{NAME}::ready") == self.worker_id
