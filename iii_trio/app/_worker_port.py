"""A port for workers that the app opened, and what of it changes while it is open."""

from typing import Final, final

import attrs

from iii_trio.app._config import ListenerConfig
from iii_trio.net import FrontDoor, HTTPLimits, limits_of

__all__ = ["WorkerPort", "door_limits"]

_CHANGEABLE: Final = ("tls", "limits", "handshake_timeout_ms")
"""Settings that hold for new connections; others need the port to be opened anew."""


def door_limits(config: ListenerConfig) -> HTTPLimits:
    """What one client may cost."""
    return limits_of(config.limits, handshake_timeout=config.handshake_timeout)


@final
@attrs.define(eq=False)
class WorkerPort:
    """What the app holds of an open port."""

    door: FrontDoor
    config: ListenerConfig

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every socket that listens."""
        return self.door.addresses

    def takes(self, config: ListenerConfig) -> bool:
        """Whether it can run on with these settings, no connection dropped."""
        kept = {name: getattr(self.config, name) for name in _CHANGEABLE}
        return attrs.evolve(config, **kept) == self.config

    async def reconfigure(self, config: ListenerConfig) -> None:
        """Use other certificates and limits for new connections.

        Raises:
            ConfigError: a certificate file cannot be used; everything stays as it was.
        """
        await self.door.use_tls(config.tls)
        self.door.limits = door_limits(config)
        self.config = config
