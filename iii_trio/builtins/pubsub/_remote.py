"""Topics that another engine carries: published there, and heard from there.

Also what is published here comes back from there, so that all engines that share one
have the same order.
"""

from collections.abc import Callable
from typing import Any, final

import attrs
import trio

from iii_trio.builtins._remote_engine import RemoteEngine
from iii_trio.builtins.pubsub._config import PublishInput

JSON = Any


@final
@attrs.define(eq=False)
class RemoteTopics:
    """One subscription over there for every topic that has subscribers here."""

    _remote: RemoteEngine
    _new_id: Callable[[], str]
    _deliver: Callable[[str, JSON], None]
    _relays: dict[str, str] = attrs.field(init=False, factory=dict)

    async def publish(self, given: PublishInput) -> None:
        """Publish over there.

        Raises:
            AdapterError: it failed.
        """
        fields = {"topic": given.topic, "data": given.data}
        await self._remote.request("publish", fields)

    async def join(self, topic: str) -> None:
        """Hear a topic from now on."""
        if topic in self._relays:
            await trio.lowlevel.checkpoint()
            return
        relay = self._relays[topic] = f"iii-pubsub-bridge::{self._new_id()}"

        async def hear(data: JSON) -> None:
            self._deliver(topic, data)
            await trio.lowlevel.checkpoint()

        self._remote.serve(relay, hear)
        await self._remote.bind(relay, "subscribe", relay, {"topic": topic})

    def leave(self, topic: str) -> None:
        """Hear it no longer."""
        relay = self._relays.pop(topic, None)
        if relay is not None:
            self._remote.unbind(relay)
            self._remote.withdraw(relay)
