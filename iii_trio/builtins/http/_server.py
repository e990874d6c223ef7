"""The front doors of the http worker: one, and a second one while the address changes."""

from typing import Final, final

import attrs
import trio

from iii_trio._util import ConflictDetector, NoPublicConstructor
from iii_trio.builtins.http._config import HTTPConfig
from iii_trio.builtins.http._dispatch import Dispatcher
from iii_trio.net import HTTPLimits, KeptDoor, Pump, limits_of, start_front_door

DRAIN_GRACE: Final = 10.0
"""Seconds that requests of an address that is given up may take, as in the reference."""


@attrs.frozen(kw_only=True)
class HTTPStatistics:
    """A snapshot of an http server: requests that run and wait, and routes."""

    running: int
    waiting: int
    routes: int


def _limits(config: HTTPConfig) -> HTTPLimits:
    return limits_of(
        config.limits, handshake_timeout=config.handshake_timeout_ms / 1000
    )


@final
@attrs.define(eq=False, kw_only=True)
class HTTPServer(metaclass=NoPublicConstructor):
    """A running http worker: where it listens, and how to change its settings."""

    _config: HTTPConfig
    _dispatcher: Dispatcher
    _pump: Pump
    _nursery: trio.Nursery
    _door: KeptDoor | None = None
    _one_user: ConflictDetector = attrs.field(
        factory=lambda: ConflictDetector("another task is changing the http server")
    )

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of every socket that listens."""
        return () if self._door is None else self._door.door.addresses

    @property
    def config(self) -> HTTPConfig:
        """The configuration in force."""
        return self._config

    def statistics(self) -> HTTPStatistics:
        """Count requests and routes."""
        admission = self._dispatcher.admission
        return HTTPStatistics(
            running=admission.running,
            waiting=admission.waiting,
            routes=len(self._dispatcher.routes),
        )

    async def reconfigure(self, config: HTTPConfig) -> None:
        """Change the settings; requests under way keep those they began with.

        With the same host and port, connections stay. Another address is bound first;
        then the old door stops accepting, and what runs behind it has `DRAIN_GRACE`
        seconds. New limits of request heads, and TLS, hold for new connections.

        Raises:
            ConfigError: a certificate file cannot be used; everything stays as it was.
            OSError: the new address cannot be bound; everything stays as it was.
            trio.BusyResourceError: another task is at it.
        """
        with self._one_user:
            await trio.lowlevel.checkpoint()
            door = self._door
            if door is None or config.address != self._config.address:
                door = await self.open_door(config)
            elif config.tls != self._config.tls:
                await door.door.use_tls(config.tls)
            door.door.limits = _limits(config)
            self._config = config
            self._dispatcher.reconfigure(config)

    async def drain(self, grace: float) -> None:
        """Stop accepting and let requests finish, for at most ``grace`` seconds."""
        await trio.lowlevel.checkpoint()
        if self._door is not None:
            await self._door.door.drain(grace)

    async def open_door(self, config: HTTPConfig) -> KeptDoor:
        """Bind; an older door is then given up.

        Raises:
            OSError: the address cannot be bound.
        """
        old = self._door
        self._door = await start_front_door(
            self._nursery,
            self._pump,
            self._dispatcher,
            name="http front door",
            host=config.host,
            port=config.port,
            limits=_limits(config),
            tls=config.tls,
            grace=DRAIN_GRACE,
        )
        if old is not None:
            old.give_up()
        return self._door
